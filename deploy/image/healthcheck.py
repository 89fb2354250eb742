"""Health check of a container: is the answer of URL a 200 whose body has a match of PATTERN?

The body is read because a status alone says little: Streamlit answers unknown paths with 200 and a page of HTML.
Usage: healthcheck.py URL PATTERN
"""

from __future__ import annotations

import re
import sys
import urllib.request


def main(url: str, pattern: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=3) as answer:  # noqa: S310 - the address is written in docker-compose.yml
            body = answer.read(4_000_000).decode("utf-8", "replace")
    except OSError as error:
        print(f"{url}: {error}", file=sys.stderr)
        return 1
    if re.search(pattern, body, re.MULTILINE) is None:
        print(f"{url}: no match of {pattern!r} in {body[:200]!r}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))

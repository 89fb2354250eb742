"""Health check of a container: is the answer of URL a 200 whose body has a match of PATTERN?

The body is read because a status alone says little: Streamlit answers unknown paths with 200 and a page of HTML.
Usage: healthcheck.py URL PATTERN
"""

from __future__ import annotations

import re
import sys
import urllib.request


def problem(url: str, pattern: str) -> str | None:
    """What is wrong with the answer of ``url``, or None."""
    try:
        with urllib.request.urlopen(url, timeout=3) as answer:  # noqa: S310 - the address is written in docker-compose.yml
            body: str = answer.read(4_000_000).decode("utf-8", "replace")
    except OSError as error:
        return f"{url}: {error}"
    if re.search(pattern, body, re.MULTILINE) is None:
        return f"{url}: no match of {pattern!r} in {body[:200]!r}"
    return None


if __name__ == "__main__":
    sys.exit(problem(*sys.argv[1:3]))

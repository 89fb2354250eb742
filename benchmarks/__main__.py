"""`python -m benchmarks`: every benchmark, one after the other; or those that are named, as in `python -m benchmarks ingest`."""

from __future__ import annotations

import sys

from benchmarks.ingest.__main__ import main as ingest
from benchmarks.serving.__main__ import main as serving

BENCHMARKS = {"serving": serving, "ingest": ingest}


def main() -> int:
    names = sys.argv[1:] or list(BENCHMARKS)
    sys.argv[1:] = []  # each reads its own arguments when it is started by itself
    return max(BENCHMARKS[name]() for name in names)


if __name__ == "__main__":
    sys.exit(main())

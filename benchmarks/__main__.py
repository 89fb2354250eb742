"""`python -m benchmarks`: every benchmark, one after the other."""

from __future__ import annotations

import sys

from benchmarks.serving.__main__ import main

if __name__ == "__main__":
    sys.exit(main())

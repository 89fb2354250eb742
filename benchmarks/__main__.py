"""`python -m benchmarks`: every benchmark, one after the other."""

from __future__ import annotations

import sys

from benchmarks.drift.__main__ import main as drift
from benchmarks.serving.__main__ import main as serving

if __name__ == "__main__":
    sys.exit(serving() or drift())

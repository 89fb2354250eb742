"""`python -m benchmarks`: every benchmark, one after the other."""

from __future__ import annotations

import sys

from benchmarks.serving.__main__ import main as serving
from benchmarks.simulation.__main__ import main as simulation

if __name__ == "__main__":
    sys.exit(serving() or simulation([]))

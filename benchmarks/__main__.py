"""`python -m benchmarks [NAME ...]`: every benchmark, or those named, one after the other with their defaults.

`python -m benchmarks.NAME --help` shows what each of them can be asked.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.drift.__main__ import main as drift
from benchmarks.serving.__main__ import main as serving

BENCHMARKS = {"serving": serving, "drift": drift}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all without any")
    names = parser.parse_args().names or list(BENCHMARKS)
    unknown = set(names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}")
    sys.argv[1:] = []  # each of them reads its own options
    return max(BENCHMARKS[name]() for name in names)


if __name__ == "__main__":
    sys.exit(main())

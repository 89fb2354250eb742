"""`python -m benchmarks [NAME ...]`: every benchmark, or those named, one after the other, each in a process of its own.

`python -m benchmarks.NAME --help` shows what each of them can be asked. `pages` is left out unless it is named: it needs a
dashboard that runs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

BENCHMARKS = ("serving", "ingest", "drift", "windows", "simulation", "alerts")
NAMED = (*BENCHMARKS, "pages")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMED)}")
    names = parser.parse_args().names or BENCHMARKS
    if unknown := sorted(set(names) - set(NAMED)):
        parser.error(f"no benchmark is called {', '.join(unknown)}")
    return max(subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode for name in names)


if __name__ == "__main__":
    sys.exit(main())

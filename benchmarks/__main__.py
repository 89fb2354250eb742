"""`python -m benchmarks`: every benchmark, one after the other, each in a process of its own; or those that are named."""

from __future__ import annotations

import subprocess
import sys

BENCHMARKS = ("serving", "windows", "simulation")


def main() -> int:
    names = sys.argv[1:] or BENCHMARKS
    return max(subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode for name in names)


if __name__ == "__main__":
    sys.exit(main())

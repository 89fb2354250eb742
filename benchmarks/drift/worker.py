"""`python -m benchmarks.drift.worker SUBJECT FOLDER`: one subject in a process of its own, so that its memory is its own.

For each line on standard input the subject works once and writes one JSON line: seconds of wall clock and of processor, the
peak of resident memory so far in MiB, and the KS statistics it found.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

from benchmarks.drift.subjects import SUBJECTS


def main() -> None:
    name, folder = sys.argv[1:]
    work = SUBJECTS[name].make(Path(folder))
    found = work()  # warm
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        wall, processor = time.perf_counter(), time.process_time()
        found = work()
        seconds, used = time.perf_counter() - wall, time.process_time() - processor
        print(json.dumps({"seconds": seconds, "cpu_seconds": used, "peak_mib": peak_mib(), "ks": found}), flush=True)


def peak_mib() -> float:
    """The peak of this program's resident memory; what getrusage says is at least the parent's when it started us."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024  # type: ignore[index]


if __name__ == "__main__":
    main()

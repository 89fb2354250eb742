"""Which of the processes that share a run of the tests (pytest-xdist) runs what."""

from __future__ import annotations

import os
import sys

from xdist.scheduler import LoadFileScheduling

STACKS = "tests/acceptance/"
_NO_STACK = ("tests/acceptance/test_dashboard_browser.py", "tests/acceptance/test_kill_sidecar.py")


class FilesInTurn(LoadFileScheduling):  # type: ignore[misc]  # published without types
    """A process takes a file, in the order of the folders, and runs all of its tests: what they share is built once.

    The files that start whole stacks count as one file, so that no two stacks run at a time and slow each other down.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return STACKS if file.startswith(STACKS) and file not in _NO_STACK else file


def worker_count() -> int:
    """One more than there are cores, because many tests wait for another process, a browser or the clock."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return cores + 1

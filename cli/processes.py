"""Child processes that never outlive their parent, also when it is killed with -9."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

PARENT_VARIABLE = "SUPERVISED_BY"
"""Holds the parent's process id in the child's environment; taken out before the child has children of its own."""
_PR_SET_PDEATHSIG = 1


def environment_of_child(environment: dict[str, str]) -> dict[str, str]:
    """The environment with which a child started by this process knows whose it is."""
    return {**environment, PARENT_VARIABLE: str(os.getpid())}


def follow_parent() -> bool:
    """Ask for SIGTERM when the parent that set ``PARENT_VARIABLE`` ends; call this first of all in a child.

    Returns whether there is such a parent. The kernel delivers the signal on Linux; elsewhere a thread looks each second.
    """
    expected = os.environ.pop(PARENT_VARIABLE, "")
    if not expected.isdigit():
        return False
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    else:
        threading.Thread(target=_watch, args=(int(expected),), daemon=True, name="parent-watch").start()
    if os.getppid() != int(expected):  # it ended before we asked
        os.kill(os.getpid(), signal.SIGTERM)
    return True


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)

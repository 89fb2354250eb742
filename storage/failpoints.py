"""Places where a test can make a process die, to prove that dying there loses nothing.

``MODELWATCH_FAILPOINT=after_commit:kill`` kills the process with SIGKILL when it first comes to that place,
``after_commit:kill:3`` on the third time. Without the variable a place costs one comparison.
"""

from __future__ import annotations

import os
import signal

_VARIABLE = "MODELWATCH_FAILPOINT"
_name = ""
_passes_left = 0


def arm(text: str) -> None:
    """Says where this process dies: ``place:kill``, ``place:kill:3``, or "" for nowhere."""
    global _name, _passes_left
    _name, _, action = text.partition(":")
    _passes_left = int(action.partition(":")[2] or 1) if _name else 0


def reach(name: str) -> None:
    """Mark a place that a test can name."""
    if name == _name:
        _die_when_due()


def _die_when_due() -> None:
    global _passes_left
    _passes_left -= 1
    if _passes_left == 0:
        os.kill(os.getpid(), signal.SIGKILL)


arm(os.environ.get(_VARIABLE, ""))

"""A loop of work that must not end: it waits out a database that is away, and logs any fault and goes on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from storage.engine import DatabaseUnavailable

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 15.0

_log = logging.getLogger(__name__)


def repeat(work: Callable[[], float], stop: threading.Event, what: str) -> None:
    """Works, and waits as long as the work says, until told to stop. A fault is logged and tried again, ever more slowly."""
    pause = FIRST_PAUSE_SECONDS
    away = False
    while not stop.is_set():
        try:
            seconds = work()
        except DatabaseUnavailable as error:
            if not away:
                _log.warning("Cannot %s: %s Waiting for it.", what, error)
            away, seconds, pause = True, pause, min(2 * pause, LONGEST_PAUSE_SECONDS)
        except Exception:  # noqa: BLE001  the edge of a loop that must not end
            _log.exception("Could not %s because of a fault in the program; trying again.", what)
            seconds, pause = pause, min(2 * pause, LONGEST_PAUSE_SECONDS)
        else:
            if away:
                _log.info("The database is back.")
            away, pause = False, FIRST_PAUSE_SECONDS
        stop.wait(seconds)

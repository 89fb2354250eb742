"""What the background services do alike, where it needs neither a database nor a port."""

from __future__ import annotations

import threading

from storage.service import stopping


def test_it_can_run_beside_other_threads() -> None:
    """Outside the main thread no signal handler can be set: ``stopping`` leaves them alone."""
    seen: list[bool] = []

    def body() -> None:
        with stopping() as stop:
            seen.append(stop.is_set())

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()

    assert seen == [False]

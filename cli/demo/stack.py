"""The services of the demo: `modelwatch up` as a child process, set up so that seconds tell what usually takes hours."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping

from cli.errors import CommandError
from cli.processes import environment_of_child
from cli.supervise import GRACE_SECONDS, last_line
from cli.up import Plan, is_ready

READY_SECONDS = 120.0

PACE = {
    "MODELWATCH_ROLLUP_SECONDS": "1",
    "MODELWATCH_WINDOWS": "10s,30s",
    "MODELWATCH_COLLECT_INTERVAL": "2s",
    "MODELWATCH_WINDOW_LAG": "2s",
    "MODELWATCH_COMPARISON_INTERVAL": "15s",
    "MODELWATCH_EVALUATION_INTERVAL": "1s",
    "MODELWATCH_MIN_SAMPLES": "100",
    "MODELWATCH_MIN_LABELS": "50",
    # The default budget, one false verdict in 30 days, would make windows of seconds blind: they are far too many.
    "MODELWATCH_FALSE_ALARM_DAYS": "0.1",
    "MODELWATCH_DASHBOARD_REFRESH": "5s",
}
"""Settings for a story of a minute; production counts in minutes to days."""


class Stack:
    """The running services; a context manager that stops them at the end."""

    def __init__(self, plan: Plan, environment: Mapping[str, str]) -> None:
        self.plan = plan
        self.log = plan.home / "logs" / "up.log"
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Stack:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "cli.main", "up", "--quiet"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment_of_child(self._environment),
                process_group=0,
            )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(GRACE_SECONDS + 5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def check(self) -> None:
        """Raise CommandError, with the stack's own sentence, if it ended."""
        assert self._process is not None
        if self._process.poll() is not None:
            raise CommandError(last_line(self.log))

    def wait_until_ready(self) -> None:
        """Raises CommandError where the sidecar does not answer in time, or the stack could not start."""
        deadline = time.monotonic() + READY_SECONDS
        while not is_ready(self.plan):
            self.check()
            if time.monotonic() > deadline:
                raise CommandError(
                    f"The sidecar was not ready within {READY_SECONDS:.0f} seconds; its log is {self.log.parent}/serve.log."
                )
            time.sleep(0.1)

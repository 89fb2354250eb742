"""The process of the dashboard: how it starts, what it refuses, how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from dashboard.serve import hand_over, require_free_port
from dashboard.settings import DashboardSettings
from storage.settings import SettingsError
from tests.integration.dashboard.conftest import Place
from tests.ports import free_port

RUN = "import sys; from dashboard.serve import run; from dashboard.settings import DashboardSettings; sys.exit(run(DashboardSettings.load()))"
START_SECONDS = 60.0
PRINTED = "printed.txt"


def await_true(holds: Callable[[], bool], seconds: float = START_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "what was awaited did not happen"
        time.sleep(0.05)


def is_healthy(port: int) -> bool:
    """By the body: unknown paths answer 200 with a page too."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/_stcore/health", timeout=2).text == "ok"
    except httpx.HTTPError:
        return False


@contextmanager
def running(home: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The dashboard as a process of its own, ready; what it prints goes to a file, which takes any number of lines."""
    environment = {**os.environ, "MODELWATCH_HOME": str(home), "MODELWATCH_DASHBOARD_PORT": str(port)}
    with (home / PRINTED).open("wb") as printed:
        process = subprocess.Popen([sys.executable, "-c", RUN], env=environment, stdout=printed, stderr=subprocess.STDOUT)
    try:
        await_true(lambda: is_healthy(port) or process.poll() is not None)
        yield process
    finally:
        process.kill()
        process.wait()


def test_it_starts_quietly_and_ends_on_a_signal(place_of: Callable[[str], Place]) -> None:
    port, home = free_port(), place_of("normal").home
    with running(home, port) as process:
        assert is_healthy(port)

        process.send_signal(signal.SIGTERM)

        assert process.wait(60) == 0
        assert (home / PRINTED).read_text().strip() in ("", "Stopping...")


def test_a_port_in_use_names_the_setting_and_the_port() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(SettingsError, match=f"127.0.0.1:{port} .*MODELWATCH_DASHBOARD_PORT"):
            require_free_port("127.0.0.1", port)


def test_every_setting_reaches_the_pages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in DashboardSettings.model_fields:
        monkeypatch.setenv(f"MODELWATCH_{name.upper()}", "")
    given = DashboardSettings.load(
        home=tmp_path,
        dashboard_port=9999,
        dashboard_refresh="5s",
        demo_inbox=tmp_path / "inbox",
        rollup_seconds=2,
        trusted_network=True,
    )

    hand_over(given)

    found = DashboardSettings.load()
    assert found.database == given.database
    assert found.model_dump(exclude={"database_url"}) == given.model_dump(exclude={"database_url"})

"""The sidecar as a user starts it: a process of its own, with its uploader, on a free port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.ports import free_port


@dataclass(slots=True)
class SidecarProcess:
    """One port and home folder, and the process that serves them at present."""

    port: int
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts the process and waits until it is ready."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", "serve"], env=dict(self.environment), stdout=log, stderr=log
            )
        self.wait_until_ready()

    def wait_until_ready(self, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                if httpx.get(f"{self.url}/ready", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def kill(self) -> None:
        """kill -9; returns when nothing listens on the port any more."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        deadline = time.monotonic() + 30
        while _is_listening(self.port):
            assert time.monotonic() < deadline, "a worker outlived its server"
            time.sleep(0.02)

    def terminate(self, seconds: float = 60) -> int:
        """SIGTERM; the exit status."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(seconds)


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def sidecar(home: Path, database_url: str, **variables: str) -> Iterator[SidecarProcess]:
    """A running sidecar; it is killed at the end if the test did not stop it."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MODELWATCH_")} | {
        "MODELWATCH_HOME": str(home),
        "MODELWATCH_DATABASE_URL": database_url,
        "MODELWATCH_INFERENCE_PORT": str(port),
        "MODELWATCH_DRAIN_SECONDS": "0",
        **{f"MODELWATCH_{name.upper()}": value for name, value in variables.items()},
    }
    process = SidecarProcess(port, environment, home / "sidecar.log")
    try:
        process.start()
        yield process
    finally:
        if process.process is not None and process.process.poll() is None:
            process.kill()

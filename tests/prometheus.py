"""A real Prometheus for tests: on a free port, with nothing to scrape."""

from __future__ import annotations

import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ports import free_port


@contextmanager
def running_prometheus(folder: Path) -> Iterator[str]:
    """Its address; it lives as long as the block."""
    program = shutil.which("prometheus")
    assert program, "these tests need the program prometheus"
    config = folder / "prometheus.yml"
    config.write_text("global: {}\n", encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    command = [program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={address}"]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _await_ready(f"http://{address}/-/ready")
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(20)


def _await_ready(url: str, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.1)
    raise AssertionError(f"Prometheus was not ready after {seconds:.0f} s")

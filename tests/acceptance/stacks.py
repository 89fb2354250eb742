"""Starting the command as people do: a process of its own, on free ports and in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from tests.ports import free_ports

PORTS = ("INFERENCE_PORT", "DASHBOARD_PORT", "COLLECTOR_PORT", "ALERTS_PORT")
STOP_SECONDS = 40.0
MODELWATCH = (sys.executable, "-P", "-m", "cli.main")
"""As the installed command, which does not import from the working folder either."""


def environment_for(folder: Path) -> dict[str, str]:
    """The environment of this process without any setting, with a home in the folder and free ports."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MODELWATCH_")}
    ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
    return kept | {"MODELWATCH_HOME": str(folder / "home")} | {f"MODELWATCH_{name}": port for name, port in ports.items()}


def run_command(
    folder: Path, environment: dict[str, str], *arguments: str, seconds: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    command = [*MODELWATCH, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds, check=False)


@contextmanager
def running(folder: Path, environment: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command while the block lasts, its output in ``out.txt`` and ``err.txt``; nothing of it is left afterwards."""
    with (folder / "out.txt").open("w") as out, (folder / "err.txt").open("w") as err:
        process = subprocess.Popen([*MODELWATCH, *arguments], cwd=folder, env=environment, stdout=out, stderr=err, text=True)
        family = [psutil.Process(process.pid)]
        try:
            yield process
        finally:
            family += descendants(process.pid)
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            finally:
                for member in family:
                    if member.is_running():
                        member.kill()
                process.wait()


def descendants(pid: int) -> list[psutil.Process]:
    """Children, their children and so on; none where the process is gone."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def url(environment: dict[str, str], port: str = "INFERENCE_PORT") -> str:
    return f"http://127.0.0.1:{environment[f'MODELWATCH_{port}']}"


def answers(address: str, text: str = "") -> bool:
    """Whether a GET gives 200 and a body that contains the text."""
    try:
        response = httpx.get(address, timeout=5, trust_env=False)
    except httpx.TransportError:
        return False
    return response.status_code == 200 and text in response.text


def await_that(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until the condition holds; the test fails where it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:.0f} s"
        time.sleep(0.1)

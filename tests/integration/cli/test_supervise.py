"""The supervisor on a home folder that cannot be written, as on a full disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.errors import CommandError
from cli.supervise import Service, Supervisor, hold_home


def test_service_runs_although_neither_its_log_nor_its_pid_file_can_be_written(home: Path) -> None:
    for folder in ("run", "logs"):
        (home / folder).write_text("a file where a folder should be")
    lines: list[str] = []
    supervisor = Supervisor(home=home, say=lines.append, echo=lines.append)

    supervisor.start(Service(name="help", arguments=("--help",)))
    child = supervisor.children["help"]
    assert child.process is not None
    status = child.process.wait(60)
    supervisor.stop()

    assert status == 0
    assert any("Serves ML models" in line for line in lines)


def test_home_that_cannot_be_written_is_one_sentence(home: Path) -> None:
    (home / "run").mkdir(parents=True)
    (home / "run" / "up.pid").symlink_to("/dev/full")

    with pytest.raises(CommandError, match="cannot be written"), hold_home(home):
        pass

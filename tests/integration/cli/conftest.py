"""The command, run in this process on a home folder of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.main import main


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a command ended, and what it printed."""

    status: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def run_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, home: Path, tmp_path: Path) -> Run:
    """Runs `modelwatch` with these arguments and returns how it ended."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODELWATCH_HOME", str(home))

    def run(*arguments: object) -> Result:
        status = main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return Result(status=status, out=printed.out, err=printed.err)

    return run


@pytest.fixture
def on_database(run_command: Run, monkeypatch: pytest.MonkeyPatch, database_url: str) -> Run:
    """As ``run_command``, on a fresh database that has all tables: each test runs on both kinds."""
    monkeypatch.setenv("MODELWATCH_DATABASE_URL", database_url)
    return run_command

"""Every command explains itself with an example, quickly, and is described in docs/commands.md."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from cli.main import app
from tests.integration.cli.conftest import Run

DOCUMENT = Path(__file__).parents[3] / "docs" / "commands.md"


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with its words, groups left out."""
    for name, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


ALL = dict(commands(get_command(app)))
PUBLIC = [path for path, command in ALL.items() if not command.hidden]


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_has_an_example(run_command: Run, path: tuple[str, ...]) -> None:
    result = run_command(*path, "--help")

    assert result.status == 0
    shown = " ".join(result.out.split())
    assert "Example: " in shown
    assert f"modelwatch {' '.join(path)}" in shown.split("Example: ")[1]


def test_version_is_that_of_the_package(run_command: Run) -> None:
    result = run_command("--version")

    assert (result.status, result.out, result.err) == (0, f"modelwatch {version('modelwatch')}\n", "")


@pytest.mark.parametrize("path", PUBLIC, ids=" ".join)
def test_command_and_its_options_are_documented(path: tuple[str, ...]) -> None:
    section = DOCUMENT.read_text(encoding="utf-8").split(f"### `modelwatch {' '.join(path)}")[1].split("\n#")[0]

    options = [
        option for parameter in ALL[path].params for option in parameter.opts if option.startswith("--") and option != "--help"
    ]
    assert [option for option in options if option not in section] == []
    assert f"modelwatch {' '.join(path)}" in section.split("```sh")[1]


def test_document_describes_no_command_that_does_not_exist() -> None:
    headings = [line for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if line.startswith("### `modelwatch ")]

    words = [
        tuple(word for word in heading.removeprefix("### `modelwatch ").rstrip("`").split() if word.islower())
        for heading in headings
    ]
    assert sorted(words) == sorted(PUBLIC)


def test_help_answers_at_once() -> None:
    began = _processor_seconds_of_children()

    for _ in range(3):
        subprocess.run([sys.executable, "-m", "cli.main", "--help"], check=True, capture_output=True)

    assert (_processor_seconds_of_children() - began) / 3 < 1.0  # 0.15 on a machine of today


def _processor_seconds_of_children() -> float:
    """Unlike the time on the wall, it does not depend on what else the machine does."""
    times = os.times()
    return times.children_user + times.children_system


def test_help_imports_no_service() -> None:
    code = "import cli.main, sys; print([m for m in ('pandas', 'sqlalchemy', 'numpy', 'pydantic') if m in sys.modules])"

    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert shown.stdout.strip() == "[]"

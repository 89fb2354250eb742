"""What docs/drift.md shows is what happens: its files are made, its commands run, its output compared."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.conftest import Run

PAGE = (Path(__file__).parents[3] / "docs" / "drift.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def run_shown(run_command: Run, tmp_path: Path) -> Run:
    """Runs a command line as the page shows it, in a folder with the page's files."""
    exec(compile(blocks("python")[0], "docs/drift.md", "exec"), {})

    def run(line: str) -> Any:
        program, *arguments = shlex.split(line)
        assert program == "modelwatch"
        return run_command(*arguments)

    return run


@pytest.mark.parametrize("block", blocks("console"), ids=lambda block: block.splitlines()[0])
def test_shown_output_is_what_the_command_prints(run_shown: Run, block: str) -> None:
    command, *shown = block.splitlines()

    result = run_shown(command.removeprefix("$ "))

    assert [line.rstrip() for line in result.out.splitlines()] == shown


@pytest.mark.parametrize("line", [line for block in blocks("sh") for line in block.splitlines()])
def test_shown_command_ends_well(run_shown: Run, tmp_path: Path, line: str) -> None:
    assert run_shown(line).status == 0
    assert ("--output" in line) == (tmp_path / "drift.html").exists()


def test_shown_json_is_what_the_command_prints(run_shown: Run) -> None:
    line = next(line for block in blocks("sh") for line in block.splitlines() if "--format json" in line)

    printed, shown = json.loads(run_shown(line).out), json.loads(blocks("json")[0])

    expected = {path: pytest.approx(value, rel=1e-9) if isinstance(value, float) else value for path, value in leaves(shown)}
    assert dict(leaves(printed)) == expected


def leaves(content: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is no container, by where it is."""
    if isinstance(content, dict | list):
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield from leaves(value, f"{path}/{key}")
    else:
        yield path, content


def test_page_describes_every_key_of_a_feature(run_shown: Run) -> None:
    found = set()
    for arguments in ("--target churned", "--compat evidently", "--compat nannyml"):
        document = json.loads(run_shown(f"modelwatch drift train.csv today.csv --format json {arguments}").out)
        found |= {key for feature in document["features"].values() for key in feature} | set(document)

    assert sorted(key for key in found if f"`{key}`" not in PAGE) == []

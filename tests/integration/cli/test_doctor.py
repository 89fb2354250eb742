"""`modelwatch doctor` says what is wrong and what to do."""

from __future__ import annotations

import hashlib
import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine

from cli.doctor import Level, check_home, check_sqlite, file_problem
from storage import registry
from storage.engine import writing
from storage.settings import Settings
from tests.factories import make_version, register_model
from tests.integration.cli.conftest import Run
from tests.ports import free_ports


def problems(run: Run) -> dict[str, str]:
    """Sentences of the problems by check."""
    return {found["check"]: found["sentence"] for found in json.loads(run("doctor", "--json").out) if found["level"] == "problem"}


@pytest.fixture(autouse=True)
def _free_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.acceptance.stacks import PORTS

    for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True):
        monkeypatch.setenv(f"MODELWATCH_{name}", str(port))


def test_sound_installation_has_no_problem(on_database: Run, engine: Engine) -> None:
    result = on_database("doctor")

    assert result.status == 0, result.out
    assert "PROBLEM" not in result.out


def test_missing_model_file_is_named(on_database: Run, engine: Engine, home: Path) -> None:
    with writing(engine) as c:
        register_model(c)

    assert on_database("doctor").status == 1
    assert f"{home}/models/churn/1/model.onnx, cannot be read" in problems(on_database)["models"]


def test_changed_model_file_is_named_and_an_unchanged_one_not(on_database: Run, engine: Engine, home: Path) -> None:
    path = home / "models" / "churn" / "2" / "model.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"model")
    with writing(engine) as c:
        layout = register_model(c, versions=())
        version = make_version(layout.id, version="2", path="churn/2/model.onnx", digest=hashlib.sha256(b"model").hexdigest())
        registry.insert_version(c, version)

    before = problems(on_database)
    path.write_bytes(b"other")

    assert "models" not in before
    assert "its digest differs" in problems(on_database)["models"]
    assert replace(version, digest="x") != version


def test_database_without_tables_is_told_what_to_run(run_command: Run, empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELWATCH_DATABASE_URL", empty_url)

    result = run_command("doctor")

    assert "modelwatch db upgrade" in result.out


def test_unreachable_database_is_a_problem(run_command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELWATCH_DATABASE_URL", "postgresql://127.0.0.1:1/none")

    assert "cannot be used" in problems(run_command)["database"]


def test_taken_port_is_a_problem_with_its_variable(on_database: Run, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("MODELWATCH_ALERTS_PORT", str(taken.getsockname()[1]))

        assert "set MODELWATCH_ALERTS_PORT" in problems(on_database)["ports"]


def test_bad_rules_are_a_problem(on_database: Run, engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text("groups: 7", encoding="utf-8")

    assert problems(on_database)["rules"].startswith("rules.yml: ")


def test_wrong_setting_ends_the_examination(run_command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELWATCH_WINDOWS", "7s")

    assert "MODELWATCH_WINDOWS" in problems(run_command)["settings"]


def test_home_that_is_a_file_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")

    assert check_home(tmp_path / "home").level is Level.PROBLEM
    assert check_home(tmp_path / "not" / "yet").level is Level.OK


@pytest.mark.parametrize(("version", "level"), [((3, 40, 1), Level.NOTE), ((3, 51, 3), Level.OK)])
def test_old_sqlite_is_noted(version: tuple[int, ...], level: Level) -> None:
    assert check_sqlite(Settings(), version).level is level


def test_file_is_held_against_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"x")

    assert file_problem(path, hashlib.sha256(b"x").hexdigest()) is None
    assert file_problem(path, "0" * 64) == "is not the file that was registered (its digest differs)"

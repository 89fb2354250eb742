"""The whole story: from requests to an alert in Slack and by mail and back, on real data, by one command."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, select

from storage.engine import create_engine, reading
from storage.metrics import read_points
from storage.schema import labels, predictions
from tests.acceptance.stacks import environment_for, run_command

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(400)]

STORY_SECONDS = 300.0
"""The story itself takes under two minutes on two cores of its own; the tests share theirs."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def story(folder: Path) -> dict[str, Any]:
    """What the built-in demo printed."""
    result = run_command(folder, environment_for(folder), "demo", "--once", "--json", seconds=STORY_SECONDS)
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.fixture(scope="module")
def database(story: dict[str, Any], folder: Path) -> Iterator[Connection]:
    engine = create_engine(f"sqlite:///{folder / 'home' / 'modelwatch.db'}")
    with reading(engine) as connection:
        yield connection
    engine.dispose()


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def drift_alerts(story: dict[str, Any]) -> list[dict[str, Any]]:
    return [alert for alert in story["alerts"] if alert["name"] == "FeatureDrift"]


def test_drift_alert_goes_from_pending_through_firing_to_resolved(story: dict[str, Any]) -> None:
    for alert in drift_alerts(story):
        assert alert["state"] == "resolved"
        assert moment(alert["pending_at"]) < moment(alert["fired_at"]) < moment(alert["resolved_at"])


def test_drift_alert_begins_with_the_shift_and_ends_after_it(story: dict[str, Any]) -> None:
    began, ended = moment(story["shift"]["began_at"]), moment(story["shift"]["ended_at"])

    assert drift_alerts(story)
    for alert in drift_alerts(story):
        assert (alert["model"], alert["feature"]) == ("breast-cancer", "mean radius")
        assert began < moment(alert["pending_at"]) < ended < moment(alert["resolved_at"])


def test_both_channels_were_told_of_the_alert_and_of_its_end(story: dict[str, Any], folder: Path) -> None:
    received = [json.loads(line) for line in (folder / "home" / "demo-inbox.jsonl").read_text(encoding="utf-8").splitlines()]

    for channel in ("slack", "email"):
        told = [f"{message['title']} {message['text']}".lower() for message in received if message["channel"] == channel]
        assert story["notifications"][channel] == len(told) >= 2
        assert any("featuredrift" in text and "resolved" in text for text in told)
        assert any("featuredrift" in text and "resolved" not in text for text in told)


def test_every_prediction_is_stored_once(story: dict[str, Any], database: Connection) -> None:
    stored, distinct = database.execute(select(func.count(), func.count(predictions.c.id.distinct()))).one()

    assert stored == distinct >= story["predictions"] > 500  # traffic goes on while the report is made


def test_labels_came_late_and_were_joined(story: dict[str, Any], database: Connection) -> None:
    unjoined = select(func.count()).select_from(labels).where(labels.c.counted.is_(False))

    assert database.scalars(select(func.count()).select_from(labels)).one() > 300
    assert database.scalar(unjoined) == 0


def test_two_models_of_different_kinds_shared_the_traffic(story: dict[str, Any], database: Connection) -> None:
    by_version = select(predictions.c.version, func.count()).group_by(predictions.c.version)
    counted = {row[0]: row[1] for row in database.execute(by_version)}

    assert [model["format"] for model in story["models"]] == ["onnx", "joblib"]
    assert counted.keys() == {"1", "2"}
    assert 0.4 < counted["1"] / sum(counted.values()) < 0.6
    assert story["ab"]["verdict"] in ("ship", "roll back", "keep running")


def test_accuracy_of_the_linear_model_is_what_it_should_be_before_the_shift(story: dict[str, Any], database: Connection) -> None:
    shift = moment(story["shift"]["began_at"])

    points = read_points(
        database, names=["accuracy"], model="breast-cancer", version="1", end=shift, start=shift.replace(year=2000)
    )

    values = [point.value for point in points if point.window_seconds == 10 and (point.n_current or 0) >= 150 and point.value]
    assert values
    assert min(values) > 0.93  # 0.979 on the held-out rows


def test_port_of_another_program_ends_the_demo_before_it_begins(tmp_path: Path) -> None:
    environment = environment_for(tmp_path)
    with socket.create_server(("127.0.0.1", int(environment["MODELWATCH_INFERENCE_PORT"]))):
        result = run_command(tmp_path, environment, "demo", "--once")

    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "set MODELWATCH_INFERENCE_PORT to another one" in result.stderr
    assert not (tmp_path / "home" / "demo-rules.yml").exists()

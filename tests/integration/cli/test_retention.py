"""`modelwatch db archive | prune | recompute` on a real database."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sqlalchemy import Engine, delete, func, select

from cli.session import now
from storage import audit
from storage.engine import reading, writing
from storage.metrics import write_points
from storage.records import MetricPoint
from storage.resolution import DAY, floor_time
from storage.schema import metrics, predictions, rollups
from tests.factories import make_prediction_rows, record, register_model
from tests.integration.cli.conftest import Run

DAYS = (100, 50, 10)
"""How long ago 200 predictions each were made."""


@pytest.fixture
def churn(engine: Engine) -> Engine:
    with writing(engine) as c:
        register_model(c)
        for number, days in enumerate(DAYS):
            record(c, make_prediction_rows(range(200 * number, 200 * number + 200), at=moment(days)))
    return engine


def moment(days: int) -> datetime:
    return floor_time(now(), DAY) - timedelta(days=days, hours=-5)


def rows(engine: Engine) -> int:
    with reading(engine) as c:
        return c.scalar(select(func.count()).select_from(predictions)) or 0


def counted(engine: Engine) -> int:
    with reading(engine) as c:
        return int(c.scalar(select(func.sum(rollups.c.rows)).where(rollups.c.seconds.in_([60, 86_400]))) or 0)


def test_archive_shows_what_would_go_and_then_does_it(on_database: Run, churn: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    shown = on_database("db", "archive", "--older-than", "30d", "--to", folder, "--dry-run")
    left = rows(churn)
    done = json.loads(on_database("db", "archive", "--older-than", "30d", "--to", folder, "--json").out)
    again = on_database("db", "archive", "--older-than", "30d", "--to", folder)

    assert f"{moment(100):%Y-%m-%d}  churn  1        200" in shown.out
    assert f"would go to {folder}" in shown.out
    assert (left, rows(churn)) == (600, 200)
    assert [day["day"] for day in done["days"]] == [f"{moment(100):%Y-%m-%d}", f"{moment(50):%Y-%m-%d}"]
    assert sum(pq.read_metadata(path).num_rows for path in done["files"]) == 400
    assert again.out == "No whole day is that old.\n"
    with reading(churn) as c:
        assert audit.entries(c)[-1].action == "db.archive"


def test_prune_deletes_only_when_told_twice(on_database: Run, churn: Engine) -> None:
    shown = on_database("db", "prune", "--older-than", "60d")
    left = rows(churn)
    done = on_database("db", "prune", "--older-than", "60d", "--yes")

    assert "would be deleted; add --yes to do it." in shown.out
    assert "were deleted." in done.out
    assert (left, rows(churn)) == (600, 400)


def test_a_budget_takes_the_oldest_days(on_database: Run, churn: Engine) -> None:
    every = json.loads(on_database("db", "prune", "--max-bytes", "1B", "--json").out)
    most = every["bytes"] - every["days"][0]["bytes"]

    done = json.loads(on_database("db", "prune", "--max-bytes", f"{most}B", "--yes", "--json").out)

    assert len(every["days"]) == 3
    assert [day["day"] for day in done["days"]] == [f"{moment(100):%Y-%m-%d}"]
    assert rows(churn) == 400


def test_points_are_thinned_only_when_told_twice(on_database: Run, engine: Engine) -> None:
    start = moment(20)
    with writing(engine) as c:
        write_points(c, [MetricPoint(at=start + timedelta(minutes=n), name="n", value=1.0, window_seconds=300) for n in range(101)])

    shown = on_database("db", "prune", "--points")
    done = json.loads(on_database("db", "prune", "--points", "--yes", "--json").out)
    again = json.loads(on_database("db", "prune", "--points", "--yes", "--json").out)

    assert shown.out == "80 points would be deleted; add --yes to do it.\n"
    assert (done, again["points"]) == ({"points": 80, "dry_run": False}, 0)
    with reading(engine) as c:
        assert c.scalar(select(func.count()).select_from(metrics)) == 21
        assert sorted(entry.details["points"] for entry in audit.entries(c)) == [0, 80]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["prune"], "Name one of --older-than, --max-bytes and --points."),
        (["prune", "--older-than", "1d", "--max-bytes", "1GB"], "Name one of --older-than, --max-bytes and --points."),
        (["prune", "--max-bytes", "much"], "is not a size"),
        (["prune", "--points", "--model", "churn"], "--points looks at all models"),
        (["archive", "--older-than", "soon"], "is not a duration"),
        (["recompute", "--version", "1"], "--version needs --model."),
    ],
)
def test_wrong_arguments_are_told_in_a_sentence(on_database: Run, churn: Engine, arguments: list[str], said: str) -> None:
    ended = on_database("db", *arguments)

    assert (ended.status, said in ended.err) == (2, True)


def test_an_unknown_model_is_told(on_database: Run, churn: Engine) -> None:
    assert on_database("db", "archive", "--older-than", "1d", "--model", "fraud").status == 1


def test_a_folder_that_cannot_be_written_is_told(on_database: Run, churn: Engine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")

    ended = on_database("db", "archive", "--older-than", "1d", "--to", tmp_path / "file")

    assert ended.status == 1
    assert "No row was deleted; make room, or name another folder." in ended.err
    assert rows(churn) == 600


def test_recompute_counts_rows_and_archives(on_database: Run, churn: Engine, tmp_path: Path) -> None:
    on_database("db", "archive", "--older-than", "60d", "--to", tmp_path / "files")
    with writing(churn) as c:
        c.execute(delete(rollups))

    partly = on_database("db", "recompute")
    recent = json.loads(on_database("db", "recompute", "--since", "20d", "--json").out)
    whole = json.loads(on_database("db", "recompute", "--model", "churn", "--from-archives", "--json").out)

    assert partly.status == 1
    assert "predictions are in archives; add --from-archives." in partly.err
    assert [day["predictions"] for day in recent["days"]] == [200]
    assert sum(day["predictions"] for day in whole["days"]) == 600
    assert counted(churn) == 1200  # by the minute, and by the day


def test_recompute_leaves_pruned_days_alone(on_database: Run, churn: Engine) -> None:
    on_database("db", "prune", "--older-than", "60d", "--yes")
    before = counted(churn)

    ended = on_database("db", "recompute", "--from-archives", "--until", "30d")

    assert ended.status == 1
    assert "predictions were pruned and cannot be counted again." in ended.err
    assert before == 600
    assert counted(churn) == 800  # the day in between is merged by the day now

"""Archives and pruning: no prediction is deleted that no file holds, whenever a process dies or a disk is full."""

from __future__ import annotations

import errno
import random
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sqlalchemy import Engine, func, select, text, update

from storage import archive as archiving
from storage.archive import archive_day, remove_archived
from storage.archived import Archive, ArchiveError, list_archives, unfinished
from storage.engine import reading, writing
from storage.labels import record_labels
from storage.records import Label, Layout
from storage.registry import LayoutLookup
from storage.resolution import DAY, floor_time
from storage.retention import (
    RawDay,
    RetentionBusy,
    over_budget,
    prune_day,
    prune_events,
    prune_lonely_labels,
    prune_points,
    raw_days,
    sole_keeper,
)
from storage.rollups import read_labels, read_predictions
from storage.schema import alert_events, labels, metrics, predictions
from tests.factories import NOW, at, make_prediction_row, record, register_model

MIDNIGHT = floor_time(NOW, DAY)
LATER = MIDNIGHT + timedelta(days=40)


def nothing() -> None:
    """Nobody to ask whether to go on."""


@pytest.fixture
def layout(engine: Engine) -> Layout:
    """Three days of predictions of two versions, a third of them labelled."""
    chance = random.Random(3)
    with writing(engine) as c:
        layout = register_model(c, versions=("1", "2"))
        rows = [
            make_prediction_row(
                number,
                at=MIDNIGHT + timedelta(seconds=chance.uniform(0, 3 * DAY)),
                version=chance.choice("12"),
                probabilities=None if number % 2 else "[0.5, 0.5]",
                subject=None if number % 3 else "ünïcode 数",
            )
            for number in range(600)
        ]
        record(c, rows)
        label(c, [row.id for row in rows[::3]])
    return layout


def label(c: Any, ids: list[str]) -> None:
    known = [Label(prediction_id=row, label="yes", at=LATER) for row in ids]
    record_labels(c, "churn", known, LayoutLookup(c), writer="api", bucket_seconds=60, now=LATER)


def stored_ids(engine: Engine) -> set[str]:
    with reading(engine) as c:
        return set(c.scalars(select(predictions.c.id)))


def archived_ids(engine: Engine) -> list[str]:
    with reading(engine) as c:
        files = [archive.path for archive in list_archives(c)]
    return [row for path in files for row in pq.read_table(path, columns=["id"])["id"].to_pylist()]


def days(engine: Engine, before: datetime = LATER) -> list[RawDay]:
    with reading(engine) as c:
        return raw_days(c, before=before)


def archive_all(engine: Engine, folder: Path) -> None:
    with reading(engine) as c:
        left = unfinished(c)
    for archive in left:
        remove_archived(engine, archive, now=LATER, keep=nothing)
    for day in days(engine):
        archive_day(engine, day, folder, now=LATER, keep=nothing)


def test_days_are_counted_and_sized_oldest_first(engine: Engine, layout: Layout) -> None:
    found = days(engine)

    assert [(day.day, day.version) for day in found] == [(MIDNIGHT + timedelta(days=n), v) for n in range(3) for v in "12"]
    assert sum(day.rows for day in found) == 600
    assert all(150 * day.rows < day.size_bytes < 500 * day.rows for day in found)
    assert days(engine, before=MIDNIGHT + timedelta(days=2, hours=5)) == found[:4]


def test_archive_holds_every_row_and_label_and_the_database_none(engine: Engine, layout: Layout, tmp_path: Path) -> None:
    with reading(engine) as c:
        rows = {row.id: row for row in c.execute(select(predictions))}
        before = read_predictions(c, layout, "1", MIDNIGHT, LATER), read_labels(c, layout, "1", MIDNIGHT, LATER)

    archive_all(engine, tmp_path)

    found: dict[str, dict[str, Any]] = {}
    for path in sorted(tmp_path.rglob("*.parquet")):
        assert path.parent == tmp_path / "churn" / path.parent.name
        found |= {row["id"]: row for row in pq.read_table(path).to_pylist()}
    assert found.keys() == rows.keys()
    for name in ("at", "features", "probabilities", "subject", "score", "prediction", "latency_ms", "role"):
        assert all(found[row_id][name] == getattr(rows[row_id], name) for row_id in rows)
    assert sum(row["label"] == "yes" and row["label_received_at"] == LATER for row in found.values()) == 200
    with reading(engine) as c:
        assert c.scalar(select(func.count()).select_from(predictions)) == 0
        assert c.scalar(select(func.count()).select_from(labels)) == 0
        assert all(archive.removed_at == LATER and archive.rows > 0 for archive in list_archives(c))
        assert sum(archive.rows for archive in list_archives(c)) == 600
        assert read_predictions(c, layout, "1", MIDNIGHT, LATER).rows == before[0].rows
        assert read_labels(c, layout, "1", MIDNIGHT, LATER).rows == before[1].rows
        assert c.execute(text("SELECT count(*) FROM churn_v1")).scalar_one() == 0


def test_a_label_that_comes_while_the_file_is_written_keeps_its_prediction(
    engine: Engine, layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = days(engine)[0]
    with reading(engine) as c:
        unlabelled = c.scalars(
            select(predictions.c.id).where(
                predictions.c.at < MIDNIGHT + timedelta(days=1),
                predictions.c.version == "1",
                predictions.c.id.not_in(select(labels.c.prediction_id)),
            )
        ).all()
    real = archiving.remove_archived

    def late(engine: Engine, archive: Archive, **options: Any) -> None:
        with writing(engine) as c:
            label(c, [unlabelled[0]])
        real(engine, archive, **options)

    monkeypatch.setattr(archiving, "remove_archived", late)
    archive_day(engine, day, tmp_path, now=LATER, keep=nothing)
    monkeypatch.undo()

    assert stored_ids(engine) & set(unlabelled) == {unlabelled[0]}
    archive_all(engine, tmp_path)
    assert stored_ids(engine) == set()
    rows = [row for path in tmp_path.rglob("*.parquet") for row in pq.read_table(path).to_pylist() if row["id"] == unlabelled[0]]
    assert sorted(str(row["label"]) for row in rows) == ["None", "yes"]


def test_a_label_that_is_not_counted_yet_keeps_its_prediction(engine: Engine, layout: Layout, tmp_path: Path) -> None:
    with writing(engine) as c:
        c.execute(update(labels).where(labels.c.prediction_id == "p0").values(counted=False))

    archive_all(engine, tmp_path)

    assert stored_ids(engine) == {"p0"}


def test_a_file_that_was_changed_deletes_nothing(
    engine: Engine, layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = days(engine)[0]
    monkeypatch.setattr(archiving, "remove_archived", lambda *_, **__: None)
    archive = archive_day(engine, day, tmp_path, now=LATER, keep=nothing)
    monkeypatch.undo()
    assert archive is not None
    path = Path(archive.path)
    path.write_bytes(path.read_bytes()[:-1] + b"x")

    with pytest.raises(ArchiveError, match="digest is wrong"):
        remove_archived(engine, archive, now=LATER, keep=nothing)
    path.unlink()
    with pytest.raises(ArchiveError, match="cannot be read"):
        remove_archived(engine, archive, now=LATER, keep=nothing)

    assert len(stored_ids(engine)) == 600


def test_a_folder_that_cannot_be_written_deletes_nothing(engine: Engine, layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")

    with pytest.raises(ArchiveError, match=r"cannot be written under .*taken .*No row was deleted"):
        archive_day(engine, days(engine)[0], tmp_path / "taken", now=LATER, keep=nothing)

    assert len(stored_ids(engine)) == 600


def test_a_full_disk_deletes_nothing_and_leaves_no_draft(
    engine: Engine, layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(pq.ParquetWriter):  # type: ignore[misc]
        def write_batch(self, *_: Any, **__: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq, "ParquetWriter", Full)

    with pytest.raises(ArchiveError, match="No space left on device"):
        archive_day(engine, days(engine)[0], tmp_path / "archive", now=LATER, keep=nothing)

    assert len(stored_ids(engine)) == 600
    assert [path for path in (tmp_path / "archive").rglob("*") if path.is_file()] == []


LIMITED = """
import resource, signal, sys
from datetime import datetime
from pathlib import Path
from storage.archive import archive_day
from storage.archived import ArchiveError
from storage.engine import create_engine, reading
from storage.retention import raw_days

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
engine, now = create_engine(sys.argv[1]), datetime.fromisoformat(sys.argv[3])
with reading(engine) as c:
    day = raw_days(c, before=now)[0]
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    archive_day(engine, day, Path(sys.argv[2]), now=now, keep=lambda: None)
except ArchiveError as error:
    sys.exit(str(error))
"""


def test_a_file_that_may_not_grow_deletes_nothing(engine: Engine, database_url: str, layout: Layout, tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", LIMITED, database_url, str(tmp_path / "archive"), LATER.isoformat()],
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert "File too large" in ran.stderr
    assert len(stored_ids(engine)) == 600
    assert [path for path in (tmp_path / "archive").rglob("*") if path.is_file()] == []


DIES = """
import os, signal, sys
from datetime import datetime
from pathlib import Path
from storage import archive, archived
from storage.engine import create_engine, reading
from storage.retention import raw_days

url, folder, now, place, passes = sys.argv[1], Path(sys.argv[2]), datetime.fromisoformat(sys.argv[3]), sys.argv[4], int(sys.argv[5])
archive.AT_ONCE = archived.AT_ONCE = 20
module = archive if hasattr(archive, place) else archived
real = getattr(module, place)

def dying(*arguments, **options):
    global passes
    passes -= 1
    if not passes:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments, **options)

setattr(module, place, dying)
engine = create_engine(url)
with reading(engine) as c:
    found = raw_days(c, before=now)
for day in found:
    archive.archive_day(engine, day, folder, now=now, keep=lambda: None)
"""


@pytest.mark.parametrize(
    ("place", "passes"),
    [("_write_rows", 2), ("digest_of", 1), ("_sync", 2), ("remove_archived", 1), ("_delete", 1), ("_delete", 3), ("check", 2)],
)
def test_a_kill_anywhere_loses_no_row_and_the_next_run_finishes(
    engine: Engine, database_url: str, layout: Layout, tmp_path: Path, place: str, passes: int
) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", DIES, database_url, str(tmp_path), LATER.isoformat(), place, str(passes)], timeout=120
    )
    after_kill = stored_ids(engine) | set(archived_ids(engine))

    archive_all(engine, tmp_path)

    everything = {f"p{number}" for number in range(600)}
    assert killed.returncode == -signal.SIGKILL
    assert after_kill == everything
    assert stored_ids(engine) == set()
    assert sorted(archived_ids(engine)) == sorted(everything)
    with reading(engine) as c:
        assert unfinished(c) == []


def test_pruned_days_are_noted_and_only_their_rows_go(engine: Engine, layout: Layout) -> None:
    first = days(engine)[0]

    deleted = prune_day(engine, first, now=LATER, keep=nothing)

    assert deleted == first.rows
    assert days(engine) == [day for day in days(engine) if day != first]
    with reading(engine) as c:
        noted = list_archives(c)
        assert read_predictions(c, layout, "1", MIDNIGHT, LATER).rows > 0
    assert [(note.path, note.rows, note.day) for note in noted] == [("", first.rows, MIDNIGHT)]


DIES_PRUNING = """
import os, signal, sys
from datetime import datetime
from storage import retention
from storage.engine import create_engine, reading

url, now, place, passes = sys.argv[1], datetime.fromisoformat(sys.argv[2]), sys.argv[3], int(sys.argv[4])
retention.AT_ONCE = 20

def die_when_due():
    global passes
    passes -= 1
    if not passes:
        os.kill(os.getpid(), signal.SIGKILL)

def before_commit(*arguments):
    number = real(*arguments)
    die_when_due()
    return number

real = retention._note_deleted
if place == "before_commit":
    retention._note_deleted = before_commit
engine = create_engine(url)
with reading(engine) as c:
    found = retention.raw_days(c, before=now)
for day in found:
    retention.prune_day(engine, day, now=now, keep=die_when_due if place == "after_commit" else lambda: None)
"""


@pytest.mark.parametrize(
    ("place", "passes", "deleted"),
    [("before_commit", 1, 0), ("before_commit", 3, 40), ("after_commit", 1, 0), ("after_commit", 2, 20), ("after_commit", 4, 60)],
)
def test_a_kill_while_pruning_leaves_each_row_whole_or_noted_as_gone_and_the_next_run_finishes(
    engine: Engine, database_url: str, layout: Layout, place: str, passes: int, deleted: int
) -> None:
    with reading(engine) as c:
        before = read_predictions(c, layout, "1", MIDNIGHT, LATER).rows, read_labels(c, layout, "1", MIDNIGHT, LATER).rows
    killed = subprocess.run([sys.executable, "-c", DIES_PRUNING, database_url, LATER.isoformat(), place, str(passes)], timeout=120)
    left = stored_ids(engine)
    with reading(engine) as c:
        noted = sum(note.rows for note in list_archives(c))
        labelled = set(c.scalars(select(labels.c.prediction_id)))

    for day in days(engine):
        prune_day(engine, day, now=LATER, keep=nothing)

    assert killed.returncode == -signal.SIGKILL
    assert (600 - len(left), noted) == (deleted, deleted)
    assert labelled == {row for row in left if int(row[1:]) % 3 == 0}
    assert stored_ids(engine) == set()
    with reading(engine) as c:
        assert c.scalar(select(func.count()).select_from(labels)) == 0
        assert (sum(note.rows for note in list_archives(c)), sum(note.labels for note in list_archives(c))) == (600, 200)
        after = read_predictions(c, layout, "1", MIDNIGHT, LATER).rows, read_labels(c, layout, "1", MIDNIGHT, LATER).rows
    assert after == before


def test_a_budget_takes_the_oldest_days_and_no_more() -> None:
    day = RawDay(model="churn", version="1", day=MIDNIGHT, rows=1, size_bytes=100)

    assert over_budget([day] * 5, 1000) == []
    assert over_budget([day] * 5, 250) == [day] * 3
    assert over_budget([day] * 5, 0) == [day] * 5
    assert over_budget([], 0) == []


def test_labels_whose_prediction_never_came_are_pruned_by_age(engine: Engine, layout: Layout) -> None:
    with writing(engine) as c:
        label(c, ["nobody"])

    assert prune_lonely_labels(engine, before=LATER, keep=nothing) == 0
    assert prune_lonely_labels(engine, before=LATER + timedelta(seconds=1), keep=nothing) == 1
    with reading(engine) as c:
        assert c.scalar(select(func.count()).select_from(labels)) == 200


def test_points_and_events_are_pruned_by_age(engine: Engine) -> None:
    point = {"model": "m", "version": "1", "role": "", "segment": "", "feature": "", "name": "n", "window_seconds": 60}
    event = {"fingerprint": "f", "rule": "r", "labels": {}, "from_state": "a", "to_state": "b", "reason": ""}
    with writing(engine) as c:
        c.execute(metrics.insert(), [point | {"at": at(n), "verdict": "ok", "basis": ""} for n in range(10)])
        c.execute(alert_events.insert(), [event | {"at": at(n)} for n in range(10)])

    assert prune_points(engine, before=at(4), keep=nothing) == 4
    assert prune_events(engine, before=at(7), keep=nothing) == 7


def test_one_process_at_a_time_archives(engine: Engine) -> None:
    moments = [NOW]

    with sole_keeper(engine, "a", lambda: moments[0]) as keep:
        with pytest.raises(RetentionBusy), sole_keeper(engine, "b", lambda: moments[0]):
            raise AssertionError("two at once")
        moments[0] += timedelta(minutes=1, seconds=30)
        keep()
        moments[0] += timedelta(minutes=1)
        with pytest.raises(RetentionBusy), sole_keeper(engine, "b", lambda: moments[0]):
            raise AssertionError("two at once")
    with sole_keeper(engine, "b", lambda: moments[0]):
        pass


def test_a_frozen_process_that_was_replaced_stops(engine: Engine) -> None:
    moments = [NOW]

    with sole_keeper(engine, "a", lambda: moments[0]) as keep:
        moments[0] += timedelta(minutes=5)
        with sole_keeper(engine, "b", lambda: moments[0]), pytest.raises(RetentionBusy, match="taken archiving and pruning over"):
            keep()

"""Counting again, from rows and from archives, gives what counting at write time gave."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine, delete, func, select, update

from storage import rollups
from storage.archive import archive_day
from storage.archived import ArchiveError, list_archives
from storage.compaction import compact, loose_parts
from storage.engine import reading, writing
from storage.labels import record_labels
from storage.recompute import DayIncomplete, Recount, days_to_recompute, recompute_day
from storage.records import Label, LabelCounts, Layout, PredictionCounts, Role
from storage.registry import LayoutLookup
from storage.resolution import DAY, floor_time
from storage.retention import prune_day, raw_days
from storage.schema import labels, predictions
from storage.schema import rollups as table
from tests.factories import NOW, make_prediction_row, record, register_model
from tests.programs import run_side_by_side

MIDNIGHT = floor_time(NOW, DAY)
DAYS = 2
LATER = MIDNIGHT + timedelta(days=40)


def nothing() -> None:
    """Nobody to ask whether to go on."""


@pytest.fixture
def layout(engine: Engine) -> Layout:
    """Two days of predictions of three roles, some of them failed, a third labelled, part of it before the prediction."""
    chance = random.Random(5)
    with writing(engine) as c:
        layout = register_model(c)
        rows = [
            make_prediction_row(
                number,
                at=MIDNIGHT + timedelta(seconds=chance.uniform(0, DAYS * DAY)),
                role=chance.choice(["champion", "challenger", "shadow"]),
                status=chance.choice(["ok", "ok", "ok", "error", "timeout"]),
            )
            for number in range(800)
        ]
        label(c, [row.id for row in rows[:100]], at=MIDNIGHT + timedelta(days=3))
        for writer, part in (("w1", rows[::2]), ("w2", rows[1::2])):
            record(c, part, writer=writer)
        label(c, [row.id for row in rows[100:300]], at=MIDNIGHT + timedelta(days=4))
    return layout


def label(c: object, ids: list[str], *, at: datetime) -> None:
    known = [Label(prediction_id=row, label=("yes", "no")[int(row[1:]) % 3 == 0], at=at) for row in ids]
    record_labels(c, "churn", known, LayoutLookup(c), writer="api", bucket_seconds=60, now=at)  # type: ignore[arg-type]


def counts(engine: Engine, layout: Layout) -> list[tuple[PredictionCounts, LabelCounts]]:
    """By role: some hours, and everything by the day."""
    spans = [(MIDNIGHT + timedelta(hours=hour), MIDNIGHT + timedelta(hours=hour + 1, minutes=7)) for hour in range(0, 40, 3)]
    spans.append((MIDNIGHT, MIDNIGHT + timedelta(days=DAYS)))
    with reading(engine) as c:
        return [
            (
                rollups.read_predictions(c, layout, "1", start, end, roles=[role]),
                rollups.read_labels(c, layout, "1", start, end, roles=[role]),
            )
            for start, end in spans
            for role in (Role.CHAMPION, Role.CHALLENGER, Role.SHADOW)
        ]


def recompute(engine: Engine, *, from_archives: bool = False, bucket_seconds: int = 60) -> list[Recount]:
    with reading(engine) as c:
        days = days_to_recompute(c, MIDNIGHT, LATER)
    return [
        recompute_day(engine, model, version, day, from_archives=from_archives, bucket_seconds=bucket_seconds)
        for model, version, day in days
    ]


def assert_same(found: list[tuple[PredictionCounts, LabelCounts]], expected: list[tuple[PredictionCounts, LabelCounts]]) -> None:
    for (rows, known), (rows_before, known_before) in zip(found, expected, strict=True):
        assert (rows.rows, rows.errors, rows.timeouts) == (rows_before.rows, rows_before.errors, rows_before.timeouts)
        assert known.rows == known_before.rows
        for name in ("bins", "classes", "latency"):
            np.testing.assert_array_equal(getattr(rows, name), getattr(rows_before, name))
        for name in ("score_by_class", "confusion", "delay"):
            np.testing.assert_array_equal(getattr(known, name), getattr(known_before, name))
        np.testing.assert_allclose(rows.moments, rows_before.moments, rtol=1e-12)
        np.testing.assert_allclose(known.residuals, known_before.residuals, rtol=1e-12)


def test_rows_give_the_counts_of_write_time(engine: Engine, layout: Layout) -> None:
    before = counts(engine, layout)
    with writing(engine) as c:
        c.execute(delete(table))

    done = recompute(engine)

    assert sum(rows.rows for rows, _ in before) > 800
    assert_same(counts(engine, layout), before)
    assert [recount.day for recount in done] == [MIDNIGHT, MIDNIGHT + timedelta(days=1)]
    assert sum(recount.predictions for recount in done) == 800
    assert 0 < sum(recount.labels for recount in done) < 300


def test_wrong_counts_are_put_right_and_a_second_time_changes_nothing(engine: Engine, layout: Layout) -> None:
    before = counts(engine, layout)
    with writing(engine) as c:
        for part in loose_parts(c, LATER):
            compact(c, part, LATER)
        c.execute(update(table).values(rows=table.c.rows + 5))

    recompute(engine)
    recompute(engine)

    assert_same(counts(engine, layout), before)


def test_archives_give_the_counts_of_write_time(engine: Engine, layout: Layout, tmp_path: Path) -> None:
    before = counts(engine, layout)
    with reading(engine) as c:
        days = raw_days(c, before=LATER)
    for day in days:
        archive_day(engine, day, tmp_path, now=LATER, keep=nothing)
    with writing(engine) as c:
        assert c.scalar(select(func.count()).select_from(predictions)) == 0
        c.execute(delete(table))

    recompute(engine, from_archives=True)

    assert_same(counts(engine, layout), before)


def test_rows_that_came_back_are_counted_once(engine: Engine, layout: Layout, tmp_path: Path) -> None:
    with reading(engine) as c:
        rows = [make_prediction_row(0, **{**row, "id": row["id"]}) for row in c.execute(select(predictions)).mappings()]
        day = raw_days(c, before=LATER)[0]
    before = counts(engine, layout)
    archive_day(engine, day, tmp_path, now=LATER, keep=nothing)
    with writing(engine) as c:
        record(c, rows[:50], writer="late")

    recompute(engine, from_archives=True)

    assert [rows.rows for rows, _ in counts(engine, layout)] == [rows.rows for rows, _ in before]


def test_labels_that_came_after_the_archive_are_counted_from_now_on(engine: Engine, layout: Layout, tmp_path: Path) -> None:
    with reading(engine) as c:
        day = raw_days(c, before=LATER)[0]
        late = c.scalars(
            select(predictions.c.id).where(
                predictions.c.status == "ok",
                predictions.c.role == "champion",
                predictions.c.at < MIDNIGHT + timedelta(days=1),
                predictions.c.id.not_in(select(labels.c.prediction_id)),
            )
        ).all()
    archive_day(engine, day, tmp_path, now=LATER, keep=nothing)
    with reading(engine) as c:
        before = rollups.read_labels(c, layout, "1", MIDNIGHT, MIDNIGHT + timedelta(days=1)).rows
    with writing(engine) as c:
        label(c, list(late), at=LATER)

    for _ in range(2):
        recompute(engine, from_archives=True)

        with reading(engine) as c:
            assert rollups.read_labels(c, layout, "1", MIDNIGHT, MIDNIGHT + timedelta(days=1)).rows == before + len(late)


def archive_all(engine: Engine, folder: Path) -> list[str]:
    """Every day into a file; returns their paths, oldest first."""
    with reading(engine) as c:
        days = raw_days(c, before=LATER)
    made = [archive_day(engine, day, folder, now=LATER, keep=nothing) for day in days]
    return [archive.path for archive in made if archive]


def test_a_row_that_came_back_without_its_label_is_counted_with_the_one_in_the_archive(
    engine: Engine, layout: Layout, tmp_path: Path
) -> None:
    before = counts(engine, layout)
    with reading(engine) as c:
        rows = [make_prediction_row(0, **row) for row in c.execute(select(predictions)).mappings()]
    archive_all(engine, tmp_path)
    with writing(engine) as c:
        record(c, rows[::3], writer="late")

    recompute(engine, from_archives=True)

    assert_same(counts(engine, layout), before)


def test_a_second_label_of_an_archived_prediction_is_a_duplicate(engine: Engine, layout: Layout, tmp_path: Path) -> None:
    before = counts(engine, layout)
    archive_all(engine, tmp_path)
    with writing(engine) as c:
        other = [Label(prediction_id=f"p{number}", label="maybe", at=LATER) for number in range(300)]
        record_labels(c, "churn", other, LayoutLookup(c), writer="api", bucket_seconds=60, now=LATER)

    recompute(engine, from_archives=True)

    assert_same(counts(engine, layout), before)


def test_a_prediction_in_two_archives_is_counted_once_with_the_label_of_either(
    engine: Engine, layout: Layout, tmp_path: Path
) -> None:
    with reading(engine) as c:
        rows = [make_prediction_row(0, **row) for row in c.execute(select(predictions)).mappings()]
    archive_all(engine, tmp_path)
    with writing(engine) as c:
        record(c, rows, writer="late")
        label(c, [row.id for row in rows if int(row.id[1:]) >= 300], at=LATER)
    archive_all(engine, tmp_path)

    recompute(engine, from_archives=True)

    live = [row for row in rows if row.role != Role.SHADOW]
    with reading(engine) as c:
        assert len(list_archives(c)) == 2 * DAYS
        assert rollups.read_predictions(c, layout, "1", MIDNIGHT, LATER).rows == len(live)
        assert rollups.read_labels(c, layout, "1", MIDNIGHT, LATER).rows == sum(row.status == "ok" for row in live)


@pytest.mark.parametrize("bucket_seconds", [7, 300])
def test_archives_of_several_days_give_what_their_rows_give_at_any_width(
    engine: Engine, layout: Layout, tmp_path: Path, bucket_seconds: int
) -> None:
    recompute(engine, bucket_seconds=bucket_seconds)
    from_rows = stored(engine)
    archive_all(engine, tmp_path)

    recompute(engine, from_archives=True, bucket_seconds=bucket_seconds)

    assert stored(engine) == from_rows


def stored(engine: Engine) -> list[tuple[object, ...]]:
    """Every rollup, but for the sums of floats, which depend on their order in the last digit."""
    columns = [column for column in table.c if column.name != "moments"]
    with reading(engine) as c:
        return [tuple(row) for row in c.execute(select(*columns).order_by(*table.primary_key.columns))]


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_file_that_is_not_as_it_was_is_named_and_the_counts_stand(
    engine: Engine, layout: Layout, tmp_path: Path, damage: str
) -> None:
    before = counts(engine, layout)
    first, second = map(Path, archive_all(engine, tmp_path))
    if damage == "missing":
        second.unlink()
    else:
        second.write_bytes(second.read_bytes()[:-9])

    recompute_day(engine, "churn", "1", MIDNIGHT, from_archives=True, bucket_seconds=60)
    with pytest.raises(ArchiveError, match=rf"^The archive {second} (cannot be read|was changed)"):
        recompute_day(engine, "churn", "1", MIDNIGHT + timedelta(days=1), from_archives=True, bucket_seconds=60)

    assert first.exists()
    assert_same(counts(engine, layout), before)


def test_days_without_all_their_rows_are_left_as_they_are(engine: Engine, layout: Layout, tmp_path: Path) -> None:
    before = counts(engine, layout)
    with reading(engine) as c:
        first, second = raw_days(c, before=LATER)
    archive_day(engine, first, tmp_path, now=LATER, keep=nothing)
    prune_day(engine, second, now=LATER, keep=nothing)

    with pytest.raises(DayIncomplete, match=r"churn 1, 2026-03-02: predictions are in archives; add --from-archives"):
        recompute_day(engine, "churn", "1", first.day, from_archives=False, bucket_seconds=60)
    with pytest.raises(DayIncomplete, match=r"2026-03-03: predictions were pruned"):
        recompute_day(engine, "churn", "1", second.day, from_archives=True, bucket_seconds=60)

    assert_same(counts(engine, layout), before)
    with reading(engine) as c:
        assert len(list_archives(c, model="churn")) == 2
        assert list_archives(c, model="fraud") == []


@pytest.mark.parametrize("bucket_seconds", [7, 300, 3600])
def test_another_width_gives_the_same_days(engine: Engine, layout: Layout, bucket_seconds: int) -> None:
    before = counts(engine, layout)[-3:]

    recompute(engine, bucket_seconds=bucket_seconds)

    with reading(engine) as c:
        found = [
            (
                rollups.read_predictions(c, layout, "1", MIDNIGHT, MIDNIGHT + timedelta(days=DAYS), roles=[role]),
                rollups.read_labels(c, layout, "1", MIDNIGHT, MIDNIGHT + timedelta(days=DAYS), roles=[role]),
            )
            for role in (Role.CHAMPION, Role.CHALLENGER, Role.SHADOW)
        ]
    assert_same(found, before)


DIES = """
import os, signal, sys
from datetime import datetime
from storage import archived, recompute
from storage.engine import create_engine, reading

url, start, end, place, passes = sys.argv[1], *map(datetime.fromisoformat, sys.argv[2:4]), sys.argv[4], int(sys.argv[5])
recompute._AT_ONCE = archived.AT_ONCE = 50
real = getattr(recompute, place)

def dying(*arguments, **options):
    global passes
    found = real(*arguments, **options)
    passes -= 1
    if not passes:
        os.kill(os.getpid(), signal.SIGKILL)
    return found

setattr(recompute, place, dying)
engine = create_engine(url)
with reading(engine) as c:
    days = recompute.days_to_recompute(c, start, end)
for model, version, day in days:
    recompute.recompute_day(engine, model, version, day, from_archives=True, bucket_seconds=60)
"""


@pytest.mark.parametrize(
    ("place", "passes"), [("_archives_of", 2), ("count_rows", 6), ("count_pairs", 3), ("compact", 2), ("recompute_day", 1)]
)
def test_a_kill_anywhere_counts_nothing_twice_and_the_next_run_finishes(
    engine: Engine, database_url: str, layout: Layout, tmp_path: Path, place: str, passes: int
) -> None:
    before = counts(engine, layout)
    with reading(engine) as c:
        first = raw_days(c, before=LATER)[0]
        late = c.scalars(
            select(predictions.c.id).where(predictions.c.at < MIDNIGHT + timedelta(days=1), predictions.c.status == "ok")
        )
        unlabelled = sorted(set(late) - set(c.scalars(select(labels.c.prediction_id))))
    archive_day(engine, first, tmp_path, now=LATER, keep=nothing)
    with writing(engine) as c:
        label(c, unlabelled, at=LATER)  # counted by whichever run gets to its end
    command = [sys.executable, "-c", DIES, database_url, MIDNIGHT.isoformat(), LATER.isoformat(), place, str(passes)]

    killed = subprocess.run(command, timeout=120)
    in_between = counts(engine, layout)
    recompute(engine, from_archives=True)
    once = counts(engine, layout)
    recompute(engine, from_archives=True)

    assert killed.returncode == -signal.SIGKILL
    assert [rows.rows for rows, _ in in_between] == [rows.rows for rows, _ in before]
    assert [rows.rows for rows, _ in once] == [rows.rows for rows, _ in before]
    assert sum(known.rows for _, known in once[-3:]) == sum(known.rows for _, known in before[-3:]) + len(unlabelled)
    assert_same(counts(engine, layout), once)


WRITES = """
import sys
from storage.engine import create_engine, writing
from storage.labels import record_labels
from storage.records import Label
from storage.registry import LayoutLookup
from tests.factories import at, make_prediction_row, record

engine, first = create_engine(sys.argv[1]), int(sys.argv[2])
for batch in range(20):
    numbers = range(first + 25 * batch, first + 25 * batch + 25)
    with writing(engine) as c:
        record(c, [make_prediction_row(n, at=at(60 * (n % 300))) for n in numbers], writer=f"w{first}")
    with writing(engine) as c:
        new = [Label(prediction_id=f"p{n}", label="yes", at=at(9000)) for n in numbers]
        record_labels(c, "churn", new, LayoutLookup(c), writer=f"w{first}", bucket_seconds=60, now=at(9000))
"""

RECOMPUTES = """
import sys
from datetime import datetime
from storage.engine import create_engine
from storage.recompute import recompute_day

engine, day = create_engine(sys.argv[1]), datetime.fromisoformat(sys.argv[2])
for _ in range(6):
    recompute_day(engine, "churn", "1", day, from_archives=False, bucket_seconds=60)
"""


def test_recompute_beside_writers_loses_and_doubles_nothing(engine: Engine, database_url: str) -> None:
    with writing(engine) as c:
        layout = register_model(c)
    programs = [
        [WRITES, database_url, "10000"],
        [WRITES, database_url, "20000"],
        [RECOMPUTES, database_url, MIDNIGHT.isoformat()],
    ]

    run_side_by_side(programs)

    with reading(engine) as c:
        assert rollups.read_predictions(c, layout, "1", MIDNIGHT, LATER).rows == 1000
        assert rollups.read_labels(c, layout, "1", MIDNIGHT, LATER).rows == 1000

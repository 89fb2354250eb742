"""Compaction: every window adds up to the same before, during and after, whoever writes late and whenever a process dies."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from datetime import datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import Connection, Engine, func, select, update

from storage import rollups
from storage.arrays import CorruptCounts
from storage.compaction import compact, loose_parts, thin
from storage.engine import reading, writing
from storage.labels import record_labels
from storage.records import Label, Layout, PredictionCounts
from storage.registry import LayoutLookup
from storage.resolution import WindowTooFine
from storage.schema import rollups as table
from tests.factories import NOW, at, make_prediction_row, record, register_model
from tests.programs import run_side_by_side

DAYS = 3
ROWS = 900
LATER = NOW + timedelta(days=DAYS + 1)


def traffic(c: Connection, *, seed: int = 0, number: int = ROWS, first: int = 0, bucket_seconds: int = 60) -> None:
    """Predictions at random moments of three days, by two writers and two roles, some of them with a label."""
    chance = random.Random(seed)
    rows = [
        make_prediction_row(
            first + index, at=at(chance.uniform(0, DAYS * 86_400)), role=chance.choice(["champion", "challenger", "shadow"])
        )
        for index in range(number)
    ]
    for writer in ("w1", "w2"):
        record(
            c, [row for row in rows if (writer == "w1") == (row.role == "champion")], writer=writer, bucket_seconds=bucket_seconds
        )
    known = [Label(prediction_id=row.id, label="yes", at=LATER) for row in rows[::3]]
    record_labels(c, "churn", known, LayoutLookup(c), writer="api", bucket_seconds=bucket_seconds, now=LATER)


def compact_all(engine: Engine, before: datetime = LATER) -> int:
    with reading(engine) as c:
        parts = loose_parts(c, before)
    merged = 0
    for part in parts:
        with writing(engine) as c:
            merged += compact(c, part, before)
    return merged


def windows() -> list[tuple[datetime, datetime]]:
    """Windows of a minute to days that begin and end on any minute."""
    chance = random.Random(7)
    starts = [chance.randrange(-120, DAYS * 1440) for _ in range(60)]
    lengths = [chance.choice([1, 5, 37, 60, 61, 119, 300, 1440, 1500, 3000, 6000]) for _ in starts]
    return [(at(60 * start), at(60 * (start + length))) for start, length in zip(starts, lengths, strict=True)]


def read_all(engine: Engine, layout: Layout) -> list[PredictionCounts]:
    with reading(engine) as c:
        return [rollups.read_predictions(c, layout, "1", start, end) for start, end in windows()]


def assert_same(found: PredictionCounts, expected: PredictionCounts) -> None:
    assert (found.rows, found.errors, found.timeouts) == (expected.rows, expected.errors, expected.timeouts)
    for name in ("bins", "classes", "latency"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    np.testing.assert_allclose(found.moments, expected.moments, rtol=1e-12)


@pytest.fixture
def layout(engine: Engine) -> Layout:
    with writing(engine) as c:
        layout = register_model(c)
        traffic(c)
    return layout


def test_every_window_adds_up_to_the_same_after_compaction(engine: Engine, layout: Layout) -> None:
    before = read_all(engine, layout)

    merged = compact_all(engine)

    assert merged > ROWS / 2
    for found, expected in zip(read_all(engine, layout), before, strict=True):
        assert_same(found, expected)


def test_labels_and_series_add_up_to_the_same_after_compaction(engine: Engine, layout: Layout) -> None:
    steps = [(at(), 3600), (at(), 86_400), (at(-12 * 3600), 86_400), (at(60), 300), (at(1800), 7200), (at(), 7200)]

    def read() -> list[list[tuple[datetime, int, int]]]:
        with reading(engine) as c:
            series = [rollups.prediction_series(c, layout, "1", start, at(200_000), step) for start, step in steps]
            labels = [rollups.label_series(c, layout, "1", start, at(200_040), step) for start, step in steps]
        shown = [[(moment, counts.rows, int(counts.bins.sum())) for moment, counts in part] for part in series]
        return shown + [[(moment, counts.rows, int(counts.confusion.sum())) for moment, counts in part] for part in labels]

    before = read()
    with reading(engine) as c:
        labels_before = rollups.read_labels(c, layout, "1", at(), LATER)
    compact_all(engine)
    with reading(engine) as c:
        labels_after = rollups.read_labels(c, layout, "1", at(), LATER)

    assert read() == before
    assert labels_after.rows == labels_before.rows > 0
    np.testing.assert_array_equal(labels_after.delay, labels_before.delay)
    np.testing.assert_array_equal(labels_after.score_by_class, labels_before.score_by_class)


def test_late_rows_count_at_once_and_are_merged_next_time(engine: Engine, layout: Layout) -> None:
    compact_all(engine)
    before = read_all(engine, layout)
    with writing(engine) as c:
        traffic(c, seed=1, first=ROWS, number=300)
    late = read_all(engine, layout)

    compact_all(engine)

    assert sum(counts.rows for counts in late) > sum(counts.rows for counts in before)
    for found, expected in zip(read_all(engine, layout), late, strict=True):
        assert_same(found, expected)
    with reading(engine) as c:
        assert c.scalar(select(func.count()).where(table.c.writer > "")) == 0


def test_compaction_twice_changes_nothing(engine: Engine, layout: Layout) -> None:
    compact_all(engine)
    with reading(engine) as c:
        once = c.execute(select(table).order_by(*table.primary_key.columns)).all()

    assert compact_all(engine) == 0

    with reading(engine) as c:
        assert c.execute(select(table).order_by(*table.primary_key.columns)).all() == once


def test_hours_that_are_not_over_are_left(engine: Engine, layout: Layout) -> None:
    compact_all(engine, before=at(3600 * 5 + 1800))

    with reading(engine) as c:
        assert c.scalar(select(func.count()).where(table.c.writer > "", table.c.start < at(3600 * 5))) == 0
        assert (
            c.scalar(select(func.count()).where(table.c.writer == "", table.c.seconds <= 3600, table.c.start >= at(3600 * 5))) == 0
        )
        assert loose_parts(c, at(3600 * 5 + 1800)) == []


@pytest.mark.parametrize("bucket_seconds", [1, 7, 900, 3600])
def test_any_width_of_rollups_can_be_merged(engine: Engine, bucket_seconds: int) -> None:
    with writing(engine) as c:
        layout = register_model(c)
        traffic(c, number=200, bucket_seconds=bucket_seconds)
        before = rollups.read_predictions(c, layout, "1", at(-3600), at(3600 * 30))

    compact_all(engine)

    with reading(engine) as c:
        assert_same(rollups.read_predictions(c, layout, "1", at(-3600), at(3600 * 30)), before)


def test_thinned_windows_keep_their_counts_and_finer_ones_are_refused(engine: Engine, layout: Layout) -> None:
    compact_all(engine)
    midnight = at(12 * 3600)
    with reading(engine) as c:
        hours = rollups.read_predictions(c, layout, "1", at(3600), at(7200))
        days = rollups.read_predictions(c, layout, "1", midnight, midnight + timedelta(days=1))

    with writing(engine) as c:
        dropped = thin(c, "churn", "1", minutes_before=LATER, hours_before=at(86_400))

    assert dropped > 0
    with reading(engine) as c:
        assert_same(rollups.read_predictions(c, layout, "1", midnight, midnight + timedelta(days=1)), days)
        with pytest.raises(WindowTooFine, match=r"churn 1 around 2026-03-02 00:00 UTC are kept by the day only"):
            rollups.read_predictions(c, layout, "1", at(3600), at(7200))
        with pytest.raises(WindowTooFine, match=r"around 2026-03-03 01:00 UTC are kept by the hour only"):
            rollups.read_predictions(c, layout, "1", midnight + timedelta(minutes=90), midnight + timedelta(days=2))
        with pytest.raises(WindowTooFine):
            rollups.prediction_series(c, layout, "1", midnight, midnight + timedelta(hours=6), 300)
    assert hours.rows > 0


def test_a_window_is_moved_outwards_or_inwards_only_where_it_must(engine: Engine, layout: Layout) -> None:
    compact_all(engine)
    midnight = at(12 * 3600)
    with writing(engine) as c:
        thin(c, "churn", "1", minutes_before=midnight + timedelta(days=1), hours_before=midnight)
    start, end = at(90), midnight + timedelta(days=1, minutes=5)

    with reading(engine) as c:
        wide = rollups.widened(c, layout, "1", start, end)
        narrow = rollups.narrowed(c, layout, "1", start, end)
        inner = rollups.widened(c, layout, "1", midnight + timedelta(minutes=5), midnight + timedelta(minutes=65))

    assert wide == (midnight - timedelta(days=1), end)
    assert narrow == (midnight, end)
    assert inner == (midnight, midnight + timedelta(hours=2))


def test_extent_and_buckets_are_those_of_the_finest_rows_that_are_left(engine: Engine, layout: Layout) -> None:
    def look() -> object:
        with reading(engine) as c:
            moments = [at(60 * minute + 10) for minute in range(0, 2000, 7)]
            return rollups.extent(c, "churn", "1"), [rollups.bucket_around(c, "churn", "1", moment) for moment in moments]

    before = look()

    compact_all(engine)

    assert look() == before
    with writing(engine) as c:
        thin(c, "churn", "1", minutes_before=LATER, hours_before=at())
    with reading(engine) as c:
        span = rollups.extent(c, "churn", "1")
        assert rollups.bucket_around(c, "churn", "1", at(90)) == at()
    assert span is not None
    assert (span[0].minute, span[1].minute) == (0, 0)


def test_damaged_counts_stop_their_own_day_only(engine: Engine, layout: Layout) -> None:
    with writing(engine) as c:
        victim = c.execute(select(table.c.start).where(table.c.kind == "predictions").limit(1)).scalar_one()
        c.execute(update(table).where(table.c.start == victim, table.c.kind == "predictions").values(bins=b"\x01junk"))
    with reading(engine) as c:
        parts = loose_parts(c, LATER)

    failed = []
    for part in parts:
        try:
            with writing(engine) as c:
                compact(c, part, LATER)
        except CorruptCounts:
            failed.append(part)

    assert len(failed) == 1
    with reading(engine) as c:
        assert loose_parts(c, LATER) == failed


# ---------------------------------------------------------------------------------------------- processes

DIES = """
import os, signal, sys
from datetime import datetime
from storage import compaction
from storage.engine import create_engine, reading, writing

place, before = sys.argv[2], datetime.fromisoformat(sys.argv[3])
real = getattr(compaction, place)
passes = int(sys.argv[4])

def dying(*arguments):
    global passes
    passes -= 1
    if not passes:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)

setattr(compaction, place, dying)
engine = create_engine(sys.argv[1])
with reading(engine) as c:
    parts = compaction.loose_parts(c, before)
for part in parts:
    with writing(engine) as c:
        compaction.compact(c, part, before)
"""


@pytest.mark.parametrize(("place", "passes"), [("_grouped", 1), ("_forget", 2), ("_stored", 3), ("_merged", 40)])
def test_a_kill_in_the_middle_of_compaction_loses_and_doubles_nothing(
    engine: Engine, database_url: str, layout: Layout, place: str, passes: int
) -> None:
    before = read_all(engine, layout)

    killed = subprocess.run([sys.executable, "-c", DIES, database_url, place, LATER.isoformat(), str(passes)], timeout=120)
    after_kill = read_all(engine, layout)
    compact_all(engine)

    assert killed.returncode == -signal.SIGKILL
    for found, again, expected in zip(after_kill, read_all(engine, layout), before, strict=True):
        assert_same(found, expected)
        assert_same(again, expected)


COMPACTS = """
import sys
from datetime import datetime
from storage import compaction
from storage.engine import create_engine, reading, writing

engine, before = create_engine(sys.argv[1]), datetime.fromisoformat(sys.argv[2])
for _ in range(15):
    with reading(engine) as c:
        parts = compaction.loose_parts(c, before)
    for part in parts:
        with writing(engine) as c:
            compaction.compact(c, part, before)
"""

WRITES = """
import sys
from storage.engine import create_engine, writing
from tests.factories import at, make_prediction_row, record

engine, writer = create_engine(sys.argv[1]), sys.argv[2]
for batch in range(40):
    numbers = range(10_000 * (1 + int(writer)) + 25 * batch, 10_000 * (1 + int(writer)) + 25 * batch + 25)
    with writing(engine) as c:
        record(c, [make_prediction_row(n, at=at(60 * (n % 200))) for n in numbers], writer=f"w{writer}")
"""


def test_two_compactors_beside_two_late_writers_lose_and_double_nothing(engine: Engine, database_url: str) -> None:
    with writing(engine) as c:
        layout = register_model(c)
    programs = [[WRITES, database_url, "1"], [WRITES, database_url, "2"], *[[COMPACTS, database_url, LATER.isoformat()]] * 2]

    run_side_by_side(programs)

    with reading(engine) as c:
        assert rollups.read_predictions(c, layout, "1", at(-60), LATER).rows == 2000
    compact_all(engine)
    with reading(engine) as c:
        assert rollups.read_predictions(c, layout, "1", at(-60), LATER).rows == 2000
        by_width = dict(c.execute(select(table.c.seconds, func.sum(table.c.rows)).group_by(table.c.seconds)).all())
    assert by_width == {60: 2000, 3600: 2000, 86_400: 2000}

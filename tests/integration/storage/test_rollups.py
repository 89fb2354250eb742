"""Rollups: windows, steps, writers, layouts, and what is damaged."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from sqlalchemy import Engine, func, select, update

from storage.arrays import CorruptCounts
from storage.engine import reading, writing
from storage.layouts import empty_prediction_counts
from storage.records import Layout, PredictionCounts, RollupKind
from storage.rollups import (
    RollupKey,
    active_versions,
    add_prediction_counts,
    bucket_start,
    ensure_layout,
    load_layout,
    prediction_series,
    read_labels,
    read_predictions,
)
from storage.schema import layouts, rollups
from tests.factories import NOW, at, make_layout, make_prediction_row, make_prediction_rows, record, register_model


def some_counts(layout: Layout, rows: int = 1) -> PredictionCounts:
    counts = empty_prediction_counts(layout)
    counts.rows = rows
    counts.bins += np.arange(counts.bins.size) % 7
    counts.moments += 0.5
    counts.classes += 1
    counts.latency[3] = rows
    return counts


def key(layout: Layout, start: datetime = NOW, writer: str = "w1", version: str = "1") -> RollupKey:
    return RollupKey(
        model="churn",
        version=version,
        role="champion",
        segment="",
        kind=RollupKind.PREDICTIONS,
        start=start,
        seconds=60,
        writer=writer,
        layout_id=layout.id,
    )


@pytest.mark.parametrize(
    ("seconds", "offset", "start"),
    [(60, 59.999999, 0), (60, 60, 60), (60, -0.000001, -60), (1, 0.5, 0), (3600, 3599, 0), (86400, 0, -43200)],
)
def test_a_bucket_holds_its_start_and_not_its_end(seconds: int, offset: float, start: float) -> None:
    assert bucket_start(at(offset), seconds) == at(start)
    assert bucket_start(at(offset).astimezone(timezone(timedelta(hours=-7))), seconds) == at(start)


def test_a_layout_is_stored_once_per_schema(engine: Engine) -> None:
    with writing(engine) as c:
        first = ensure_layout(c, make_layout(), "hash", NOW)
        again = ensure_layout(c, make_layout(), "hash", NOW)
        other = ensure_layout(c, make_layout(), "other hash", NOW)

        assert first == again == load_layout(c, first.id)
        assert other.id != first.id
        assert c.scalar(select(func.count()).select_from(layouts)) == 2
        with pytest.raises(LookupError, match="no layout with the id 99"):
            load_layout(c, 99)


def test_counts_of_one_key_add_up(engine: Engine) -> None:
    with writing(engine) as c:
        layout = register_model(c)
        for _ in range(3):
            add_prediction_counts(c, key(layout), some_counts(layout, 100))

        counts = read_predictions(c, layout, "1", at(), at(60))

    expected = some_counts(layout, 100)
    assert counts.rows == 300
    np.testing.assert_array_equal(counts.bins, 3 * expected.bins)
    np.testing.assert_array_equal(counts.moments, 3 * expected.moments)
    np.testing.assert_array_equal(counts.latency, 3 * expected.latency)


def test_counts_beyond_small_integers_add_up(engine: Engine) -> None:
    with writing(engine) as c:
        layout = register_model(c)
        for many in (200, 200, 70_000, 5_000_000_000):
            counts = empty_prediction_counts(layout)
            counts.rows, counts.bins[0] = many, many
            add_prediction_counts(c, key(layout), counts)

        assert read_predictions(c, layout, "1", at(), at(60)).bins[0] == 5_000_070_400


def test_a_window_holds_its_start_and_not_its_end(engine: Engine) -> None:
    with writing(engine) as c:
        layout = register_model(c)
        for minute in range(10):
            add_prediction_counts(c, key(layout, at(60 * minute)), some_counts(layout))

        assert read_predictions(c, layout, "1", at(120), at(300)).rows == 3
        assert read_predictions(c, layout, "1", at(600), at(900)).rows == 0
        assert read_predictions(c, layout, "2", at(), at(900)).rows == 0
        steps = prediction_series(c, layout, "1", at(-60), at(600), 240)

    assert [(start, counts.rows) for start, counts in steps] == [(at(-60), 3), (at(180), 4), (at(420), 3)]


def test_writers_count_beside_each_other(engine: Engine) -> None:
    with writing(engine) as c:
        layout = register_model(c)
        record(c, make_prediction_rows(range(10)), writer="w1")
        record(c, make_prediction_rows(range(10, 30)), writer="w2")

        assert c.scalars(select(rollups.c.writer).order_by(rollups.c.writer)).all() == ["w1", "w2"]
        assert read_predictions(c, layout, "1", at(), at(60)).rows == 30


def test_versions_with_predictions_in_a_window_are_active(engine: Engine) -> None:
    with writing(engine) as c:
        register_model(c, versions=("1", "2", "3"))
        record(c, [make_prediction_row(1), make_prediction_row(2, version="2", at=at(3600))])

        assert active_versions(c, at(), at(60)) == [("churn", "1")]
        assert active_versions(c, at(), at(3660)) == [("churn", "1"), ("churn", "2")]
        assert active_versions(c, at(-60), at()) == []


def test_empty_windows_have_zero_counts_of_the_right_shapes(engine: Engine) -> None:
    with writing(engine) as c:
        layout = register_model(c)
        counts, labels = read_predictions(c, layout, "1", at(), at(60)), read_labels(c, layout, "1", at(), at(60))

    assert counts.moments.shape == empty_prediction_counts(layout).moments.shape
    assert counts.bins.sum() == labels.confusion.sum() == 0
    assert labels.confusion.shape == (3, 3)


def test_damaged_counts_are_refused(engine: Engine) -> None:
    with writing(engine) as c:
        layout = register_model(c)
        record(c, [make_prediction_row(1)])
        c.execute(update(rollups).values(bins=b"\x01junk"))

        with pytest.raises(CorruptCounts, match="damaged or of another layout"):
            read_predictions(c, layout, "1", at(), at(60))
        with pytest.raises(CorruptCounts):
            record(c, [make_prediction_row(2)])


def test_a_week_of_minutes_is_read_in_a_moment(engine: Engine) -> None:
    with writing(engine) as c:
        layout = register_model(c)
        add_prediction_counts(c, key(layout), some_counts(layout))
        row = dict(c.execute(select(rollups)).mappings().one())
        minutes = [{**row, "start": at(60 * minute)} for minute in range(1, 7 * 1440)]
        c.execute(rollups.insert(), minutes)

    with reading(engine) as c:
        read_predictions(c, layout, "1", at(), at(60))
        began = time.perf_counter()
        counts = read_predictions(c, layout, "1", at(), at(7 * 86400))
        took = time.perf_counter() - began

    assert counts.rows == 7 * 1440
    assert took < 2.0  # about 0.1 s on an idle machine

"""Counts of declared segments: what is counted by hand, a bounded number of values, and once whatever comes twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import numpy as np
from sqlalchemy import Connection, Engine, func, select

from storage import compaction, rollups
from storage.engine import reading, writing
from storage.labels import record_labels, sweep_labels
from storage.layouts import add_predictions, count_labels
from storage.predictions import RecordReceipt, record_predictions
from storage.recompute import recompute_day
from storage.records import Label, LabelCounts, Layout, PredictionCounts, PredictionRow
from storage.registry import LayoutLookup
from storage.resolution import DAY, floor_time
from storage.schema import labels, segment_values
from storage.schema import rollups as stored_rollups
from storage.segment_fields import NO_SEGMENTS, SegmentFields
from storage.segments import counted_segments
from tests.factories import at, make_prediction_row, register_model

FIELDS = SegmentFields(names=("country", "plan"))
COUNTRIES = ("de", "fr", "us")
PLANS = ("free", "paid")


def rows_of(numbers: Sequence[int] | range) -> list[PredictionRow]:
    """Every second names its plan, and every tenth nothing."""
    found = []
    for number in numbers:
        country, plan = f"country={COUNTRIES[number % 3]}", f",plan={PLANS[number % 2]}" if number % 4 < 2 else ""
        found.append(make_prediction_row(number, segment="" if number % 10 == 9 else f"{country},device=d{number}{plan}"))
    return found


def record(c: Connection, rows: Sequence[PredictionRow], *, fields: SegmentFields = FIELDS, writer: str = "w1") -> RecordReceipt:
    return record_predictions(c, rows, LayoutLookup(c), writer=writer, bucket_seconds=60, segments=fields)


def send(c: Connection, rows: Sequence[PredictionRow], *, fields: SegmentFields = FIELDS) -> None:
    new = [Label(prediction_id=row.id, label=actual(row), at=at(3600)) for row in rows]
    record_labels(c, "churn", new, LayoutLookup(c), writer="api", bucket_seconds=60, now=at(3600), segments=fields)


def actual(row: PredictionRow) -> str:
    return "yes" if int(row.id[1:]) % 7 < 3 else "no"


def predicted(c: Connection, layout: Layout, segment: str) -> PredictionCounts:
    return rollups.read_predictions(c, layout, "1", at(-DAY), at(2 * DAY), segment=segment)


def labelled(c: Connection, layout: Layout, segment: str) -> LabelCounts:
    return rollups.read_labels(c, layout, "1", at(-DAY), at(2 * DAY), segment=segment)


def said(row: PredictionRow) -> list[str]:
    return [part for part in row.segment.split(",") if part and not part.startswith("device")]


def expected_labels(layout: Layout, rows: Sequence[PredictionRow]) -> LabelCounts:
    delays = [(at(3600) - row.at).total_seconds() for row in rows]
    return count_labels(
        layout, [row.score for row in rows], [row.prediction for row in rows], [actual(row) for row in rows], delays
    )


def all_counts(c: Connection, layout: Layout) -> list[list[object]]:
    """What every segment counts, as plain numbers."""
    found: list[list[object]] = []
    for segment in ("", *counted_segments(c, "churn", FIELDS.names)):
        rows, known = predicted(c, layout, segment), labelled(c, layout, segment)
        arrays = (rows.bins, rows.classes, rows.latency, known.confusion, known.score_by_class, known.delay)
        found.append([segment, rows.rows, rows.errors, known.rows, *(array.tolist() for array in arrays)])
    return found


def test_segments_count_what_is_counted_by_hand(engine: Engine) -> None:
    rows = rows_of(range(200))
    with writing(engine) as c:
        layout = register_model(c)
        record(c, rows)
        send(c, rows)

    by_hand = Counter(segment for row in rows for segment in said(row))
    with reading(engine) as c:
        found = counted_segments(c, "churn", FIELDS.names)
        assert {segment: predicted(c, layout, segment).rows for segment in found if not segment.endswith("*other")} == by_hand
        for segment, n in by_hand.items():
            known = labelled(c, layout, segment)
            expected = expected_labels(layout, [row for row in rows if segment in said(row)])
            assert known.rows == n
            np.testing.assert_array_equal(known.confusion, expected.confusion)
            np.testing.assert_array_equal(known.delay, expected.delay)


def test_segments_of_a_field_add_up_to_all_that_named_it(engine: Engine) -> None:
    rows = [row for row in rows_of(range(300)) if row.segment]
    with writing(engine) as c:
        layout = register_model(c)
        record(c, rows)

    with reading(engine) as c:
        whole = predicted(c, layout, "")
        parts = [predicted(c, layout, f"country={country}") for country in COUNTRIES]
        steps = rollups.prediction_series(c, layout, "1", at(), at(300), 60, segment="country=de")
    total = add_predictions(add_predictions(parts[0], parts[1]), parts[2])
    assert total.rows == whole.rows == len(rows)
    np.testing.assert_array_equal(total.bins, whole.bins)
    np.testing.assert_array_equal(total.latency, whole.latency)
    np.testing.assert_allclose(total.moments, whole.moments)
    assert sum(step.rows for _, step in steps) == parts[0].rows


def test_nothing_declared_counts_no_segments(engine: Engine) -> None:
    rows = rows_of(range(50))
    with writing(engine) as c:
        register_model(c)
        record(c, rows, fields=NO_SEGMENTS)
        send(c, rows, fields=NO_SEGMENTS)

    with reading(engine) as c:
        assert c.scalars(select(stored_rollups.c.segment).distinct()).all() == [""]
        assert c.scalar(select(func.count()).select_from(segment_values)) == 0


def test_value_beyond_the_bound_is_counted_with_the_others(engine: Engine) -> None:
    fields = SegmentFields(names=("user",), most_values=50)
    first = [make_prediction_row(number, segment=f"user=u{number % 50}") for number in range(100)]
    later = [make_prediction_row(100 + number, segment=f"user=v{number}") for number in range(30)]
    with writing(engine) as c:
        layout = register_model(c)
        record(c, first, fields=fields)
    with writing(engine) as c:
        record(c, later, fields=fields, writer="w2")

    with reading(engine) as c:
        found = counted_segments(c, "churn", ["user"])
        assert len(found) == 51
        assert predicted(c, layout, "user=*other").rows == 30
        assert predicted(c, layout, "user=u7").rows == 2
        assert predicted(c, layout, "user=v1").rows == 0


def test_value_that_is_called_as_the_others_are_is_one_of_them(engine: Engine) -> None:
    with writing(engine) as c:
        layout = register_model(c)
        record(c, [make_prediction_row(1, segment="country=*other"), make_prediction_row(2, segment="country=de")])

    with reading(engine) as c:
        assert counted_segments(c, "churn", ["country"]) == ["country=de", "country=*other"]
        assert predicted(c, layout, "country=*other").rows == 1


def test_writers_at_the_same_time_keep_the_bound_together(engine: Engine) -> None:
    fields = SegmentFields(names=("user",), most_values=5)
    with writing(engine) as c:
        layout = register_model(c)

    def work(writer: int) -> None:
        for start in range(0, 40, 4):
            numbers = range(1000 * writer + start, 1000 * writer + start + 4)
            with writing(engine) as c:
                rows = [make_prediction_row(number, at=at(1), segment=f"user=u{number}") for number in numbers]
                record(c, rows, fields=fields, writer=f"w{writer}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))

    with reading(engine) as c:
        assert c.scalar(select(func.count()).select_from(segment_values)) == 5
        assert sum(predicted(c, layout, segment).rows for segment in counted_segments(c, "churn", ["user"])) == 160


def test_batch_that_comes_twice_counts_once(engine: Engine) -> None:
    rows = rows_of(range(100))
    with writing(engine) as c:
        layout = register_model(c)
        record(c, rows)
        send(c, rows)
    with reading(engine) as c:
        before = all_counts(c, layout)

    with writing(engine) as c:
        receipt = record(c, rows, writer="w2")
        send(c, rows)

    assert receipt == RecordReceipt(inserted=0, duplicates=100)
    with reading(engine) as c:
        assert all_counts(c, layout) == before


def test_transaction_that_is_rolled_back_leaves_no_value(engine: Engine) -> None:
    with writing(engine) as c:
        register_model(c)

    with writing(engine) as c:
        record(c, rows_of(range(10)))
        assert counted_segments(c, "churn", FIELDS.names)
        c.rollback()

    with reading(engine) as c:
        assert counted_segments(c, "churn", FIELDS.names) == []


def test_labels_that_come_first_or_are_swept_count_into_the_same_segments(engine: Engine) -> None:
    rows = rows_of(range(120))
    with writing(engine) as c:
        layout = register_model(c)
        record(c, rows[:40])
        send(c, rows[:40])
        send(c, rows[40:])  # whose predictions are not there yet
        record(c, rows[40:80])
    with writing(engine) as c:
        record(c, rows[80:])
    with reading(engine) as c:
        at_once = {segment: labelled(c, layout, segment).rows for segment in counted_segments(c, "churn", FIELDS.names)}
    assert at_once == dict.fromkeys(at_once, 0) | Counter(segment for row in rows for segment in said(row))

    new = make_prediction_row(500, segment="country=de")
    with writing(engine) as c:
        record(c, [new])
        c.execute(
            labels.insert().values(prediction_id=new.id, model="churn", label="yes", at=at(1), received_at=at(1), counted=False)
        )
        assert sweep_labels(c, LayoutLookup(c), writer="sweeper", bucket_seconds=60, segments=FIELDS) == 1

    with reading(engine) as c:
        assert labelled(c, layout, "country=de").rows == at_once["country=de"] + 1


def test_merged_and_recomputed_segments_are_the_same(engine: Engine) -> None:
    rows = rows_of(range(0, 4000, 7))
    with writing(engine) as c:
        layout = register_model(c)
        record(c, rows)
        send(c, rows)
    with reading(engine) as c:
        before = all_counts(c, layout)

    end = floor_time(at(), DAY) + timedelta(days=1)
    with writing(engine) as c:
        for part in compaction.loose_parts(c, end):
            compaction.compact(c, part, end)
    with reading(engine) as c:
        merged = all_counts(c, layout)
    recompute_day(engine, "churn", "1", floor_time(at(), DAY), from_archives=False, bucket_seconds=60, segments=FIELDS)

    assert merged == before
    with reading(engine) as c:
        assert all_counts(c, layout) == before


def test_field_that_is_declared_later_is_counted_by_a_recount(engine: Engine) -> None:
    rows = rows_of(range(60))
    with writing(engine) as c:
        layout = register_model(c)
        record(c, rows, fields=NO_SEGMENTS)

    recompute_day(engine, "churn", "1", floor_time(at(), DAY), from_archives=False, bucket_seconds=60, segments=FIELDS)

    with reading(engine) as c:
        assert predicted(c, layout, "country=fr").rows == sum("country=fr" in said(row) for row in rows)

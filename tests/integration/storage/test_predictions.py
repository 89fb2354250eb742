"""Predictions are stored and counted exactly once."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta, timezone
from typing import Any

import msgspec
import numpy as np
import pytest
from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import IntegrityError

from storage.batches import as_batch
from storage.counting import MisfitRows
from storage.engine import DatabaseUnavailable, reading, writing
from storage.layouts import count_latency, count_predictions
from storage.predictions import UnknownVersion, get_prediction, list_predictions, record_batches
from storage.records import Layout, PredictionCounts, PredictionRow, Scalar
from storage.registry import LayoutLookup
from storage.rollups import extent, prediction_series, read_predictions
from storage.schema import predictions, rollups
from storage.spools import load_position, save_position
from tests.factories import at, make_prediction_row, make_prediction_rows, record, register_model


def counts_of(c: Connection, layout: Layout, version: str = "1", **options: Any) -> PredictionCounts:
    return read_predictions(c, layout, version, at(-86400), at(86400), **options)


def assert_counted_once(c: Connection, layout: Layout, rows: list[PredictionRow]) -> None:
    """The rollups hold exactly what counting these rows gives."""
    counts = counts_of(c, layout)
    ok = [row for row in rows if row.status == "ok"]
    expected = count_predictions(
        layout, [json.loads(row.features) for row in ok], [row.score for row in ok], [row.prediction for row in ok]
    )
    assert counts.rows == len(rows)
    np.testing.assert_array_equal(counts.bins, expected.bins)
    np.testing.assert_allclose(counts.moments, expected.moments)
    np.testing.assert_array_equal(counts.classes, expected.classes)
    np.testing.assert_array_equal(counts.latency, count_latency([row.latency_ms for row in rows]))
    assert c.scalar(select(func.count()).select_from(predictions)) == len(rows)


def test_rows_are_stored_and_counted(engine: Engine) -> None:
    rows = make_prediction_rows(range(250))
    with writing(engine) as c:
        layout = register_model(c)
        receipt = record(c, rows)

    assert receipt == (250, 0)
    with reading(engine) as c:
        assert_counted_once(c, layout, rows)


def test_a_batch_that_is_sent_twice_counts_once(engine: Engine) -> None:
    rows = make_prediction_rows(range(100))
    with writing(engine) as c:
        layout = register_model(c)

    receipts = []
    for _ in range(2):
        with writing(engine) as c:
            receipts.append(record(c, rows))

    assert receipts == [(100, 0), (0, 100)]
    with reading(engine) as c:
        assert_counted_once(c, layout, rows)


def test_of_overlapping_batches_only_the_new_rows_count(engine: Engine) -> None:
    with writing(engine) as c:
        layout = register_model(c)
        first = record(c, make_prediction_rows(range(80)))
        second = record(c, make_prediction_rows(range(50, 120)), writer="w2")

    assert (first, second) == ((80, 0), (40, 30))
    with reading(engine) as c:
        assert_counted_once(c, layout, make_prediction_rows(range(120)))


def test_duplicates_within_a_batch_count_once_and_the_first_stays(engine: Engine) -> None:
    with writing(engine) as c:
        layout = register_model(c)
        receipt = record(c, [make_prediction_row(1, score=0.5), make_prediction_row(1, score=0.9), make_prediction_row(2)])

    assert receipt == (2, 1)
    with reading(engine) as c:
        assert_counted_once(c, layout, [make_prediction_row(1, score=0.5), make_prediction_row(2)])
        stored = get_prediction(c, "p1")
    assert stored is not None
    assert stored.row.score == 0.5


def test_a_transaction_that_fails_leaves_neither_rows_nor_counts_nor_a_position(engine: Engine) -> None:
    rows = make_prediction_rows(range(50))
    with writing(engine) as c:
        layout = register_model(c)

    def fail() -> None:
        with writing(engine) as c:
            record(c, rows)
            save_position(c, "w1", "0001", 999, at())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    with reading(engine) as c:
        assert c.scalar(select(func.count()).select_from(predictions)) == 0
        assert c.scalar(select(func.count()).select_from(rollups)) == 0
        assert load_position(c, "w1") is None
    with writing(engine) as c:
        record(c, rows)
    with reading(engine) as c:
        assert_counted_once(c, layout, rows)


@pytest.mark.parametrize("known", [0, 37, 99], ids=["first", "middle", "last"])
def test_one_known_row_keeps_no_other_row_of_its_batch_out(engine: Engine, known: int) -> None:
    rows = make_prediction_rows(range(100))
    with writing(engine) as c:
        layout = register_model(c)
        record(c, [rows[known]])

    with writing(engine) as c:
        assert record(c, rows) == (99, 1)

    with reading(engine) as c:
        assert_counted_once(c, layout, rows)


def test_rows_in_any_order_of_their_ids_are_stored_and_counted(engine: Engine) -> None:
    rows = make_prediction_rows([5, 1, 4, 2, 3], segment="x\ty\\n\\.")
    with writing(engine) as c:
        layout = register_model(c)
        assert record(c, rows) == (5, 0)

    with reading(engine) as c:
        assert_counted_once(c, layout, rows)
        assert list_predictions(c, "churn") == sorted(rows, key=lambda row: row.at, reverse=True)


def test_a_batch_with_its_values_at_hand_counts_as_its_texts_say(engine: Engine) -> None:
    """JSON has no infinity and no NaN: what is null in the text is missing in the counts, so that a recount agrees."""
    values: list[list[Scalar]] = [
        [30, 0.5, True, "north"],
        [float("inf"), float("nan"), None, float("nan")],
        [2**64 - 1, -(2**63), False, 2.0],
        [-float("inf"), 0.0, 1, None],
    ]
    texts = [msgspec.json.encode(row).decode() for row in values]
    rows = [make_prediction_row(number, features=features) for number, features in enumerate(texts)]
    with writing(engine) as c:
        layout = register_model(c)
        batch = replace(as_batch(rows), values=values)

        record_batches(c, [batch], LayoutLookup(c), writer="w1", bucket_seconds=60)

    with reading(engine) as c:
        assert_counted_once(c, layout, rows)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -float("inf")])
def test_score_that_is_not_finite_is_no_number_in_postgresql(postgresql_engine: Engine, score: float) -> None:
    with writing(postgresql_engine) as c:
        register_model(c)
        record(c, [make_prediction_row(1, score=score, latency_ms=score), make_prediction_row(2)])

    with reading(postgresql_engine) as c:
        stored = get_prediction(c, "p1")
    assert stored is not None
    assert (stored.row.score, stored.row.latency_ms) == (None, None)


def test_column_that_only_some_rows_have_is_stored(engine: Engine) -> None:
    rows = [make_prediction_row(1, error=None, subject=None), make_prediction_row(2, error="", subject="s", warnings="[]")]
    with writing(engine) as c:
        register_model(c)
        record(c, rows)

    with reading(engine) as c:
        assert list_predictions(c, "churn") == rows[::-1]


def test_row_without_what_the_table_needs_is_refused(engine: Engine) -> None:
    """It is a fault of the row, and not taken for one whose id is known."""
    with writing(engine) as c:
        register_model(c)

    with pytest.raises(IntegrityError), writing(engine) as c:
        record(c, [make_prediction_row(1), make_prediction_row(2, role=None)])

    with reading(engine) as c:
        assert c.scalar(select(func.count()).select_from(predictions)) == 0


def test_connection_that_is_lost_while_rows_are_copied_is_an_unavailable_database(postgresql_engine: Engine) -> None:
    ending = (
        "CREATE FUNCTION hang_up() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$",
        "CREATE TRIGGER hang_up BEFORE INSERT ON predictions FOR EACH ROW EXECUTE FUNCTION hang_up()",
    )
    with writing(postgresql_engine) as c:
        register_model(c)
        for statement in ending:
            c.exec_driver_sql(statement)

    with pytest.raises(DatabaseUnavailable), writing(postgresql_engine) as c:
        record(c, make_prediction_rows(range(10)))

    with writing(postgresql_engine) as c:
        c.exec_driver_sql("DROP TRIGGER hang_up ON predictions")
        assert record(c, make_prediction_rows(range(10))) == (10, 0)


def test_more_rows_than_one_statement_takes_are_stored(engine: Engine) -> None:
    rows = make_prediction_rows(range(12_001))
    with writing(engine) as c:
        layout = register_model(c)
        assert record(c, rows) == (12_001, 0)
        assert_counted_once(c, layout, rows)


def test_what_is_counted_in_several_portions_adds_up(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.predictions.ROWS_AT_ONCE", 40)
    monkeypatch.setattr("storage.counting.GATHERED_ROWS", 100)
    rows = [make_prediction_row(index, status="error" if index % 7 == 0 else "ok") for index in range(250)]
    with writing(engine) as c:
        layout = register_model(c)
        assert record(c, rows) == (250, 0)
        assert_counted_once(c, layout, rows)


def test_nothing_is_no_batch(engine: Engine) -> None:
    with writing(engine) as c:
        assert record(c, []) == (0, 0)


def test_a_batch_may_span_models_versions_roles_and_buckets(engine: Engine) -> None:
    rows = [
        make_prediction_row(0, version="1", role="champion"),
        make_prediction_row(1, version="2", role="challenger"),
        make_prediction_row(2, version="2", role="shadow", shadow_of="p0"),
        make_prediction_row(3, version="1", role="pinned", at=at(3600)),
        make_prediction_row(4, model="fraud"),
    ]
    with writing(engine) as c:
        churn = register_model(c, versions=("1", "2"))
        fraud = register_model(c, "fraud")
        record(c, rows)

    with reading(engine) as c:
        assert (counts_of(c, churn, "1").rows, counts_of(c, churn, "2").rows, counts_of(c, fraud).rows) == (2, 1, 1)
        assert counts_of(c, churn, "2", roles=["shadow"]).rows == 1
        assert counts_of(c, churn, "1", roles=["champion"]).rows == 1
        assert counts_of(c, churn, "1", roles=[]).rows == 0
        steps = prediction_series(c, churn, "1", at(), at(7200), 3600)
        assert [(start, counts.rows) for start, counts in steps] == [(at(), 1), (at(3600), 1)]
        assert extent(c, "churn") == (at(), at(3660))
        assert extent(c, "churn", "2") == (at(), at(60))
        assert extent(c, "none") is None


def test_failed_rows_count_as_errors_and_timeouts_with_their_latency_only(engine: Engine) -> None:
    failed = {"features": "[]", "prediction": None, "score": None, "probabilities": None}
    rows = [
        make_prediction_row(0),
        make_prediction_row(1, status="error", error="the model raised", **failed),
        make_prediction_row(2, status="timeout", latency_ms=5000.0, **failed),
        make_prediction_row(3, latency_ms=None),
    ]
    with writing(engine) as c:
        layout = register_model(c)
        record(c, rows)

    with reading(engine) as c:
        counts = counts_of(c, layout)
        assert (counts.rows, counts.errors, counts.timeouts) == (4, 1, 1)
        assert counts.latency.sum() == 3
        assert counts.classes.sum() == 2
        assert_counted_once(c, layout, rows)


def test_a_row_comes_back_as_it_was(engine: Engine) -> None:
    row = make_prediction_row(
        7,
        at=at(0.123457).astimezone(timezone(timedelta(hours=5, minutes=30))),
        features='[21, 0.1, true, "nörd\\"\\\\ 100% ; -- ☃"]',
        warnings='[{"field":"age"}]',
        segment="country=de,tier=1",
        reason="split 0.42 < 0.5",
        shadow_of="p6",
        error="",
        latency_ms=None,
        subject="O'Brien",
        probabilities=None,
    )
    with writing(engine) as c:
        register_model(c)
        record(c, [row])

    with reading(engine) as c:
        stored = get_prediction(c, "p7")

    assert stored is not None
    assert stored.label is None
    assert stored.row == row
    assert isinstance(stored.row.features, str)


def test_characters_that_postgresql_refuses_do_not_stop_a_batch(engine: Engine) -> None:
    rows = [
        make_prediction_row(1, features='[30, 0.5, true, "a\\u0000b"]', subject="x\0y", error="nul \0"),
        make_prediction_row(2, features='[30, 0.5, true, "\\ud800"]'),
        make_prediction_row(3, features='[30, 0.5, true, "\\\\u0000"]'),
    ]
    with writing(engine) as c:
        layout = register_model(c)

        assert record(c, rows) == (3, 0)
        assert counts_of(c, layout).rows == 3
        third = get_prediction(c, "p3")
    assert third is not None
    assert json.loads(third.row.features)[3] == "\\u0000"


def test_an_id_that_is_not_there_gives_nothing(engine: Engine) -> None:
    with reading(engine) as c:
        assert get_prediction(c, "none") is None
        assert get_prediction(c, "x\0y") is None


@pytest.mark.parametrize("features", ["[1, 2]", "[1, 2, true, 4, 5]", '["a lot", 0.5, true, "north"]', "{}", "[[1], 0.5, true, 2]"])
def test_a_row_that_does_not_fit_is_refused_with_its_version(engine: Engine, features: str) -> None:
    with writing(engine) as c:
        register_model(c)

    with pytest.raises(MisfitRows, match="version 1 of churn"), writing(engine) as c:
        record(c, [make_prediction_row(1, features=features)])

    with reading(engine) as c:
        assert c.scalar(select(func.count()).select_from(predictions)) == 0


def test_an_unknown_version_is_refused_by_name(engine: Engine) -> None:
    with writing(engine) as c:
        register_model(c)

    with pytest.raises(UnknownVersion, match="version 9 of a model churn"), writing(engine) as c:
        record(c, [make_prediction_row(1, version="9")])


def test_the_newest_predictions_come_first(engine: Engine) -> None:
    with writing(engine) as c:
        register_model(c, versions=("1", "2"))
        record(c, make_prediction_rows(range(10)) + make_prediction_rows(range(10, 20), version="2"))

    with reading(engine) as c:
        assert [row.id for row in list_predictions(c, "churn", limit=3)] == ["p19", "p18", "p17"]
        assert [row.id for row in list_predictions(c, "churn", version="1", limit=2)] == ["p9", "p8"]
        assert [row.id for row in list_predictions(c, "churn", start=at(9), end=at(11))] == ["p10", "p9"]
        assert list_predictions(c, "none") == []

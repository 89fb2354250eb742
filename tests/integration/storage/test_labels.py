"""Labels are stored and counted exactly once, whichever comes first, the label or its prediction."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pytest
from sqlalchemy import Connection, Engine, delete, func, select

from storage.engine import reading, writing
from storage.labels import record_labels, sweep_labels
from storage.layouts import DELAY_GROWTH, count_labels, delay_upper_seconds
from storage.predictions import get_prediction
from storage.records import Label, LabelCounts, LabelReceipt, Layout
from storage.registry import LayoutLookup
from storage.rollups import label_series, read_labels
from storage.schema import labels, predictions
from tests.factories import at, make_prediction_row, make_prediction_rows, make_signature, record, register_model


def label(number: int, text: str = "yes", when: datetime | None = None) -> Label:
    return Label(prediction_id=f"p{number}", label=text, at=when or at(3600))


def send(
    c: Connection, new: Sequence[Label], *, model: str = "churn", writer: str = "w1", received: float = 3600
) -> tuple[int, int, int]:
    receipt: LabelReceipt = record_labels(c, model, new, LayoutLookup(c), writer=writer, bucket_seconds=60, now=at(received))
    return receipt.accepted, receipt.duplicates, receipt.unknown


def sweep(c: Connection, *, limit: int = 5000) -> int:
    return sweep_labels(c, LayoutLookup(c), writer="sweeper", bucket_seconds=60, limit=limit)


def counts_of(c: Connection, layout: Layout, version: str = "1") -> LabelCounts:
    return read_labels(c, layout, version, at(-86400), at(86400))


def test_labels_are_counted_by_the_time_of_their_prediction(engine: Engine) -> None:
    rows = make_prediction_rows(range(120))
    with writing(engine) as c:
        layout = register_model(c)
        record(c, rows)
        receipt = send(c, [label(number, "yes" if number % 3 else "no") for number in range(120)])

    assert receipt == (120, 0, 0)
    texts = ["yes" if number % 3 else "no" for number in range(120)]
    expected = count_labels(
        layout,
        [row.score for row in rows],
        [row.prediction for row in rows],
        texts,
        [(at(3600) - row.at).total_seconds() for row in rows],
    )
    with reading(engine) as c:
        counts = counts_of(c, layout)
        np.testing.assert_array_equal(counts.confusion, expected.confusion)
        np.testing.assert_array_equal(counts.score_by_class, expected.score_by_class)
        np.testing.assert_array_equal(counts.delay, expected.delay)
        assert counts.rows == 120
        steps = label_series(c, layout, "1", at(), at(120), 60)
        assert [(start, step.rows) for start, step in steps] == [(at(), 60), (at(60), 60)]


def test_labels_sent_twice_count_once_and_the_first_stays(engine: Engine) -> None:
    with writing(engine) as c:
        layout = register_model(c)
        record(c, make_prediction_rows(range(5)))

    with writing(engine) as c:
        assert send(c, [label(1, "yes"), label(2), label(1, "no")]) == (2, 1, 0)
    with writing(engine) as c:
        assert send(c, [label(1, "no"), label(3)], writer="w2") == (1, 1, 0)

    with reading(engine) as c:
        assert counts_of(c, layout).rows == 3
        stored = get_prediction(c, "p1")
    assert stored is not None
    assert stored.label == label(1, "yes")


def test_a_label_that_comes_first_is_counted_when_its_prediction_comes(engine: Engine) -> None:
    with writing(engine) as c:
        layout = register_model(c)
        assert send(c, [label(1), label(2)]) == (2, 0, 2)
        assert counts_of(c, layout).rows == 0

    with writing(engine) as c:
        record(c, make_prediction_rows(range(2)))
    with writing(engine) as c:
        record(c, make_prediction_rows(range(2)))

    with writing(engine) as c:
        assert counts_of(c, layout).rows == 1
        assert sweep(c) == 0
        assert send(c, [label(1)]) == (0, 1, 0)
        assert counts_of(c, layout).rows == 1


def test_a_counted_label_is_not_counted_again_when_its_prediction_was_deleted_and_comes_again(engine: Engine) -> None:
    with writing(engine) as c:
        layout = register_model(c)
        record(c, [make_prediction_row(1)])
        send(c, [label(1), label(2)])
        c.execute(delete(predictions))

        record(c, [make_prediction_row(1)])

        assert counts_of(c, layout).rows == 1


def test_a_label_for_a_prediction_of_another_model_is_unknown_and_never_counted(engine: Engine) -> None:
    with writing(engine) as c:
        churn = register_model(c)
        fraud = register_model(c, "fraud")
        record(c, [make_prediction_row(1)])
        assert send(c, [label(1), label(2)], model="fraud") == (2, 0, 2)
        record(c, [make_prediction_row(2)])
        assert sweep(c) == 0

        assert counts_of(c, churn).rows == 0
        assert counts_of(c, fraud).rows == 0
        stored = get_prediction(c, "p1")
    assert stored is not None
    assert stored.label is None


def test_a_label_sent_to_the_wrong_model_does_not_stand_in_the_way_of_the_right_one(engine: Engine) -> None:
    with writing(engine) as c:
        churn = register_model(c)
        fraud = register_model(c, "fraud")
        record(c, [make_prediction_row(1)])
        send(c, [label(1, "no")], model="fraud")

        assert send(c, [label(1)]) == (1, 0, 0)
        assert counts_of(c, churn).rows == 1
        assert counts_of(c, fraud).rows == 0


def test_labels_of_failed_predictions_are_done_with_but_not_counted(engine: Engine) -> None:
    with writing(engine) as c:
        layout = register_model(c)
        record(c, [make_prediction_row(1, status="error", prediction=None, score=None)])

        assert send(c, [label(1)]) == (1, 0, 0)
        assert counts_of(c, layout).rows == 0
        assert c.scalar(select(labels.c.counted)) is True


def test_a_transaction_that_fails_leaves_the_label_to_the_next(engine: Engine) -> None:
    with writing(engine) as c:
        layout = register_model(c)
        record(c, [make_prediction_row(1)])

    def fail() -> None:
        with writing(engine) as c:
            send(c, [label(1)])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    with writing(engine) as c:
        assert send(c, [label(1)]) == (1, 0, 0)
        assert counts_of(c, layout).rows == 1


def test_the_delay_of_a_label_runs_until_it_is_received(engine: Engine) -> None:
    with writing(engine) as c:
        layout = register_model(c)
        record(c, [make_prediction_row(1)])
        send(c, [label(1, when=at(1))], received=600)

        delays = counts_of(c, layout).delay

    assert 600 <= delay_upper_seconds()[delays.argmax()] <= 600 * DELAY_GROWTH


def test_a_label_before_its_prediction_in_time_has_no_delay(engine: Engine) -> None:
    with writing(engine) as c:
        layout = register_model(c)
        record(c, [make_prediction_row(1)])
        send(c, [label(1, when=at(-60))], received=-30)

        assert counts_of(c, layout).delay[0] == 1


def test_residuals_of_a_regression_add_up(engine: Engine) -> None:
    with writing(engine) as c:
        layout = register_model(c, signature=make_signature(task="regression"))  # type: ignore[arg-type]
        record(c, [make_prediction_row(number, prediction=None, score=float(number)) for number in range(3)])
        send(c, [label(0, "1.0"), label(1, "1"), label(2, "0.5")])

        assert counts_of(c, layout).residuals.tolist() == [3, 0.5, 2.5, 3.25, 2.5, 2.25]


def test_thousands_of_labels_in_one_call(engine: Engine) -> None:
    with writing(engine) as c:
        layout = register_model(c)
        record(c, make_prediction_rows(range(4500)))
        assert send(c, [label(number) for number in range(5000)]) == (5000, 0, 500)
        assert counts_of(c, layout).rows == 4500


def test_transactions_that_missed_each_other_are_made_good_by_a_sweep(postgresql_engine: Engine) -> None:
    with writing(postgresql_engine) as c:
        layout = register_model(c)

    with writing(postgresql_engine) as first, writing(postgresql_engine) as second:
        record(first, make_prediction_rows(range(10)))
        assert send(second, [label(number) for number in range(10)]) == (10, 0, 10)

    with writing(postgresql_engine) as c:
        assert counts_of(c, layout).rows == 0
        assert sweep(c, limit=7) == 7
        assert sweep(c) == 3
        assert sweep(c) == 0
        assert counts_of(c, layout).rows == 10


def test_sweeps_at_once_count_each_label_once(postgresql_engine: Engine) -> None:
    with writing(postgresql_engine) as c:
        layout = register_model(c)
    with writing(postgresql_engine) as first, writing(postgresql_engine) as second:
        record(first, make_prediction_rows(range(200)))
        send(second, [label(number) for number in range(200)])
    swept: list[int] = []
    together = threading.Barrier(4)

    def run() -> None:
        together.wait(60)
        with writing(postgresql_engine) as c:
            swept.append(sweep(c))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(swept) == 200
    with reading(postgresql_engine) as c:
        assert counts_of(c, layout).rows == 200
        assert c.scalar(select(func.count()).where(labels.c.counted.is_(False))) == 0

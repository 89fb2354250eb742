"""Rows by subject, rows in both arms and shadow pairs: the same as adding them up by hand, on both kinds of database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from sqlalchemy import Connection, Engine

from storage import trials
from storage.engine import reading, writing
from storage.evidence import ClusterSums
from storage.labels import record_labels
from storage.records import Label, PredictionRow, Role, Task
from storage.registry import LayoutLookup
from tests.factories import at, make_prediction_row, make_prediction_rows, make_signature, record, register_model

WINDOW = (at(0), at(3600))


def send(c: Connection, texts: dict[str, str]) -> None:
    new = [Label(prediction_id=name, label=text, at=at(5000)) for name, text in texts.items()]
    record_labels(c, "churn", new, LayoutLookup(c), writer="w1", bucket_seconds=60, now=at(5000))


def by_hand(values: Sequence[tuple[str, float]]) -> ClusterSums:
    """Cluster sums of (subject, value) by a loop."""
    groups: dict[str, list[float]] = defaultdict(list)
    for subject, value in values:
        groups[subject].append(value)
    n, t = (np.array([f(group) for group in groups.values()], float) for f in (len, sum))
    return ClusterSums(
        clusters=len(groups),
        rows=float(n.sum()),
        total=float(t.sum()),
        rows_squared=float((n * n).sum()),
        total_squared=float((t * t).sum()),
        product=float((n * t).sum()),
        squares=float(sum(value * value for _, value in values)),
    )


def test_rows_are_added_up_by_subject(engine: Engine) -> None:
    rows = [make_prediction_row(number, subject=f"s{number % 7}") for number in range(60)]
    rows[3] = msgspec.structs.replace(rows[3], status="error", prediction=None)
    rows += make_prediction_rows(range(100, 104), subject=None)
    rows.append(make_prediction_row(200, role=Role.PINNED.value, subject="pinned"))
    rows.append(make_prediction_row(300, role=Role.SHADOW.value, subject="shadow"))
    texts = {f"p{number}": ("no", "yes")[number % 3 == 0] for number in range(0, 60, 2)}
    with writing(engine) as c:
        layout = register_model(c)
        record(c, rows)
        send(c, texts | {"p3": "yes"})
    with reading(engine) as c:
        found = trials.subject_sums(c, layout, "1", *WINDOW, slow_seconds=0.0035)

    live = [(row, row.subject or row.id) for row in rows if row.role != Role.SHADOW]
    assert (found.rows, found.anonymous, found.assigned) == (65, 4, 7 + 4)
    assert found.failures == by_hand([(unit, float(row.status != "ok")) for row, unit in live])
    assert found.labelled == by_hand([(unit, float(row.id in texts)) for row, unit in live if row.status == "ok"])
    assert found.slow == by_hand([(unit, float((row.latency_ms or 0) > 3.5)) for row, unit in live])
    assert found.quality == by_hand([(unit, float(row.prediction == texts[row.id])) for row, unit in live if row.id in texts])


def test_the_quality_of_a_regression_is_the_absolute_error(engine: Engine) -> None:
    rows = [make_prediction_row(number, subject=f"s{number % 3}", score=float(number), prediction="") for number in range(12)]
    odd = {"p0": "2.5", "p1": "-1e2", "p2": "7", "p3": "later", "p4": "1e400", "p5": "nan", "p6": "", "p7": "[1]", "p8": "1_0"}
    with writing(engine) as c:
        layout = register_model(c, signature=make_signature(task=Task.REGRESSION))
        record(c, rows)
        send(c, odd)
    with reading(engine) as c:
        found = trials.subject_sums(c, layout, "1", *WINDOW)

    assert found.quality == by_hand([("s0", 2.5), ("s1", 101.0), ("s2", 5.0)])
    assert found.slow.rows == 0


def test_nothing_adds_up_to_nothing(engine: Engine) -> None:
    with writing(engine) as c:
        layout = register_model(c)
        found = trials.subject_sums(c, layout, "1", *WINDOW, slow_seconds=1.0)

    assert (found.rows, found.quality, found.failures) == (0, ClusterSums(), ClusterSums())


def test_subjects_that_met_both_versions_are_counted_once(engine: Engine) -> None:
    with writing(engine) as c:
        register_model(c, versions=("1", "2"))
        record(c, [make_prediction_row(number, subject=f"s{number % 10}") for number in range(40)])
        record(c, [second(number, subject=f"s{number % 4 + 8}") for number in range(40)])
        record(
            c, [second(90, subject="s0", role=Role.PINNED.value), second(91, subject=None), make_prediction_row(92, subject=None)]
        )
    with reading(engine) as c:
        both = trials.subjects_in_both(c, "churn", ("1", "2"), *WINDOW)

    assert both == 2, "s8 and s9; a pinned answer was asked for"


def second(number: int, **changes: object) -> PredictionRow:
    return make_prediction_row(number, **{"id": f"q{number}", "version": "2", "role": Role.CHALLENGER.value, **changes})


def test_both_versions_are_read_over_the_same_bounded_time(engine: Engine) -> None:
    with writing(engine) as c:
        register_model(c, versions=("1", "2"))
        record(c, make_prediction_rows(range(100)))
        record(c, [second(number) for number in range(0, 100, 10)])
        since = trials.rows_since(c, "churn", ("1", "2"), *WINDOW, 20)
        whole = trials.rows_since(c, "churn", ("1", "2"), *WINDOW, 100)

    assert since == at(79)
    assert whole == at(0)


def test_scored_rows_are_the_labelled_ones_unless_there_are_too_many(engine: Engine) -> None:
    with writing(engine) as c:
        register_model(c)
        record(c, make_prediction_rows(range(20)))
        send(c, {"p3": "yes", "p1": "no"})
        found = trials.scored_rows(c, "churn", "1", *WINDOW)
        too_many = trials.scored_rows(c, "churn", "1", *WINDOW, most=19)

    assert found is not None
    assert (found.scores.tolist(), found.labels, found.subjects) == ([0.01, 0.03], ("no", "yes"), ("s1", "s3"))
    assert too_many is None


@pytest.mark.parametrize("most", [100, 3])
def test_a_shadow_is_paired_with_what_it_shadows(engine: Engine, most: int) -> None:
    shadows = [
        make_prediction_row(
            number,
            id=f"q{number}",
            version="2",
            role=Role.SHADOW.value,
            shadow_of=f"p{number}",
            prediction="yes",
            score=None,
            latency_ms=9.0,
        )
        for number in range(6)
    ]
    shadows[2] = msgspec.structs.replace(shadows[2], status="timeout", prediction=None)
    with writing(engine) as c:
        layout = register_model(c, versions=("1", "2"))
        record(c, [*make_prediction_rows(range(5)), *shadows])
        send(c, {"p0": "yes", "q1": "no"})
    with reading(engine) as c:
        found = trials.shadow_pairs(c, "churn", "1", "2", *WINDOW, most=most)
        is_shadow = [trials.is_shadowed(c, layout, version, *WINDOW) for version in ("1", "2")]

    n = min(most, 5)
    assert is_shadow == [False, True]
    assert found.truncated == (most < 5)
    assert found.labels == ("yes", "no", None, None, None)[:n]
    assert found.subjects == ("s0", "s1", "s2", "s3", "s4")[:n]
    assert found.a.predictions == ("no", "yes", "no", "yes", "no")[:n]
    assert found.b.predictions == ("yes", "yes", None, "yes", "yes")[:n]
    assert found.b.ok.tolist() == [True, True, False, True, True][:n]
    assert np.isnan(found.b.scores).all()
    assert found.b.latency_ms.tolist() == [9.0] * n


def test_a_split_is_read_with_counts_and_rows_of_one_time(engine: Engine) -> None:
    with writing(engine) as c:
        layout = register_model(c, versions=("1", "2"))
        record(c, make_prediction_rows(range(100)))
        record(c, [second(number, subject=f"s{number}") for number in range(50)])
        send(c, {f"p{number}": "yes" for number in range(30)})
    with reading(engine) as c:
        found = trials.read_split(c, (layout, layout), ("1", "2"), *WINDOW)

    assert (found.a.predictions.rows, found.a.labels.rows, found.a.sums.rows) == (100, 30, 100)
    assert found.a.scored is not None
    assert (len(found.a.scored.labels), found.b.sums.assigned, found.both) == (30, 50, 50)
    assert found.a.sums.slow.rows == 100

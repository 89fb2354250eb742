"""Estimated performance, concept drift and late labels through the collector's jobs."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from storage import deployments
from storage.engine import writing
from storage.records import Verdict
from tests.factories import NOW
from tests.integration.collector.test_jobs import MINUTE, Bench
from tests.integration.collector.traffic import label, label_truly, predictions, register, send, settings_for


@pytest.fixture
def bench(engine: Engine, database_url: str, home: Path) -> Bench:
    with writing(engine) as c:
        register(c, labelled=True)
        deployments.promote(c, "churn", "1", actor="ana", reason="first", now=NOW - timedelta(days=1))
    return Bench(engine, settings_for(database_url, home))


def run(bench: Bench, after: timedelta) -> None:
    bench.run(NOW + after + timedelta(seconds=6))


def test_accuracy_is_estimated_before_labels_come_and_holds_when_they_do(bench: Bench) -> None:
    sent = predictions(NOW - 5 * MINUTE, 300, 1000, income=0.5)
    send(bench.engine, sent)
    run(bench, timedelta())
    (estimate,) = bench.points("estimated_accuracy")
    assert bench.points("accuracy") == []

    label_truly(bench.engine, sent, at=NOW + MINUTE)
    run(bench, MINUTE)

    realised = next(point for point in bench.points("accuracy") if point.at == NOW)
    assert (estimate.verdict, estimate.n_reference, estimate.n_current) == (Verdict.OK, 5000, 1000)
    assert estimate.lower is not None
    assert estimate.upper is not None
    assert realised.value is not None
    assert estimate.lower <= realised.value <= estimate.upper
    assert next(point for point in bench.points("concept_drift") if point.at == NOW).verdict is Verdict.OK


def test_estimates_are_refused_once_labels_show_that_scores_mean_something_else(bench: Bench) -> None:
    sent = predictions(NOW - 5 * MINUTE, 300, 1000)
    send(bench.engine, sent)
    label(bench.engine, sent, right=0.3, at=NOW)
    run(bench, timedelta())
    later = predictions(NOW, 600, 2000, seed=2)
    send(bench.engine, later)

    run(bench, 6 * MINUTE)

    assert next(point for point in bench.points("concept_drift") if point.at == NOW).verdict is Verdict.DRIFT
    newest = bench.points("estimated_accuracy")[-1]
    assert (newest.at, newest.verdict) == (NOW + 6 * MINUTE, Verdict.INSUFFICIENT)
    assert newest.value is not None
    assert "since" in newest.basis or "concept drift" in newest.basis


def test_a_window_whose_labels_are_late_is_judged_once_they_have_usually_come(bench: Bench) -> None:
    for number in range(6, 2, -1):  # labels of these came after ten minutes
        old = predictions(NOW - 10 * number * MINUTE, 60, 50, seed=number)
        send(bench.engine, old)
        label_truly(bench.engine, old, at=NOW - 10 * number * MINUTE + 10 * MINUTE)
    sent = predictions(NOW - 5 * MINUTE, 300, 400)
    send(bench.engine, sent)
    label_truly(bench.engine, sent[:200], at=NOW)
    run(bench, timedelta())
    before = next(point for point in bench.points("accuracy") if point.at == NOW)

    run(bench, 20 * MINUTE)

    after = next(point for point in bench.points("accuracy") if point.at == NOW)
    assert (before.verdict, after.verdict) == (Verdict.INSUFFICIENT, Verdict.OK)
    assert "labels still arriving" in before.basis
    assert (before.value, before.n_current) == (after.value, after.n_current)

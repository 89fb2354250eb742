"""Windows against references that are made of traffic, on both databases."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from collector.settings import CollectorSettings
from storage import deployments, references
from storage.engine import writing
from storage.records import Exclusion, MetricPoint, Mode, ModelReference, ReferenceKind, Verdict
from tests.factories import NOW
from tests.integration.collector.test_jobs import Bench
from tests.integration.collector.traffic import predictions, register, send, settings_for

MINUTE = timedelta(minutes=1)
WEEK = timedelta(weeks=1)


@pytest.fixture
def settings(database_url: str, home: Path) -> CollectorSettings:
    return settings_for(database_url, home)


@pytest.fixture
def bench(engine: Engine, settings: CollectorSettings) -> Bench:
    """Since last week income lies 0.7 deviations above the training data."""
    with writing(engine) as c:
        register(c, versions=("1", "2"))
        deployments.promote(c, "churn", "1", actor="ana", reason="first", now=NOW - timedelta(days=30))
    send(engine, predictions(NOW - WEEK - 5 * MINUTE, 300, 1000, income=0.7, seed=1))
    send(engine, predictions(NOW - 10 * MINUTE, 300, 1000, income=0.7, seed=2))
    send(engine, predictions(NOW - 5 * MINUTE, 300, 1000, income=0.7, seed=3))
    return Bench(engine, settings)


def hold_against(bench: Bench, name: str, kind: ReferenceKind, **details: object) -> None:
    with writing(bench.engine) as c:
        references.add_reference(
            c,
            ModelReference(model="churn", name=name, kind=kind, created_at=NOW, created_by="ana", **details),  # type: ignore[arg-type]
        )


def income(bench: Bench, name: str) -> MetricPoint:
    (point,) = bench.points("drift_psi", feature="income", segment=f"reference={name}" if name else "", version="1")
    return point


def test_window_that_drifted_from_training_is_as_last_week_and_as_before(bench: Bench) -> None:
    hold_against(bench, "before", ReferenceKind.PREVIOUS)
    hold_against(bench, "weeks", ReferenceKind.SAME_HOURS, weeks=2)

    bench.run(NOW + timedelta(seconds=6))

    assert income(bench, "").verdict is Verdict.DRIFT
    for name in ("before", "weeks"):
        point = income(bench, name)
        assert (point.verdict, point.n_reference, point.n_current) == (Verdict.OK, 1000, 1000)
    assert {p.segment for p in bench.points("prediction_drift_psi")} == {"", "reference=before", "reference=weeks"}
    assert {p.segment for p in bench.points("requests_per_second")} == {""}


def test_reference_that_is_excluded_leaves_no_verdict(bench: Bench) -> None:
    hold_against(bench, "before", ReferenceKind.PREVIOUS)
    with writing(bench.engine) as c:
        references.exclude(
            c,
            Exclusion(model="churn", start=NOW - 10 * MINUTE, end=NOW - 5 * MINUTE, reason="", created_at=NOW, created_by="ana"),
        )

    bench.run(NOW + timedelta(seconds=6))

    found = bench.points("drift_share", segment="reference=before")
    assert [point.verdict for point in found] == [Verdict.INSUFFICIENT]
    assert {p.verdict for p in bench.points("drift_psi", segment="reference=before")} == {Verdict.INSUFFICIENT}


def test_other_arm_answers_the_same_window(bench: Bench) -> None:
    hold_against(bench, "arm", ReferenceKind.OTHER_ARM)
    with writing(bench.engine) as c:
        deployments.deploy(
            c, "churn", mode=Mode.AB, champion="1", challenger="2", weight=0.5, actor="ana", reason="", now=NOW - timedelta(days=1)
        )
    send(bench.engine, predictions(NOW - 5 * MINUTE, 300, 800, income=-0.7, version="2", role="challenger", seed=4))

    bench.run(NOW + timedelta(seconds=6))

    first = income(bench, "arm")
    assert (first.verdict, first.n_reference, first.n_current) == (Verdict.DRIFT, 800, 1000)
    (second,) = bench.points("drift_psi", feature="income", segment="reference=arm", version="2")
    assert (second.n_reference, second.n_current) == (1000, 800)


def test_other_arm_needs_a_split(bench: Bench) -> None:
    hold_against(bench, "arm", ReferenceKind.OTHER_ARM)

    bench.run(NOW + timedelta(seconds=6))

    assert bench.points("drift_psi", segment="reference=arm") == []
    assert bench.points("drift_psi", segment="") != []

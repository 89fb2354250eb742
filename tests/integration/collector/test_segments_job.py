"""Declared segments on both databases: what the collector writes for each, and which it finds to be worse."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from collector.settings import CollectorSettings
from storage import deployments, references
from storage.engine import writing
from storage.records import ModelReference, PredictionRow, ReferenceKind, Verdict
from storage.schema import metrics
from tests.factories import NOW
from tests.integration.collector.test_jobs import Bench
from tests.integration.collector.traffic import label, predictions, register, send, settings_for

MINUTE = timedelta(minutes=1)
SEGMENTS = ("country=de,plan=free", "country=fr,plan=paid", "country=us,plan=free", "country=de,plan=paid")
JOB = "segments_5m"


@pytest.fixture
def settings(database_url: str, home: Path) -> CollectorSettings:
    return settings_for(database_url, home, segments="country,plan")


@pytest.fixture
def bench(engine: Engine, settings: CollectorSettings) -> Bench:
    with writing(engine) as c:
        register(c)
        deployments.promote(c, "churn", "1", actor="ana", reason="first", now=NOW - timedelta(days=1))
    return Bench(engine, settings)


def traffic(bench: Bench, settings: CollectorSettings, start: datetime, n: int = 2000, seed: int = 1) -> list[PredictionRow]:
    sent = predictions(start, 300, n, segments=SEGMENTS, seed=seed)
    send(bench.engine, sent, segments=settings.segment_fields)
    return sent


def label_country(
    bench: Bench, settings: CollectorSettings, rows: Sequence[PredictionRow], country: str, right: float, at: datetime
) -> None:
    named = [row for row in rows if f"country={country}" in row.segment]
    label(bench.engine, named, right=right, at=at, segments=settings.segment_fields)


def test_bad_segment_is_found_and_the_good_ones_are_not(bench: Bench, settings: CollectorSettings) -> None:
    sent = traffic(bench, settings, NOW - 5 * MINUTE)
    for country, right in (("de", 0.9), ("fr", 0.6), ("us", 0.9)):
        label_country(bench, settings, sent, country, right, NOW)

    assert bench.run(NOW + timedelta(seconds=6), JOB)

    found = {point.segment: point for point in bench.points("segment_gap")}
    drifted = {segment for segment, point in found.items() if point.verdict is Verdict.DRIFT}
    assert drifted == {"", "country=fr", "plan=paid"}  # every second one that pays is French
    assert {segment for segment in found if segment not in drifted} == {"country=de", "country=us", "plan=free"}
    bad = found["country=fr"]
    assert bad.value == pytest.approx(-0.3)
    assert (bad.threshold, bad.n_current, bad.n_reference) == (-0.05, 500, 1500)
    assert bad.lower is not None
    assert bad.upper is not None
    assert bad.lower < -0.3 < bad.upper < 0
    assert bad.p_value is not None
    assert bad.p_value < 1e-9
    worst = found[""]
    assert (worst.n_current, worst.verdict, worst.basis.endswith("worst of 5 segments")) == (2000, Verdict.DRIFT, True)
    assert [point.basis for point in found.values() if point.basis == "worst of 5 segments"] == ["worst of 5 segments"]


def test_each_segment_has_its_service_and_quality(bench: Bench, settings: CollectorSettings) -> None:
    sent = traffic(bench, settings, NOW - 5 * MINUTE)
    label_country(bench, settings, sent, "fr", 0.6, NOW)

    bench.run(NOW + timedelta(seconds=6), JOB)

    rates = {point.segment: point.n_current for point in bench.points("requests_per_second")}
    assert rates == {"country=de": 1000, "country=fr": 500, "country=us": 500, "plan=free": 1000, "plan=paid": 1000}
    (accuracy,) = bench.points("accuracy", segment="country=fr")
    assert (accuracy.value, accuracy.n_current, accuracy.threshold) == (0.6, 500, None)
    (coverage,) = bench.points("label_coverage", segment="plan=paid")
    assert coverage.value == 0.5
    assert [point.segment for point in bench.points("drift_psi")] == []


def test_late_labels_bring_earlier_windows_up_to_date_once(bench: Bench, settings: CollectorSettings) -> None:
    sent = traffic(bench, settings, NOW - 5 * MINUTE)
    bench.run(NOW + timedelta(seconds=6), JOB)
    assert bench.points("segment_gap") == []

    for country, right in (("de", 0.9), ("fr", 0.6), ("us", 0.9)):
        label_country(bench, settings, sent, country, right, NOW + 20 * MINUTE)
    bench.run(NOW + 20 * MINUTE + timedelta(seconds=6), JOB)

    (worst,) = bench.points("segment_gap", segment="")
    assert (worst.at, worst.verdict, worst.n_current) == (NOW, Verdict.DRIFT, 2000)
    job = bench.jobs[JOB]
    run = bench.job(JOB)
    outcome = job.gather(NOW + 21 * MINUTE + timedelta(seconds=6), run, lambda: None)
    assert outcome is not None
    with writing(bench.engine) as c:
        outcome.write(c)
    assert {point.at for point in bench.points("segment_gap")} == {NOW}


def test_points_of_segments_are_not_taken_for_those_of_the_whole(bench: Bench, settings: CollectorSettings) -> None:
    """A window that has its points is left alone later, so one that was taken away stays away."""
    sent = traffic(bench, settings, NOW - 5 * MINUTE)
    label(bench.engine, sent, right=0.9, at=NOW, segments=settings.segment_fields)
    bench.run(NOW + timedelta(seconds=6))
    bench.run(NOW + timedelta(seconds=6), JOB)
    with writing(bench.engine) as c:
        c.execute(metrics.delete().where(metrics.c.name == "accuracy", metrics.c.at == NOW, metrics.c.segment == ""))

    bench.run(NOW + MINUTE + timedelta(seconds=6))

    assert [point for point in bench.points("accuracy", segment="") if point.at == NOW] == []


def test_segment_that_changed_is_drift_from_its_own_past_alone(bench: Bench, settings: CollectorSettings) -> None:
    """French incomes rise; so does the share of nobody else."""
    with writing(bench.engine) as c:
        references.add_reference(
            c, ModelReference(model="churn", name="before", kind=ReferenceKind.PREVIOUS, created_at=NOW, created_by="ana")
        )
    for number, (start, income) in enumerate(((NOW - 10 * MINUTE, 0.0), (NOW - 5 * MINUTE, 1.0))):
        others = predictions(start, 300, 1000, segments=["country=de", "country=us"], seed=number)
        french = predictions(start, 300, 500, segments=["country=fr"], income=income, seed=10 + number)
        send(bench.engine, [*others, *french], segments=settings.segment_fields)

    bench.run(NOW + timedelta(seconds=6), JOB)

    verdicts = {point.segment: point.verdict for point in bench.points("drift_psi", feature="income")}
    assert verdicts == {
        "country=de,reference=before": Verdict.OK,
        "country=fr,reference=before": Verdict.DRIFT,
        "country=us,reference=before": Verdict.OK,
    }


def test_nothing_declared_makes_no_job(engine: Engine, database_url: str, home: Path) -> None:
    bench = Bench(engine, settings_for(database_url, home))

    assert not [name for name in bench.jobs if name.startswith("segments")]


def test_shadow_has_segments_of_its_own(bench: Bench, settings: CollectorSettings) -> None:
    sent = predictions(NOW - 5 * MINUTE, 300, 400, role="shadow", segments=SEGMENTS)
    send(bench.engine, sent, segments=settings.segment_fields)

    bench.run(NOW + timedelta(seconds=6), JOB)

    assert {(point.role, point.segment) for point in bench.points("requests_per_second", segment="country=fr")} == {
        ("shadow", "country=fr")
    }

"""Declared segments on both databases: what the collector writes for each, and which it finds to be worse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from collector.metrics import Exporter
from collector.settings import CollectorSettings
from storage import deployments, references
from storage.engine import writing
from storage.metrics import write_points
from storage.records import MetricPoint, ModelReference, PredictionRow, ReferenceKind, Verdict
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


@pytest.fixture
def labelled(engine: Engine, settings: CollectorSettings) -> Bench:
    """A model whose reference has labels, so that its performance can be estimated."""
    with writing(engine) as c:
        register(c, labelled=True)
        deployments.promote(c, "churn", "1", actor="ana", reason="first", now=NOW - timedelta(days=1))
    return Bench(engine, settings)


def test_each_segment_has_estimates_and_the_spread_of_its_scores(labelled: Bench, settings: CollectorSettings) -> None:
    traffic(labelled, settings, NOW - 5 * MINUTE)

    labelled.run(NOW + timedelta(seconds=6), JOB)

    estimates = {point.segment: point for point in labelled.points("estimated_accuracy")}
    assert set(estimates) == {"country=de", "country=fr", "country=us", "plan=free", "plan=paid"}
    fr = estimates["country=fr"]
    assert (fr.n_current, fr.threshold, fr.verdict) == (500, None, Verdict.OK)
    assert fr.lower is not None
    assert fr.upper is not None
    assert fr.value is not None
    assert 0.5 < fr.lower < fr.value < fr.upper <= 1
    assert {point.segment for point in labelled.points("prediction_mean")} == set(estimates)
    assert {point.segment for point in labelled.points("prediction_std")} == set(estimates)


def store(bench: Bench, name: str, value: float, segment: str, back: int = 0, **changes: object) -> None:
    """A point of a window of five minutes that ended so many windows ago, with 500 rows."""
    point = MetricPoint(
        at=NOW - back * 5 * MINUTE,
        name=name,
        value=value,
        model="churn",
        version="1",
        segment=segment,
        window_seconds=300,
        lower=value - 0.01,
        upper=value + 0.01,
        n_current=500,
    )
    with writing(bench.engine) as c:
        write_points(c, [replace(point, **changes)])  # type: ignore[arg-type]


def test_an_estimate_is_refused_for_the_segment_whose_record_is_bad(labelled: Bench, settings: CollectorSettings) -> None:
    for back in range(1, 7):
        for segment, realised in (("country=fr", 0.5), ("country=de", 0.9)):
            store(labelled, "estimated_accuracy", 0.9, segment, back)
            store(labelled, "accuracy", realised, segment, back)
    traffic(labelled, settings, NOW - 5 * MINUTE)

    labelled.run(NOW + timedelta(seconds=6), JOB)

    newest = {point.segment: point for point in labelled.points("estimated_accuracy") if point.at == NOW}
    assert (newest["country=fr"].verdict, newest["country=de"].verdict) == (Verdict.INSUFFICIENT, Verdict.OK)
    assert newest["country=fr"].basis == "was off by +0.4 on average in 6 windows whose labels came"


def test_what_refused_the_estimate_of_all_rows_refuses_those_of_segments(labelled: Bench, settings: CollectorSettings) -> None:
    traffic(labelled, settings, NOW - 5 * MINUTE)
    store(labelled, "estimated_accuracy", 0.9, "", verdict=Verdict.INSUFFICIENT, basis="concept drift in some window")

    labelled.run(NOW + timedelta(seconds=6), JOB)

    found = labelled.points("estimated_accuracy", segment="country=de")
    assert [(point.verdict, point.basis) for point in found] == [
        (Verdict.INSUFFICIENT, "of all rows: concept drift in some window")
    ]


def test_one_worst_segment_per_version_is_exported(bench: Bench, settings: CollectorSettings) -> None:
    sent = traffic(bench, settings, NOW - 5 * MINUTE)
    for country, right in (("de", 0.9), ("fr", 0.6), ("us", 0.9)):
        label_country(bench, settings, sent, country, right, NOW)
    bench.run(NOW + timedelta(seconds=6), JOB)
    exporter = Exporter(engine=bench.engine, settings=settings, job_names=[], clock=lambda: NOW + 30 * MINUTE)

    families = {family.name: family.samples for family in exporter.collect()}

    (gap,), (detected,) = families["model_worst_segment_gap"], families["model_worst_segment_detected"]
    (worst,) = bench.points("segment_gap", segment="")
    assert gap.labels == detected.labels == {"model": "churn", "version": "1", "segment": worst.basis.partition(",")[0]}
    assert (gap.value, detected.value) == (worst.value, 1)


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

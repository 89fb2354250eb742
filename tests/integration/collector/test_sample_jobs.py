"""The job on sampled rows, on both databases: quality and multivariate drift, spread, topped up, never stopped by one version."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine

from collector.sample_jobs import SampleJob
from storage import jobs, profiles, registry, samples
from storage.engine import reading, writing
from storage.records import PredictionRow, Verdict
from tests.factories import NOW
from tests.integration.collector.test_jobs import Bench
from tests.integration.collector.traffic import SIGNATURE, make_rows, predictions, register, send, settings_for

HOUR = timedelta(hours=1)
SOON = NOW + timedelta(seconds=6)


def add_sample(engine: Engine, version: str = "1", model: str = "churn") -> None:
    """Gives the profile a sample of its rows, as registration does."""
    frame = pd.DataFrame(make_rows(np.random.default_rng(0), 1000), columns=list(SIGNATURE.names))
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    with writing(engine) as c:
        profile = profiles.load_profile(c, model, version, registry.LayoutLookup(c)(model, version))
        assert profile is not None
        profiles.save_profile(c, replace(profile, sample=buffer.getvalue()))


@pytest.fixture
def bench(engine: Engine, database_url: str, home: Path) -> Bench:
    with writing(engine) as c:
        register(c)
    add_sample(engine)
    return Bench(engine, settings_for(database_url, home, sample_rows=500))


def changed(rows: list[PredictionRow], change: Callable[[list[Any], int], None]) -> list[PredictionRow]:
    """The predictions with their features changed in place by ``change(features, number)``."""
    found = []
    for number, row in enumerate(rows):
        features = json.loads(row.features)
        change(features, number)
        found.append(msgspec.structs.replace(row, features=json.dumps(features)))
    return found


def last_hour(n: int = 700, **further: Any) -> list[PredictionRow]:
    return predictions(NOW - HOUR, 3600, n, **further)


def test_traffic_like_the_reference_is_ok_in_every_respect(bench: Bench) -> None:
    send(bench.engine, last_hour())

    assert bench.run(SOON, "samples")

    names = ["drift_multivariate", "drift_reconstruction", "quality_violations", "quality_duplicate_share"]
    points = {name: bench.points(name) for name in names}
    assert {name: {point.verdict for point in found} for name, found in points.items()} == {name: {Verdict.OK} for name in names}
    assert {point.feature for point in points["quality_violations"]} == {"", "income", "age", "region"}
    (domain,) = points["drift_multivariate"]
    assert (domain.at, domain.window_seconds, domain.n_reference, domain.n_current) == (NOW, 3600, 1000, 500)
    assert domain.value == pytest.approx(0.5, abs=0.06)
    assert None not in (domain.lower, domain.upper, domain.p_value, domain.threshold, domain.detectable)
    assert domain.basis.startswith("chance")
    assert bench.job("samples").error is None


def test_features_that_hang_together_otherwise_are_drift_with_the_features_and_rows_that_tell(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    def follow(features: list[Any], _: int) -> None:
        features[1] = 40 + 10 * features[0]  # age, as before in itself, now follows income

    send(bench.engine, changed(last_hour(), follow))

    with caplog.at_level(logging.INFO, "collector.sample_jobs"):
        bench.run(SOON, "samples")

    (domain,) = bench.points("drift_multivariate")
    assert domain.verdict is Verdict.DRIFT
    told = bench.points("drift_multivariate_importance")
    assert {point.feature for point in sorted(told, key=lambda point: -(point.value or 0))[:2]} == {"income", "age"}
    (record,) = [record for record in caplog.records if "look least like" in record.message]
    assert len(record.__dict__["predictions"]) == 20
    assert record.__dict__["predictions"][0].startswith("churn-1-champion-")


def test_missing_values_and_repeated_rows_are_violations_with_their_reasons(bench: Bench) -> None:
    def spoil(features: list[Any], number: int) -> None:
        features[:] = [None if number % 3 else 0.5, 40.0, "n"]

    send(bench.engine, changed(last_hour(), spoil))

    bench.run(SOON, "samples")

    found = {point.feature: point for point in bench.points("quality_violations")}
    assert found["income"].verdict is Verdict.DRIFT
    assert found["income"].basis.startswith("missing 0.66")
    assert "constant 1 over 1" in found["age"].basis
    assert found[""].value is not None
    assert found[""].value >= 4
    assert found[""].basis == "income, age, region, rows"
    (duplicates,) = bench.points("quality_duplicate_share")
    assert (duplicates.verdict, duplicates.n_current) == (Verdict.DRIFT, 500)


def test_rows_are_spread_over_the_window_and_bounded(bench: Bench) -> None:
    send(bench.engine, last_hour(700))

    with reading(bench.engine) as c:
        rows = samples.sample_rows(c, "churn", "1", NOW - HOUR, NOW, limit=105, roles=samples.LIVE_ROLES)

    assert len(rows) == 105
    assert [row.at for row in rows] == sorted(row.at for row in rows)
    counts, _ = np.histogram([(row.at - (NOW - HOUR)).total_seconds() for row in rows], 10, (0, 3600))
    assert set(counts.tolist()) == {10, 11}


def test_quiet_version_is_topped_up_with_older_rows(bench: Bench) -> None:
    send(bench.engine, predictions(NOW - 5 * HOUR, 3600, 90, seed=3) + last_hour(30))

    bench.run(SOON, "samples")

    (domain,) = bench.points("drift_multivariate")
    assert (domain.n_current, domain.verdict) == (100, Verdict.OK)


def test_too_few_rows_are_insufficient_data(bench: Bench) -> None:
    send(bench.engine, last_hour(1))

    bench.run(SOON, "samples")

    (domain,) = bench.points("drift_multivariate")
    assert (domain.value, domain.threshold, domain.verdict, domain.n_current) == (None, None, Verdict.INSUFFICIENT, 1)
    assert {point.verdict for point in bench.points("drift_reconstruction")} == {Verdict.INSUFFICIENT}


def test_shadow_traffic_is_judged_under_its_role(bench: Bench) -> None:
    send(bench.engine, last_hour(300, role="shadow"))

    bench.run(SOON, "samples")

    assert {point.role for point in bench.points("quality_violations") + bench.points("drift_multivariate")} == {"shadow"}


def test_it_runs_once_per_interval_and_looks_at_the_newest_window_after_an_outage(bench: Bench) -> None:
    send(bench.engine, last_hour(300) + predictions(NOW + 2 * HOUR, 3600, 300))

    bench.run(SOON, "samples")
    bench.run(SOON + timedelta(minutes=30), "samples")
    assert {point.at for point in bench.points("drift_multivariate")} == {NOW}

    bench.run(SOON + 3 * HOUR, "samples")
    assert {point.at for point in bench.points("drift_multivariate")} == {NOW, NOW + 3 * HOUR}
    assert bench.job("samples").done_until == NOW + 3 * HOUR


def test_failing_version_is_named_and_stops_no_other(bench: Bench) -> None:
    with writing(bench.engine) as c:
        register(c, "fraud")
        profiles.save_constraints(c, "fraud", "1", {"nonsense": True})
    send(bench.engine, last_hour(300) + last_hour(300, model="fraud"))

    bench.run(SOON, "samples")

    assert {point.model for point in bench.points("quality_violations")} == {"churn"}
    assert "fraud 1: ValidationError" in str(bench.job("samples").error)


def test_failure_stays_visible_until_the_next_window(bench: Bench) -> None:
    with writing(bench.engine) as c:
        profiles.save_constraints(c, "churn", "1", {"nonsense": True})
    send(bench.engine, last_hour(300))
    bench.run(SOON, "samples")
    first = bench.job("samples").error

    bench.run(SOON + timedelta(minutes=1), "samples")
    assert bench.job("samples").error == first is not None
    assert bench.job("samples").succeeded_at is None

    bench.run(SOON + HOUR, "samples")
    assert bench.job("samples").error is None


def test_version_without_a_sample_has_quality_and_no_multivariate_drift(bench: Bench) -> None:
    with writing(bench.engine) as c:
        register(c, "fraud")
    send(bench.engine, last_hour(300, model="fraud"))

    bench.run(SOON, "samples")

    assert {point.verdict for point in bench.points("quality_violations", model="fraud")} == {Verdict.OK}
    assert bench.points("drift_multivariate") == []
    assert bench.job("samples").error is None


def test_no_rows_asked_for_turn_it_off(bench: Bench, database_url: str, home: Path) -> None:
    send(bench.engine, last_hour(300))
    job = SampleJob(engine=bench.engine, settings=settings_for(database_url, home, sample_rows=0))

    assert job.gather(SOON, None, lambda: None) is None


def test_two_collectors_do_not_both_do_it(bench: Bench, database_url: str, home: Path) -> None:
    send(bench.engine, last_hour(300))
    other = Bench(bench.engine, settings_for(database_url, home, sample_rows=500), owner="b")

    assert bench.run(SOON, "samples")
    assert not other.run(SOON, "samples")

    with reading(bench.engine) as c:
        assert jobs.get_run(c, "samples") is not None

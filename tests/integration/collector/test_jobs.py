"""The statistics job on both databases: what it writes for traffic, silence, late labels and outages."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from collector.jobs import make_jobs
from collector.schedule import Runner
from collector.settings import CollectorSettings
from collector.statistics_job import StatisticsJob
from storage import deployments, jobs, leases, metrics
from storage.engine import reading, writing
from storage.records import JobRun, MetricPoint, Mode, Verdict
from tests.factories import NOW
from tests.integration.collector.traffic import label, predictions, register, send, settings_for

MINUTE = timedelta(minutes=1)


class Bench:
    """A collector whose clock is in the test's hand."""

    def __init__(self, engine: Engine, settings: CollectorSettings, owner: str = "a") -> None:
        self.engine = engine
        self.now = NOW
        self.runner = Runner(engine=engine, owner=owner, lease_time=settings.lease_time, clock=lambda: self.now)
        self.jobs = {job.name: job for job in make_jobs(engine, settings)}

    def run(self, at: datetime, name: str = "statistics_5m") -> bool:
        self.now = at
        return self.runner.run(self.jobs[name])

    def points(self, name: str, **wanted: str) -> list[MetricPoint]:
        with reading(self.engine) as c:
            found = metrics.read_points(c, names=[name], start=NOW - timedelta(days=30), end=NOW + timedelta(days=30))
        return [point for point in found if all(getattr(point, key) == value for key, value in wanted.items())]

    def job(self, name: str = "statistics_5m") -> JobRun:
        with reading(self.engine) as c:
            run = jobs.get_run(c, name)
        assert run is not None
        return run


@pytest.fixture
def settings(database_url: str, home: Path) -> CollectorSettings:
    return settings_for(database_url, home)


@pytest.fixture
def bench(engine: Engine, settings: CollectorSettings) -> Bench:
    with writing(engine) as c:
        register(c)
        deployments.promote(c, "churn", "1", actor="ana", reason="first", now=NOW - timedelta(days=1))
    return Bench(engine, settings)


def test_a_shifted_feature_is_drift_and_the_others_are_not(bench: Bench) -> None:
    send(bench.engine, predictions(NOW - 5 * MINUTE, 300, 1000, income=0.7))

    assert bench.run(NOW + timedelta(seconds=6))

    verdicts = {(p.name, p.feature): p.verdict for p in bench.points("drift_psi") + bench.points("drift_ks")}
    assert verdicts == {
        ("drift_psi", "income"): Verdict.DRIFT,
        ("drift_ks", "income"): Verdict.DRIFT,
        ("drift_psi", "age"): Verdict.OK,
        ("drift_ks", "age"): Verdict.OK,
        ("drift_psi", "region"): Verdict.OK,
    }
    (income,) = bench.points("drift_psi", feature="income")
    assert (income.n_reference, income.n_current, income.window_seconds, income.at) == (5000, 1000, 300, NOW)
    assert income.value is not None
    assert income.threshold is not None
    assert income.value > income.threshold >= 0.1
    (share,) = bench.points("drift_share")
    assert share.value == pytest.approx(1 / 3)
    assert share.verdict is Verdict.DRIFT
    assert [p.verdict for p in bench.points("prediction_drift_psi")] == [Verdict.DRIFT]


def test_a_weak_shift_is_drift_once_a_window_repeats_it_and_until_it_clears(bench: Bench) -> None:
    """Each window of 400 rows is shifted by 0.3 deviations; the last ones are not shifted at all."""
    send(bench.engine, predictions(NOW - 5 * MINUTE, 300, 400, income=0.3))
    send(bench.engine, predictions(NOW, 300, 400, income=0.3, seed=1))
    send(bench.engine, predictions(NOW + 5 * MINUTE, 300, 400, income=0.0, seed=2))

    bench.run(NOW + timedelta(seconds=6))
    bench.run(NOW + 5 * MINUTE + timedelta(seconds=6))
    bench.run(NOW + 6 * MINUTE + timedelta(seconds=6))
    bench.run(NOW + 10 * MINUTE + timedelta(seconds=6))

    found = {p.at: p for p in bench.points("drift_rank_shift", feature="income")}
    first, second, after, last = (found[NOW + minutes * MINUTE] for minutes in (0, 5, 6, 10))
    assert (first.verdict, first.basis) == (Verdict.OK, "no-drift quantile")
    assert (second.verdict, second.basis) == (Verdict.DRIFT, "no-drift quantile, 2 of 3 windows")
    assert after.basis == "no-drift quantile, until it clears"
    assert last.verdict is Verdict.OK
    assert None not in (first.detectable, first.threshold, second.threshold)
    assert (second.threshold or 0) < (first.threshold or 0) < (first.detectable or 0)


def test_a_small_change_that_lasts_is_found_where_no_window_shows_it(bench: Bench) -> None:
    """Windows of 5 minutes with 100 rows each; what is shifted is shifted by 0.3 deviations for an hour and a half."""
    send(bench.engine, predictions(NOW - 120 * MINUTE, 1800, 600))
    send(bench.engine, predictions(NOW - 90 * MINUTE, 5400, 1800, income=0.3, seed=1))

    bench.run(NOW + timedelta(seconds=6))

    found = {p.feature: p for p in bench.points("drift_cusum")}
    assert {name: p.verdict for name, p in found.items()} == {
        "income": Verdict.DRIFT,
        "age": Verdict.OK,
        "region": Verdict.OK,
    }
    income = found["income"]
    assert (income.n_reference, income.n_current) == (5000, 2400)
    assert (income.value or 0) > (income.threshold or 0) > 5
    assert income.basis.startswith("no-drift quantile, higher since 2026-")
    assert {p.verdict for p in bench.points("drift_rank_shift")} == {Verdict.OK}
    assert [p.verdict for p in bench.points("drift_share")] == [Verdict.DRIFT]


def test_everything_that_a_window_of_traffic_gives_is_written_once(bench: Bench) -> None:
    send(bench.engine, predictions(NOW - 5 * MINUTE, 300, 600))

    bench.run(NOW + timedelta(seconds=6))
    bench.run(NOW + timedelta(seconds=8))

    with reading(bench.engine) as c:
        names = Counter(p.name for p in metrics.read_points(c, start=NOW, end=NOW + MINUTE))
    assert names == {
        "requests_per_second": 1,
        "error_rate": 1,
        "timeout_rate": 1,
        "latency_p50_seconds": 1,
        "latency_p95_seconds": 1,
        "latency_p99_seconds": 1,
        "drift_ks": 2,
        "drift_rank_shift": 2,
        "drift_psi": 3,
        "drift_js": 3,
        "drift_missing": 3,
        "drift_unseen": 1,
        "drift_out_of_range": 2,
        "drift_cusum": 3,
        "drift_mean_shift": 2,
        "drift_wasserstein": 2,
        "drift_chi2": 1,
        "drift_share": 1,
        "prediction_mean": 1,
        "prediction_std": 1,
        "prediction_drift_psi": 1,
        "prediction_drift_js": 1,
        "estimated_accuracy": 1,
        "estimated_roc_auc": 1,
        "label_coverage": 1,
        "data_freshness_seconds": 1,
    }
    assert bench.points("requests_per_second")[0].value == 2.0
    assert bench.points("latency_p50_seconds")[0].value == pytest.approx(0.009, rel=0.12)
    assert bench.points("data_freshness_seconds")[0].value == 0.0
    assert bench.job().done_until == NOW


def test_a_quiet_window_has_throughput_zero_and_no_drift(bench: Bench) -> None:
    send(bench.engine, predictions(NOW - 20 * MINUTE, 60, 300))

    bench.run(NOW + timedelta(seconds=6))

    with reading(bench.engine) as c:
        found = {p.name: p.value for p in metrics.read_points(c, start=NOW, end=NOW + MINUTE)}
    assert found == {"requests_per_second": 0.0, "data_freshness_seconds": 19 * 60.0}


def test_a_feed_that_stops_is_found_by_its_own_rhythm(bench: Bench) -> None:
    """A prediction every two minutes since Thursday, until half an hour ago."""
    send(bench.engine, predictions(NOW - timedelta(days=4), 4 * 86_400 - 1800, 2 * 1440 - 15))

    bench.run(NOW - timedelta(hours=1) + timedelta(seconds=6))
    bench.run(NOW + timedelta(seconds=6))

    found = {p.at: p for p in bench.points("data_freshness_seconds")}
    assert (found[NOW - timedelta(hours=1)].verdict, found[NOW - timedelta(hours=1)].threshold) == (Verdict.OK, 300.0)
    assert (found[NOW].value, found[NOW].verdict) == (1860.0, Verdict.DRIFT)
    assert "silences of 4 days" in found[NOW].basis


def test_few_rows_are_insufficient_data(bench: Bench) -> None:
    send(bench.engine, predictions(NOW - 5 * MINUTE, 300, 50, income=3.0))

    bench.run(NOW + timedelta(seconds=6))

    assert {p.verdict for p in bench.points("drift_psi")} == {Verdict.INSUFFICIENT}
    (share,) = bench.points("drift_share")
    assert (share.value, share.verdict) == (None, Verdict.INSUFFICIENT)


def test_a_version_without_a_reference_has_service_points_only(engine: Engine, settings: CollectorSettings) -> None:
    with writing(engine) as c:
        register(c)
        c.exec_driver_sql("DELETE FROM profiles")
    send(engine, predictions(NOW - 5 * MINUTE, 300, 500))
    bench = Bench(engine, settings)

    bench.run(NOW + timedelta(seconds=6))

    assert bench.points("drift_psi") == []
    assert len(bench.points("requests_per_second")) == 1
    assert bench.points("data_freshness_seconds") == []  # it is not deployed


def test_late_labels_restate_accuracy_and_coverage(bench: Bench) -> None:
    sent = predictions(NOW - 5 * MINUTE, 300, 400)
    send(bench.engine, sent)
    bench.run(NOW + timedelta(seconds=6))
    assert bench.points("accuracy") == []
    assert [p.value for p in bench.points("label_coverage")] == [0.0]

    label(bench.engine, sent[:200], right=0.9, at=NOW + 2 * MINUTE)
    bench.run(NOW + 2 * MINUTE + timedelta(seconds=6))
    first = {p.at: p for p in bench.points("accuracy")}
    label(bench.engine, sent[200:], right=0.5, at=NOW + 3 * MINUTE)
    bench.run(NOW + 3 * MINUTE + timedelta(seconds=6))
    second = {p.at: p for p in bench.points("accuracy")}

    assert (first[NOW].value, first[NOW].n_current, first[NOW].verdict) == (0.9, 200, Verdict.OK)
    assert (second[NOW].value, second[NOW].n_current, second[NOW].verdict) == (0.7, 400, Verdict.DRIFT)
    assert {p.at: p.value for p in bench.points("label_coverage")}[NOW] == 1.0
    assert {p.at: p.value for p in bench.points("label_delay_seconds")}[NOW] == pytest.approx(400, rel=0.35)
    assert bench.points("roc_auc")[-1].lower is not None


def test_predictions_that_arrive_late_restate_their_window(bench: Bench) -> None:
    send(bench.engine, predictions(NOW - 5 * MINUTE, 300, 200))
    bench.run(NOW + timedelta(seconds=6))

    send(bench.engine, predictions(NOW - 5 * MINUTE, 300, 400, seed=2, income=1.0))
    bench.run(NOW + MINUTE + timedelta(seconds=6))

    rows = {p.at: p.n_current for p in bench.points("requests_per_second")}
    assert rows[NOW] == 600
    assert next(p for p in bench.points("drift_psi", feature="income") if p.at == NOW).n_current == 600


def test_an_outage_is_caught_up(bench: Bench) -> None:
    send(bench.engine, predictions(NOW - 5 * MINUTE, 900, 900))
    bench.run(NOW + timedelta(seconds=6))

    bench.run(NOW + 8 * MINUTE + timedelta(seconds=6))

    assert [p.at for p in bench.points("requests_per_second")] == [NOW + number * MINUTE for number in range(9)]


def test_a_model_that_fails_does_not_stop_the_others(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with writing(bench.engine) as c:
        register(c, "broken")
        c.exec_driver_sql("UPDATE versions SET layout_id = 999 WHERE model = 'broken'")
    send(bench.engine, predictions(NOW - 5 * MINUTE, 300, 300))
    with writing(bench.engine) as c:
        deployments.promote(c, "broken", "1", actor="ana", reason="first", now=NOW)

    assert bench.run(NOW + timedelta(seconds=6))

    assert len(bench.points("requests_per_second", model="churn")) == 1
    run = bench.job()
    assert run.error is not None
    assert run.error.startswith("broken 1: LookupError")
    assert (run.succeeded_at, run.done_until) == (None, NOW)
    assert "the statistics of a version failed" in caplog.text


def test_a_shadow_has_points_of_its_own_role(bench: Bench) -> None:
    with writing(bench.engine) as c:
        register(c, "shade")
    send(bench.engine, predictions(NOW - 5 * MINUTE, 300, 300, model="shade", role="shadow", income=1.0))

    bench.run(NOW + timedelta(seconds=6))

    assert {p.role for p in bench.points("drift_psi", model="shade")} == {"shadow"}


def test_the_sample_ratio_of_a_split_is_written_for_the_challenger(engine: Engine, settings: CollectorSettings) -> None:
    with writing(engine) as c:
        register(c, versions=("1", "2"))
        started = NOW - timedelta(hours=1)
        deployments.deploy(
            c, "churn", mode=Mode.AB, champion="1", challenger="2", weight=0.5, actor="ana", reason="test", now=started
        )
    send(engine, predictions(NOW - 5 * MINUTE, 300, 500))
    send(engine, predictions(NOW - 5 * MINUTE, 300, 300, version="2", role="challenger"))
    bench = Bench(engine, settings)

    bench.run(NOW + timedelta(seconds=6))

    (point,) = bench.points("sample_ratio_p")
    assert (point.version, point.n_current, point.verdict) == ("2", 800, Verdict.DRIFT)
    assert point.value is not None
    assert point.value < 1e-10


def test_two_collectors_do_a_job_once(engine: Engine, settings: CollectorSettings, bench: Bench) -> None:
    other = Bench(engine, settings, owner="b")

    assert bench.run(NOW + timedelta(seconds=6))
    assert not other.run(NOW + timedelta(seconds=7))
    assert bench.run(NOW + timedelta(seconds=66))


def test_a_frozen_collector_is_replaced_and_writes_nothing_more(
    engine: Engine, settings: CollectorSettings, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    other = Bench(engine, settings, owner="b")
    frozen = bench.jobs["statistics_5m"]
    assert isinstance(frozen, StatisticsJob)
    send(engine, predictions(NOW - 5 * MINUTE, 300, 300))
    replaced_at = NOW + timedelta(seconds=6) + settings.lease_time

    class Freezing:
        name = frozen.name

        def gather(self, *arguments: object) -> object:
            outcome = frozen.gather(*arguments)  # type: ignore[arg-type]
            assert other.run(replaced_at)
            bench.now = replaced_at + timedelta(seconds=1)
            return outcome

    bench.now = NOW + timedelta(seconds=6)
    assert not bench.runner.run(Freezing())  # type: ignore[arg-type]

    assert "another collector took the job over" in caplog.text
    assert bench.job().done_until == NOW + settings.lease_time
    assert [p.at for p in bench.points("requests_per_second")] == [NOW + settings.lease_time]


def test_leases_are_given_back_at_the_end(engine: Engine, settings: CollectorSettings, bench: Bench) -> None:
    bench.run(NOW + timedelta(seconds=6))

    bench.runner.release()

    assert Bench(engine, settings, owner="b").run(NOW + timedelta(seconds=70))


def test_resources_and_labels_are_jobs_too(bench: Bench) -> None:
    assert bench.run(NOW, "resources")
    assert bench.run(NOW + MINUTE, "resources")
    assert bench.run(NOW, "sweep_labels")

    names = {name for name in ("cpu_percent", "memory_percent", "memory_rss_bytes") if bench.points(name)}
    assert names == {"cpu_percent", "memory_percent", "memory_rss_bytes"}
    assert bench.points("memory_percent")[0].segment.startswith("host=")
    assert bench.job("sweep_labels").error is None
    with reading(bench.engine) as c:
        assert leases.still_held(c, bench.runner.held["resources"], NOW)

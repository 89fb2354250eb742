"""Bad input and faults, through the real job on both databases: a result or a clear state, never a crash or a false "ok"."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest
from sqlalchemy import Engine

from collector.outcome import Outcome
from collector.schedule import Runner, make_scheduler
from collector.settings import CollectorSettings
from storage import deployments, labels, metrics, registry
from storage.engine import reading, writing
from storage.records import JobRun, Label, MetricPoint, Scalar, Verdict
from tests.factories import NOW
from tests.integration.collector.test_jobs import MINUTE, Bench
from tests.integration.collector.test_schedule import eventually
from tests.integration.collector.traffic import label, make_rows, predictions, predictions_of, register, send, settings_for

AFTER = NOW + timedelta(seconds=6)
START = NOW - 5 * MINUTE
INCOME, AGE, REGION = range(3)
Change = Callable[[int, Scalar], Scalar]


@pytest.fixture
def settings(database_url: str, home: Path) -> CollectorSettings:
    return settings_for(database_url, home)


def collector(
    engine: Engine, settings: CollectorSettings, *, reference: list[list[Scalar]] | None = None, labelled: bool = False
) -> Bench:
    with writing(engine) as c:
        register(c, reference=reference, labelled=labelled)
        deployments.promote(c, "churn", "1", actor="ana", reason="first", now=NOW - timedelta(days=1))
    return Bench(engine, settings)


def rows_of(n: int, column: int, change: Change, seed: int = 1) -> list[list[Scalar]]:
    """Usual rows, one column of which is changed; the change is told the number of the row."""
    rows = make_rows(np.random.default_rng(seed), n)
    for number, row in enumerate(rows):
        row[column] = change(number, row[column])
    return rows


def run(bench: Bench) -> dict[tuple[str, str], MetricPoint]:
    """The points of the window by name and feature, after a run without any problem."""
    assert bench.run(AFTER)
    assert bench.job().error is None
    with reading(bench.engine) as c:
        found = metrics.read_points(c, start=NOW, end=NOW + MINUTE, limit=1000)
    for point in found:
        assert point.value is None or np.isfinite(point.value), point
        assert point.value is not None or point.verdict is Verdict.INSUFFICIENT, point
    return {(point.name, point.feature): point for point in found}


# ---------------------------------------------------------------------------------------------- columns


@pytest.mark.parametrize("column", [INCOME, REGION])
def test_a_feature_that_vanished_is_drift_by_its_missing_values(engine: Engine, settings: CollectorSettings, column: int) -> None:
    bench = collector(engine, settings)
    send(engine, predictions_of(rows_of(500, column, lambda number, value: None), START, 300))

    found = run(bench)

    name = ("income", "age", "region")[column]
    assert (found["drift_missing", name].value, found["drift_missing", name].verdict) == (1.0, Verdict.DRIFT)
    assert found["drift_psi", name].verdict is Verdict.DRIFT
    assert found["drift_ks", "age"].verdict is Verdict.OK
    ks = found.get(("drift_ks", name))
    assert ks is None or ks.verdict is Verdict.INSUFFICIENT


@pytest.mark.parametrize("column", [INCOME, REGION])
def test_a_column_that_was_always_missing_is_judged_by_what_comes(engine: Engine, settings: CollectorSettings, column: int) -> None:
    bench = collector(engine, settings, reference=rows_of(2000, column, lambda number, value: None))
    send(engine, predictions_of(rows_of(250, column, lambda number, value: None), START, 150))
    send(
        engine,
        predictions_of(rows_of(250, column, lambda number, value: value, seed=2), START + timedelta(seconds=150), 150, seed=2),
    )

    found = run(bench)

    name = ("income", "age", "region")[column]
    assert (found["drift_missing", name].value, found["drift_missing", name].verdict) == (0.5, Verdict.DRIFT)
    assert all(
        point.verdict is not Verdict.OK for (kind, feature), point in found.items() if feature == name and kind == "drift_ks"
    )


@pytest.mark.parametrize(("now", "verdict"), [(7.0, Verdict.OK), (8.0, Verdict.DRIFT)])
def test_one_distinct_value_is_no_drift_until_it_changes(
    engine: Engine, settings: CollectorSettings, now: float, verdict: Verdict
) -> None:
    bench = collector(engine, settings, reference=rows_of(2000, AGE, lambda number, value: 7.0))
    send(engine, predictions_of(rows_of(500, AGE, lambda number, value: now), START, 300))

    found = run(bench)

    assert {found[name, "age"].verdict for name in ("drift_ks", "drift_psi", "drift_js")} == {verdict}
    assert found["drift_ks", "age"].value == (0.0 if verdict is Verdict.OK else 1.0)


def test_infinities_and_huge_numbers_are_out_of_range(engine: Engine, settings: CollectorSettings) -> None:
    """JSON has no infinities, so the log has none; a reference and scores may."""
    reference = rows_of(2000, AGE, lambda number, value: float("inf") if number % 50 == 0 else value)
    bench = collector(engine, settings, reference=reference)
    sent = predictions_of(rows_of(500, AGE, lambda number, value: (-1.7e308, 1.7e308, value)[number % 3]), START, 300)
    send(engine, [msgspec.structs.replace(row, score=float("inf")) if number % 9 == 0 else row for number, row in enumerate(sent)])

    found = run(bench)

    assert found["drift_out_of_range", "age"].verdict is Verdict.DRIFT
    assert found["drift_ks", "age"].verdict is Verdict.DRIFT
    assert found["drift_ks", "income"].verdict is Verdict.OK


def test_unseen_categories_are_drift(engine: Engine, settings: CollectorSettings) -> None:
    bench = collector(engine, settings)
    send(
        engine, predictions_of(rows_of(500, REGION, lambda number, value: f"new{number}" if number % 5 == 0 else value), START, 300)
    )

    found = run(bench)

    assert (found["drift_unseen", "region"].value, found["drift_unseen", "region"].verdict) == (0.2, Verdict.DRIFT)


# ---------------------------------------------------------------------------------------------- few rows


def test_a_single_row_is_insufficient_data(engine: Engine, settings: CollectorSettings) -> None:
    bench = collector(engine, settings)
    sent = predictions(START, 300, 1)
    send(engine, sent)
    label(engine, sent, right=1.0, at=NOW)

    found = run(bench)

    judged = {
        name: point.verdict for (name, _), point in found.items() if name in ("drift_psi", "drift_ks", "drift_share", "accuracy")
    }
    assert set(judged.values()) == {Verdict.INSUFFICIENT}
    assert found["requests_per_second", ""].n_current == 1
    assert found["latency_p99_seconds", ""].verdict is Verdict.INSUFFICIENT


@pytest.mark.parametrize(("rows", "verdict"), [(1, Verdict.INSUFFICIENT), (50, Verdict.INSUFFICIENT), (150, Verdict.DRIFT)])
def test_a_reference_smaller_than_the_window_is_judged_by_its_own_size(
    engine: Engine, settings: CollectorSettings, rows: int, verdict: Verdict
) -> None:
    bench = collector(engine, settings, reference=make_rows(np.random.default_rng(0), rows))
    send(engine, predictions(START, 300, 900, income=3.0))

    found = run(bench)

    assert found["drift_ks", "income"].verdict is verdict
    assert found["drift_ks", "income"].n_reference == rows


# ---------------------------------------------------------------------------------------------- labels


def test_labels_of_another_type_count_as_wrong_and_are_named(engine: Engine, settings: CollectorSettings) -> None:
    bench = collector(engine, settings, labelled=True)
    sent = predictions(START, 300, 400)
    send(engine, sent)
    with writing(engine) as c:
        new = [Label(prediction_id=row.id, label="1.5", at=NOW) for row in sent]
        labels.record_labels(c, "churn", new, registry.LayoutLookup(c), writer="w1", bucket_seconds=60, now=NOW)

    found = run(bench)

    assert (found["accuracy", ""].value, found["accuracy", ""].verdict) == (0.0, Verdict.DRIFT)
    assert "400 of 400 labels are of no class that the model knows" in found["accuracy", ""].basis
    assert ("roc_auc", "") not in found


def test_labels_for_unknown_ids_are_kept_apart_until_their_prediction_comes(engine: Engine, settings: CollectorSettings) -> None:
    bench = collector(engine, settings)
    sent, later = predictions(START, 300, 200), predictions(START, 300, 100, seed=2)
    send(engine, sent)
    with writing(engine) as c:
        new = [Label(prediction_id=row.id, label=str(row.prediction), at=NOW) for row in (*sent, *later)]
        receipt = labels.record_labels(c, "churn", new, registry.LayoutLookup(c), writer="w1", bucket_seconds=60, now=NOW)
    assert receipt.unknown == 100
    assert run(bench)["accuracy", ""].n_current == 200

    send(engine, later)
    bench.run(AFTER + MINUTE)

    assert {point.at: point.n_current for point in bench.points("accuracy")}[NOW] == 300
    assert {point.at: point.value for point in bench.points("label_coverage")}[NOW] == 1.0


# ---------------------------------------------------------------------------------------------- time


def test_a_clock_that_jumps_back_and_forth_writes_each_window_once(engine: Engine, settings: CollectorSettings) -> None:
    bench = collector(engine, settings)
    send(engine, predictions(NOW - 10 * MINUTE, 600, 1200))

    assert bench.run(AFTER)
    assert bench.run(AFTER - timedelta(hours=3))
    assert bench.run(AFTER + MINUTE)
    assert bench.run(AFTER)
    assert bench.run(AFTER + 2 * MINUTE)

    assert [point.at for point in bench.points("requests_per_second")] == [NOW, NOW + MINUTE, NOW + 2 * MINUTE]
    assert bench.job().done_until == NOW + 2 * MINUTE
    assert bench.job().error is None


def test_predictions_and_labels_from_other_clocks_are_counted_where_they_say(engine: Engine, settings: CollectorSettings) -> None:
    """Predictions of tomorrow are in no window of today, and a label from before its prediction has no delay."""
    bench = collector(engine, settings)
    sent = predictions(START, 300, 200)
    send(engine, [*sent, *predictions(NOW + timedelta(days=1), 300, 300, seed=2)])
    label(engine, sent, right=1.0, at=START - timedelta(days=2))

    found = run(bench)

    assert found["requests_per_second", ""].n_current == 200
    assert found["data_freshness_seconds", ""].value == 0.0
    assert found["label_delay_seconds", ""].value == pytest.approx(0.1, rel=0.3)


# ---------------------------------------------------------------------------------------------- faults


class Killed(BaseException):
    """What no job catches: as the end of the process, it leaves its transaction to be rolled back."""


@dataclass(slots=True, kw_only=True)
class Interrupted:
    """The job of another, killed once its points are written and before they are committed."""

    job: object
    name: str = "statistics_5m"

    def gather(self, *arguments: object) -> Outcome:
        outcome = self.job.gather(*arguments)  # type: ignore[attr-defined]

        def write(c: object) -> None:
            outcome.write(c)
            raise Killed

        return Outcome(write=write, done_until=outcome.done_until)


def test_a_collector_killed_in_a_job_leaves_nothing_half_done(engine: Engine, settings: CollectorSettings) -> None:
    bench = collector(engine, settings)
    send(engine, predictions(START, 300, 300))
    bench.now = AFTER
    with pytest.raises(Killed):
        bench.runner.run(Interrupted(job=bench.jobs["statistics_5m"]))
    assert bench.points("requests_per_second") == []

    other = Bench(engine, settings, owner="b")
    assert not other.run(AFTER + timedelta(seconds=1))
    assert other.run(AFTER + settings.lease_time)

    assert NOW + settings.lease_time // MINUTE * MINUTE in {point.at for point in other.points("requests_per_second")}
    assert other.job().error is None


@dataclass(slots=True, kw_only=True)
class Slow:
    """A job that waits until it is let go, and counts how many of it run at a time."""

    go: threading.Event = field(default_factory=threading.Event)
    runs: int = 0
    running: int = 0
    most: int = 0
    name: str = "slow"

    def gather(self, now: datetime, previous: JobRun | None, keep: Callable[[], None]) -> Outcome | None:
        self.runs, self.running = self.runs + 1, self.running + 1
        self.most = max(self.most, self.running)
        self.go.wait(30)
        self.running -= 1
        return None


def test_a_job_that_takes_longer_than_its_interval_runs_once_at_a_time(engine: Engine, settings: CollectorSettings) -> None:
    """Of the ticks that it misses meanwhile it makes up for one, and another job keeps its own pace."""
    slow, quick = Slow(), Slow(name="quick")
    quick.go.set()
    runner = Runner(engine=engine, owner="a", lease_time=settings.lease_time)
    scheduler = make_scheduler(runner, [slow, quick], settings.model_copy(update={"collect_interval": timedelta(seconds=0.1)}))
    scheduler.start()
    try:
        eventually(lambda: quick.runs >= 5, "five runs of the quick job")
        assert slow.runs == 1
        slow.go.set()
        eventually(lambda: slow.runs >= 2, "the next run of the slow job")
    finally:
        slow.go.set()
        scheduler.shutdown()

    assert (slow.most, quick.most) == (1, 1)


def test_a_job_that_takes_longer_than_its_lease_keeps_it(engine: Engine, settings: CollectorSettings) -> None:
    bench = collector(engine, settings)
    other = Bench(engine, settings, owner="b")
    send(engine, predictions(START, 300, 300))
    statistics = bench.jobs["statistics_5m"]
    taken: list[bool] = []

    class Long:
        name = statistics.name

        def gather(self, now: datetime, previous: JobRun | None, keep: Callable[[], None]) -> Outcome | None:
            for _ in range(5):
                bench.now += settings.lease_time * 0.6
                keep()
                taken.append(other.run(bench.now))
            return statistics.gather(now, previous, keep)

    bench.now = AFTER
    assert bench.runner.run(Long())

    assert taken == [False] * 5
    assert [point.at for point in bench.points("requests_per_second")] == [NOW]
    assert (bench.job().duration_seconds or 0) > settings.lease_time.total_seconds()

"""Rules that look at more than the newest point, over points, predictions and messages in a database."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from alerts.burn_rates import Outcomes
from alerts.rule_files import DEFAULT_RULES, read_rules
from alerts.rules import Rule, parse_rules
from alerts.sources import Sources
from alerts.spending import read_spendings
from storage import jobs, outbox
from storage.engine import reading, writing
from storage.records import JobRun, OutboxItem, OutboxStatus, PredictionRow, Role
from tests.factories import NOW as HOUR
from tests.factories import make_prediction_row, record, register_model
from tests.integration.alerts.stage import Stage

MINUTE = timedelta(minutes=1)


def with_rules(stage: Stage, *rules: str) -> None:
    listed = "\n".join(f"      - {rule}" for rule in rules)
    stage.rules = parse_rules(f"groups:\n  - name: g\n    interval: 10s\n    rules:\n{listed}\n", "rules.yml")


def firing(stage: Stage) -> set[tuple[str, ...]]:
    """The alerts that fire: the rule, then the values of the labels in the order of their names."""
    rows = [row for row in stage.alerts() if row.state.value == "firing"]
    return {(row.rule, *(value for _, value in sorted(row.labels.items()))) for row in rows}


# ---------------------------------------------------------------------------------------------- earlier points


def test_some_of_the_last_points_fire_and_end(stage: Stage) -> None:
    with_rules(stage, '{alert: Some, metric: drift_psi, points: 2 of 3, when: "> 0.2"}')

    assert stage.play(0.3, 0.1, 0.1, 0.3, 0.1, 0.3, 0.1, 0.1) == ["", "", "", "", "", "f", "r", "r"]


def test_change_against_yesterday_fires(stage: Stage) -> None:
    with_rules(stage, '{alert: Fell, metric: requests_per_second, change: {against: 1d}, when: "< -50%"}')
    stage.point(10.0, name="requests_per_second", feature="")
    stage.point(10.0, name="requests_per_second", feature="", model="fraud")
    stage.wait(86_400)
    stage.point(4.0, name="requests_per_second", feature="")
    stage.point(6.0, name="requests_per_second", feature="", model="fraud")
    stage.point(0.1, name="requests_per_second", feature="", model="new")

    stage.evaluate()

    assert firing(stage) == {("Fell", "churn", "1")}
    assert stage.alerts()[0].reason == "change of the requests per second -60 % < -50 %"


def test_windows_of_all_parts_are_chosen_and_read(stage: Stage) -> None:
    with_rules(
        stage,
        '{alert: Both, all: [{metric: drift_psi, when: "> 0.2"}, {metric: drift_psi, window: 1d, when: "> 0.1"}], equal: [model]}',
    )
    stage.point(0.3, window_seconds=60)
    stage.point(0.05, window_seconds=86_400)
    stage.evaluate()
    assert firing(stage) == set()

    stage.point(0.15, window_seconds=86_400)
    stage.evaluate()

    assert firing(stage) == {("Both", "churn")}


def test_rules_that_share_a_metric_judge_what_each_selects(stage: Stage) -> None:
    with_rules(
        stage,
        '{alert: Low, metric: drift_psi, where: {model: churn}, when: "> 0.2"}',
        '{alert: High, metric: drift_psi, where: {model: churn}, when: "> 0.4"}',
        '{alert: Other, metric: drift_psi, where: {model: "f*"}, when: "> 0.2"}',
    )
    stage.point(0.3)
    stage.point(0.5, feature="income")
    stage.point(0.5, model="fraud")

    stage.evaluate()

    assert firing(stage) == {
        ("Low", "age", "churn", "1"),
        ("Low", "income", "churn", "1"),
        ("High", "income", "churn", "1"),
        ("Other", "age", "fraud", "1"),
    }


def test_metric_of_a_machine_fires_without_its_segment_being_named(stage: Stage) -> None:
    with_rules(stage, '{alert: Memory, metric: memory_percent, when: "> 90"}')
    stage.point(
        95.0, name="memory_percent", model="", version="", feature="", segment="host=web1", window_seconds=0, n_current=None
    )

    stage.evaluate()

    assert firing(stage) == {("Memory", "host=web1")}


# ---------------------------------------------------------------------------------------------- budgets


def burning(*, where: str = '{model: "*"}', objective: str = "error_rate, target: 99%", least: int = 10) -> Rule:
    text = f"{{alert: Burn, burn_rate: {{objective: {objective}}}, where: {where}, min_samples: {least}}}"
    return parse_rules(f"groups: [{{name: g, rules: [{text}]}}]", "rules.yml").rules[0]


def predictions(first: int, number: int, back: timedelta, *, failed: int = 0, **changes: object) -> list[PredictionRow]:
    """So many predictions of one minute, the first of them failed."""
    return [
        make_prediction_row(
            first + index, **{"at": HOUR - back, "status": "error" if index < failed else "ok", "latency_ms": 20.0, **changes}
        )
        for index in range(number)
    ]


def spent(
    engine: Engine, rule: Rule, rows: Sequence[PredictionRow], now: timedelta = timedelta(0)
) -> dict[str, dict[str, Outcomes]]:
    with writing(engine) as c:
        register_model(c, versions=("1", "2"))
        record(c, rows)
    with reading(engine) as c:
        (found,) = read_spendings(c, [rule], rollup=MINUTE, lag=timedelta(0), now=HOUR + now).values()
    return {"/".join(one.series.values()): {str(length): out for length, out in one.windows.items()} for one in found}


ROWS = [
    *predictions(0, 20, 2 * MINUTE, failed=5),
    *predictions(100, 10, 20 * MINUTE, failed=2, version="2"),
    *predictions(200, 30, timedelta(hours=5), failed=1),
    *predictions(300, 40, timedelta(days=2)),
    *predictions(400, 50, timedelta(days=4), failed=50),
    *predictions(500, 7, 3 * MINUTE, failed=7, role=Role.SHADOW.value),
]


def test_windows_are_exact_sums_of_what_was_answered(engine: Engine) -> None:
    found = spent(engine, burning(), ROWS)

    assert found["churn"] == {
        "0:05:00": Outcomes(total=20, failed=5),
        "0:30:00": Outcomes(total=30, failed=7),
        "1:00:00": Outcomes(total=30, failed=7),
        "2:00:00": Outcomes(total=30, failed=7),
        "6:00:00": Outcomes(total=60, failed=8),
        "1 day, 0:00:00": Outcomes(total=60, failed=8),
        "3 days, 0:00:00": Outcomes(total=100, failed=8),
    }


def test_budget_of_versions_is_counted_by_version_where_they_are_named(engine: Engine) -> None:
    found = spent(engine, burning(where='{model: churn, version: "*"}'), ROWS)

    assert {name: windows["1:00:00"] for name, windows in found.items()} == {
        "churn/1": Outcomes(total=20, failed=5),
        "churn/2": Outcomes(total=10, failed=2),
    }


def test_latency_is_counted_from_the_histogram(engine: Engine) -> None:
    rows = [*predictions(0, 20, MINUTE), *predictions(50, 5, MINUTE, latency_ms=700.0)]

    found = spent(engine, burning(objective="latency, target: 99%, threshold: 300ms"), rows)

    assert found["churn"]["1:00:00"] == Outcomes(total=25, failed=5)


def test_window_ends_at_the_last_whole_rollup(engine: Engine) -> None:
    rows = [*predictions(0, 3, timedelta(0)), *predictions(10, 4, MINUTE)]

    assert spent(engine, burning(), rows, now=timedelta(seconds=59))["churn"]["0:05:00"] == Outcomes(total=4)


def test_burning_budget_pages_and_ends_when_it_burns_no_more(stage: Stage) -> None:
    stage.now = HOUR
    stage.rules = parse_rules(
        "groups: [{name: g, interval: 10s, rules: [{alert: Burn, burn_rate: {objective: error_rate, target: 99%}, min_samples: 10}]}]",
        "rules.yml",
    )
    with writing(stage.engine) as c:
        register_model(c)
        record(c, predictions(0, 40, 2 * MINUTE, failed=20))
    stage.evaluate()
    # Ten hours of nothing but these: every window burns.
    assert firing(stage) == {("Burn", "churn", "page"), ("Burn", "churn", "ticket")}

    stage.wait(8 * 3600)
    with writing(stage.engine) as c:
        record(c, [row for back in (1, 40) for row in predictions(1000 * back, 400, back * MINUTE, at=stage.now - back * MINUTE)])
    stage.evaluate()

    assert {row.labels["severity"]: row.state.value for row in stage.alerts()} == {"page": "resolved", "ticket": "resolved"}


# ---------------------------------------------------------------------------------------------- what the service knows


def test_collector_that_stopped_is_told(stage: Stage) -> None:
    with_rules(stage, '{alert: Stopped, metric: collector_silent_seconds, when: "> 600"}')
    stage.evaluate()
    assert stage.alerts() == [], "a collector that never ran has not stopped"
    with writing(stage.engine) as c:
        jobs.record_run(c, JobRun(name="a", started_at=stage.now, succeeded_at=stage.now))
        jobs.record_run(c, JobRun(name="b", started_at=stage.now, succeeded_at=stage.now - timedelta(days=3)))

    stage.wait(600)
    stage.evaluate()
    assert firing(stage) == set()
    stage.wait(1)
    stage.evaluate()

    assert firing(stage) == {("Stopped",)}


def test_messages_that_do_not_arrive_are_told(stage: Stage) -> None:
    with_rules(stage, '{alert: Failing, metric: notifications_undelivered, when: "> 0"}')
    with writing(stage.engine) as c:
        outbox.enqueue(
            c,
            OutboxItem(
                dedup_key="k",
                channel="slack",
                receiver="r",
                kind="firing",
                payload={},
                created_at=stage.now,
                next_attempt_at=stage.now,
                status=OutboxStatus.FAILED,
            ),
        )

    stage.evaluate()

    assert firing(stage) == {("Failing", "channel=slack")}


def test_disk_of_the_home_folder_is_judged(stage: Stage, tmp_path: Path) -> None:
    with_rules(stage, '{alert: Disk, metric: disk_percent, when: "> 0"}')
    stage.sources = Sources(home=tmp_path)

    stage.evaluate()

    usage = shutil.disk_usage(tmp_path)
    (alert,) = stage.alerts()
    assert alert.value == pytest.approx(100 * usage.used / (usage.used + usage.free), abs=2)
    assert alert.labels["segment"].startswith("host=")


# ---------------------------------------------------------------------------------------------- the shipped rules


def test_shipped_rules_find_nothing_in_an_empty_database_and_judge_a_full_one(
    stage: Stage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stage.rules, stage.sources = read_rules(DEFAULT_RULES), Sources(home=tmp_path)
    # What an hour, a day or the absence of labels decides is not to be seen within half an hour; a gap needs a second metric.
    later = {"FeatureDriftOverADay", "StaleLabels", "StaleLabelsOfRegression", "SegmentGap", "SegmentErrorGap", "NoTraffic"}
    disk = {"DiskNearlyFull", "DiskFull"}
    groups = range(len(stage.rules.groups))
    with caplog.at_level(logging.ERROR):
        for group in groups:
            stage.evaluate(group)
        assert {row.rule for row in stage.alerts()} <= disk

        for _ in range(25):
            for rule in stage.rules.rules:
                if rule.name not in later:
                    _bad_point(stage, rule)
            for group in groups:
                stage.evaluate(group)
            stage.wait(60)

    fired = {row.rule for row in stage.alerts() if row.state.value == "firing"}
    judged_by_points = {rule.name for rule in stage.rules.rules if all(part.metric in _WRITTEN for part in rule.judged)}
    assert judged_by_points - fired == later
    assert caplog.records == []


_WRITTEN = frozenset(name for rule in read_rules(DEFAULT_RULES).rules for part in rule.judged for name in [part.metric]) - {
    *["collector_silent_seconds", "notifications_undelivered", "disk_percent", "rules_unjudged"],
    *["error_budget_burn", "latency_budget_burn"],
}


def _bad_point(stage: Stage, part: Rule) -> None:
    """A point beyond the bound of the part, and beyond the threshold that it brings."""
    if part.metric not in _WRITTEN:
        return
    bound = part.when.bound(0.5) or 0.0
    machine = part.metric in ("spool_oldest_seconds", "spool_bytes", "memory_percent")
    segment = "host=web1" if machine else "endpoint=127.0.0.1:8000" if part.metric == "uptime" else ""
    whole = bool(segment)
    stage.point(
        bound - 0.4 if part.when.operator.value.startswith("<") else bound * 2 + 0.4,
        name=part.metric,
        model="" if whole else "churn",
        version="" if whole else "1",
        feature="age" if part.where.get("feature") else "",
        segment=segment,
        window_seconds=0 if whole or part.metric == "data_freshness_seconds" else 60,
        threshold=0.5,
    )

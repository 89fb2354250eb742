"""The virtual clock against the service: the same points, the same rules, the same alerts and messages, on both databases."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from sqlalchemy import Engine, select

from alerts.freshness import Freshness
from alerts.rules import parse_rules
from alerts.virtual import Rehearsal
from storage import alerts, metrics
from storage.engine import reading, writing
from storage.metrics import page_of_points
from storage.records import AlertRow, MetricPoint, Verdict
from storage.schema import outbox
from tests.integration.alerts.stage import Stage

RULES = """
groups:
  - name: drift
    interval: 1m
    rules:
      - alert: FeatureDrift
        metric: drift_psi
        where: {feature: "*"}
        when: "> threshold"
        resolve_when: "< 0.8 * threshold"
        for: 3m
        keep_firing_for: 2m
        labels: {severity: warning}
      - {alert: SomeDrift, metric: drift_psi, where: {feature: "*"}, window: 1h, when: "> 0.25", points: 2 of 3}
      - {alert: Jump, metric: drift_psi, where: {feature: "*"}, when: "> 50%", change: {against: 10m}, labels: {severity: info}}
      - alert: Both
        all:
          - {metric: drift_psi, where: {feature: age}, when: "> 0.2"}
          - {metric: error_rate, when: "> 0.1"}
        equal: [model]
  - name: service
    interval: 30s
    rules:
      - {alert: Errors, metric: error_rate, where: {model: churn}, when: "> 0.1", min_samples: 50, labels: {severity: critical}}
      - {alert: Accuracy, metric: accuracy, when: "< 0.7", labels: {severity: critical}}
      - {alert: Silent, metric: error_rate, where: {model: fraud}, when: "> 2", no_data: alert}
routes:
  receiver: oncall
  group_by: [model]
  group_wait: 30s
  group_interval: 5m
  repeat_interval: 20m
  escalate: [{after: 10m, receiver: lead}]
  routes:
    - {match: {severity: info}, receiver: digest, digest: {at: ["12:40", "13:20"]}}
    - {match: {alert: SomeDrift}, receiver: muted, mute: noon, continue: true}
receivers:
  - {name: oncall, email: {to: [a@example.com]}}
  - {name: lead, email: {to: [b@example.com]}, send_resolved: false}
  - {name: digest, email: {to: [c@example.com]}}
  - {name: muted, email: {to: [d@example.com]}}
inhibit:
  - {source: {alert: Errors}, target: {alert: "*Drift"}, equal: [model]}
mute_windows:
  - {name: noon, times: [{from: "12:10", to: "12:50"}]}
"""
START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
FRESHNESS = Freshness()
TICK = timedelta(seconds=10)


def points(seed: int, minutes: int) -> Iterator[list[MetricPoint]]:
    """For each minute what the collector finds: values that wander, with gaps and windows of too little data."""
    dice = random.Random(seed)
    level = {"age": 0.15, "income": 0.2, "": 0.05}
    for minute in range(minutes):
        found = []
        for feature in ("age", "income"):
            level[feature] = min(max(level[feature] + dice.gauss(0, 0.03), 0.0), 0.5)
            if dice.random() > 0.1:
                found.append(point("drift_psi", level[feature], minute, feature=feature, window_seconds=3600, threshold=0.2))
        level[""] = min(max(level[""] + dice.gauss(0, 0.02), 0.0), 0.3)
        found.append(point("error_rate", level[""], minute, window_seconds=300, n_current=dice.choice([20, 400])))
        if minute < 30:
            found.append(point("error_rate", 0.0, minute, model="fraud", window_seconds=300, n_current=400))
        verdict = dice.choice([Verdict.OK, Verdict.INSUFFICIENT])
        found.append(point("accuracy", dice.choice([0.6, 0.8]), minute, window_seconds=3600, verdict=verdict))
        yield found


def point(name: str, value: float, minute: int, **changes: object) -> MetricPoint:
    given: dict[str, object] = {"model": "churn", "version": "1", "n_current": 400} | changes
    return MetricPoint(at=START + timedelta(minutes=minute), name=name, value=value, **given)  # type: ignore[arg-type]


def states(rows: list[AlertRow]) -> list[tuple[object, ...]]:
    return sorted(
        (row.rule, str(sorted(row.labels.items())), row.state.value, row.fired_at, row.resolved_at, row.reason) for row in rows
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_virtual_clock_does_what_the_service_does(stage: Stage, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    rules = parse_rules(RULES, "rules.yml")
    monkeypatch.setattr("tests.integration.alerts.stage.QUICK", FRESHNESS)
    stage.rules = rules
    rehearsal = Rehearsal(rules, start=START, freshness=FRESHNESS)
    told = []

    for minute, found in enumerate(points(seed, 90)):
        with writing(stage.engine) as c:
            metrics.write_points(c, found)
        rehearsal.add(found)
        for tick in range(6):
            stage.now = START + timedelta(minutes=minute) + tick * TICK
            for number in [0, 1] if tick == 0 else [1] if tick == 3 else []:
                stage.evaluate(number)
            stage.tend()
            while (due := rehearsal.due_at) is not None and due <= stage.now:
                told += rehearsal.step(due)

    with reading(stage.engine) as c:
        sent = [tuple(row) for row in c.execute(select(outbox.c.created_at, outbox.c.receiver, outbox.c.kind))]
        stored = alerts.load_alerts(c)
    assert sorted((one.at, one.receiver, one.kind.value) for one in told) == sorted(sent)
    assert states(list(rehearsal.alerts.values())) == states(stored)
    assert len(sent) > 10


def test_points_are_read_in_pages_that_tear_no_moment(engine: Engine) -> None:
    found = [one for minute in points(1, 20) for one in minute]
    with writing(engine) as c:
        metrics.write_points(c, found)

    pages = []
    at: datetime | None = START
    while at is not None:
        with reading(engine) as c:
            page, at = page_of_points(c, names=["drift_psi", "error_rate"], start=at, end=START + timedelta(minutes=15), limit=2)
        pages.append(page)

    wanted = [one for one in found if one.name != "accuracy" and one.at < START + timedelta(minutes=15)]
    read = [one for page in pages for one in page]
    assert [one.at for one in read] == [one.at for one in wanted]
    assert {(one.at, one.name, one.model, one.feature, one.value) for one in read} == {
        (one.at, one.name, one.model, one.feature, one.value) for one in wanted
    }
    ends = [(first[-1].at, second[0].at) for first, second in pairwise(pages) if first and second]
    assert all(before < after for before, after in ends)

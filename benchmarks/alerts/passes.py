"""A database with three points of each of a hundred thousand series, and one evaluation of a thousand rules over it."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, update

from alerts.dispatch import desk_for
from alerts.evaluate import evaluate_group
from alerts.observations import Freshness
from alerts.receivers import Receiver
from alerts.rules import Group, RuleSet, parse_rules
from storage import metrics
from storage.alert_batches import live_alerts
from storage.engine import create_engine, reading, writing
from storage.migrate import upgrade
from storage.records import MetricPoint
from storage.schema import metrics as table

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
METRICS, MODELS, FEATURES = 20, 50, 100
MINUTES = 3


def rules() -> RuleSet:
    """A thousand rules, each on one metric of one model."""
    texts = "\n".join(
        f"      - {{alert: R{number}M{model}, metric: metric_{number}, where: {{model: model-{model}, feature: '*'}}, window: 5m, "
        "when: '> 0.2', resolve_when: '< 0.1', labels: {severity: warning}}"
        for number in range(METRICS)
        for model in range(MODELS)
    )
    return parse_rules(f"groups:\n  - name: all\n    rules:\n{texts}\n", "benchmark.yml")


def _points(at: datetime) -> Iterator[list[MetricPoint]]:
    for number in range(METRICS):
        yield [
            MetricPoint(
                at=at,
                name=f"metric_{number}",
                value=0.05,
                model=f"model-{model}",
                version="1",
                feature=f"feature-{feature}",
                window_seconds=300,
                n_current=1000,
                threshold=0.2,
            )
            for model in range(MODELS)
            for feature in range(FEATURES)
        ]


def fill(url: str) -> dict[str, float]:
    engine = create_engine(url)
    upgrade(engine)
    for minute in range(MINUTES):
        for points in _points(NOW - timedelta(minutes=minute)):
            with writing(engine) as c:
                metrics.write_points(c, points)
    engine.dispose()
    return {}


def one_pass(url: str, problems: int, number: int) -> dict[str, float]:
    """One evaluation, ten seconds after the one before, with so many series beyond their bound."""
    engine = create_engine(url)
    _set_problems(engine, problems)
    all_rules = rules()
    desk = desk_for(all_rules, Receiver(name="oncall", slack=True), dashboard="", freshness=Freshness())
    group, now = all_rules.groups[0], NOW + timedelta(seconds=10 * number + 10)
    began, wall = time.process_time(), time.perf_counter()
    evaluation = evaluate_group(engine, group, desk, owner="benchmark", now=now)
    took, lasted = time.process_time() - began, time.perf_counter() - wall
    assert evaluation is not None
    figures = {
        "cpu_seconds": took,
        "wall_seconds": lasted,
        "transitions": sum(transition.changed for transition in evaluation.transitions),
        "live": _live(engine, group),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    engine.dispose()
    return figures


def _set_problems(engine: Engine, problems: int) -> None:
    """The newest points of so many series are above the bound, all others below."""
    newest = table.c.at == NOW
    ids = (table.c.id - 1) % (METRICS * MODELS * FEATURES)
    with writing(engine) as c:
        c.execute(update(table).where(newest).values(value=0.05))
        c.execute(update(table).where(newest, ids < problems).values(value=0.5))


def _live(engine: Engine, group: Group) -> int:
    with reading(engine) as c:
        return sum(len(rows) for rows in live_alerts(c, [rule.name for rule in group.rules]).values())

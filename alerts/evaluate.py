"""Judges a group of rules: gathers points and states, asks the pure core, and writes what came of it.

States, their log and the messages to send are written in one transaction, which holds the lease: of several engines on
one database one evaluates at a time, and none sends what another has sent.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine

from alerts.conditions import parse_condition
from alerts.dispatch import Desk, dispatch
from alerts.lifecycle import LIVE, Finding, Observation, Transition, explain, next_state
from alerts.observations import Freshness, judged_window, observe
from alerts.rules import Group, Rule, RuleSet
from alerts.wording import LABELLED
from storage import alerts, leases, metrics
from storage.engine import reading, writing
from storage.records import AlertEvent, AlertRow, MetricPoint

LEASE = "alerts"
LEASE_TIME = timedelta(seconds=15)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What an evaluation changed, and which templates failed on the way."""

    transitions: tuple[Transition, ...]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    rule: Rule | None
    transitions: list[Transition]


def evaluate_group(engine: Engine, group: Group, desk: Desk, *, owner: str, now: datetime) -> Evaluation | None:
    """Judges all rules of the group once; None where another engine holds the lease. Raises DatabaseUnavailable."""
    points = _gather(engine, group, desk.freshness, now)
    with writing(engine) as c:
        if leases.acquire(c, LEASE, owner, ttl=LEASE_TIME, now=now) is None:
            return None
        judged = [_judge(rule, points[rule.name], alerts.load_alerts(c, rule=rule.name), desk, now) for rule in group.rules]
        return _write(c, judged, desk, now)


def resolve_orphans(engine: Engine, rules: RuleSet, desk: Desk, *, owner: str, now: datetime) -> Evaluation | None:
    """Ends the alerts whose rule is no longer in the file; None where another engine holds the lease."""
    known = {rule.name for rule in rules.rules}
    with writing(engine) as c:
        if leases.acquire(c, LEASE, owner, ttl=LEASE_TIME, now=now) is None:
            return None
        orphans = [row for row in alerts.load_alerts(c, states=LIVE) if row.rule not in known]
        return _write(c, [_Judged(rule=None, transitions=[_ended(row, now)]) for row in orphans], desk, now)


def renew(engine: Engine, *, owner: str, now: datetime) -> bool:
    """Keeps the lease, or takes one that is free. False where another engine holds it."""
    with writing(engine) as c:
        return leases.acquire(c, LEASE, owner, ttl=LEASE_TIME, now=now) is not None


def give_up_lease(engine: Engine, *, owner: str, now: datetime) -> None:
    """Lets another engine go on at once, instead of after the lease has run out."""
    with writing(engine) as c:
        lease = leases.acquire(c, LEASE, owner, ttl=LEASE_TIME, now=now)
        if lease is not None:
            leases.release(c, lease)


def _gather(engine: Engine, group: Group, freshness: Freshness, now: datetime) -> dict[str, list[MetricPoint]]:
    """The newest points that each rule of the group may judge, by rule name."""
    with reading(engine) as c:
        return {rule.name: _points(c, rule, freshness, now) for rule in group.rules}


def _points(c: Connection, rule: Rule, freshness: Freshness, now: datetime) -> list[MetricPoint]:
    """The newest point of each series of the judged window; where labels decide, also the newest with enough of them."""
    window = judged_window(rule, metrics.newest_by_window(c, rule.metric) if rule.window is None else {}, freshness)
    if window is None:
        return []
    since = now - freshness.lookback(rule, window)
    points = metrics.latest_points(c, rule.metric, window_seconds=window, since=since)
    if rule.metric not in LABELLED:
        return points
    least = rule.min_samples
    return points + metrics.latest_points(
        c, rule.metric, window_seconds=window, since=since, sufficient=least is None, least_n=least
    )


def _judge(rule: Rule, points: Sequence[MetricPoint], rows: Sequence[AlertRow], desk: Desk, now: datetime) -> _Judged:
    """What becomes of the alerts of one rule. A rule that cannot be judged leaves the others alone."""
    try:
        observations: Iterable[Observation] = observe(rule, points, rows, freshness=desk.freshness, now=now)
    except Exception as error:  # noqa: BLE001  the edge of one rule: a fault in it must not stop the others
        _log.exception("The rule %s cannot be judged; its alerts follow its on_error.", rule.name)
        observations = [_failed(row, error) for row in rows if row.state in LIVE]
    known = {row.fingerprint: row for row in rows}
    found = (next_state(known.get(seen.fingerprint), seen, rule, now) for seen in observations)
    return _Judged(rule=rule, transitions=[transition for transition in found if transition is not None])


def _failed(row: AlertRow, error: Exception) -> Observation:
    reason = f"the rule cannot be judged ({type(error).__name__})"
    return Observation(fingerprint=row.fingerprint, labels=row.labels, finding=Finding.ERROR, reason=reason)


def _ended(row: AlertRow, now: datetime) -> Transition:
    seen = Observation(fingerprint=row.fingerprint, labels=row.labels, finding=Finding.GONE, reason="its rule was removed")
    transition = next_state(row, seen, _gone_rule(row), now)
    assert transition is not None  # the row is live, so that there is something to store
    return transition


def _gone_rule(row: AlertRow) -> Rule:
    never = parse_condition("> 0")
    return Rule(name=row.rule, metric="", when=never, resolve_when=never.opposite())


def _write(c: Connection, judged: Sequence[_Judged], desk: Desk, now: datetime) -> Evaluation:
    """Stores what became of the alerts and, where a problem began or ended, what follows for incidents and messages."""
    transitions = tuple(transition for one in judged for transition in one.transitions)
    for one in judged:
        for transition in one.transitions:
            _store(c, transition, one.rule, now)
    if not any(transition.fires or transition.resolves for transition in transitions):
        return Evaluation(transitions=transitions)
    return Evaluation(transitions=transitions, problems=dispatch(c, desk, now).problems)


def _store(c: Connection, transition: Transition, rule: Rule | None, now: datetime) -> None:
    row = transition.row
    alerts.save_alert(c, replace(row, suppressed=None) if transition.resolves else row)
    if transition.changed:
        alerts.add_event(c, _event(transition, rule, now))


def _event(transition: Transition, rule: Rule | None, now: datetime) -> AlertEvent:
    row = transition.row
    return AlertEvent(
        fingerprint=row.fingerprint,
        rule=row.rule,
        labels=row.labels,
        at=now,
        from_state=transition.from_state,
        to_state=row.state,
        value=row.value,
        reason=explain(transition, rule.hold if rule else timedelta(0)),
    )

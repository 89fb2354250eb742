"""Judges a group of rules: gathers points and states, asks the pure core, and writes what came of it.

States, their log and the messages to send are written in one transaction, which holds the lease: of several engines on
one database one evaluates at a time, and none sends what another has sent.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine

from alerts.conditions import parse_condition
from alerts.dispatch import Desk, dispatch
from alerts.gathering import AHEAD, gather
from alerts.lifecycle import LIVE, Finding, Observation, Transition, explain, next_state
from alerts.observations import Asked, observe
from alerts.rules import Group, Rule, RuleSet
from storage import alerts, leases
from storage.alert_batches import add_events, alerts_named, live_alerts, save_alerts
from storage.engine import reading, writing
from storage.failpoints import reach
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
    """Judges all rules of the group once; None where another engine holds the lease. Raises DatabaseUnavailable.

    What takes time comes before the transaction that writes, so that nobody waits for it.
    """
    names = [rule.name for rule in group.rules]
    answers = desk.sources.answers(group, now)
    with reading(engine) as c:
        gathered = gather(c, group, desk.freshness, desk.sources, now)
        live = live_alerts(c, names)
    reach("gathered")
    asked = replace(gathered.asked, answers=answers)
    seen = [_look(rule, gathered.points[rule.name], asked, live.get(rule.name, []), desk, now) for rule in gathered.rules]
    with writing(engine) as c:
        if leases.acquire(c, LEASE, owner, ttl=LEASE_TIME, now=now) is None:
            return None
        known = _known(c, names, seen)
        judged = [_judge(rule, found, known, now) for rule, found in zip(group.rules, seen, strict=True)]
        evaluation = _write(c, judged, desk, now)
    reach("evaluated")
    return evaluation


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
        return leases.acquire(c, LEASE, owner, ttl=LEASE_TIME, now=now, ahead=AHEAD) is not None


def give_up_lease(engine: Engine, *, owner: str, now: datetime) -> None:
    """Lets another engine go on at once, instead of after the lease has run out."""
    with writing(engine) as c:
        lease = leases.acquire(c, LEASE, owner, ttl=LEASE_TIME, now=now)
        if lease is not None:
            leases.release(c, lease)


def _look(
    rule: Rule, points: Sequence[MetricPoint], asked: Asked, rows: Sequence[AlertRow], desk: Desk, now: datetime
) -> Sequence[Observation]:
    """What the rule finds. A rule that cannot be judged leaves the others alone."""
    try:
        return observe(rule, points, rows, freshness=desk.freshness, now=now, asked=asked, all_series=False)
    except Exception as error:  # noqa: BLE001  the edge of one rule: a fault in it must not stop the others
        _log.exception("The rule %s cannot be judged; its alerts follow its on_error.", rule.name)
        return [_failed(row, error) for row in rows]


def _known(c: Connection, rules: Sequence[str], seen: Iterable[Sequence[Observation]]) -> dict[str, AlertRow]:
    """The alerts as they are now, by fingerprint: those that are live, and what is on record of those that may begin."""
    live = {row.fingerprint: row for rows in live_alerts(c, rules).values() for row in rows}
    new = [found.fingerprint for observations in seen for found in observations if found.fingerprint not in live]
    return {**live, **{row.fingerprint: row for row in alerts_named(c, new)}}


def _judge(rule: Rule, seen: Sequence[Observation], known: Mapping[str, AlertRow], now: datetime) -> _Judged:
    """What becomes of the alerts of one rule."""
    found = (next_state(known.get(one.fingerprint), one, rule, now) for one in seen)
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
    judgements = [(one.rule, transition) for one in judged for transition in one.transitions]
    transitions = tuple(transition for _, transition in judgements)
    save_alerts(c, [_stored(transition) for transition in transitions])
    add_events(c, [_event(transition, rule, now) for rule, transition in judgements if transition.changed])
    reach("alerts_saved")
    if not any(transition.fires or transition.resolves for transition in transitions):
        return Evaluation(transitions=transitions)
    return Evaluation(transitions=transitions, problems=dispatch(c, desk, now).problems)


def _stored(transition: Transition) -> AlertRow:
    """The row to store: what is over is not suppressed any more."""
    return replace(transition.row, suppressed=None) if transition.resolves else transition.row


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

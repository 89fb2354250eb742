"""How an alert goes from inactive over pending and firing to resolved, one evaluation at a time. Pure.

    inactive --breach--> pending --held for `for`--> firing --clear--> recovering --clear for `keep_firing_for`--> resolved
                         pending --not breaching--> inactive          recovering --not clear--> firing

Nothing but the stored row of the alert carries over from one evaluation to the next, so a restart forgets nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from alerts.rules import Policy, Rule
from storage.durations import format_duration
from storage.records import AlertHealth, AlertRow, AlertState

LIVE = frozenset({AlertState.PENDING, AlertState.FIRING, AlertState.RECOVERING})
"""States that every evaluation has to look at; an alert in any other has nothing to lose."""

OPEN = frozenset({AlertState.FIRING, AlertState.RECOVERING})
"""States of a problem that people were told of and that is not over."""

OUTAGE_TOLERANCE = timedelta(hours=1)
"""A pending alert that nobody evaluated for longer than this begins again: that it held all the time is a guess."""


class Finding(StrEnum):
    """What an evaluation finds out about one series."""

    BREACH = "breach"
    CLEAR = "clear"
    BETWEEN = "between"
    NO_DATA = "no data"
    MISSING = "missing"
    ERROR = "error"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one evaluation of a rule found for one label set.

    ``threshold`` is the bound that ``value`` was held against, ``at`` the end of the point's window. BETWEEN is neither
    breaching nor good enough to resolve; MISSING is a series that others of its kind outlived and that may come back;
    GONE ends the alert.
    """

    fingerprint: str
    labels: Mapping[str, str]
    finding: Finding
    value: float | None = None
    threshold: float | None = None
    window_seconds: int | None = None
    n_current: int | None = None
    at: datetime | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """The row to store after an evaluation, and the state that the alert had before it."""

    row: AlertRow
    from_state: AlertState

    @property
    def changed(self) -> bool:
        return self.row.state is not self.from_state

    @property
    def fires(self) -> bool:
        """Whether a problem began that people have to be told of."""
        return self.row.state is AlertState.FIRING and self.from_state not in OPEN

    @property
    def resolves(self) -> bool:
        """Whether a problem that people were told of is over."""
        return self.row.state is AlertState.RESOLVED and self.from_state in OPEN


def next_state(previous: AlertRow | None, observation: Observation, rule: Rule, now: datetime) -> Transition | None:
    """What becomes of an alert; None where there is nothing to store (no problem before, and none now)."""
    state = AlertState.INACTIVE if previous is None else previous.state
    finding = _under_policy(observation.finding, rule)
    if state not in LIVE and finding is not Finding.BREACH:
        return None
    row = _observed(previous, observation, rule, now)
    return Transition(row=_moved(row, finding, rule, _since(previous, rule, now), now), from_state=state)


def _under_policy(finding: Finding, rule: Rule) -> Finding | None:
    """No data and errors as the rule wants them to count; None keeps the state as it is."""
    if finding is Finding.MISSING:
        return None
    if finding in (Finding.NO_DATA, Finding.ERROR):
        policy = rule.no_data if finding is Finding.NO_DATA else rule.on_error
        return {Policy.ALERT: Finding.BREACH, Policy.OK: Finding.CLEAR, Policy.KEEP: None}[policy]
    return finding


def _observed(previous: AlertRow | None, observation: Observation, rule: Rule, now: datetime) -> AlertRow:
    """The row with what was seen just now. Where nothing was seen, the last value stays."""
    row = previous or AlertRow(
        fingerprint=observation.fingerprint, rule=rule.name, labels=dict(observation.labels), state=AlertState.INACTIVE
    )
    row = replace(
        row,
        health=_health(observation.finding),
        reason=observation.reason,
        evaluated_at=now,
        last_point_at=observation.at or row.last_point_at,
        window_seconds=observation.window_seconds or row.window_seconds,
    )
    if observation.value is None:
        return row
    return replace(row, value=observation.value, threshold=observation.threshold, n_current=observation.n_current)


def _health(finding: Finding) -> AlertHealth:
    if finding in (Finding.NO_DATA, Finding.MISSING):
        return AlertHealth.NO_DATA
    return AlertHealth.ERROR if finding is Finding.ERROR else AlertHealth.OK


def _since(previous: AlertRow | None, rule: Rule, now: datetime) -> datetime:
    """Since when a pending alert has been pending: from now on where it was long not looked at, or the clock was put back."""
    if previous is None or previous.pending_at is None or previous.state is not AlertState.PENDING:
        return now
    unseen = now - (previous.evaluated_at or previous.pending_at)
    return now if unseen > max(OUTAGE_TOLERANCE, 3 * rule.interval) else min(previous.pending_at, now)


def _moved(row: AlertRow, finding: Finding | None, rule: Rule, since: datetime, now: datetime) -> AlertRow:
    if finding is None:
        return row
    if finding is Finding.GONE:
        return _given_up(row) if row.state is AlertState.PENDING else _resolved(row, now)
    if row.state in OPEN:
        return _open(row, finding, rule, now)
    return _held(row, since, rule, now) if finding is Finding.BREACH else _given_up(row)


def _held(row: AlertRow, since: datetime, rule: Rule, now: datetime) -> AlertRow:
    """A breach of an alert that is not open: pending, or firing once it has held long enough."""
    if now - since < rule.hold:
        return replace(row, state=AlertState.PENDING, pending_at=since)
    return replace(
        row, state=AlertState.FIRING, pending_at=since, fired_at=now, recovering_at=None, resolved_at=None, acked_by=None
    )


def _given_up(row: AlertRow) -> AlertRow:
    """A pending alert whose breach did not last: what it was before, so that its last problem stays on record.

    Since when that one had been pending was overwritten; the time when it fired stands for it.
    """
    if row.resolved_at is None:
        return replace(row, state=AlertState.INACTIVE, pending_at=None)
    return replace(row, state=AlertState.RESOLVED, pending_at=row.fired_at)


def _open(row: AlertRow, finding: Finding, rule: Rule, now: datetime) -> AlertRow:
    if finding is not Finding.CLEAR:
        return replace(row, state=AlertState.FIRING, recovering_at=None)
    since = min(row.recovering_at or now, now)  # the clock may have been put back
    if now - since >= rule.keep_firing_for:
        return _resolved(row, now)
    return replace(row, state=AlertState.RECOVERING, recovering_at=since)


def _resolved(row: AlertRow, now: datetime) -> AlertRow:
    return replace(row, state=AlertState.RESOLVED, recovering_at=None, resolved_at=now)


def explain(transition: Transition, rule_hold: timedelta) -> str:
    """One sentence for the log of changes: why the alert is in its new state."""
    row, reason = transition.row, transition.row.reason
    if transition.fires and rule_hold > timedelta(0):
        return f"{reason}, for {format_duration(rule_hold)} or longer"
    if row.state is AlertState.FIRING and transition.from_state is AlertState.RECOVERING:
        return f"{reason}: it came back before it was resolved"
    return reason

"""What rules would have told over points of the past: when, whom, of which incident, and how much that is in a week. Pure.

``alerts.virtual`` plays the points on their own clock. What rests on more than points cannot be played, and is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from alerts.freshness import Freshness
from alerts.receivers import Receiver
from alerts.route_reports import channels_of
from alerts.rules import Rule, RuleSet
from alerts.virtual import Rehearsal, Sent
from alerts.virtual_points import PointHistory
from alerts.wording import OWN
from storage.records import MetricPoint

WEEK = timedelta(days=7)

ASSUMED = (
    "nobody had silenced, acknowledged or confirmed anything",
    "an alert that fired before the start begins at the start",
    "labels that came late count from the end of their window on, since only the last value of a window is kept",
)
"""What a replay supposes, whatever the rules are."""

Pages = Callable[[frozenset[str], datetime, datetime], Iterable[Sequence[MetricPoint]]]
"""Gives the points of these metrics in ``[start, end)``, by time, in pieces that fit in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One message to one receiver: the numbers of its alerts that are new, still fire and are over."""

    at: datetime
    receiver: str
    kind: str
    incident: int
    title: str
    severity: str
    new: int
    still: int
    ended: int
    is_page: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one receiver would have got, and what that makes in a week."""

    receiver: str
    channels: tuple[str, ...]
    messages: int
    pages: int
    messages_per_week: float
    pages_per_week: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What came of one rules file. ``first`` is the first point there was, ``left_out`` the rules that cannot be replayed, and why."""

    source: str
    start: datetime
    end: datetime
    first: datetime | None
    told: tuple[Told, ...]
    receivers: tuple[Load, ...]
    left_out: tuple[str, ...]
    points: int
    evaluations: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"assumed": list(ASSUMED)}


def replay(
    rules: RuleSet,
    pages: Pages,
    *,
    start: datetime,
    end: datetime,
    freshness: Freshness,
    fallback: Receiver,
    warm_up: timedelta = timedelta(0),
    passed: Callable[[datetime], None] | None = None,
) -> Replay:
    """What the rules would have told in ``[start, end)``.

    ``fallback`` is told where the file names nobody. Points of ``warm_up`` before the start are known at the start, as far
    back as rules look (``looks_back``). ``passed`` hears how far the clock is.
    """
    played, left_out = playable(rules)
    rehearsal = Rehearsal(played, start=start, freshness=freshness, fallback=fallback)
    told: list[Told] = []
    first: datetime | None = None
    known = 0
    for page in pages(rehearsal.history.metrics, start - warm_up, end):
        for point in page:
            # A point is there as soon as the collector can have computed it.
            told += _run(rehearsal, min(point.at + freshness.window_lag, end), passed)
            rehearsal.add([point])
        first = first or next((point.at for point in page), None)
        known += len(page)
    told += _run(rehearsal, end, passed)
    return Replay(
        source=rules.source,
        start=start,
        end=end,
        first=first,
        told=tuple(told),
        receivers=_loads(told, rehearsal, start if first is None else max(start, first), end),
        left_out=left_out,
        points=known,
        evaluations=rehearsal.evaluations,
    )


def _run(rehearsal: Rehearsal, until: datetime, passed: Callable[[datetime], None] | None) -> list[Told]:
    """Everything that is due before ``until``."""
    told = []
    while (due := rehearsal.due_at) is not None and due < until:
        told += [_told(message) for message in rehearsal.step(due)]
        if passed is not None:
            passed(due)
    return told


def _told(sent: Sent) -> Told:
    return Told(
        at=sent.at,
        receiver=sent.receiver,
        kind=sent.kind.value,
        incident=sent.incident,
        title=sent.title,
        severity=sent.severity,
        new=len(sent.new),
        still=len(sent.still),
        ended=len(sent.ended),
        is_page=sent.is_page,
    )


def _loads(told: Sequence[Told], rehearsal: Rehearsal, start: datetime, end: datetime) -> tuple[Load, ...]:
    weeks = max((end - start) / WEEK, 1e-9)
    loads = []
    for receiver in rehearsal.routing.receivers:
        messages = [one for one in told if one.receiver == receiver.name]
        pages = sum(one.is_page for one in messages)
        loads.append(
            Load(
                receiver=receiver.name,
                channels=channels_of(receiver),
                messages=len(messages),
                pages=pages,
                messages_per_week=round(len(messages) / weeks, 1),
                pages_per_week=round(pages / weeks, 1),
            )
        )
    return tuple(loads)


def playable(rules: RuleSet) -> tuple[RuleSet, tuple[str, ...]]:
    """The rules that points alone decide, and for each of the others why it is left out."""
    reasons = {rule.name: reason for rule in rules.rules if (reason := _why_not(rule))}
    groups = tuple(
        replace(group, rules=tuple(rule for rule in group.rules if rule.name not in reasons))
        for group in rules.groups
        if any(rule.name not in reasons for rule in group.rules)
    )
    return replace(rules, groups=groups), tuple(f"{name}: {reason}" for name, reason in reasons.items())


def _why_not(rule: Rule) -> str:
    if rule.burn_rate is not None:
        return "it counts predictions, of which only points are kept as they were"
    if rule.sources:
        return "it asks Prometheus, whose answers are not kept"
    own = sorted({part.metric for part in rule.judged if part.metric in OWN})
    return f"{', '.join(own)} is measured by the alerts service itself and not kept" if own else ""


def looks_back(rules: RuleSet, lengths: Callable[[str], Iterable[int]], freshness: Freshness) -> timedelta:
    """How far before the start points matter. ``lengths`` gives the lengths of window, in seconds, that a metric has."""
    history = PointHistory(playable(rules)[0].rules, freshness)
    return max((history.back(metric, seconds) for metric in history.metrics for seconds in lengths(metric)), default=timedelta(0))

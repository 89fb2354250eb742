"""Rules, incidents and their messages on a virtual clock: what the service would do, without a database and without waiting.

It calls the same pure functions in the same order as the service: ``observe``, ``next_state``, ``plan``. Who plays it says
which points there are; when something is due follows from the rules and the routes. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from alerts.calendars import open_windows
from alerts.freshness import Freshness
from alerts.grouping import FIRING
from alerts.incidents import Notice, Situation, plan
from alerts.inhibition import inhibited
from alerts.lifecycle import LIVE, OPEN, Transition, next_state
from alerts.messages import Kind
from alerts.observations import Asked, observe
from alerts.receivers import Receiver
from alerts.rules import Group, Rule, RuleSet
from alerts.virtual_points import PointHistory
from storage.records import AlertRow, Incident, MetricPoint

PAGING = frozenset({"critical", "page"})
"""Severities that wake somebody."""

NOBODY = Receiver(name="default")
"""Told where a file names no receiver."""

TICK = timedelta(seconds=1)
"""How often the service looks: nothing is done twice within it."""

_CALLS = frozenset({Kind.FIRING, Kind.UPDATE, Kind.REPEAT, Kind.ESCALATION})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One message to one receiver: when, of which incident, and of which alerts (by fingerprint) in which part of it."""

    at: datetime
    receiver: str
    kind: Kind
    incident: int
    title: str
    severity: str
    route: str
    new: tuple[str, ...] = ()
    still: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()

    @property
    def is_page(self) -> bool:
        """Whether it calls somebody: something critical fires. An update that tells of ends only does not."""
        return self.severity in PAGING and self.kind in _CALLS and (self.kind is not Kind.UPDATE or bool(self.new))


class Rehearsal:
    """The state of one run. ``alerts`` and ``open`` are what the tables of the same names would hold."""

    def __init__(self, rules: RuleSet, *, start: datetime, freshness: Freshness | None = None, fallback: Receiver = NOBODY) -> None:
        self.rules = rules
        self.routing = rules.routing.with_fallback(fallback)
        self.freshness = freshness or Freshness()
        self.history = PointHistory(rules.rules, self.freshness)
        self.alerts: dict[str, AlertRow] = {}
        self.open: dict[int, Incident] = {}
        self.evaluations = 0
        self._due = {group.name: start for group in rules.groups}
        self._live: dict[str, dict[str, AlertRow]] = defaultdict(dict)
        self._firing: dict[str, AlertRow] = {}
        self._windows: frozenset[str] = frozenset()
        self._incidents = 0
        self._floor = start

    def add(self, points: Iterable[MetricPoint]) -> None:
        """Makes points known, in the order of their time."""
        self.history.add(points)

    @property
    def due_at(self) -> datetime | None:
        """When there is something to do next; None where the file has neither rules nor anything left to tell."""
        timers = [incident.due_at for incident in self.open.values() if incident.due_at is not None]
        return max(min([*self._due.values(), *timers]), self._floor) if self._due or timers else None

    def step(self, now: datetime, asked: Asked | None = None) -> list[Sent]:
        """Everything that is due by now: groups are judged, incidents brought up to date. Returns what is told."""
        self._floor = now + TICK
        sent: list[Sent] = []
        for group in self.rules.groups:
            if self._due[group.name] <= now:
                self._due[group.name] = now + group.interval
                if self._judge(group, asked or Asked(), now):
                    sent += self._tell(now)
        windows = open_windows(self.routing, now)
        timers = any(incident.due_at is not None and incident.due_at <= now for incident in self.open.values())
        if timers or windows != self._windows:
            self._windows = windows
            sent += self._tell(now)
        return sent

    def _judge(self, group: Group, asked: Asked, now: datetime) -> bool:
        """Judges the rules of a group; whether a problem began or ended."""
        found = [transition for rule in group.rules for transition in self._transitions(rule, asked, now)]
        for transition in found:
            self._store(transition)
        self.evaluations += len(group.rules)
        return any(transition.fires or transition.resolves for transition in found)

    def _transitions(self, rule: Rule, asked: Asked, now: datetime) -> list[Transition]:
        live = list(self._live[rule.name].values())
        resolved = self.history.resolved(rule)
        points = self.history.of(resolved, now)
        seen = observe(resolved, points, live, freshness=self.freshness, now=now, asked=asked, all_series=False)
        found = (next_state(self.alerts.get(one.fingerprint), one, rule, now) for one in seen)
        return [transition for transition in found if transition is not None]

    def _store(self, transition: Transition) -> None:
        row = transition.row
        self.alerts[row.fingerprint] = row
        for kept, states in ((self._live[row.rule], LIVE), (self._firing, OPEN)):
            if row.state in states:
                kept[row.fingerprint] = row
            else:
                kept.pop(row.fingerprint, None)

    def _tell(self, now: datetime) -> list[Sent]:
        told = {one for incident in self.open.values() for one, heard in incident.told.items() if heard == FIRING}
        situation = Situation(
            routing=self.routing,
            alerts=self._firing | {one: self.alerts[one] for one in told - self._firing.keys()},
            incidents=list(self.open.values()),
            suppressed=inhibited(self._firing.values(), self.routing.inhibit),
            now=now,
        )
        return [message for step in plan(situation).steps for message in self._carry_out(step.incident, step.notices, now)]

    def _carry_out(self, incident: Incident, notices: Sequence[Notice], now: datetime) -> list[Sent]:
        if not incident.id:
            self._incidents += 1
            incident = replace(incident, id=self._incidents)
        if incident.closed_at is None:
            self.open[incident.id] = incident
        else:
            self.open.pop(incident.id, None)
        return [_sent(incident, notice, receiver, now) for notice in notices for receiver in notice.recipients]


def _sent(incident: Incident, notice: Notice, receiver: str, now: datetime) -> Sent:
    return Sent(
        at=now,
        receiver=receiver,
        kind=notice.kind,
        incident=incident.id,
        title=incident.title,
        severity=incident.severity,
        route=incident.route,
        new=notice.new,
        still=notice.still,
        ended=notice.ended,
    )

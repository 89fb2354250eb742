"""A virtual clock for incidents: what happens to alerts at which second, and who is told of what at which second.

Plans are made as the service makes them: when something changed and when something is due.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from alerts.calendars import open_windows
from alerts.incidents import Notice, Plan, Situation, plan
from alerts.inhibition import inhibited
from alerts.lifecycle import OPEN
from alerts.routing import Routing
from alerts.rules import parse_rules
from alerts.silencing import silenced
from storage.records import AlertRow, AlertState, Incident, Silence

START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
RECEIVERS = """
receivers:
  - {name: oncall, email: {to: [oncall@example.com]}}
  - {name: boss, email: {to: [boss@example.com]}}
  - {name: head, email: {to: [head@example.com]}}
  - {name: quiet, email: {to: [quiet@example.com]}, send_resolved: false}
"""
ROUTES = "routes: {receiver: oncall, group_wait: 30s, group_interval: 5m, repeat_interval: 4h}"


def routing(text: str = ROUTES) -> Routing:
    return parse_rules(f"groups: []\n{text}\n{RECEIVERS}", "rules.yml").routing


@dataclass
class Timeline:
    """The world of one test. ``heard`` is what was told: the second, and the notice as a text."""

    routing: Routing = field(default_factory=routing)
    start: datetime = START
    every_second: bool = False
    alerts: dict[str, AlertRow] = field(default_factory=dict)
    incidents: dict[int, Incident] = field(default_factory=dict)
    silences: list[Silence] = field(default_factory=list)
    lifted: dict[int, datetime] = field(default_factory=dict)
    heard: list[tuple[int, str]] = field(default_factory=list)
    notices: list[tuple[Incident, Notice]] = field(default_factory=list)
    suppressed: dict[str, str] = field(default_factory=dict)
    second: int = 0

    @property
    def now(self) -> datetime:
        return self.start + timedelta(seconds=self.second)

    # ------------------------------------------------------------------------------------------ what happens

    def fire(self, *names: str, **labels: str) -> None:
        """Alerts begin to fire; their name is the name of their rule, and they are of the model churn unless told otherwise."""
        for name in names:
            had = self.alerts.get(name)
            self.alerts[name] = AlertRow(
                fingerprint=name,
                rule=name.rstrip("0123456789"),
                labels={"model": "churn", **labels} if had is None or labels else had.labels,
                state=AlertState.FIRING,
                fired_at=self.now,
            )

    def end(self, *names: str) -> None:
        for name in names:
            self.alerts[name] = replace(self.alerts[name], state=AlertState.RESOLVED, resolved_at=self.now)

    def acknowledge(self, by: str = "ada") -> None:
        for incident in self.open():
            self.incidents[incident.id] = replace(incident, acked_at=self.now, acked_by=by)

    def silence(self, seconds: int, **matchers: str) -> None:
        self.silences.append(
            Silence(
                matchers={name: [pattern] for name, pattern in matchers.items()},
                starts_at=self.now,
                ends_at=self.now + timedelta(seconds=seconds),
                author="ada",
                comment="",
                created_at=self.now,
                id=len(self.silences) + 1,
            )
        )

    def route(self, text: str) -> None:
        """Another rules file comes into force."""
        self.routing = routing(text)

    # ------------------------------------------------------------------------------------------ and what follows

    def run(self, *script: tuple[int, Callable[[], object]], until: int) -> list[tuple[int, str]]:
        """Plays the script to the second ``until``; returns what was told."""
        waiting = sorted(script, key=lambda entry: entry[0])
        seen: object = None
        for second in range(self.second, until + 1):
            self.second = second
            happened = False
            while waiting and waiting[0][0] == second:
                waiting.pop(0)[1]()
                happened = True
            now_seen = (self._in_force(), open_windows(self.routing, self.now))
            if happened or self.every_second or now_seen != seen or self._is_due():
                self.plan()
            seen = now_seen
        assert not waiting, "the script goes on after the end"
        return self.heard

    def plan(self) -> Plan:
        found = plan(self.situation())
        for step in found.steps:
            self._store(step.incident, step.notices)
            if step.lifted:
                self.lifted[step.incident.id] = self.now
        self.suppressed = dict(found.suppressed)
        return found

    def situation(self) -> Situation:
        rows = [row for row in self.alerts.values() if row.state in OPEN]
        told = {one for incident in self.open() for one, heard in incident.told.items() if heard == "firing"}
        return Situation(
            routing=self.routing,
            alerts={name: row for name, row in self.alerts.items() if row.state in OPEN or name in told},
            incidents=self.open(),
            suppressed=inhibited(rows, self.routing.inhibit) | silenced(rows, self._in_force()),
            now=self.now,
            unacked_since=self.lifted,
        )

    def open(self) -> list[Incident]:
        return [incident for incident in self.incidents.values() if incident.closed_at is None]

    def _store(self, incident: Incident, notices: Iterable[Notice]) -> None:
        incident = incident if incident.id else replace(incident, id=len(self.incidents) + 1)
        self.incidents[incident.id] = incident
        for notice in notices:
            self.notices.append((incident, notice))
            self.heard.append((self.second, as_text(notice)))

    def _in_force(self) -> list[Silence]:
        return [silence for silence in self.silences if silence.starts_at <= self.now < silence.ends_at]

    def _is_due(self) -> bool:
        return any(incident.due_at is not None and incident.due_at <= self.now for incident in self.open())


def as_text(notice: Notice) -> str:
    """``firing to oncall: +a b -c``: a is new, b still fires, c is over."""
    alerts = [*(f"+{one}" for one in notice.new), *notice.still, *(f"-{one}" for one in notice.ended)]
    return f"{notice.kind} to {' and '.join(notice.recipients)}: {' '.join(sorted(alerts, key=lambda one: one.strip('+-')))}"

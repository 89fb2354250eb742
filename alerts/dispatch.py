"""Brings incidents up to date: gathers what the plan needs, and stores incidents and messages as the plan says.

In the transaction of the evaluation that changed the alerts, or in one of its own when something is due (``alerts.timers``):
what is decided and what will be told of it are stored together or not at all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy import Connection

from alerts.cards import Card
from alerts.causes import likely_cause
from alerts.channels.channel import Address
from alerts.grouping import FIRING, route_of
from alerts.incident_messages import MOST_LINES, Sources, incident_message
from alerts.incidents import Notice, Plan, Situation, Step, plan
from alerts.inhibition import inhibited
from alerts.lifecycle import OPEN
from alerts.messages import Kind, Message
from alerts.observations import Freshness
from alerts.receivers import Receiver
from alerts.routes import Recipient, outbox_item, outbox_key, recipients_of
from alerts.routing import Routing
from alerts.rules import Rule, RuleSet
from alerts.silencing import silenced
from alerts.sources import Sources as Askable
from alerts.titles import worst_first
from storage import alerts, deployments, incidents, outbox, silences
from storage.failpoints import reach
from storage.records import AlertEvent, AlertRow, Deployment, Incident, OutboxItem, Silence

Evidence = Callable[[Connection, Sequence[AlertRow], datetime], Card | None]
"""What fills the cause card of a message: given its firing alerts, the worst first. A fault in it costs the card, not the message."""

MOST_CARDS = 100
"""Messages of one dispatch that get a cause card: a flood must not keep the next evaluation waiting."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What evaluations and incidents need beside the database: who is told, of which rules, and how old a point may be."""

    routing: Routing
    rules: Mapping[str, Rule]
    dashboard: str
    freshness: Freshness
    evidence: Evidence | None = None
    sources: Askable = field(default_factory=Askable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatched:
    """Whether incidents were looked at, how many messages went into the outbox, and which templates failed on the way."""

    looked: bool = False
    messages: int = 0
    problems: tuple[str, ...] = field(default=())


def desk_for(
    rules: RuleSet,
    fallback: Receiver,
    *,
    dashboard: str,
    freshness: Freshness,
    evidence: Evidence | None = None,
    sources: Askable | None = None,
) -> Desk:
    """The desk of a rules file. ``fallback`` is the receiver made of the settings, for a file that names none."""
    return Desk(
        routing=rules.routing.with_fallback(fallback),
        rules={rule.name: rule for rule in rules.rules},
        dashboard=dashboard,
        freshness=freshness,
        evidence=evidence,
        sources=sources or Askable(),
    )


def dispatch(c: Connection, desk: Desk, now: datetime) -> Dispatched:
    """Everything that is due of every incident. The caller holds the lease."""
    in_force = silences.active(c, now)
    situation = _situation(c, desk.routing, in_force, now)
    found = plan(situation)
    before = {incident.id: incident for incident in situation.incidents}
    clerk = _Clerk(c=c, desk=desk, sources=Sources(alerts=situation.alerts, rules=desk.rules, dashboard=desk.dashboard, now=now))
    stored = [clerk.carry_out(step, before.get(step.incident.id)) for step in found.steps]
    for incident in stored:
        clerk.tell_acknowledgement(incident)
    _mark(c, situation, found, stored, in_force)
    reach("dispatched")
    return Dispatched(looked=True, messages=clerk.messages, problems=tuple(dict.fromkeys(clerk.problems)))


def _situation(c: Connection, routing: Routing, in_force: Sequence[Silence], now: datetime) -> Situation:
    rows = {row.fingerprint: row for row in alerts.load_alerts(c, states=OPEN)}
    unfinished = incidents.load_open(c, lock=True)
    told = {one for incident in unfinished for one, heard in incident.told.items() if heard == FIRING}
    suppressed = inhibited(rows.values(), routing.inhibit) | silenced(rows.values(), in_force)
    ended = alerts.load_some(c, told - rows.keys())
    return Situation(
        routing=routing,
        alerts=rows | {row.fingerprint: row for row in ended},
        incidents=unfinished,
        suppressed=suppressed,
        now=now,
        unacked_since=incidents.lifted_at(c, [incident.id for incident in unfinished]) if _escalates(routing) else {},
    )


def _escalates(routing: Routing) -> bool:
    return any(route.escalate for route in routing.root.walk())


# ---------------------------------------------------------------------------------------------- messages


@dataclass(slots=True, kw_only=True)
class _Clerk:
    """Stores what became of incidents, and puts their messages into the outbox."""

    c: Connection
    desk: Desk
    sources: Sources
    messages: int = 0
    cards: int = 0
    problems: list[str] = field(default_factory=list)
    histories: dict[str, list[Deployment]] = field(default_factory=dict)

    def carry_out(self, step: Step, before: Incident | None) -> Incident:
        incident = step.incident
        if step.notices and (before is None or not before.number):
            incident = replace(incident, cause=self._cause(incident))
        if incident != before:
            incident = incidents.save(self.c, incident)
        if step.lifted and before is not None:
            incidents.record_lift(self.c, before, now=self.sources.now)
        for notice in step.notices:
            self._tell(incident, notice)
        return incident

    def tell_acknowledgement(self, incident: Incident) -> None:
        """Says to all that have heard of the incident that somebody takes care of it: once for each acknowledgement."""
        if incident.acked_at is None or incident.closed_at is not None or not incident.number:
            return
        if route_of(incident, self.desk.routing).digest is not None:
            return  # such a route is quiet between its digests
        firing = tuple(one for one, heard in incident.told.items() if heard == FIRING)
        notice = Notice(kind=Kind.ACKNOWLEDGED, number=incident.number, recipients=tuple(incident.recipients), still=firing)
        self._tell(incident, notice, key=f"incident:{incident.id}:acknowledged {incident.acked_at.isoformat()}")

    def _tell(self, incident: Incident, notice: Notice, key: str = "") -> None:
        """The notice to each recipient through each of its channels; with ``key`` only to those that have not got it before."""
        first_ever = notice.number == 1 and not key
        items = () if first_ever else incidents.first_messages(self.c, incident.id)
        earlier = {(item.receiver, item.channel): item for item in items}
        made: dict[bool, Message] = {}
        for name in notice.recipients:
            receiver = self.desk.routing.receiver(name)
            ends = receiver is None or receiver.send_resolved
            for recipient in recipients_of(receiver) if receiver else _as_before(name, earlier.values()):
                if key and outbox.get_item(self.c, outbox_key(key, name, recipient.channel)):
                    continue
                if ends not in made:
                    made[ends] = self._message(incident, notice, ends=ends)
                answered = earlier.get((name, recipient.channel))
                message = replace(made[ends], answers=_message_key(answered) if answered else "", key=key or made[ends].key)
                item = outbox_item(message, recipient, self.sources.now, incident_id=incident.id)
                self.messages += outbox.enqueue(self.c, item)

    def _message(self, incident: Incident, notice: Notice, *, ends: bool) -> Message:
        message, problems = incident_message(incident, notice, self.sources, ends=ends)
        self.problems += problems
        return replace(message, card=self._card(notice))

    def _card(self, notice: Notice) -> Card | None:
        firing = [self.sources.alerts[one] for one in (*notice.new, *notice.still) if one in self.sources.alerts]
        if self.desk.evidence is None or not firing or notice.kind is Kind.ACKNOWLEDGED or self.cards >= MOST_CARDS:
            return None
        self.cards += 1
        try:
            with self.c.begin_nested():  # PostgreSQL gives up a whole transaction for one failed statement
                return self.desk.evidence(self.c, worst_first(firing)[:MOST_LINES], self.sources.now)
        except Exception:  # noqa: BLE001  evidence is an extra: without it the message goes out all the same
            _log.exception("The evidence of an incident could not be gathered; its message goes out without.")
            return None

    def _cause(self, incident: Incident) -> str | None:
        rows = [self.sources.alerts[one] for one in incident.told if one in self.sources.alerts]
        models = {row.labels.get("model", "") for row in rows}
        model = models.pop() if len(models) == 1 else ""
        if model and model not in self.histories:
            self.histories[model] = deployments.history(self.c, model)
        return likely_cause(rows, self.histories[model], self.sources.now) if model else None


def _message_key(item: OutboxItem) -> str:
    return item.dedup_key.removesuffix(f":{item.receiver}:{item.channel}")


def _as_before(name: str, earlier: Iterable[OutboxItem]) -> list[Recipient]:
    """A receiver that the file no longer has, at the addresses where it was told first."""
    return [
        Recipient(receiver=name, channel=item.channel, address=Address.from_json(item.payload["address"]))
        for item in earlier
        if item.receiver == name
    ]


# ---------------------------------------------------------------------------------------------- alerts


def _mark(c: Connection, situation: Situation, found: Plan, stored: Sequence[Incident], in_force: Sequence[Silence]) -> None:
    """Says in ``alerts`` why nobody is told of an alert, and who takes care of it; the log of changes says the former, too."""
    acked = _acknowledgements(stored)
    marks = []
    for row in situation.alerts.values():
        if row.state not in OPEN:
            continue
        why, who = found.suppressed.get(row.fingerprint), acked.get(row.fingerprint)
        if why != row.suppressed:
            alerts.add_event(c, _suppression(row, why, in_force, situation.now))
        if (why, who) != (row.suppressed, row.acked_by):
            marks.append((row.fingerprint, why, who))
    alerts.mark(c, marks)


def _acknowledgements(stored: Sequence[Incident]) -> dict[str, str]:
    """Who takes care of each alert: of several, whoever said so last."""
    acked = [incident for incident in stored if incident.acked_at is not None and incident.closed_at is None]
    acked.sort(key=lambda incident: (incident.acked_at, incident.id))
    return {one: incident.acked_by or "" for incident in acked for one, heard in incident.told.items() if heard == FIRING}


def _suppression(row: AlertRow, why: str | None, in_force: Sequence[Silence], now: datetime) -> AlertEvent:
    about = {f"silence {silence.id}": f" (by {silence.author}: {silence.comment})" for silence in in_force}
    reason = f"nobody is told: {why}{about.get(why, '')}" if why else f"no longer suppressed by {row.suppressed}"
    return AlertEvent(
        fingerprint=row.fingerprint,
        rule=row.rule,
        labels=row.labels,
        at=now,
        from_state=row.state,
        to_state=row.state,
        value=row.value,
        reason=reason,
    )

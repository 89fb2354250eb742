"""Which incidents there are and what is told of them now: from alerts, routes, suppression and the clock. Pure.

An alert belongs to the incident of each route that it finds its way to, together with the alerts that agree with it in
the labels that the route groups by. Of an incident people hear first after ``group_wait``, of changes ``group_interval``
after they heard last, of nothing new after ``repeat_interval``, and of its end at once.

What is stored of an incident is all that carries over from one plan to the next, so that a restart forgets nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from alerts.calendars import muted, next_digest, open_windows
from alerts.lifecycle import OPEN
from alerts.messages import Kind
from alerts.routing import Route, Routing
from alerts.titles import incident_title, worst_first, worst_severity
from storage.matchers import labels_for_matching
from storage.records import AlertRow, Incident

LONGEST_KEY = 500
FIRING, RESOLVED = "firing", "resolved"
"""What people heard last of an alert: the values of ``Incident.told``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that a plan rests on.

    ``alerts`` by fingerprint: the open ones, and those that open incidents have told of. ``suppressed`` says of alerts,
    by fingerprint, why nobody is told of them (silences, inhibition). ``unacked_since`` says of incidents whose
    acknowledgement was lifted when that was.
    """

    routing: Routing
    alerts: Mapping[str, AlertRow]
    incidents: Sequence[Incident]
    suppressed: Mapping[str, str]
    now: datetime
    unacked_since: Mapping[int, datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One message to send, to each of ``recipients``: the ``number``-th of its incident, and the alerts it is about."""

    kind: Kind
    number: int
    recipients: tuple[str, ...]
    new: tuple[str, ...] = ()
    still: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()

    @property
    def alerts(self) -> tuple[str, ...]:
        return (*self.new, *self.still, *self.ended)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What becomes of an incident (``id`` 0 for a new one). ``lifted``: a new alert ended its acknowledgement."""

    incident: Incident
    notices: tuple[Notice, ...] = ()
    lifted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to store and to send. ``suppressed`` says of open alerts why nobody is told of them now, by fingerprint."""

    steps: tuple[Step, ...]
    suppressed: Mapping[str, str]


def plan(situation: Situation) -> Plan:
    """What becomes of every incident now, the open ones first, and which are new."""
    situation = replace(situation, incidents=[_not_ahead(incident, situation.now) for incident in situation.incidents])
    windows = open_windows(situation.routing, situation.now)
    places = _moved_in(_places(situation), situation.incidents)
    open_keys = {incident.key for incident in situation.incidents}
    mutes = {key: muted(place.route, windows) for key, place in places.items()}
    steps = []
    for incident in situation.incidents:
        place = places.get(incident.key) or _Place(route=_route_of(incident, situation.routing), labels={}, members=[])
        steps.append(_advance(incident, place.route, _standing(incident, place, muted(place.route, windows), situation), situation))
    for key, place in places.items():
        if key in open_keys or mutes[key]:
            continue
        news = [one for one in place.members if one not in situation.suppressed]
        if news:
            place = replace(place, members=news)
            incident = _opened(key, place, situation)
            steps.append(_advance(incident, place.route, _standing(incident, place, None, situation), situation))
    return Plan(steps=tuple(steps), suppressed=_suppressed(situation, places, mutes))


def _not_ahead(incident: Incident, now: datetime) -> Incident:
    """The incident with no time later than now: a clock that was put back must not stop its timers until it has caught up."""
    if max(incident.opened_at, incident.told_at or now) <= now:
        return incident
    return replace(incident, opened_at=min(incident.opened_at, now), told_at=incident.told_at and min(incident.told_at, now))


# ---------------------------------------------------------------------------------------------- which incident


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """An incident that is, or would be: its route, the labels that it groups by, and the open alerts that belong to it."""

    route: Route
    labels: Mapping[str, str]
    members: list[str]


def incident_key(route: Route, alert: AlertRow) -> tuple[str, dict[str, str]]:
    """The name of the incident of a route that an alert belongs to, and the labels that it is made of.

    The receiver is part of it: a route is named by its place in the file, and another file may have another one there.
    """
    labels = labels_for_matching(alert.rule, alert.labels)
    if route.digest is not None:
        return f"{route.path}:{route.receiver}:", {}
    if route.group_by is None:
        return f"{route.path}:{route.receiver}:{alert.fingerprint}", labels
    group = {name: labels[name] for name in route.group_by if labels.get(name)}
    named = ",".join(f"{name}={value.replace('%', '%25').replace(',', '%2C')}" for name, value in group.items())
    if len(named) > LONGEST_KEY:  # an index of PostgreSQL takes no more than about 2,700 bytes
        named = f"{named[:100]}…{hashlib.sha256(named.encode('utf-8', 'replace')).hexdigest()[:32]}"
    return f"{route.path}:{route.receiver}:{named}", group


def _places(situation: Situation) -> dict[str, _Place]:
    """Where the open alerts belong, by the key of the incident."""
    places: dict[str, _Place] = {}
    for alert in situation.alerts.values():
        if alert.state not in OPEN:
            continue
        for route in situation.routing.root.find(labels_for_matching(alert.rule, alert.labels)):
            key, labels = incident_key(route, alert)
            places.setdefault(key, _Place(route=route, labels=labels, members=[])).members.append(alert.fingerprint)
    return places


def _moved_in(places: dict[str, _Place], incidents: Iterable[Incident]) -> dict[str, _Place]:
    """The places without alerts that their receiver has heard of through an incident where they no longer belong.

    The routes of the file were changed meanwhile. Nobody is told anew because of that.
    """
    told = set()
    for incident in incidents:
        here = set(places[incident.key].members) if incident.key in places else set()
        told |= {(one, incident.receiver) for one, heard in incident.told.items() if heard == FIRING and one not in here}
    if not told:
        return places
    return {
        key: replace(place, members=[one for one in place.members if (one, place.route.receiver) not in told])
        for key, place in places.items()
    }


def _route_of(incident: Incident, routing: Routing) -> Route:
    """The incident's route; where the file has it no more, one that has nothing but the clock of the root."""
    known = next(
        (route for route in routing.root.walk() if (route.path, route.receiver) == (incident.route, incident.receiver)), None
    )
    plain = replace(routing.root, path=incident.route, receiver=incident.receiver, routes=(), escalate=(), digest=None)
    return known or replace(plain, mute=(), only=())


def _opened(key: str, place: _Place, situation: Situation) -> Incident:
    rows = [situation.alerts[one] for one in place.members]
    return Incident(
        key=key,
        route=place.route.path,
        receiver=place.route.receiver,
        labels=dict(place.labels),
        title=incident_title(rows),
        severity=worst_severity(rows),
        opened_at=situation.now,
    )


# ---------------------------------------------------------------------------------------------- how it stands


@dataclass(frozen=True, slots=True, kw_only=True)
class _Standing:
    """The alerts of an incident: those to tell of, those told of that still fire, those told of that ended.

    ``audible`` says whether there is one among ``still`` that nothing suppresses: else there are no reminders.
    """

    new: tuple[str, ...]
    still: tuple[str, ...]
    ended: tuple[str, ...]
    audible: bool


def _standing(incident: Incident, place: _Place, mute: str | None, situation: Situation) -> _Standing:
    told = {one for one, heard in incident.told.items() if heard == FIRING}
    still = tuple(one for one in incident.told if one in told and _is_open(situation.alerts.get(one)))
    members = (one for one in place.members if one not in told and one not in situation.suppressed)
    return _Standing(
        new=() if mute else tuple(members),
        still=still,
        ended=tuple(one for one in incident.told if one in told and not _is_open(situation.alerts.get(one))),
        audible=not mute and any(one not in situation.suppressed for one in still),
    )


def _is_open(alert: AlertRow | None) -> bool:
    return alert is not None and alert.state in OPEN


def _suppressed(situation: Situation, places: Mapping[str, _Place], mutes: Mapping[str, str | None]) -> dict[str, str]:
    """Why nobody is told: a silence or another alert, or that all of an alert's routes are muted."""
    found: dict[str, str] = {}
    heard: set[str] = set()
    for key, place in places.items():
        mute = mutes[key]
        if mute is None:
            heard.update(place.members)
        else:
            found |= dict.fromkeys((one for one in place.members if one not in found), mute)
    found = {one: why for one, why in found.items() if one not in heard}
    return found | {one: why for one, why in situation.suppressed.items() if _is_open(situation.alerts.get(one))}


# ---------------------------------------------------------------------------------------------- what is told


def _advance(incident: Incident, route: Route, standing: _Standing, situation: Situation) -> Step:
    if not incident.number and not standing.new:
        return Step(incident=_closed(incident, situation.now))  # it ended, or was suppressed, before anybody heard of it
    if route.digest is not None:
        return _at_digest(incident, route, standing, situation)
    if not incident.number:
        return _begin(incident, route, standing, situation)
    if not standing.new and not standing.still:
        return _end(incident, Kind.RESOLVED, standing, situation)
    return _go_on(incident, route, standing, situation)


def _begin(incident: Incident, route: Route, standing: _Standing, situation: Situation) -> Step:
    due = incident.opened_at + route.group_wait
    if situation.now < due:
        return Step(incident=replace(incident, due_at=due))
    step = _tell(incident, Kind.FIRING, standing, situation)
    return _escalated(step, route, standing, situation)


def _go_on(incident: Incident, route: Route, standing: _Standing, situation: Situation) -> Step:
    step = Step(incident=incident)
    change = _change_due(incident, route, standing, situation)
    repeat = _repeat_due(incident, route, standing)
    if _is_due(change, situation.now) or _is_due(repeat, situation.now):
        kind = Kind.UPDATE if standing.new or standing.ended else Kind.REPEAT
        step = _tell(incident, kind, standing, situation)
        change = None
    return _escalated(step, route, standing, situation, change)


def _end(incident: Incident, kind: Kind, standing: _Standing, situation: Situation) -> Step:
    step = _tell(incident, kind, standing, situation)
    return replace(step, incident=_closed(step.incident, situation.now))


def _at_digest(incident: Incident, route: Route, standing: _Standing, situation: Situation) -> Step:
    """A digest says what fires, and what ended since the last one; while it is acknowledged only if something changed."""
    assert route.digest is not None
    waits = replace(incident, due_at=next_digest(route.digest, situation.now))
    if not _is_due(incident.due_at, situation.now):
        return Step(incident=waits)
    if not standing.new and not standing.still:
        return _end(incident, Kind.DIGEST, standing, situation)
    changed = standing.new or standing.ended
    if not changed and (incident.acked_at or not standing.audible):
        return Step(incident=waits)
    return _tell(waits, Kind.DIGEST, standing, situation)


def _tell(incident: Incident, kind: Kind, standing: _Standing, situation: Situation) -> Step:
    """The notice, and the incident after it. Ends alone are not told to receivers that do not want to hear of ends."""
    heard = _with(incident.recipients, [incident.receiver])
    only_ends = not standing.new and bool(standing.ended)
    recipients = [name for name in heard if not only_ends or _wants_ends(name, situation.routing)]
    told = incident.told | dict.fromkeys(standing.new, FIRING) | dict.fromkeys(standing.ended, RESOLVED)
    if not recipients:
        return Step(incident=replace(incident, told=told))
    lifted = bool(standing.new) and incident.acked_at is not None
    rows = [situation.alerts[one] for one in (*standing.new, *standing.still)]
    after = replace(
        incident,
        number=incident.number + 1,
        told=told,
        told_at=situation.now,
        recipients=heard,
        title=incident_title(worst_first(rows)) if rows else incident.title,
        severity=worst_severity(rows) if rows else incident.severity,
    )
    if lifted:
        after = replace(after, acked_at=None, acked_by=None, ack_note=None)
    notice = Notice(
        kind=kind,
        number=after.number,
        recipients=tuple(recipients),
        new=standing.new,
        still=standing.still,
        ended=standing.ended,
    )
    return Step(incident=after, notices=(notice,), lifted=lifted)


def _escalated(step: Step, route: Route, standing: _Standing, situation: Situation, change: datetime | None = None) -> Step:
    """The step with the escalation that is due beside it, and when the incident has to be looked at next."""
    incident = step.incident
    still = (*standing.new, *standing.still) if step.notices else standing.still
    audible = standing.audible or bool(step.notices and standing.new)
    after = replace(standing, new=(), still=still, ended=(), audible=audible)
    since = situation.now if step.lifted else situation.unacked_since.get(incident.id, incident.opened_at)
    if since > situation.now:
        since = incident.told_at or situation.now  # the clock was put back since
    waiting = route.escalate[incident.escalated :] if audible and incident.acked_at is None else ()
    due = [one for one in waiting if since + one.after <= situation.now]
    notices = step.notices
    if due:
        told = _with([], [one.receiver for one in due])
        incident = replace(
            incident,
            number=incident.number + 1,
            escalated=incident.escalated + len(due),
            recipients=_with(incident.recipients, told),
        )
        notices = (*notices, Notice(kind=Kind.ESCALATION, number=incident.number, recipients=tuple(told), still=still))
    later = [since + one.after for one in waiting[len(due) :]]
    moments = [change, _repeat_due(incident, route, after), *later]
    return replace(step, incident=replace(incident, due_at=min(filter(None, moments), default=None)), notices=notices)


def _change_due(incident: Incident, route: Route, standing: _Standing, situation: Situation) -> datetime | None:
    """When a change is told: ``group_interval`` after the last message; a new alert also waits for others of its kind."""
    clock = (incident.told_at or incident.opened_at) + route.group_interval
    began = [situation.alerts[one].fired_at or situation.now for one in standing.new]
    waits = [max(clock, at + route.group_wait) if at <= situation.now else clock for at in began]  # one that is ahead waits no more
    moments = [min(waits)] if waits else []
    return min([*moments, *([clock] if standing.ended else [])], default=None)


def _repeat_due(incident: Incident, route: Route, standing: _Standing) -> datetime | None:
    if incident.acked_at is not None or not standing.audible:
        return None
    return (incident.told_at or incident.opened_at) + route.repeat_interval


def _is_due(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and moment <= now


def _closed(incident: Incident, now: datetime) -> Incident:
    return replace(incident, closed_at=now, due_at=None)


def _with(names: Sequence[str], more: Iterable[str]) -> list[str]:
    return list(dict.fromkeys([*names, *more]))


def _wants_ends(name: str, routing: Routing) -> bool:
    receiver = routing.receiver(name)
    return receiver is None or receiver.send_resolved

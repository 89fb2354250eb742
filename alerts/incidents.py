"""Which incidents there are and what is told of them now: from alerts, routes, suppression and the clock. Pure.

An alert belongs to the incident of each route that it finds its way to, together with the alerts that agree with it in
the labels that the route groups by. Of an incident people hear first after ``group_wait``, of changes ``group_interval``
after they heard last, of nothing new after ``repeat_interval``, and of its end at once.

What is stored of an incident is all that carries over from one plan to the next, so that a restart forgets nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from alerts.calendars import muted, next_digest, open_windows
from alerts.grouping import FIRING, RESOLVED, Place, places_of, route_of, without_moved
from alerts.lifecycle import OPEN
from alerts.messages import Kind
from alerts.routing import Route, Routing
from alerts.titles import incident_title, worst_first, worst_severity
from storage.records import AlertRow, Incident


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
    windows = open_windows(situation.routing, situation.now)
    places = without_moved(places_of(situation.alerts.values(), situation.routing), situation.incidents)
    open_keys = {incident.key for incident in situation.incidents}
    mutes = {key: muted(place.route, windows) for key, place in places.items()}
    steps = []
    for incident in situation.incidents:
        place = places.get(incident.key) or Place(route=route_of(incident, situation.routing), labels={}, members=[])
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


# ---------------------------------------------------------------------------------------------- how it stands


def _opened(key: str, place: Place, situation: Situation) -> Incident:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Standing:
    """The alerts of an incident: those to tell of, those told of that still fire, those told of that ended.

    ``audible`` says whether there is one among ``still`` that nothing suppresses: else there are no reminders.
    """

    new: tuple[str, ...]
    still: tuple[str, ...]
    ended: tuple[str, ...]
    audible: bool


def _standing(incident: Incident, place: Place, mute: str | None, situation: Situation) -> _Standing:
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


def _suppressed(situation: Situation, places: Mapping[str, Place], mutes: Mapping[str, str | None]) -> dict[str, str]:
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
    incident = _not_ahead(incident, situation.now)
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
    began = [min(situation.alerts[one].fired_at or situation.now, situation.now) for one in standing.new]
    moments = [max(clock, min(began) + route.group_wait)] if began else []
    return min([*moments, *([clock] if standing.ended else [])], default=None)


def _repeat_due(incident: Incident, route: Route, standing: _Standing) -> datetime | None:
    if incident.acked_at is not None or not standing.audible:
        return None
    return (incident.told_at or incident.opened_at) + route.repeat_interval


def _is_due(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and moment <= now


def _not_ahead(incident: Incident, now: datetime) -> Incident:
    """Where the clock was put back, times in the future count as now: nobody waits for a day that was never there."""
    told_at = incident.told_at and min(incident.told_at, now)
    return replace(incident, opened_at=min(incident.opened_at, now), told_at=told_at)


def _closed(incident: Incident, now: datetime) -> Incident:
    return replace(incident, closed_at=now, due_at=None)


def _with(names: Sequence[str], more: Iterable[str]) -> list[str]:
    return list(dict.fromkeys([*names, *more]))


def _wants_ends(name: str, routing: Routing) -> bool:
    receiver = routing.receiver(name)
    return receiver is None or receiver.send_resolved

"""Which incident an alert belongs to: by its routes, and by the labels that they group by. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from alerts.lifecycle import OPEN
from alerts.routing import Route, Routing
from storage.matchers import labels_for_matching
from storage.records import AlertRow, Incident

LONGEST_KEY = 500
FIRING, RESOLVED = "firing", "resolved"
"""What people heard last of an alert: the values of ``Incident.told``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
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


def places_of(alerts: Iterable[AlertRow], routing: Routing) -> dict[str, Place]:
    """Where the open alerts belong, by the key of the incident."""
    places: dict[str, Place] = {}
    for alert in alerts:
        if alert.state not in OPEN:
            continue
        for route in routing.root.find(labels_for_matching(alert.rule, alert.labels)):
            key, labels = incident_key(route, alert)
            places.setdefault(key, Place(route=route, labels=labels, members=[])).members.append(alert.fingerprint)
    return places


def without_moved(places: dict[str, Place], incidents: Iterable[Incident]) -> dict[str, Place]:
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


def route_of(incident: Incident, routing: Routing) -> Route:
    """The incident's route; where the file has it no more, one that has nothing but the clock of the root."""
    known = next(
        (route for route in routing.root.walk() if (route.path, route.receiver) == (incident.route, incident.receiver)), None
    )
    plain = replace(routing.root, path=incident.route, receiver=incident.receiver, routes=(), escalate=(), digest=None)
    return known or replace(plain, mute=(), only=())

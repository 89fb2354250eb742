"""Incidents: what people are told of together, from its first alert to its end."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from storage import audit
from storage.records import AuditEntry, Incident
from storage.rows import columns_of, values_of
from storage.schema import incidents

_COLUMNS = columns_of(incidents, Incident)


def save(c: Connection, incident: Incident) -> Incident:
    """Stores an incident, a new one (``id`` 0) with an id of its own. There is at most one open incident of a key."""
    row = values_of(incident, without=("id",)) | {"open_key": incident.key if incident.closed_at is None else None}
    if incident.id == 0:
        return replace(incident, id=c.execute(insert(incidents).values(row).returning(incidents.c.id)).scalar_one())
    c.execute(update(incidents).where(incidents.c.id == incident.id).values(row))
    return incident


def load_open(c: Connection) -> list[Incident]:
    """The incidents that are not over, oldest first."""
    query = select(*_COLUMNS).where(incidents.c.open_key.is_not(None)).order_by(incidents.c.id)
    return [Incident(**row) for row in c.execute(query).mappings()]


def get(c: Connection, incident_id: int) -> Incident | None:
    """One incident, open or over."""
    row = c.execute(select(*_COLUMNS).where(incidents.c.id == incident_id)).mappings().one_or_none()
    return None if row is None else Incident(**row)


def list_incidents(
    c: Connection, *, since: datetime | None = None, ids: Collection[int] | None = None, limit: int = 200
) -> list[Incident]:
    """The newest incidents first; with ``since``, those that were open at that time or began later."""
    query = select(*_COLUMNS).order_by(incidents.c.id.desc()).limit(limit)
    if since is not None:
        query = query.where(incidents.c.closed_at.is_(None) | (incidents.c.closed_at >= since))
    if ids is not None:
        query = query.where(incidents.c.id.in_(list(ids)))
    return [Incident(**row) for row in c.execute(query).mappings()]


def acknowledge(c: Connection, incident_id: int, *, by: str, note: str, now: datetime) -> Incident | None:
    """Somebody takes care of an open incident: repeats and escalation stop. None where there is no such open one.

    An incident that was acknowledged before keeps its first acknowledgement, so that a button pressed twice changes nothing.
    """
    mine = (incidents.c.id == incident_id, incidents.c.open_key.is_not(None), incidents.c.acked_at.is_(None))
    taken = update(incidents).where(*mine).values(acked_at=now, acked_by=by, ack_note=note or None)
    row = c.execute(taken.returning(*_COLUMNS)).mappings().one_or_none()
    if row is None:
        found = get(c, incident_id)
        return found if found is not None and found.closed_at is None else None
    audit.record(c, AuditEntry(at=now, actor=by, action="acknowledge", target=f"incident {incident_id}", reason=note, details={}))
    return Incident(**row)

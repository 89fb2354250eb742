"""Incidents: what people are told of together, from its first alert to its end."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, func, insert, select, update

from storage import audit
from storage.records import AuditEntry, Incident, OutboxItem, OutboxStatus
from storage.rows import columns_of, values_of
from storage.schema import audit as audit_table
from storage.schema import incidents, outbox

_COLUMNS = columns_of(incidents, Incident)
_ENGINE = "alerts"
_LIFT = "lift acknowledgement"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """Of the open incidents: when the next is due, and which are acknowledged since when."""

    due_at: datetime | None
    acked: tuple[tuple[int, datetime], ...]


def save(c: Connection, incident: Incident) -> Incident:
    """Stores an incident, a new one (``id`` 0) with an id of its own. There is at most one open incident of a key."""
    row = values_of(incident, without=("id",)) | {"open_key": incident.key if incident.closed_at is None else None}
    if incident.id == 0:
        return replace(incident, id=c.execute(insert(incidents).values(row).returning(incidents.c.id)).scalar_one())
    c.execute(update(incidents).where(incidents.c.id == incident.id).values(row))
    return incident


def load_open(c: Connection, *, lock: bool = False) -> list[Incident]:
    """The incidents that are not over, oldest first; with ``lock`` nobody acknowledges them before the transaction ends."""
    query = select(*_COLUMNS).where(incidents.c.open_key.is_not(None)).order_by(incidents.c.id)
    if lock:
        query = query.with_for_update()
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


def outlook(c: Connection) -> Outlook:
    """What tells, without reading the incidents, whether one of them has to be looked at."""
    mine = incidents.c.open_key.is_not(None)
    due_at = c.execute(
        select(incidents.c.due_at).where(mine, incidents.c.due_at.is_not(None)).order_by(incidents.c.due_at).limit(1)
    )
    acked = select(incidents.c.id, incidents.c.acked_at).where(mine, incidents.c.acked_at.is_not(None)).order_by(incidents.c.id)
    return Outlook(due_at=due_at.scalar_one_or_none(), acked=tuple((row.id, row.acked_at) for row in c.execute(acked)))


def first_messages(c: Connection, incident_id: int) -> list[OutboxItem]:
    """The first message of an incident to each receiver through each channel: what later ones continue."""
    first = select(func.min(outbox.c.id)).where(outbox.c.incident_id == incident_id).group_by(outbox.c.receiver, outbox.c.channel)
    query = select(*columns_of(outbox, OutboxItem)).where(outbox.c.id.in_(first)).order_by(outbox.c.id)
    return [OutboxItem(**{**row, "status": OutboxStatus(row["status"])}) for row in c.execute(query).mappings()]


def record_lift(c: Connection, incident: Incident, *, now: datetime) -> None:
    """Keeps on record that a new alert ended the acknowledgement of the incident (as it was before)."""
    details = {"acked_by": incident.acked_by, "acked_at": None if incident.acked_at is None else incident.acked_at.isoformat()}
    entry = AuditEntry(
        at=now, actor=_ENGINE, action=_LIFT, target=_target(incident.id), reason="a new alert came in", details=details
    )
    audit.record(c, entry)


def lifted_at(c: Connection, ids: Collection[int]) -> dict[int, datetime]:
    """When the acknowledgement of each of these incidents was lifted last; those that never had one are left out."""
    targets = {_target(one): one for one in ids}
    if not targets:
        return {}
    lifts = select(audit_table.c.target, func.max(audit_table.c.at)).group_by(audit_table.c.target)
    rows = c.execute(lifts.where(audit_table.c.action == _LIFT, audit_table.c.target.in_(targets)))
    return {targets[target]: at for target, at in rows}


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
    audit.record(c, AuditEntry(at=now, actor=by, action="acknowledge", target=_target(incident_id), reason=note, details={}))
    return Incident(**row)


def _target(incident_id: int) -> str:
    return f"incident {incident_id}"

"""Silences: times in which nobody is told of matching alerts. Each has an end, an author and a reason."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from storage import audit
from storage.records import AuditEntry, Silence
from storage.rows import columns_of, values_of
from storage.schema import silences

_COLUMNS = columns_of(silences, Silence)


def add(c: Connection, silence: Silence) -> Silence:
    """Stores a silence and returns it with its id. Raises ValueError where it has no matchers, no author, or no end after its start."""
    if not silence.matchers:
        raise ValueError("a silence without matchers would hide every alert; name at least one label")
    if silence.ends_at <= silence.starts_at:
        raise ValueError("a silence has to end after it starts")
    if not silence.author.strip():
        raise ValueError("a silence needs an author")
    row = values_of(silence, without=("id",))
    stored = replace(silence, id=c.execute(insert(silences).values(row).returning(silences.c.id)).scalar_one())
    _audit(c, stored, "silence", silence.author, silence.created_at)
    return stored


def end(c: Connection, silence_id: int, *, by: str, now: datetime) -> Silence | None:
    """Ends a silence now, or one that has yet to begin before it does; None where there is none that could be ended."""
    live = update(silences).where(silences.c.id == silence_id, silences.c.ends_at > now).values(ends_at=now, ended_by=by)
    row = c.execute(live.returning(*_COLUMNS)).mappings().one_or_none()
    if row is None:
        return None
    ended = Silence(**row)
    _audit(c, ended, "unsilence", by, now)
    return ended


def active(c: Connection, now: datetime) -> list[Silence]:
    """The silences that are in force."""
    query = select(*_COLUMNS).where(silences.c.starts_at <= now, silences.c.ends_at > now).order_by(silences.c.id)
    return [Silence(**row) for row in c.execute(query).mappings()]


def list_silences(c: Connection, *, since: datetime | None = None, limit: int = 200) -> list[Silence]:
    """The newest silences first; with ``since``, those that end later than that."""
    query = select(*_COLUMNS).order_by(silences.c.id.desc()).limit(limit)
    if since is not None:
        query = query.where(silences.c.ends_at > since)
    return [Silence(**row) for row in c.execute(query).mappings()]


def _audit(c: Connection, silence: Silence, action: str, actor: str, at: datetime) -> None:
    details = {"matchers": silence.matchers, "ends_at": silence.ends_at.isoformat()}
    entry = AuditEntry(at=at, actor=actor, action=action, target=f"silence {silence.id}", reason=silence.comment, details=details)
    audit.record(c, entry)

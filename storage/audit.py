"""Who did what, when and why; entries are only ever added."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select

from storage.records import AuditEntry
from storage.rows import columns_of, values_of
from storage.schema import audit


def record(c: Connection, entry: AuditEntry) -> None:
    """Adds an entry."""
    c.execute(insert(audit).values(values_of(entry)))


def entries(c: Connection, *, target: str | None = None, limit: int = 100) -> list[AuditEntry]:
    """The newest entries first, of one target (such as a model's name) or of all."""
    query = select(*columns_of(audit, AuditEntry)).order_by(audit.c.id.desc()).limit(limit)
    if target is not None:
        query = query.where(audit.c.target == target)
    return [AuditEntry(**row) for row in c.execute(query).mappings()]

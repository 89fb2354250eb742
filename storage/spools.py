"""How far each writer's spool has been uploaded; saved in the transaction that holds the rows."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select

from storage.dialects import upsert
from storage.schema import spools


def load_position(c: Connection, writer: str) -> tuple[str, int] | None:
    """The segment and the offset in bytes up to which the writer's records are in the database."""
    row = c.execute(select(spools.c.segment, spools.c.offset).where(spools.c.writer == writer)).one_or_none()
    return None if row is None else (row.segment, row.offset)


def save_position(c: Connection, writer: str, segment: str, offset: int, now: datetime) -> None:
    """Remembers the position; it stands when the transaction commits."""
    upsert(c, spools, [{"writer": writer, "segment": segment, "offset": offset, "updated_at": now}], key=["writer"])

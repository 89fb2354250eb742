"""The time as the database has it, to be held against this machine's."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection, func, select


def database_now(c: Connection) -> datetime:
    """The time on the database's server; SQLite has no server, so this process's own."""
    if c.dialect.name == "sqlite":
        return datetime.now(UTC)
    now: datetime = c.execute(select(func.clock_timestamp())).scalar_one()
    return now.astimezone(UTC)

"""How many messages do not arrive, channel by channel."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, and_, case, func, or_, select

from storage.records import OutboxStatus
from storage.schema import outbox

ATTEMPTS = 3
"""A message that still waits after so many attempts is not merely late."""


def undelivered_by_channel(c: Connection, *, since: datetime, seen_since: datetime) -> dict[str, int]:
    """By channel, the messages given up ``since`` and those that wait after several attempts.

    Every channel that got a message after ``seen_since`` is there, also with none.
    """
    failed = and_(outbox.c.status == OutboxStatus.FAILED.value, outbox.c.created_at >= since)
    stuck = and_(outbox.c.status == OutboxStatus.WAITING.value, outbox.c.attempts >= ATTEMPTS)
    number = func.sum(case((or_(failed, stuck), 1), else_=0)).label("number")
    recent = outbox.c.created_at >= seen_since
    found = select(outbox.c.channel, number).where(or_(recent, stuck)).group_by(outbox.c.channel).order_by(outbox.c.channel)
    return {row.channel: int(row.number) for row in c.execute(found)}

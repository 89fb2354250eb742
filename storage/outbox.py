"""Messages on their way to a channel, written in the transaction that changes the state they tell of.

A sender claims messages for a while, sends them, and then marks them; a sender that dies leaves claims that run out, so
a message is sent at least once. ``attempts`` counts the attempts that ended; waiting for a held channel is none.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, RowMapping, func, or_, select, update

from storage.dialects import insert_new
from storage.records import OutboxItem, OutboxStatus
from storage.rows import columns_of, values_of
from storage.schema import outbox

_COLUMNS = columns_of(outbox, OutboxItem)
_FREE: dict[str, Any] = {"claimed_by": None, "claimed_until": None}


def enqueue(c: Connection, item: OutboxItem) -> bool:
    """Adds a message; False where one with the same ``dedup_key`` was added before, whatever became of it."""
    return insert_new(c, outbox, values_of(item, without=("id",)), key=["dedup_key"])


def claim_due(
    c: Connection,
    *,
    owner: str,
    now: datetime,
    hold: timedelta,
    limit: int,
    only: Collection[str] = (),
    but: Collection[str] = (),
) -> list[OutboxItem]:
    """Claims messages that are due, the longest due first; nobody else gets them before ``now + hold``.

    ``only`` of these channels, or of all ``but`` those, where there are any.
    """
    channels = [outbox.c.channel.in_(list(only))] if only else [outbox.c.channel.not_in(list(but))] if but else []
    due = (
        select(outbox.c.id)
        .where(
            outbox.c.status == OutboxStatus.WAITING.value,
            outbox.c.next_attempt_at <= now,
            or_(outbox.c.claimed_until.is_(None), outbox.c.claimed_until <= now),
            *channels,
        )
        .order_by(outbox.c.next_attempt_at, outbox.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")  # PostgreSQL may run a plain subquery anew for each row, and then takes more than the limit
    )
    claim = (
        update(outbox)
        .where(outbox.c.id.in_(select(due.c.id)))
        .values(claimed_by=owner, claimed_until=now + hold)
        .returning(*_COLUMNS)
    )
    items = [_item(row) for row in c.execute(claim).mappings()]
    return sorted(items, key=lambda item: (item.next_attempt_at, item.id))


def bring_back(c: Connection, now: datetime, *, ahead: timedelta = timedelta(minutes=5)) -> None:
    """Makes messages due that were written later than now: the clock was put back since. A claim of that time runs out."""
    late = now + ahead
    written = (outbox.c.status == OutboxStatus.WAITING.value, outbox.c.created_at > late)
    c.execute(update(outbox).where(*written).values(created_at=now, next_attempt_at=now))
    claimed = (outbox.c.status == OutboxStatus.WAITING.value, outbox.c.claimed_until > late)
    c.execute(update(outbox).where(*claimed).values(**_FREE))


def claim_held(
    c: Connection, channel: str, receiver: str, *, owner: str, now: datetime, hold: timedelta, limit: int, untried: bool = False
) -> list[OutboxItem]:
    """Claims the messages to one receiver that are due after they were held or failed, in the order they were written.

    With ``untried`` also those that nobody has tried to send.
    """
    due = (
        select(outbox.c.id)
        .where(
            outbox.c.channel == channel,
            outbox.c.receiver == receiver,
            outbox.c.status == OutboxStatus.WAITING.value,
            outbox.c.next_attempt_at <= now,
            *([] if untried else [outbox.c.last_error.is_not(None)]),
            or_(outbox.c.claimed_until.is_(None), outbox.c.claimed_until <= now),
        )
        .order_by(outbox.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    claim = (
        update(outbox)
        .where(outbox.c.id.in_(select(due.c.id)))
        .values(claimed_by=owner, claimed_until=now + hold)
        .returning(*_COLUMNS)
    )
    return sorted((_item(row) for row in c.execute(claim).mappings()), key=lambda item: item.id)


def due_at(c: Connection, channel: str, receiver: str, now: datetime, *, enough: int) -> int:
    """How many messages to one receiver are due; not counted further than ``enough``."""
    due = select(outbox.c.id).where(
        outbox.c.channel == channel,
        outbox.c.receiver == receiver,
        outbox.c.status == OutboxStatus.WAITING.value,
        outbox.c.next_attempt_at <= now,
    )
    return c.scalar(select(func.count()).select_from(due.limit(enough).subquery())) or 0


def mark_merged(c: Connection, item_ids: Collection[int], *, now: datetime, message_id: str | None) -> None:
    """The messages were told as part of another one, whose name at the channel is ``message_id``."""
    told = {"status": OutboxStatus.MERGED.value, "sent_at": now, "message_id": message_id, "last_error": None}
    waiting = (outbox.c.id.in_(list(item_ids)), outbox.c.status == OutboxStatus.WAITING.value)
    c.execute(update(outbox).where(*waiting).values(**told, **_FREE))


def mark_sent(c: Connection, item_id: int, *, now: datetime, message_id: str | None = None) -> None:
    """The channel took the message. ``message_id`` is its name there, for later updates."""
    sent = {"status": OutboxStatus.SENT.value, "sent_at": now, "message_id": message_id, "last_error": None}
    c.execute(update(outbox).where(outbox.c.id == item_id).values(attempts=outbox.c.attempts + 1, **sent, **_FREE))


def retry_at(c: Connection, item_id: int, *, at: datetime, error: str) -> None:
    """The attempt failed; the next one is due at ``at``."""
    _change_waiting(c, item_id, attempts=outbox.c.attempts + 1, next_attempt_at=at, last_error=error)


def postpone(c: Connection, item_id: int, *, until: datetime, error: str) -> None:
    """There was no attempt, and there is to be none before ``until``."""
    _change_waiting(c, item_id, next_attempt_at=until, last_error=error)


def release(c: Connection, item_id: int) -> None:
    """Gives a claimed message back as it was."""
    _change_waiting(c, item_id)


def mark_failed(c: Connection, item_id: int, *, error: str) -> None:
    """The message is given up."""
    _change_waiting(c, item_id, attempts=outbox.c.attempts + 1, status=OutboxStatus.FAILED.value, last_error=error)


def hold_channel(c: Connection, channel: str, receiver: str, *, until: datetime, error: str) -> None:
    """Nothing goes to this receiver before ``until`` (a rate limit, an outage); claimed messages are given back."""
    waiting = (outbox.c.channel == channel, outbox.c.receiver == receiver, outbox.c.status == OutboxStatus.WAITING.value)
    c.execute(update(outbox).where(*waiting).values(last_error=error, **_FREE))
    c.execute(update(outbox).where(*waiting, outbox.c.next_attempt_at < until).values(next_attempt_at=until))


def list_items(c: Connection, *, status: OutboxStatus | str | None = None, limit: int = 200) -> list[OutboxItem]:
    """The newest messages first."""
    query = select(*_COLUMNS).order_by(outbox.c.id.desc()).limit(limit)
    if status is not None:
        query = query.where(outbox.c.status == OutboxStatus(status).value)
    return [_item(row) for row in c.execute(query).mappings()]


def get_item(c: Connection, dedup_key: str) -> OutboxItem | None:
    """The message with this key, whatever became of it."""
    row = c.execute(select(*_COLUMNS).where(outbox.c.dedup_key == dedup_key)).mappings().one_or_none()
    return None if row is None else _item(row)


def of_incident(c: Connection, incident_id: int) -> list[OutboxItem]:
    """The messages of an incident, oldest first."""
    query = select(*_COLUMNS).where(outbox.c.incident_id == incident_id).order_by(outbox.c.id)
    return [_item(row) for row in c.execute(query).mappings()]


def waiting_since(c: Connection) -> datetime | None:
    """When the oldest message that still waits was written; None where none waits."""
    found: datetime | None = c.scalar(select(func.min(outbox.c.created_at)).where(outbox.c.status == OutboxStatus.WAITING.value))
    return found


def counts(c: Connection) -> dict[OutboxStatus, int]:
    """How many messages stand where; every status has an entry."""
    found = {row.status: row.n for row in c.execute(select(outbox.c.status, func.count().label("n")).group_by(outbox.c.status))}
    return {status: found.get(status.value, 0) for status in OutboxStatus}


def _change_waiting(c: Connection, item_id: int, **values: Any) -> None:
    """A sender whose claim ran out may come late: what another one has sent meanwhile stays sent."""
    waiting = (outbox.c.id == item_id, outbox.c.status == OutboxStatus.WAITING.value)
    c.execute(update(outbox).where(*waiting).values(**values, **_FREE))


def _item(row: RowMapping) -> OutboxItem:
    return OutboxItem(**{**row, "status": OutboxStatus(row["status"])})

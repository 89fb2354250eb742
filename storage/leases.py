"""The right to do a job, so that of several processes one does it.

A lease has an epoch that grows whenever it changes hands. A holder that may have slept too long asks ``still_held`` in
the transaction that writes its result; the work of a holder that was overtaken is then thrown away.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, case, or_, select, update

from storage.dialects import insert
from storage.records import Lease
from storage.rows import columns_of
from storage.schema import leases

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def acquire(c: Connection, name: str, owner: str, *, ttl: timedelta, now: datetime, ahead: timedelta | None = None) -> Lease | None:
    """Takes a lease that is free or has run out, or renews one's own; None while somebody else holds it.

    Compare-and-set in one statement: of several owners that race, one wins. ``ahead`` is how far the clocks of others may be
    ahead: a lease that lasts for longer than that allows was taken before the clock was put back, and is free. Only for a
    caller that has just read the clock: to one that slept since, the lease of whoever overtook it looks the same.
    """
    statement = insert(c, leases).values(name=name, owner=owner, epoch=1, expires_at=now + ttl)
    new = statement.excluded
    statement = statement.on_conflict_do_update(
        index_elements=["name"],
        set_={
            "owner": new.owner,
            "epoch": case((leases.c.owner == new.owner, leases.c.epoch), else_=leases.c.epoch + 1),
            "expires_at": new.expires_at,
        },
        where=or_(
            leases.c.owner == new.owner,
            leases.c.expires_at <= now,
            *([] if ahead is None else [leases.c.expires_at > now + ttl + ahead]),
        ),
    )
    row = c.execute(statement.returning(*columns_of(leases, Lease))).mappings().one_or_none()
    return None if row is None else Lease(**row)


def release(c: Connection, lease: Lease) -> None:
    """Gives the lease back at once; nothing happens where it has changed hands."""
    mine = (leases.c.name == lease.name, leases.c.owner == lease.owner, leases.c.epoch == lease.epoch)
    c.execute(update(leases).where(*mine).values(expires_at=_LONG_AGO))


def still_held(c: Connection, lease: Lease, now: datetime) -> bool:
    """Whether the lease is held in this epoch at ``now``; on PostgreSQL it stays so until the transaction ends."""
    held = select(leases.c.name).where(
        leases.c.name == lease.name, leases.c.owner == lease.owner, leases.c.epoch == lease.epoch, leases.c.expires_at > now
    )
    return c.execute(held.with_for_update(read=True)).one_or_none() is not None

"""How long things are kept: which days of raw predictions there are, how big they are, and what is deleted when.

Nothing here touches ``rollups``: what was counted stays counted (``storage.compaction`` makes counts coarser with age).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Column, ColumnElement, Connection, Engine, Select, Table, and_, delete, exists, func, insert, select, update

from storage import leases
from storage.dialects import among
from storage.engine import writing
from storage.records import OutboxStatus
from storage.resolution import DAY, floor_time
from storage.schema import alert_events, archives, labels, metrics, outbox, predictions, resources, versions

AT_ONCE = 5000
"""Rows per transaction that deletes: other writers get their turn in between."""
LEASE = "retention"
LEASE_TIME = timedelta(minutes=2)
_ROW_OVERHEAD_BYTES = 140
"""Time, names, numbers and the index of a prediction, about; its id and texts come on top."""
_SAMPLE = 500


class RetentionBusy(Exception):
    """Another process archives or prunes at the moment; try again when it is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawDay:
    """The predictions of one version in the day that begins at ``day``; ``size_bytes`` is an estimate."""

    model: str
    version: str
    day: datetime
    rows: int
    size_bytes: int


def raw_days(c: Connection, *, before: datetime, model: str | None = None) -> list[RawDay]:
    """The days that end by ``before`` and have predictions, oldest first."""
    named = select(versions.c.model, versions.c.version).order_by(versions.c.model, versions.c.version)
    named = named if model is None else named.where(versions.c.model == model)
    found = [day for row in c.execute(named).all() for day in _days_of(c, row.model, row.version, floor_time(before, DAY))]
    return sorted(found, key=lambda day: (day.day, day.model, day.version))


def over_budget(days: Sequence[RawDay], most_bytes: int) -> list[RawDay]:
    """The oldest days that have to go, so that the others have no more than ``most_bytes``. Pure.

    >>> day = RawDay(model="churn", version="1", day=datetime(2026, 3, 2), rows=10, size_bytes=4000)
    >>> len(over_budget([day, day, day], 8000))
    1
    """
    left, going = sum(day.size_bytes for day in days), []
    for day in days:
        if left <= most_bytes:
            break
        going.append(day)
        left -= day.size_bytes
    return going


def prune_day(engine: Engine, day: RawDay, *, now: datetime, keep: Callable[[], None]) -> int:
    """Deletes the day's predictions and their labels, and notes that they are gone; returns how many predictions."""
    note: int | None = None
    deleted = 0
    while True:
        keep()
        with writing(engine) as c:
            ids = c.scalars(_ids_of(day).limit(AT_ONCE)).all()
            if not ids:
                return deleted
            c.execute(delete(predictions).where(among(c, predictions.c.id, ids)))
            gone = delete(labels).where(labels.c.model == day.model, among(c, labels.c.prediction_id, ids))
            note = _note_deleted(c, day, note, len(ids), c.execute(gone).rowcount, now)
        deleted += len(ids)


def prune_lonely_labels(engine: Engine, *, before: datetime, keep: Callable[[], None]) -> int:
    """Deletes labels that came before that time and whose prediction is not in the database; returns how many."""
    theirs = and_(predictions.c.id == labels.c.prediction_id, predictions.c.model == labels.c.model)
    lonely = select(labels.c.prediction_id, labels.c.model).where(labels.c.received_at < before, ~exists().where(theirs))
    deleted = 0
    while True:
        keep()
        with writing(engine) as c:
            found = c.execute(lonely.limit(AT_ONCE)).all()
            for model in {row.model for row in found}:
                ids = [row.prediction_id for row in found if row.model == model]
                c.execute(delete(labels).where(labels.c.model == model, among(c, labels.c.prediction_id, ids)))
        deleted += len(found)
        if len(found) < AT_ONCE:
            return deleted


def prune_points(engine: Engine, *, before: datetime, keep: Callable[[], None]) -> int:
    """Deletes the points of metrics from before that time; returns how many."""
    return _prune(engine, metrics, metrics.c.id, metrics.c.at < before, keep)


def prune_events(engine: Engine, *, before: datetime, keep: Callable[[], None]) -> int:
    """Deletes alert events, ended messages and samples of resources from before that time; returns how many.

    The state of alerts, messages that are still to be sent, deployments and the audit log stay.
    """
    ended = and_(outbox.c.created_at < before, outbox.c.status.not_in([OutboxStatus.WAITING.value]))
    return (
        _prune(engine, alert_events, alert_events.c.id, alert_events.c.at < before, keep)
        + _prune(engine, outbox, outbox.c.id, ended, keep)
        + _prune(engine, resources, resources.c.id, resources.c.at < before, keep)
    )


@contextmanager
def sole_keeper(engine: Engine, owner: str, clock: Callable[[], datetime]) -> Iterator[Callable[[], None]]:
    """The right to archive and prune, which one process has at a time; gives ``keep``, which renews it.

    Raises RetentionBusy where another process has it, and from ``keep`` where another one took it over.
    """
    with writing(engine) as c:
        lease = leases.acquire(c, LEASE, owner, ttl=LEASE_TIME, now=clock())
    if lease is None:
        raise RetentionBusy("Another process archives or prunes at the moment; try again when it is done.")
    held = lease

    def keep() -> None:
        nonlocal held
        if held.expires_at - clock() > LEASE_TIME / 2:
            return
        with writing(engine) as c:
            renewed = leases.acquire(c, LEASE, owner, ttl=LEASE_TIME, now=clock())
        if renewed is None or renewed.epoch != held.epoch:
            raise RetentionBusy("Another process has taken archiving and pruning over; what was done so far is whole.")
        held = renewed

    try:
        yield keep
    finally:
        with writing(engine) as c:
            leases.release(c, held)


# ---------------------------------------------------------------------------------------------- days


def _days_of(c: Connection, model: str, version: str, end: datetime) -> Iterator[RawDay]:
    """Two looks into the index per day that has predictions."""
    of = (predictions.c.model == model, predictions.c.version == version)
    row_bytes: float | None = None
    start = c.scalar(select(func.min(predictions.c.at)).where(*of))
    while start is not None and start < end:
        day = floor_time(start, DAY)
        after = day + timedelta(seconds=DAY)
        rows = c.scalar(select(func.count()).select_from(predictions).where(*of, predictions.c.at >= day, predictions.c.at < after))
        row_bytes = row_bytes or _row_bytes(c, model, version)
        yield RawDay(model=model, version=version, day=day, rows=rows or 0, size_bytes=round((rows or 0) * row_bytes))
        start = c.scalar(select(func.min(predictions.c.at)).where(*of, predictions.c.at >= after))


def _row_bytes(c: Connection, model: str, version: str) -> float:
    """What a prediction of this version takes on the disk, about, by some of its rows."""
    texts = (predictions.c.id, predictions.c.id, predictions.c.features, predictions.c.probabilities, predictions.c.subject)
    rows = c.execute(select(*texts).where(predictions.c.model == model, predictions.c.version == version).limit(_SAMPLE)).all()
    sizes = [sum(len(text) for text in row if text is not None) for row in rows]
    return _ROW_OVERHEAD_BYTES + sum(sizes) / max(len(sizes), 1)


def _ids_of(day: RawDay) -> Select[str]:
    return select(predictions.c.id).where(
        predictions.c.model == day.model,
        predictions.c.version == day.version,
        predictions.c.at >= day.day,
        predictions.c.at < day.day + timedelta(seconds=DAY),
    )


def _note_deleted(c: Connection, day: RawDay, note: int | None, rows: int, known: int, now: datetime) -> int:
    """One row of ``archives`` without a file, so that nobody takes the day for complete later."""
    if note is not None:
        more = {"rows": archives.c.rows + rows, "labels": archives.c.labels + known}
        c.execute(update(archives).where(archives.c.id == note).values(more))
        return note
    values = {"model": day.model, "version": day.version, "day": day.day, "path": "", "digest": "", "size_bytes": 0}
    new = insert(archives).values(**values, rows=rows, labels=known, created_at=now, removed_at=now)
    number: int = c.execute(new.returning(archives.c.id)).scalar_one()
    return number


def _prune(engine: Engine, table: Table, key: Column[int], old: ColumnElement[bool], keep: Callable[[], None]) -> int:
    deleted = 0
    while True:
        keep()
        with writing(engine) as c:
            some = c.execute(delete(table).where(key.in_(select(key).where(old).limit(AT_ONCE)))).rowcount
        deleted += some
        if some < AT_ONCE:
            return deleted

"""Counts a day again from its predictions and labels, in the database and in archives, by the functions that counted them
when they were written.

One transaction per version and day takes the old counts away and adds the new ones. Writers wait for its end: SQLite has
one writer at a time, and on PostgreSQL the table of the rollups is locked for writing. So a prediction is either in the
database when it is counted here, or its writer counts it afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import itemgetter
from pathlib import Path

import pyarrow as pa
from sqlalchemy import Connection, Engine, delete, select, text, tuple_, update

from storage.archived import Archive, ArchiveReader, list_archives, open_archives
from storage.compaction import Part, compact
from storage.dialects import among, is_postgresql, one_at_a_time
from storage.engine import writing
from storage.labels import count_pairs
from storage.predictions import count_rows
from storage.records import PredictionRow, RollupKind, Status
from storage.registry import LayoutLookup
from storage.resolution import DAY, floor_time
from storage.rollups import bucket_start
from storage.schema import archives, labels, predictions, rollups, versions
from storage.segment_fields import NO_SEGMENTS, SegmentFields
from storage.segments import one_writer

WRITER = "recompute"
"""The writer of new rows that cannot be merged, because the rollup width does not divide the hour."""
_AT_ONCE = 10_000
_NAMES = PredictionRow.__struct_fields__


class DayIncomplete(Exception):
    """Some predictions of the day are not there to be counted again; its counts were left as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recount:
    """How many predictions and labels of a version were counted again in the day that begins at ``day``."""

    model: str
    version: str
    day: datetime
    predictions: int
    labels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A prediction that succeeded, with its label."""

    model: str
    version: str
    role: str
    at: datetime
    prediction: str | None
    score: float | None
    probabilities: str | None
    label: str
    received_at: datetime
    segment: str


def days_to_recompute(
    c: Connection, start: datetime, end: datetime, *, model: str | None = None, version: str | None = None
) -> list[tuple[str, str, datetime]]:
    """The versions and days, oldest first, that have counts or archives and begin in ``[start, end)``."""
    found: set[tuple[str, str, datetime]] = set()
    named = select(versions.c.model, versions.c.version)
    for name, number in c.execute(named).all():
        if model not in (None, name) or version not in (None, number):
            continue
        of = (rollups.c.model == name, rollups.c.kind == RollupKind.PREDICTIONS.value, rollups.c.version == number)
        starts = c.scalars(select(rollups.c.start).where(*of, rollups.c.start >= start, rollups.c.start < end).distinct())
        kept = c.scalars(
            select(archives.c.day).where(
                archives.c.model == name, archives.c.version == number, archives.c.day >= start, archives.c.day < end
            )
        )
        raw = _raw_days(c, name, number, start, end)
        found |= {(name, number, floor_time(at, DAY)) for at in (*starts, *kept, *raw)}
    return sorted(found, key=lambda item: (item[2], item[0], item[1]))


def recompute_day(
    engine: Engine,
    model: str,
    version: str,
    day: datetime,
    *,
    from_archives: bool,
    bucket_seconds: int,
    segments: SegmentFields = NO_SEGMENTS,
    scratch: Path | None = None,
) -> Recount:
    """Counts the day again. Raises DayIncomplete, ArchiveError, UnknownVersion, MisfitRows; the old counts stand then.

    ``scratch`` is a folder for what reading the archives does not hold in memory (``storage.archived``).
    """
    with writing(engine) as c:
        one_at_a_time(c, "compaction")  # before the table, in the order in which compaction takes the two
        if segments.names:
            one_writer(c, model)  # before the table too: who adds a value writes counts next
        if is_postgresql(c):
            c.execute(text("LOCK TABLE rollups IN EXCLUSIVE MODE"))
        kept = _archives_of(c, model, version, day, bucket_seconds, from_archives)
        c.execute(
            delete(rollups).where(
                rollups.c.model == model,
                rollups.c.version == version,
                rollups.c.start >= day,
                rollups.c.start < day + timedelta(seconds=DAY),
            )
        )
        with open_archives(kept, scratch) if kept else nullcontext() as reader:
            chunks = _chunks(c, model, version, day, bucket_seconds, reader)
            return _count(c, model, version, day, chunks, bucket_seconds, segments)


Labelling = tuple[str | None, datetime | None]
"""A label and when it came; both are None without one."""
Row = tuple[PredictionRow, str | None, datetime | None]
"""A prediction with its labelling."""


def _count(
    c: Connection,
    model: str,
    version: str,
    day: datetime,
    chunks: Iterator[list[Row]],
    bucket_seconds: int,
    segments: SegmentFields,
) -> Recount:
    lookup = LayoutLookup(c)
    counted = labelled = 0
    for chunk in chunks:
        count_rows(c, [row for row, _, _ in chunk], lookup, writer=WRITER, bucket_seconds=bucket_seconds, segments=segments)
        known = [pair for pair in map(_labelled, chunk) if pair is not None]
        count_pairs(c, known, lookup, writer=WRITER, bucket_seconds=bucket_seconds, segments=segments)
        counted += len(chunk)
        labelled += len(known)
    for kind in RollupKind:
        compact(c, Part(model=model, version=version, kind=kind.value, day=day), day + timedelta(seconds=DAY))
    return Recount(model=model, version=version, day=day, predictions=counted, labels=labelled)


def _labelled(found: Row) -> Labelled | None:
    row, label, received_at = found
    if label is None or received_at is None or row.status != Status.OK:
        return None
    return Labelled(
        model=row.model,
        version=row.version,
        role=row.role,
        at=row.at,
        prediction=row.prediction,
        score=row.score,
        probabilities=row.probabilities,
        label=label,
        received_at=received_at,
        segment=row.segment,
    )


# ---------------------------------------------------------------------------------------------- the rows


def _archives_of(c: Connection, model: str, version: str, day: datetime, bucket_seconds: int, from_archives: bool) -> list[Archive]:
    """The archives that may have rows of the buckets that begin in the day. Raises DayIncomplete."""
    end = _ends(day, bucket_seconds)[1]
    kept = [archive for archive in list_archives(c, model=model, version=version) if day <= archive.day < end]
    name = f"{model} {version}, {day:%Y-%m-%d}"
    if any(not archive.path for archive in kept):
        raise DayIncomplete(f"{name}: predictions were pruned and cannot be counted again.")
    if kept and not from_archives:
        raise DayIncomplete(f"{name}: predictions are in archives; add --from-archives.")
    return kept


def _ends(day: datetime, bucket_seconds: int) -> tuple[datetime, datetime]:
    """Where the first bucket begins that begins in the day, and where the last one ends."""
    first, last = (_first_bucket(at, bucket_seconds) for at in (day, day + timedelta(seconds=DAY)))
    return first, last


def _first_bucket(at: datetime, seconds: int) -> datetime:
    start = bucket_start(at, seconds)
    return start if start == at else start + timedelta(seconds=seconds)


def _chunks(
    c: Connection, model: str, version: str, day: datetime, bucket_seconds: int, reader: ArchiveReader | None
) -> Iterator[list[Row]]:
    """First what is in the database, then the archives; a prediction that is in both is counted once."""
    start, end = _ends(day, bucket_seconds)
    for chunk in _stored(c, model, version, start, end):
        yield _come_back(reader, chunk) if reader else chunk
    if reader:
        for batch in reader.batches([*_NAMES, "label", "label_received_at"], start, end):
            yield _archived(c, model, batch)


def _come_back(reader: ArchiveReader, chunk: list[Row]) -> list[Row]:
    """Rows of the database, some of which may have come back after they were archived: with the label they had then."""
    ids = [row.id for row, _, _ in chunk]
    reader.leave_out(ids)
    known = reader.labels(ids)
    return [(row, *_first_label((label, at), known.get(row.id, (None, None)))) for row, label, at in chunk]


def _first_label(*labels: Labelling) -> Labelling:
    """The one that came first: any further label of a prediction is a duplicate."""
    return min((known for known in labels if known[1] is not None), key=itemgetter(1), default=(None, None))


def _stored(c: Connection, model: str, version: str, start: datetime, end: datetime) -> Iterator[list[Row]]:
    columns = [predictions.c[name] for name in _NAMES]
    of = (predictions.c.model == model, predictions.c.version == version, predictions.c.at < end)
    after, last_id = start, ""
    while True:
        later = tuple_(predictions.c.at, predictions.c.id) > tuple_(after, last_id)
        query = select(*columns).where(*of, predictions.c.at >= after, later).order_by(predictions.c.at, predictions.c.id)
        rows = [PredictionRow(**row) for row in c.execute(query.limit(_AT_ONCE)).mappings()]
        if rows:
            known = _labels(c, model, [row.id for row in rows], only_counted=True)
            yield [(row, *known.get(row.id, (None, None))) for row in rows]
        if len(rows) < _AT_ONCE:
            return
        after, last_id = rows[-1].at, rows[-1].id


def _archived(c: Connection, model: str, batch: pa.RecordBatch) -> list[Row]:
    """The rows of a file. A label that came when its prediction had been archived is counted now, and from now on."""
    values = zip(*(column.to_pylist() for column in batch.columns), strict=True)
    rows = [(PredictionRow(**dict(zip(_NAMES, row, strict=False))), *row[-2:]) for row in values]
    late = _labels(c, model, [row.id for row, label, _ in rows if label is None], only_counted=False)
    if late:
        c.execute(update(labels).where(labels.c.model == model, among(c, labels.c.prediction_id, late)).values(counted=True))
    return [(row, *late.get(row.id, (label, at))) for row, label, at in rows]


def _labels(c: Connection, model: str, ids: Sequence[str], *, only_counted: bool) -> dict[str, tuple[str, datetime]]:
    """Labels that are not counted yet are left to those who will count them."""
    query = select(labels.c.prediction_id, labels.c.label, labels.c.received_at).where(
        labels.c.model == model, among(c, labels.c.prediction_id, ids)
    )
    query = query.where(labels.c.counted.is_(True)) if only_counted else query
    return {row.prediction_id: (row.label, row.received_at) for row in c.execute(query)}


def _raw_days(c: Connection, model: str, version: str, start: datetime, end: datetime) -> Iterator[datetime]:
    of = (predictions.c.model == model, predictions.c.version == version, predictions.c.at < end)
    at: datetime | None = start
    while at is not None:
        at = c.scalar(select(predictions.c.at).where(*of, predictions.c.at >= at).order_by(predictions.c.at).limit(1))
        if at is not None:
            yield at
            at = floor_time(at, DAY) + timedelta(seconds=DAY)

"""Predictions into the database, counted in the same transaction: rows for people, rollups for speed.

The rows that were really inserted, and only those, are counted, so a batch may be sent again after a crash at any point.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, select

from storage.batches import NAMES, PredictionBatch, as_batch
from storage.counting import PredictionCounting
from storage.insertion import insert_new
from storage.labels import count_waiting_labels
from storage.records import Label, PredictionRow
from storage.rollups import LayoutOf
from storage.schema import labels, predictions, versions
from storage.segment_fields import NO_SEGMENTS, SegmentFields

_COLUMNS = [predictions.c[name] for name in NAMES]
ROWS_AT_ONCE = 2500
"""What is made of these many rows stays in the processor's cache from one step to the next."""


class UnknownVersion(Exception):
    """Predictions or labels name a version that is not registered; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordReceipt:
    """``inserted`` rows are new; ``duplicates`` were in the database, or came earlier in the same batch."""

    inserted: int
    duplicates: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPrediction:
    """A prediction with the label that came for it, if one did."""

    row: PredictionRow
    label: Label | None


def record_predictions(
    c: Connection,
    rows: Sequence[PredictionRow],
    layout_of: LayoutOf,
    *,
    writer: str,
    bucket_seconds: int,
    segments: SegmentFields = NO_SEGMENTS,
) -> RecordReceipt:
    """As ``record_batches``, of any number of rows."""
    parts = (as_batch(rows[start : start + ROWS_AT_ONCE]) for start in range(0, len(rows), ROWS_AT_ONCE))
    return record_batches(c, parts, layout_of, writer=writer, bucket_seconds=bucket_seconds, segments=segments)


def record_batches(
    c: Connection,
    batches: Iterable[PredictionBatch],
    layout_of: LayoutOf,
    *,
    writer: str,
    bucket_seconds: int,
    segments: SegmentFields = NO_SEGMENTS,
) -> RecordReceipt:
    """Inserts the predictions that are new and counts them, with the labels that came before them, in the caller's transaction.

    Each batch is done with before the next one is asked for; ``ROWS_AT_ONCE`` is a good size. On an exception
    (UnknownVersion, MisfitRows, or one of the database) the caller must roll back.
    """
    counting = PredictionCounting(c, layout_of, writer=writer, bucket_seconds=bucket_seconds, segments=segments)
    inserted: list[str] = []
    seen = 0
    for batch in batches:
        new = insert_new(c, batch)
        counting.add(new)
        inserted += new.ids
        seen += len(batch)
    counting.write()
    if inserted:
        count_waiting_labels(c, inserted, layout_of, writer=writer, bucket_seconds=bucket_seconds, segments=segments)
    return RecordReceipt(inserted=len(inserted), duplicates=seen - len(inserted))


def count_rows(
    c: Connection,
    rows: Sequence[PredictionRow],
    layout_of: LayoutOf,
    *,
    writer: str,
    bucket_seconds: int,
    segments: SegmentFields = NO_SEGMENTS,
) -> None:
    """Adds the rows, wherever they come from, to the rollups. Raises UnknownVersion, MisfitRows."""
    counting = PredictionCounting(c, layout_of, writer=writer, bucket_seconds=bucket_seconds, segments=segments)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        counting.add(as_batch(rows[start : start + ROWS_AT_ONCE]))
    counting.write()


def get_prediction(c: Connection, prediction_id: str) -> StoredPrediction | None:
    """One prediction by its id."""
    if "\0" in prediction_id:  # no id that was stored has one, and PostgreSQL refuses to look
        return None
    row = c.execute(select(*_COLUMNS).where(predictions.c.id == prediction_id)).mappings().one_or_none()
    if row is None:
        return None
    query = select(labels).where(labels.c.prediction_id == prediction_id, labels.c.model == row["model"])
    label = c.execute(query).one_or_none()
    known = None if label is None else Label(prediction_id=label.prediction_id, label=label.label, at=label.at)
    return StoredPrediction(row=_row(row), label=known)


def list_predictions(
    c: Connection,
    model: str,
    *,
    version: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    limit: int = 100,
) -> list[PredictionRow]:
    """The newest predictions first, with ``start <= at < end``."""
    # Version by version, because the index is (model, version, at).
    names = [version] if version is not None else c.scalars(select(versions.c.version).where(versions.c.model == model)).all()
    found = [_row(row) for name in names for row in c.execute(_newest(model, name, start, end, limit)).mappings()]
    return sorted(found, key=lambda row: (row.at, row.id), reverse=True)[:limit]


def _newest(model: str, version: str, start: datetime | None, end: datetime | None, limit: int) -> Select[Any]:
    query = select(*_COLUMNS).where(predictions.c.model == model, predictions.c.version == version)
    if start is not None:
        query = query.where(predictions.c.at >= start)
    if end is not None:
        query = query.where(predictions.c.at < end)
    return query.order_by(predictions.c.at.desc(), predictions.c.id.desc()).limit(limit)


def _row(row: RowMapping) -> PredictionRow:
    return PredictionRow(**row)

"""Predictions into the database, counted in the same transaction: rows for people, rollups for speed.

The rows that were really inserted, and only those, are counted, so a batch may be sent again after a crash at any point.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import msgspec
import numpy as np
from sqlalchemy import Connection, RowMapping, Select, select

from storage.batches import NAMES, PredictionBatch, as_batch
from storage.insertion import insert_new
from storage.jsontext import storable
from storage.labels import count_waiting_labels
from storage.layouts import add_predictions, count_columns, count_latency, numbers
from storage.records import Floats, Label, Layout, PredictionCounts, PredictionRow, RollupKind, Scalar, Status
from storage.rollups import LayoutOf, RollupKey, add_prediction_counts
from storage.schema import labels, predictions, versions
from storage.segment_fields import NO_SEGMENTS, SegmentFields
from storage.segments import SegmentCounting

_COLUMNS = [predictions.c[name] for name in NAMES]
ROWS_AT_ONCE = 2500
"""What is made of these many rows stays in the processor's cache from one step to the next."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_GroupKey: TypeAlias = tuple[str, str, str, int]
"""Model, version, role and number of the bucket."""
_Totals: TypeAlias = dict[RollupKey, PredictionCounts]


class UnknownVersion(Exception):
    """Predictions or labels name a version that is not registered; the message names it."""


class MisfitRows(Exception):
    """Predictions do not fit the layout of their version; the message says whose. Nothing of their batch may be kept."""


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
    totals: _Totals = {}
    counting = SegmentCounting(c, segments)
    inserted: list[str] = []
    seen = 0
    for batch in batches:
        new = insert_new(c, batch)
        _count_into(totals, new, layout_of, writer, bucket_seconds, counting)
        inserted += new.ids
        seen += len(batch)
    _add_totals(c, totals)
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
    totals: _Totals = {}
    counting = SegmentCounting(c, segments)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        _count_into(totals, as_batch(rows[start : start + ROWS_AT_ONCE]), layout_of, writer, bucket_seconds, counting)
    _add_totals(c, totals)


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


# ---------------------------------------------------------------------------------------------- counting


def _count_into(
    totals: _Totals, batch: PredictionBatch, layout_of: LayoutOf, writer: str, bucket_seconds: int, counting: SegmentCounting
) -> None:
    for key, group in _groups(batch, layout_of, writer, bucket_seconds):
        _add_group(totals, key, group, layout_of(key.model, key.version))
        for segment, indices in counting.places(key.model, group.columns["segment"]).items():
            _add_group(totals, replace(key, segment=segment), group.take(indices), layout_of(key.model, key.version))


def _add_group(totals: _Totals, key: RollupKey, group: PredictionBatch, layout: Layout) -> None:
    counts = _count(group, layout)
    totals[key] = add_predictions(totals[key], counts) if key in totals else counts


def _add_totals(c: Connection, totals: _Totals) -> None:
    """One write per rollup, however many batches count into it."""
    for key in sorted(totals, key=lambda key: (key.model, key.version, key.role, key.start, key.segment)):
        add_prediction_counts(c, key, totals[key])


def _groups(
    batch: PredictionBatch, layout_of: LayoutOf, writer: str, bucket_seconds: int
) -> list[tuple[RollupKey, PredictionBatch]]:
    buckets = (batch.at_us // (bucket_seconds * 1_000_000)).tolist()
    columns = batch.columns
    keys = list(zip(columns["model"], columns["version"], columns["role"], buckets, strict=True))
    return [
        (
            RollupKey(
                model=model,
                version=version,
                role=role,
                segment="",
                kind=RollupKind.PREDICTIONS,
                start=_EPOCH + timedelta(seconds=bucket * bucket_seconds),
                seconds=bucket_seconds,
                writer=writer,
                layout_id=layout_of(model, version).id,
            ),
            group,
        )
        for (model, version, role, bucket), group in _by_key(batch, keys)
    ]


def _by_key(batch: PredictionBatch, keys: list[_GroupKey]) -> list[tuple[_GroupKey, PredictionBatch]]:
    distinct = set(keys)
    if len(distinct) == 1:  # the usual case: one version in one minute
        return [(keys[0], batch)]
    places: dict[_GroupKey, list[int]] = {key: [] for key in distinct}
    for index, key in enumerate(keys):
        places[key].append(index)
    return [(key, batch.take(indices)) for key, indices in places.items()]


def _count(group: PredictionBatch, layout: Layout) -> PredictionCounts:
    statuses = group.columns["status"]
    all_good = statuses.count(Status.OK) == len(group)
    good = group if all_good else group.take([index for index, status in enumerate(statuses) if status == Status.OK])
    try:
        counts = count_columns(layout, _columns(good, layout), good.columns["score"], good.columns["prediction"])
    except (ValueError, TypeError, RecursionError) as error:
        raise MisfitRows(
            f"Predictions of version {good.columns['version'][0]} of {layout.model}, among them {good.ids[0]}, "
            f"do not fit its features ({error})."
        ) from error
    counts.rows = len(group)
    counts.errors = statuses.count(Status.ERROR)
    counts.timeouts = statuses.count(Status.TIMEOUT)
    counts.latency = count_latency(group.columns["latency_ms"])
    return counts


def _columns(batch: PredictionBatch, layout: Layout) -> list[Any]:
    """The features column by column, as their JSON texts have them: there a number that is not finite is null."""
    if not len(batch):
        return [()] * len(layout.features)
    rows = batch.values if batch.values is not None else _decoded(batch.columns["features"])
    columns = zip(zip(*rows, strict=True), layout.features, strict=True)
    return [_finite_texts(column) if bins.is_categorical else _finite(numbers(column)) for column, bins in columns]


def _finite(values: Floats) -> Floats:
    values[np.isinf(values)] = np.nan
    return values


def _finite_texts(column: tuple[Scalar, ...]) -> Sequence[Scalar]:
    if float not in set(map(type, column)):
        return column
    return [None if isinstance(value, float) and not math.isfinite(value) else value for value in column]


def _decoded(texts: Sequence[str]) -> list[list[Any]]:
    try:
        return msgspec.json.decode(f"[{','.join(texts)}]")  # type: ignore[no-any-return]
    except msgspec.DecodeError:  # json is not as strict: it takes half of a surrogate pair
        return [storable(json.loads(text)) for text in texts]

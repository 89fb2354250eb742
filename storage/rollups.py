"""Counts per version, role and bucket of time: written with the rows, added up for any window.

A row of ``rollups`` holds the counts of one bucket by one writer, so that writers never wait for each other; readers add
up whatever lies in their window. Counts of predictions and of labels share the table:

==========  =========================  ==============================
column      kind = predictions         kind = labels
==========  =========================  ==============================
bins        bins                       score_by_class, row by row
moments     moments, row by row        residuals
classes     classes                    confusion, row by row
latency     latency                    delay
==========  =========================  ==============================
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, TypeAlias

from sqlalchemy import Connection, Select, exists, select, update

from storage.arrays import pack_floats, pack_ints, sum_floats, sum_ints, unpack_floats, unpack_ints
from storage.dialects import insert_new
from storage.layouts import (
    add_labels,
    add_predictions,
    empty_label_counts,
    empty_prediction_counts,
    layout_from_json,
    layout_to_json,
)
from storage.records import LabelCounts, Layout, PredictionCounts, Role, RollupKind
from storage.rows import AnyRow
from storage.schema import layouts, rollups, versions

LayoutOf: TypeAlias = Callable[[str, str], Layout]
"""The layout of a model's version; raises UnknownVersion."""

LIVE_ROLES = frozenset({Role.CHAMPION, Role.CHALLENGER, Role.PINNED})
"""The roles whose answers callers have seen: all but shadow."""

_KEY = (
    rollups.c.model,
    rollups.c.kind,
    rollups.c.version,
    rollups.c.start,
    rollups.c.seconds,
    rollups.c.role,
    rollups.c.segment,
    rollups.c.writer,
)
_COUNTS = (
    rollups.c.rows,
    rollups.c.errors,
    rollups.c.timeouts,
    rollups.c.bins,
    rollups.c.moments,
    rollups.c.classes,
    rollups.c.latency,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RollupKey:
    """Where counts belong: one version, role and segment in ``[start, start + seconds)``, by one writer."""

    model: str
    version: str
    role: str
    segment: str
    kind: RollupKind
    start: datetime
    seconds: int
    writer: str
    layout_id: int


# ---------------------------------------------------------------------------------------------- layouts


def ensure_layout(c: Connection, layout: Layout, schema_hash: str, now: datetime) -> Layout:
    """Stores the layout, or returns the one that the model has for this schema already; either way with its id."""
    row = {"model": layout.model, "schema_hash": schema_hash, "bins": layout_to_json(layout), "created_at": now}
    insert_new(c, layouts, row, key=["model", "schema_hash"])
    found = c.execute(select(layouts).where(layouts.c.model == layout.model, layouts.c.schema_hash == schema_hash)).one()
    return layout_from_json(found.model, found.id, found.bins)


def load_layout(c: Connection, layout_id: int) -> Layout:
    """The layout with this id. Raises LookupError where there is none."""
    row = c.execute(select(layouts.c.model, layouts.c.bins).where(layouts.c.id == layout_id)).one_or_none()
    if row is None:
        raise LookupError(f"There is no layout with the id {layout_id} in the database.")
    return layout_from_json(row.model, layout_id, row.bins)


# ---------------------------------------------------------------------------------------------- writing


def bucket_start(at: datetime, seconds: int) -> datetime:
    """The start of the bucket of ``seconds`` that ``at`` falls in; buckets are counted from 1970-01-01T00:00Z."""
    whole = int((at - _EPOCH).total_seconds() // seconds) * seconds
    return _EPOCH + timedelta(seconds=whole)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def add_prediction_counts(c: Connection, key: RollupKey, counts: PredictionCounts) -> None:
    """Adds the counts to the stored ones of the key."""
    stored = _insert_or_lock(c, key, _prediction_values(counts))
    if stored is not None:
        both = add_predictions(_stored_predictions(stored, counts), counts)
        c.execute(update(rollups).where(*_at_key(key)).values(_prediction_values(both)))


def add_label_counts(c: Connection, key: RollupKey, counts: LabelCounts) -> None:
    """Adds the counts to the stored ones of the key."""
    stored = _insert_or_lock(c, key, _label_values(counts))
    if stored is not None:
        both = add_labels(_stored_labels(stored, counts), counts)
        c.execute(update(rollups).where(*_at_key(key)).values(_label_values(both)))


def _insert_or_lock(c: Connection, key: RollupKey, values: dict[str, Any]) -> AnyRow | None:
    """None where the counts were inserted as a new row, else the row that is there, locked until the transaction ends."""
    locked = select(*_COUNTS).where(*_at_key(key)).with_for_update()
    stored = c.execute(locked).one_or_none()
    if stored is not None:
        return stored
    row = {column.name: getattr(key, column.name) for column in _KEY} | {"layout_id": key.layout_id} | values
    if insert_new(c, rollups, row, key=[column.name for column in _KEY]):
        return None
    return c.execute(locked).one()  # another transaction of this writer was quicker


def _at_key(key: RollupKey) -> list[Any]:
    return [column == getattr(key, column.name) for column in _KEY]


def _prediction_values(counts: PredictionCounts) -> dict[str, Any]:
    return {
        "rows": counts.rows,
        "errors": counts.errors,
        "timeouts": counts.timeouts,
        "bins": pack_ints(counts.bins),
        "moments": pack_floats(counts.moments),
        "classes": pack_ints(counts.classes),
        "latency": pack_ints(counts.latency),
    }


def _label_values(counts: LabelCounts) -> dict[str, Any]:
    return {
        "rows": counts.rows,
        "errors": 0,
        "timeouts": 0,
        "bins": pack_ints(counts.score_by_class),
        "moments": pack_floats(counts.residuals),
        "classes": pack_ints(counts.confusion),
        "latency": pack_ints(counts.delay),
    }


def _stored_predictions(row: AnyRow, like: PredictionCounts) -> PredictionCounts:
    return PredictionCounts(
        rows=row.rows,
        errors=row.errors,
        timeouts=row.timeouts,
        bins=unpack_ints(row.bins, like.bins.size),
        moments=unpack_floats(row.moments, like.moments.size).reshape(like.moments.shape),
        classes=unpack_ints(row.classes, like.classes.size),
        latency=unpack_ints(row.latency, like.latency.size),
    )


def _stored_labels(row: AnyRow, like: LabelCounts) -> LabelCounts:
    return LabelCounts(
        rows=row.rows,
        score_by_class=unpack_ints(row.bins, like.score_by_class.size).reshape(like.score_by_class.shape),
        confusion=unpack_ints(row.classes, like.confusion.size).reshape(like.confusion.shape),
        residuals=unpack_floats(row.moments, like.residuals.size),
        delay=unpack_ints(row.latency, like.delay.size),
    )


# ---------------------------------------------------------------------------------------------- reading


def read_predictions(
    c: Connection, layout: Layout, version: str, start: datetime, end: datetime, *, roles: Collection[str] | None = None
) -> PredictionCounts:
    """What the predictions of a version in ``[start, end)`` add up to; ``roles`` None means the live ones.

    The window is aligned to buckets: a bucket belongs to it when its start does.
    """
    return _sum_predictions(layout, c.execute(_window(layout, version, start, end, roles, RollupKind.PREDICTIONS)).all())


def read_labels(
    c: Connection, layout: Layout, version: str, start: datetime, end: datetime, *, roles: Collection[str] | None = None
) -> LabelCounts:
    """What the labels of a version's predictions in ``[start, end)`` add up to; ``roles`` None means the live ones."""
    return _sum_labels(layout, c.execute(_window(layout, version, start, end, roles, RollupKind.LABELS)).all())


def prediction_series(
    c: Connection,
    layout: Layout,
    version: str,
    start: datetime,
    end: datetime,
    step_seconds: int,
    *,
    roles: Collection[str] | None = None,
) -> list[tuple[datetime, PredictionCounts]]:
    """The counts of each step from ``start`` on that has any, with the start of the step."""
    window = _window(layout, version, start, end, roles, RollupKind.PREDICTIONS)
    rows = c.execute(window.add_columns(rollups.c.start).order_by(rollups.c.start)).all()
    return [(at, _sum_predictions(layout, part)) for at, part in _steps(rows, start, step_seconds)]


def label_series(
    c: Connection,
    layout: Layout,
    version: str,
    start: datetime,
    end: datetime,
    step_seconds: int,
    *,
    roles: Collection[str] | None = None,
) -> list[tuple[datetime, LabelCounts]]:
    """The counts of each step from ``start`` on that has any labels, with the start of the step."""
    window = _window(layout, version, start, end, roles, RollupKind.LABELS)
    rows = c.execute(window.add_columns(rollups.c.start).order_by(rollups.c.start)).all()
    return [(at, _sum_labels(layout, part)) for at, part in _steps(rows, start, step_seconds)]


def active_versions(c: Connection, start: datetime, end: datetime) -> list[tuple[str, str]]:
    """The models and versions that have predictions, of any role, in ``[start, end)``."""
    some = exists().where(
        rollups.c.model == versions.c.model,
        rollups.c.kind == RollupKind.PREDICTIONS.value,
        rollups.c.version == versions.c.version,
        rollups.c.start >= start,
        rollups.c.start < end,
    )
    names = select(versions.c.model, versions.c.version).where(some).order_by(versions.c.model, versions.c.version)
    return [(row.model, row.version) for row in c.execute(names)]


def extent(c: Connection, model: str, version: str | None = None) -> tuple[datetime, datetime] | None:
    """From the start of the first bucket with predictions to the end of the last one; None where there are none."""
    names = [version] if version is not None else c.scalars(select(versions.c.version).where(versions.c.model == model)).all()
    found = [span for name in names if (span := _extent(c, model, name)) is not None]
    return (min(first for first, _ in found), max(last for _, last in found)) if found else None


def bucket_around(c: Connection, model: str, version: str, at: datetime) -> datetime | None:
    """The start of the version's bucket with predictions that ``at`` falls in; None where there is none."""
    query = select(rollups.c.start, rollups.c.seconds).where(
        rollups.c.model == model,
        rollups.c.kind == RollupKind.PREDICTIONS.value,
        rollups.c.version == version,
        rollups.c.start <= at,
    )
    row = c.execute(query.order_by(rollups.c.start.desc()).limit(1)).one_or_none()
    return row.start if row is not None and at < row.start + timedelta(seconds=row.seconds) else None


def _extent(c: Connection, model: str, version: str) -> tuple[datetime, datetime] | None:
    buckets = select(rollups.c.start, rollups.c.seconds).where(
        rollups.c.model == model, rollups.c.kind == RollupKind.PREDICTIONS.value, rollups.c.version == version
    )
    first = c.execute(buckets.order_by(rollups.c.start).limit(1)).one_or_none()
    last = c.execute(buckets.order_by(rollups.c.start.desc(), rollups.c.seconds.desc()).limit(1)).one_or_none()
    if first is None or last is None:
        return None
    return first.start, last.start + timedelta(seconds=last.seconds)


def _window(
    layout: Layout, version: str, start: datetime, end: datetime, roles: Collection[str] | None, kind: RollupKind
) -> Select[*tuple[Any, ...]]:
    return select(*_COUNTS).where(
        rollups.c.model == layout.model,
        rollups.c.kind == kind.value,
        rollups.c.version == version,
        rollups.c.start >= start,
        rollups.c.start < end,
        rollups.c.role.in_([str(role) for role in (LIVE_ROLES if roles is None else roles)]),
        rollups.c.segment == "",
    )


def _steps(rows: Sequence[AnyRow], start: datetime, seconds: int) -> Iterator[tuple[datetime, list[AnyRow]]]:
    step = timedelta(seconds=seconds)
    for number, part in groupby(rows, key=lambda row: (row.start - start) // step):
        yield start + number * step, list(part)


def _sum_predictions(layout: Layout, found: Sequence[AnyRow]) -> PredictionCounts:
    empty = empty_prediction_counts(layout)
    if not found:
        return empty
    rows, errors, timeouts, bins, moments, classes, latency, *_ = zip(*found, strict=True)
    return PredictionCounts(
        rows=sum(rows),
        errors=sum(errors),
        timeouts=sum(timeouts),
        bins=sum_ints(bins, empty.bins.size),
        moments=sum_floats(moments, empty.moments.size).reshape(empty.moments.shape),
        classes=sum_ints(classes, empty.classes.size),
        latency=sum_ints(latency, empty.latency.size),
    )


def _sum_labels(layout: Layout, found: Sequence[AnyRow]) -> LabelCounts:
    empty = empty_label_counts(layout)
    if not found:
        return empty
    rows, _, _, bins, moments, classes, latency, *_ = zip(*found, strict=True)
    return LabelCounts(
        rows=sum(rows),
        score_by_class=sum_ints(bins, empty.score_by_class.size).reshape(empty.score_by_class.shape),
        confusion=sum_ints(classes, empty.confusion.size).reshape(empty.confusion.shape),
        residuals=sum_floats(moments, empty.residuals.size),
        delay=sum_ints(latency, empty.delay.size),
    )

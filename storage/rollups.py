"""Counts per version, role and bucket of time: written with the rows, added up for any window.

A row of ``rollups`` holds the counts of one bucket by one writer, so that writers never wait for each other.
``storage.compaction`` merges the rows of hours that are over: all writers into one row (the writer is then empty), and
again into one row per hour and one per day. Readers add up the coarsest merged rows that fit into their window, and every
row that is not merged yet. Counts of predictions and of labels share the table:

==========  =========================  ==============================
column      kind = predictions         kind = labels
==========  =========================  ==============================
bins        bins                       score_by_class, probabilities
moments     moments, row by row        residuals, losses
classes     classes                    confusion, errors
latency     latency                    delay
==========  =========================  ==============================

Labels: one array after the other, each row by row (``storage.label_arrays``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, TypeAlias

import numpy as np
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    LargeBinary,
    Select,
    exists,
    func,
    literal,
    null,
    or_,
    select,
    union_all,
    update,
)

from storage.arrays import pack_floats, pack_ints, sum_floats, sum_ints, unpack_floats, unpack_ints
from storage.dialects import insert_new
from storage.label_arrays import LabelArrays, arrays_of, counts_of
from storage.layouts import (
    add_labels,
    add_predictions,
    empty_label_counts,
    empty_prediction_counts,
    layout_from_json,
    layout_size,
    layout_to_json,
)
from storage.records import Ints, LabelCounts, Layout, PredictionCounts, Role, RollupKind
from storage.resolution import COARSE, DAY, FINE, HOUR, Stretch, WindowTooFine, cover, enclosing, floor_time, widths_for
from storage.rows import AnyRow
from storage.schema import UtcDateTime, layouts, rollups, versions

LayoutOf: TypeAlias = Callable[[str, str], Layout]
"""The layout of a model's version; raises UnknownVersion."""

LIVE_ROLES = frozenset({Role.CHAMPION, Role.CHALLENGER, Role.PINNED})
"""The roles whose answers callers have seen: all but shadow."""
MERGED = ""
"""The writer of the rows that compaction makes. Any other row is loose: it is in no row of an hour or a day yet."""

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
    row = {column.name: getattr(key, column.name) for column in _KEY} | {"layout_id": key.layout_id} | values
    while True:  # another transaction may insert the row, or compaction take it away, between any two of these statements
        stored = c.execute(locked).one_or_none()
        if stored is not None:
            return stored
        if insert_new(c, rollups, row, key=[column.name for column in _KEY]):
            return None


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
    arrays = arrays_of(counts)
    return {
        "rows": counts.rows,
        "errors": 0,
        "timeouts": 0,
        "bins": pack_ints(arrays.bins),
        "moments": pack_floats(arrays.moments),
        "classes": pack_ints(arrays.classes),
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
    sizes = arrays_of(like)
    arrays = LabelArrays(
        bins=unpack_ints(row.bins, sizes.bins.size),
        moments=unpack_floats(row.moments, sizes.moments.size),
        classes=unpack_ints(row.classes, sizes.classes.size),
    )
    return counts_of(like, row.rows, arrays, unpack_ints(row.latency, like.delay.size))


# ---------------------------------------------------------------------------------------------- reading


def read_predictions(
    c: Connection,
    layout: Layout,
    version: str,
    start: datetime,
    end: datetime,
    *,
    roles: Collection[str] | None = None,
    segment: str = "",
) -> PredictionCounts:
    """What the predictions of a version in ``[start, end)`` add up to; ``roles`` None means the live ones.

    ``segment`` is all of them where empty, else such as ``country=de``.

    The window is aligned to buckets: a bucket belongs to it when its start does. Raises WindowTooFine where one of its ends
    cuts an hour or a day that is only kept as a whole; ``widened`` gives a window that can be read.
    """
    return _sum_predictions(layout, _rows(c, layout, version, start, end, roles, RollupKind.PREDICTIONS, segment=segment))


def read_labels(
    c: Connection,
    layout: Layout,
    version: str,
    start: datetime,
    end: datetime,
    *,
    roles: Collection[str] | None = None,
    segment: str = "",
) -> LabelCounts:
    """What the labels of a version's predictions in ``[start, end)`` add up to; otherwise as ``read_predictions``."""
    return _sum_labels(layout, _rows(c, layout, version, start, end, roles, RollupKind.LABELS, segment=segment))


def prediction_series(
    c: Connection,
    layout: Layout,
    version: str,
    start: datetime,
    end: datetime,
    step_seconds: int,
    *,
    roles: Collection[str] | None = None,
    segment: str = "",
) -> list[tuple[datetime, PredictionCounts]]:
    """The counts of each step from ``start`` on that has any, with the start of the step.

    Steps of whole hours or days that begin on one cost the least. Raises WindowTooFine where steps cut an hour or a day
    that is only kept as a whole.
    """
    rows = _rows(c, layout, version, start, end, roles, RollupKind.PREDICTIONS, widths_for(start, step_seconds), segment)
    return [(at, _sum_predictions(layout, part)) for at, part in _steps(rows, start, step_seconds)]


def bin_series(
    c: Connection,
    layout: Layout,
    version: str,
    start: datetime,
    end: datetime,
    step_seconds: int,
    *,
    roles: Collection[str] | None = None,
) -> tuple[list[datetime], Ints]:
    """The starts of the steps with predictions, and their counts of every bin, int64 (steps, bins); otherwise as ``prediction_series``."""
    rows = _rows(c, layout, version, start, end, roles, RollupKind.PREDICTIONS, widths_for(start, step_seconds))
    size = layout_size(layout)
    found = [(at, sum_ints([row.bins for row in part], size)) for at, part in _steps(rows, start, step_seconds)]
    return [at for at, _ in found], np.array([counts for _, counts in found], np.int64).reshape(-1, size)


def label_series(
    c: Connection,
    layout: Layout,
    version: str,
    start: datetime,
    end: datetime,
    step_seconds: int,
    *,
    roles: Collection[str] | None = None,
    segment: str = "",
) -> list[tuple[datetime, LabelCounts]]:
    """The counts of each step from ``start`` on that has any labels; otherwise as ``prediction_series``."""
    rows = _rows(c, layout, version, start, end, roles, RollupKind.LABELS, widths_for(start, step_seconds), segment)
    return [(at, _sum_labels(layout, part)) for at, part in _steps(rows, start, step_seconds)]


def widened(
    c: Connection, layout: Layout, version: str, start: datetime, end: datetime, *, roles: Collection[str] | None = None
) -> tuple[datetime, datetime]:
    """The window, moved outwards to whole hours or days where it cuts one that is only kept as a whole."""
    return _fitted(c, layout, version, start, end, roles, outwards=True)


def narrowed(
    c: Connection, layout: Layout, version: str, start: datetime, end: datetime, *, roles: Collection[str] | None = None
) -> tuple[datetime, datetime]:
    """The window, moved inwards to whole hours or days where it cuts one that is only kept as a whole; it may become empty."""
    return _fitted(c, layout, version, start, end, roles, outwards=False)


def active_versions(c: Connection, start: datetime, end: datetime) -> list[tuple[str, str]]:
    """The models and versions that have predictions, of any role, in ``[start, end)``.

    A merged hour or day counts as if all of it were at its start, so there may be too many near one.
    """
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
    """The start of the version's bucket with predictions that ``at`` falls in; None where there is none.

    The finest that is kept: an hour or a day stands in only where nothing finer of it is left.
    """
    for width in (FINE, HOUR, DAY):
        within = (rollups.c.start <= at, rollups.c.start > at - timedelta(seconds=width or HOUR))
        buckets = _buckets(model, version, width).where(*within)
        row = c.execute(buckets.order_by(rollups.c.start.desc()).limit(1)).one_or_none()
        if row is not None and at < row.start + timedelta(seconds=row.seconds):
            found: datetime = row.start
            return found
        unit = floor_time(at, width or HOUR)
        inside = (rollups.c.start >= unit, rollups.c.start < unit + timedelta(seconds=width or HOUR))
        if c.execute(_buckets(model, version, width).where(*inside).limit(1)).one_or_none() is not None:
            return None
    return None


def _extent(c: Connection, model: str, version: str) -> tuple[datetime, datetime] | None:
    first = last = None
    for width in (DAY, HOUR, FINE):  # the finer takes over unless it is no longer kept there
        earliest, latest = (
            c.execute(_buckets(model, version, width).order_by(order).limit(1)).one_or_none()
            for order in (rollups.c.start, rollups.c.start.desc())
        )
        if earliest is None or latest is None:
            continue
        if first is None or earliest.start < first.start + timedelta(seconds=first.seconds):
            first = earliest
        if last is None or latest.start >= last.start:
            last = latest
    if first is None or last is None:
        return None
    return first.start, last.start + timedelta(seconds=last.seconds)


def _buckets(model: str, version: str, width: int) -> Select[datetime, int]:
    """The buckets of one width with predictions."""
    return select(rollups.c.start, rollups.c.seconds).where(
        rollups.c.model == model, rollups.c.kind == RollupKind.PREDICTIONS.value, rollups.c.version == version, _is_wide(width)
    )


def _is_wide(width: int) -> ColumnElement[bool]:
    return rollups.c.seconds < HOUR if width == FINE else rollups.c.seconds == width


_NO_COUNTS = (
    *(literal(0).label(name) for name in ("errors", "timeouts")),
    *(null().cast(LargeBinary).label(name) for name in ("bins", "moments", "classes", "latency")),
)


def _rows(
    c: Connection,
    layout: Layout,
    version: str,
    start: datetime,
    end: datetime,
    roles: Collection[str] | None,
    kind: RollupKind,
    widths: Sequence[int] = COARSE,
    segment: str = "",
) -> list[AnyRow]:
    """The rows that add up to the window, by start. Raises WindowTooFine.

    One statement reads the counts and what tells that they are whole, so that both are of one moment.
    """
    of = _scope(layout, version, roles, kind, segment)
    parts = cover(start, end, widths)
    counted = select(literal(0).label("unit"), rollups.c.start, rollups.c.seconds, *_COUNTS)
    # ">" and not "!=", because an index can look for it.
    loose = counted.where(*of, rollups.c.writer > MERGED, rollups.c.start >= start, rollups.c.start < end)
    merged = [counted.where(*of, *_merged_in(part)) for part in parts]
    found = c.execute(union_all(loose, *merged, *_witnesses(of, parts))).all()
    _require_whole(c, of, f"{layout.model} {version}", [row for row in found if row.unit])
    return sorted((row for row in found if not row.unit), key=lambda row: row.start)


def _scope(
    layout: Layout, version: str, roles: Collection[str] | None, kind: RollupKind, segment: str = ""
) -> list[ColumnElement[bool]]:
    return [
        rollups.c.model == layout.model,
        rollups.c.kind == kind.value,
        rollups.c.version == version,
        rollups.c.role.in_([str(role) for role in (LIVE_ROLES if roles is None else roles)]),
        rollups.c.segment == segment,
    ]


def _merged_in(part: Stretch) -> list[ColumnElement[bool]]:
    return [
        rollups.c.writer == MERGED,
        _is_wide(part.seconds),
        rollups.c.start >= part.start,
        rollups.c.start < part.end,
    ]


def _witnesses(of: Sequence[ColumnElement[bool]], parts: Sequence[Stretch]) -> list[Select[*tuple[Any, ...]]]:
    """How many rows the hours and days that the parts cut have counted, and how many what they consist of."""
    total = func.coalesce(func.sum(rollups.c.rows), 0).cast(BigInteger).label("rows")
    found = []
    for unit, narrower in ((HOUR, FINE), (DAY, HOUR)):
        for whole in enclosing(parts, unit):
            at = literal(whole.start, UtcDateTime()).label("start")
            for part in (whole, Stretch(seconds=narrower, start=whole.start, end=whole.end)):
                numbers = select(literal(unit).label("unit"), at, literal(part.seconds).label("seconds"), total, *_NO_COUNTS)
                found.append(numbers.where(*of, *_merged_in(part)))
    return found


def _require_whole(c: Connection, of: Sequence[ColumnElement[bool]], name: str, witnesses: Sequence[AnyRow]) -> None:
    """Raises WindowTooFine where an hour or a day counts more rows than what it consists of: some of that was dropped.

    The day comes before the hour: where the hours are gone, whole hours would not do.
    """
    missing: dict[tuple[int, datetime], int] = defaultdict(int)
    for row in witnesses:
        missing[-row.unit, row.start] += row.rows if row.seconds == row.unit else -row.rows
    for (unit, start), rows in sorted(missing.items()):
        if rows > 0:
            raise WindowTooFine(name, _first_dropped(c, of, start, -unit), -unit)


def _first_dropped(c: Connection, of: Sequence[ColumnElement[bool]], since: datetime, unit: int) -> datetime:
    """The first hour or day from ``since`` on of which only the whole is kept."""
    narrower = FINE if unit == HOUR else HOUR
    merged = select(rollups.c.start, rollups.c.seconds, rollups.c.rows).where(
        *of, rollups.c.writer == MERGED, rollups.c.start >= since, or_(_is_wide(unit), _is_wide(narrower))
    )
    for start, rows in groupby(c.execute(merged.order_by(rollups.c.start)), key=lambda row: floor_time(row.start, unit)):
        if sum(row.rows if row.seconds == unit else -row.rows for row in rows) > 0:
            return start
    return since


def _fitted(
    c: Connection,
    layout: Layout,
    version: str,
    start: datetime,
    end: datetime,
    roles: Collection[str] | None,
    *,
    outwards: bool,
) -> tuple[datetime, datetime]:
    of = _scope(layout, version, roles, RollupKind.PREDICTIONS)
    while start < end and (witnesses := _witnesses(of, cover(start, end))):
        try:
            _require_whole(c, of, f"{layout.model} {version}", c.execute(union_all(*witnesses)).all())
        except WindowTooFine as cut:
            if cut.start < start < cut.end:
                start = cut.start if outwards else cut.end
            if cut.start < end < cut.end:
                end = cut.end if outwards else cut.start
        else:
            break
    return start, max(start, end)


def _steps(rows: Sequence[AnyRow], start: datetime, seconds: int) -> Iterator[tuple[datetime, list[AnyRow]]]:
    step = timedelta(seconds=seconds)
    for number, part in groupby(rows, key=lambda row: (row.start - start) // step):
        yield start + number * step, list(part)


def _sum_predictions(layout: Layout, found: Sequence[AnyRow]) -> PredictionCounts:
    empty = empty_prediction_counts(layout)
    if not found:
        return empty
    _, _, _, rows, errors, timeouts, bins, moments, classes, latency = zip(*found, strict=True)
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
    _, _, _, rows, _, _, bins, moments, classes, latency = zip(*found, strict=True)
    sizes = arrays_of(empty)
    arrays = LabelArrays(
        bins=sum_ints(bins, sizes.bins.size),
        moments=sum_floats(moments, sizes.moments.size),
        classes=sum_ints(classes, sizes.classes.size),
    )
    return counts_of(empty, sum(rows), arrays, sum_ints(latency, empty.delay.size))

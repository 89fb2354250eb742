"""Merges the rows of ``rollups`` of hours that are over: all writers into one row, and again one per hour and one per day.

A row of a writer is taken away in the transaction that adds it to the merged ones, at all levels at once, so counts are
in each level exactly once whenever a process dies. A row that comes late simply stands beside the merged ones, where
readers find it, until the next compaction. Rows that a writer holds at the moment are left for then, so nobody waits.

Where the rollup width does not divide the hour, rows that reach over the end of one are never merged.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, insert, select

from storage.arrays import pack_floats, pack_ints, sum_floats, sum_ints
from storage.dialects import one_at_a_time
from storage.resolution import DAY, HOUR, fits, floor_time
from storage.rollups import MERGED
from storage.rows import AnyRow
from storage.schema import rollups

_COLUMNS = tuple(rollups.c)
_PLACE = ("start", "seconds", "role", "segment")
_KEY = (*_PLACE, "writer")
_NUMBERS = ("rows", "errors", "timeouts")
_INTEGERS = ("bins", "classes", "latency")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The counts of one kind of one version in the day that begins at ``day``."""

    model: str
    version: str
    kind: str
    day: datetime


def loose_parts(c: Connection, before: datetime) -> list[Part]:
    """The days, oldest first, with rows that are not merged and whose hour ends by ``before``."""
    limit = floor_time(before, HOUR)
    series = c.execute(select(rollups.c.model, rollups.c.version, rollups.c.kind).distinct()).all()
    found = []
    for model, version, kind in series:
        of = (rollups.c.model == model, rollups.c.version == version, rollups.c.kind == kind)
        loose = select(rollups.c.start, rollups.c.seconds).where(*of, rollups.c.writer > MERGED, rollups.c.start < limit).distinct()
        days = {floor_time(row.start, DAY) for row in c.execute(loose) if fits(row.start, row.seconds, HOUR)}
        found += [Part(model=model, version=version, kind=kind, day=day) for day in days]
    return sorted(found, key=lambda part: (part.day, part.model, part.version, part.kind))


def compact(c: Connection, part: Part, before: datetime) -> int:
    """Merges the part's rows of hours that end by ``before``, in the caller's transaction; returns how many were taken away.

    Raises CorruptCounts; the caller must roll back then.
    """
    one_at_a_time(c, "compaction")
    loose = _take_loose(c, part, min(part.day + timedelta(seconds=DAY), floor_time(before, HOUR)))
    if not loose:
        return 0
    groups = _grouped(loose)
    _forget(c, part, [row._mapping for row in loose])
    stored = _stored(c, part, groups)
    _forget(c, part, [row._mapping for row in stored.values()])
    merged = [_merged(part, place, [*rows, *_known(stored, place)]) for place, rows in groups.items()]
    c.execute(insert(rollups), merged)
    return len(loose)


def thin(c: Connection, model: str, version: str, *, minutes_before: datetime, hours_before: datetime) -> int:
    """Drops the merged rows below an hour that are older than whole days before ``minutes_before``, and those of an hour
    before ``hours_before``; what they counted stays in the coarser ones. Returns how many rows were dropped.
    """
    one_at_a_time(c, "compaction")
    of = (rollups.c.model == model, rollups.c.version == version, rollups.c.writer == MERGED)
    fine = and_(rollups.c.seconds < HOUR, rollups.c.start < floor_time(minutes_before, DAY))
    hours = and_(rollups.c.seconds == HOUR, rollups.c.start < floor_time(hours_before, DAY))
    return sum(c.execute(delete(rollups).where(*of, old)).rowcount for old in (fine, hours))


# ---------------------------------------------------------------------------------------------- the rows


def _take_loose(c: Connection, part: Part, end: datetime) -> list[AnyRow]:
    query = (
        select(*_COLUMNS)
        .where(*_of(part), rollups.c.writer > MERGED, rollups.c.start >= part.day, rollups.c.start < end)
        .order_by(rollups.c.start, rollups.c.seconds, rollups.c.role, rollups.c.segment, rollups.c.writer)
        .with_for_update(skip_locked=True)
    )
    return [row for row in c.execute(query) if fits(row.start, row.seconds, HOUR)]


def _of(part: Part) -> list[ColumnElement[bool]]:
    return [rollups.c.model == part.model, rollups.c.kind == part.kind, rollups.c.version == part.version]


def _grouped(loose: Sequence[AnyRow]) -> dict[tuple[Any, ...], list[AnyRow]]:
    """The rows by the place of each merged row that they belong to: at their own width, by the hour and by the day."""
    groups: dict[tuple[Any, ...], list[AnyRow]] = defaultdict(list)
    for row in loose:
        places = {(row.start, row.seconds), (floor_time(row.start, HOUR), HOUR), (floor_time(row.start, DAY), DAY)}
        for start, seconds in places:
            groups[start, seconds, row.role, row.segment].append(row)
    return groups


def _forget(c: Connection, part: Part, keys: Iterable[Any]) -> None:
    named = [{f"at_{name}": key[name] for name in _KEY} for key in keys]
    if named:
        this = [rollups.c[name] == bindparam(f"at_{name}") for name in _KEY]
        c.execute(delete(rollups).where(*_of(part), *this), named)


def _stored(c: Connection, part: Part, groups: Iterable[tuple[Any, ...]]) -> dict[tuple[Any, ...], AnyRow]:
    """The merged rows that are there already, of those places."""
    places = set(groups)
    starts = sorted({start for start, _, _, _ in places})
    within = (rollups.c.start >= starts[0], rollups.c.start <= starts[-1], rollups.c.writer == MERGED)
    rows = c.execute(select(*_COLUMNS).where(*_of(part), *within))
    return {place: row for row in rows if (place := tuple(getattr(row, name) for name in _PLACE)) in places}


def _known(stored: dict[tuple[Any, ...], AnyRow], place: tuple[Any, ...]) -> list[AnyRow]:
    return [stored[place]] if place in stored else []


def _merged(part: Part, place: tuple[Any, ...], rows: Sequence[AnyRow]) -> dict[str, Any]:
    """The values of one row that counts what all of these count."""
    values: dict[str, Any] = dict(zip(_PLACE, place, strict=True)) | {
        "model": part.model,
        "version": part.version,
        "kind": part.kind,
        "writer": MERGED,
        "layout_id": rows[0].layout_id,
    }
    values |= {name: sum(getattr(row, name) for row in rows) for name in _NUMBERS}
    values |= {name: _sum_packed([getattr(row, name) for row in rows]) for name in _INTEGERS}
    moments = [row.moments for row in rows]
    return values | {"moments": pack_floats(sum_floats(moments, (len(moments[0]) - 1) // 8))}


def _sum_packed(blobs: Sequence[bytes]) -> bytes:
    size = (len(blobs[0]) - 1) // max(blobs[0][0], 1) if blobs[0] else 0  # the first byte is the width of each number
    return pack_ints(sum_ints(blobs, size))

"""The points that the collector finds: what rules, pages and exporters read."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import CTE, Connection, FromClause, Row, Select, func, literal, select, tuple_

from storage.dialects import upsert
from storage.records import MetricPoint, Verdict
from storage.rows import columns_of, values_of
from storage.schema import UtcDateTime, metrics

SERIES = ("name", "model", "version", "role", "segment", "feature", "window_seconds")
"""What tells one series of points from another; with ``at`` the key of a point."""

_COLUMNS = columns_of(metrics, MetricPoint)
_FIELDS = tuple(column.name for column in _COLUMNS)
_KEY = (*SERIES, "at")
_END_OF_TIME = datetime(9999, 12, 31, tzinfo=UTC)


def write_points(c: Connection, points: Sequence[MetricPoint]) -> None:
    """Stores points; one with the same series and time is overwritten. NaN is stored as "no value"."""
    rows = {tuple(row[name] for name in _KEY): row for row in map(_row, points)}
    upsert(c, metrics, list(rows.values()), key=_KEY)


def latest_points(
    c: Connection,
    name: str,
    *,
    window_seconds: int | None = None,
    since: datetime,
    until: datetime | None = None,
    sufficient: bool = False,
    least_n: int | None = None,
) -> list[MetricPoint]:
    """The newest point, not older than ``since`` and not later than ``until``, of each series of the metric.

    Only points that rest on enough data count, where ``sufficient`` (the verdict is not insufficient data) or ``least_n``
    (``n_current``) asks for it. Costs a few looks into the index per series, however many points there are.
    """
    walk, one, point = _walk({"name": name}), metrics.alias("one"), metrics.alias("point")
    newest = select(point.c.id).where(*(point.c[column] == one.c[column] for column in SERIES[1:]))
    newest = newest.where(point.c.name == name, point.c.at >= since)
    if until is not None:
        newest = newest.where(point.c.at <= until)
    if sufficient:
        newest = newest.where(point.c.verdict != Verdict.INSUFFICIENT.value)
    if least_n is not None:
        newest = newest.where(point.c.n_current >= least_n)
    best = newest.order_by(point.c.at.desc()).limit(1).correlate(one).scalar_subquery()
    found = select(*_COLUMNS).select_from(walk.join(one, one.c.id == walk.c.id).join(metrics, metrics.c.id == best))
    if window_seconds is not None:
        found = found.where(one.c.window_seconds == window_seconds)
    found = found.order_by(*(metrics.c[column] for column in SERIES))
    return [point_of(row) for row in c.execute(found)]


def read_points(
    c: Connection,
    *,
    names: Collection[str] | None = None,
    model: str | None = None,
    version: str | None = None,
    feature: str | None = None,
    segment: str | None = None,
    window_seconds: int | None = None,
    start: datetime,
    end: datetime,
    limit: int | None = None,
) -> list[MetricPoint]:
    """The points with ``start <= at < end``, by time; with a limit, the newest ones that fit in it."""
    query = select(*_COLUMNS).where(metrics.c.at >= start, metrics.c.at < end)
    if names is not None:
        query = query.where(metrics.c.name.in_(list(names)))
    wanted = {"model": model, "version": version, "feature": feature, "segment": segment, "window_seconds": window_seconds}
    query = query.where(*(metrics.c[name] == value for name, value in wanted.items() if value is not None))
    query = query.order_by(metrics.c.at.desc(), metrics.c.id.desc()).limit(limit)
    return [point_of(row) for row in reversed(c.execute(query).all())]


def page_of_points(
    c: Connection, *, names: Collection[str], start: datetime, end: datetime, limit: int
) -> tuple[list[MetricPoint], datetime | None]:
    """The first points of these metrics with ``start <= at < end``, by time: about ``limit``, and never a part of one time.

    Returns, too, where the next page starts; None after the last one. The points have what rules judge, and nothing else.
    """
    # Not by the index of the names: that would sort all that is left for every page, where the index of times is in order.
    wanted = metrics.c.name.concat("").in_(list(names))
    query = select(*_JUDGED).where(wanted, metrics.c.at >= start, metrics.c.at < end)
    while True:
        rows = c.execute(query.order_by(metrics.c.at).limit(limit)).all()
        if len(rows) < limit:
            return [_judged(row) for row in rows], None
        last = rows[-1].at
        if rows[0].at < last:
            return [_judged(row) for row in rows if row.at < last], last
        limit *= 4  # more series than that have a point at one time


def points_at(
    c: Connection,
    times: Collection[datetime],
    *,
    names: Collection[str],
    model: str,
    version: str,
    role: str,
    window_seconds: int,
    segment: str | None = "",
) -> list[MetricPoint]:
    """The points of a version over windows of one length that end at any of ``times``, by time; None for all segments."""
    query = select(*_COLUMNS).where(metrics.c.at.in_(list(times)), metrics.c.name.in_(list(names)))
    wanted = {"model": model, "version": version, "role": role, "segment": segment, "window_seconds": window_seconds}
    query = query.where(*(metrics.c[name] == value for name, value in wanted.items() if value is not None))
    query = query.order_by(metrics.c.at, metrics.c.id)
    return [point_of(row) for row in c.execute(query)]


def window_lengths(c: Connection, model: str, names: Collection[str]) -> list[int]:
    """The lengths of window, in seconds, that the model has points of any of the metrics for, shortest first.

    Costs a look into the index per series, however many points there are.
    """
    one = metrics.alias("one")
    found: set[int] = set()
    for name in names:
        walk = _walk({"name": name, "model": model})
        lengths = select(one.c.window_seconds).select_from(walk.join(one, one.c.id == walk.c.id)).distinct()
        found.update(c.scalars(lengths.where(one.c.window_seconds > 0)))
    return sorted(found)


def newest_by_window(c: Connection, name: str) -> dict[int, datetime]:
    """For each length of window, in seconds (0 for a moment), when the newest point of the metric was; shortest first.

    Two looks into the index per length, however many points there are.
    """
    found: dict[int, datetime] = {}
    longer = select(func.min(metrics.c.window_seconds)).where(metrics.c.name == name)
    newest = select(func.max(metrics.c.at)).where(metrics.c.name == name)
    length = c.scalar(longer)
    while length is not None:
        found[length] = c.scalars(newest.where(metrics.c.window_seconds == length)).one()
        length = c.scalar(longer.where(metrics.c.window_seconds > length))
    return found


def _walk(fixed: Mapping[str, str]) -> CTE:
    """The ``id`` of one point of each series that has the ``fixed`` first columns of the key; its last row has NULL.

    A walk over the index of the key: from a point to the first one that lies behind all points of its series. Neither
    database does that by itself for DISTINCT or for windows; both would read every point.
    """
    first, known, beyond = metrics.alias("first"), metrics.alias("known"), metrics.alias("beyond")
    free = [column for column in _KEY if column not in fixed]
    walk = select(_first(first, fixed, free).scalar_subquery().label("id")).cte("walk", recursive=True)
    # Without the coalesce SQLite compares text with text of another column, for which it uses one column of the index;
    # without the time it would begin at each point of the series that is to be left.
    here = [func.coalesce(known.c[column], 0 if column == "window_seconds" else "") for column in free[:-1]]
    behind = tuple_(*(beyond.c[column] for column in free)) > tuple_(*here, literal(_END_OF_TIME, UtcDateTime))
    following = _first(beyond, fixed, free).where(behind).correlate(known).scalar_subquery()
    return walk.union_all(select(following).select_from(walk.join(known, known.c.id == walk.c.id)))


def _first(of: FromClause, fixed: Mapping[str, str], free: Sequence[str]) -> Select[tuple[int]]:
    query = select(of.c.id).where(*(of.c[column] == value for column, value in fixed.items()))
    return query.order_by(*(of.c[column] for column in free)).limit(1)


_JUDGED_FIELDS = (
    *("at", "name", "value", "model", "version", "role", "segment", "feature"),
    *("window_seconds", "n_current", "threshold", "verdict"),
)
_JUDGED = tuple(metrics.c[name] for name in _JUDGED_FIELDS)
_VERDICTS = {verdict.value: verdict for verdict in Verdict}


def _judged(row: Row[Any]) -> MetricPoint:
    values: dict[str, Any] = dict(zip(_JUDGED_FIELDS, row, strict=True))
    values["verdict"] = _VERDICTS[values["verdict"]]
    return MetricPoint(**values)


def _row(point: MetricPoint) -> dict[str, Any]:
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in values_of(point).items()}


def point_of(row: Iterable[Any]) -> MetricPoint:
    """A point from a row with the columns of one, in the order of its fields."""
    values = dict(zip(_FIELDS, row, strict=True))  # a mapping of SQLAlchemy's would cost as much as the rest of a read
    values["verdict"] = Verdict(values["verdict"])
    return MetricPoint(**values)

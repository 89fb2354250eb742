"""The points that the collector finds: what rules, pages and exporters read."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, func, select

from storage.dialects import upsert
from storage.records import MetricPoint, Verdict
from storage.rows import columns_of, values_of
from storage.schema import metrics

SERIES = ("name", "model", "version", "role", "segment", "feature", "window_seconds")
"""What tells one series of points from another; with ``at`` the key of a point."""

_COLUMNS = columns_of(metrics, MetricPoint)
_KEY = (*SERIES, "at")


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
    (``n_current``) asks for it.
    """
    newest_first = func.row_number().over(partition_by=[metrics.c[column] for column in SERIES], order_by=metrics.c.at.desc())
    found = select(*_COLUMNS, newest_first.label("place")).where(metrics.c.name == name, metrics.c.at >= since)
    if until is not None:
        found = found.where(metrics.c.at <= until)
    if window_seconds is not None:
        found = found.where(metrics.c.window_seconds == window_seconds)
    if sufficient:
        found = found.where(metrics.c.verdict != Verdict.INSUFFICIENT.value)
    if least_n is not None:
        found = found.where(metrics.c.n_current >= least_n)
    ranked = found.subquery()
    columns = [ranked.c[column.name] for column in _COLUMNS]
    order = [ranked.c[column] for column in SERIES]
    return [_point(row) for row in c.execute(select(*columns).where(ranked.c.place == 1).order_by(*order)).mappings()]


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
    return [_point(row) for row in reversed(c.execute(query).mappings().all())]


def points_at(
    c: Connection, times: Collection[datetime], *, names: Collection[str], model: str, version: str, role: str, window_seconds: int
) -> list[MetricPoint]:
    """The points of a version over windows of one length that end at any of ``times``, by time."""
    query = select(*_COLUMNS).where(metrics.c.at.in_(list(times)), metrics.c.name.in_(list(names)))
    wanted = {"model": model, "version": version, "role": role, "segment": "", "window_seconds": window_seconds}
    query = query.where(*(metrics.c[name] == value for name, value in wanted.items())).order_by(metrics.c.at, metrics.c.id)
    return [_point(row) for row in c.execute(query).mappings()]


def window_lengths(c: Connection, model: str) -> list[int]:
    """The lengths of window, in seconds, that the model has points for, shortest first."""
    query = select(metrics.c.window_seconds).where(metrics.c.model == model, metrics.c.window_seconds > 0).distinct()
    return sorted(c.scalars(query))


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


def _row(point: MetricPoint) -> dict[str, Any]:
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in values_of(point).items()}


def _point(row: RowMapping) -> MetricPoint:
    return MetricPoint(**{**row, "verdict": Verdict(row["verdict"])})

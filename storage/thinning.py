"""Makes the points of metrics sparser with age: windows that do not overlap, then one an hour, then one a day.

Of each series the last point of a span stays, besides both points of every change of verdict and those that an alert refers
to. Doing it again, or going on after a crash, takes nothing more away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, delete, func, select

from storage.dialects import epoch_seconds
from storage.engine import reading, writing
from storage.metrics import SERIES
from storage.resolution import DAY, HOUR, floor_time
from storage.rows import AnyRow
from storage.schema import alert_events, alerts, metrics

AT_ONCE = 5000
"""Rows per transaction that deletes: other writers get their turn in between."""
MOMENTS = 300
"""Seconds that points of a moment, which have no window, are apart where those of windows do not overlap."""
REFERRED = timedelta(days=1)
"""How long before an alert changed the point may be that it refers to: the newest of each metric of its series."""
_ONE_SERIES = [metrics.c[name] for name in SERIES if name not in ("name", "window_seconds")]
_LABELS = ("model", "version", "role", "segment", "feature")

Keep = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PointAges:
    """How long every point is kept, then one per window length, then one an hour; after that one a day."""

    every: timedelta
    apart: timedelta
    hours: timedelta

    def seconds_apart(self, day: datetime, now: datetime) -> int:
        """How many seconds at least lie between points of a day that is over; 0 where each is kept.

        >>> ages = PointAges(every=timedelta(days=7), apart=timedelta(days=30), hours=timedelta(days=90))
        >>> [ages.seconds_apart(datetime(2026, 3, 1), datetime(2026, *day)) for day in ((3, 8), (3, 9), (3, 31), (4, 1), (5, 31))]
        [0, 1, 1, 3600, 86400]
        """
        age = now - day - timedelta(seconds=DAY)
        steps = ((self.every, 1), (self.apart, HOUR), (self.hours, DAY))
        return max((seconds for least, seconds in steps if age >= max(least, self.every)), default=0)


def thin_points(
    engine: Engine, ages: PointAges, *, now: datetime, since: datetime | None, keep: Keep, dry_run: bool = False
) -> int:
    """Deletes the points that are too dense for their age, or only counts them; returns how many.

    Looks at the whole days (UTC) that came of an age after ``since``, when this was last done, or at all of them. ``keep`` is
    called again and again, and may raise to stop: what was done by then is whole, and the next time goes on.
    """
    with reading(engine) as c:
        oldest = c.scalar(select(func.min(metrics.c.at)))
    found = 0
    for day in _days(oldest or now, now - ages.every):
        least = ages.seconds_apart(day, now)
        if least and (since is None or least != ages.seconds_apart(day, since)):
            found += _thin_day(engine, day, least, keep, dry_run)
    return found


def _days(first: datetime, end: datetime) -> Iterator[datetime]:
    """Those that begin with ``first``'s and are over by ``end``."""
    day, one = floor_time(first, DAY), timedelta(seconds=DAY)
    while day + one <= end:
        yield day
        day += one


def _thin_day(engine: Engine, day: datetime, least: int, keep: Keep, dry_run: bool) -> int:
    with reading(engine) as c:
        within = (metrics.c.at > day, metrics.c.at <= day + timedelta(seconds=DAY))
        parts = c.execute(select(metrics.c.name, metrics.c.window_seconds).where(*within).distinct()).all()
        referred = _referred(c, day, day + timedelta(seconds=DAY)) if parts else set()
    found = 0
    for name, window_seconds in parts:
        keep()
        with reading(engine) as c:
            going = [row for row in _too_dense(c, name, window_seconds, day, least) if row not in referred]
        for start in range(0, 0 if dry_run else len(going), AT_ONCE):
            with writing(engine) as c:
                c.execute(delete(metrics).where(metrics.c.id.in_(going[start : start + AT_ONCE])))
        found += len(going)
    return found


def _too_dense(c: Connection, name: str, window_seconds: int, day: datetime, least: int) -> list[int]:
    """Points that end in ``(day, day + 1]``, are followed by another of the same span, and whose verdict is that of both neighbours."""
    width = max(window_seconds or MOMENTS, least)
    margin = timedelta(seconds=2 * width)  # so that the neighbours of the day's first and last points are seen
    span = (epoch_seconds(c, metrics.c.at) - 1) // width  # a window that ends where a span does belongs to it
    seen = (
        select(
            metrics.c.id,
            metrics.c.at,
            metrics.c.verdict,
            span.label("span"),
            func.lead(span).over(partition_by=_ONE_SERIES, order_by=metrics.c.at).label("next_span"),
            func.lag(metrics.c.verdict).over(partition_by=_ONE_SERIES, order_by=metrics.c.at).label("before"),
            func.lead(metrics.c.verdict).over(partition_by=_ONE_SERIES, order_by=metrics.c.at).label("after"),
        )
        .where(metrics.c.name == name, metrics.c.window_seconds == window_seconds)
        .where(metrics.c.at > day - margin, metrics.c.at <= day + timedelta(seconds=DAY) + margin)
        .subquery()
    )
    dense = select(seen.c.id).where(
        seen.c.at > day,
        seen.c.at <= day + timedelta(seconds=DAY),
        seen.c.span == seen.c.next_span,
        seen.c.verdict == seen.c.before,
        seen.c.verdict == seen.c.after,
    )
    return list(c.scalars(dense))


# ---------------------------------------------------------------------------------------------- alerts


def _referred(c: Connection, start: datetime, end: datetime) -> set[int]:
    """The points of ``(start, end]`` that alerts changed on: the newest of each metric of their series at that moment."""
    until = end + REFERRED
    found: set[int] = set()
    for labels, at in {(tuple(_series(row.labels).items()), row.at) for row in _changes(c, start, until)}:
        of = [metrics.c[name] == value for name, value in labels]
        newest = func.row_number().over(partition_by=[metrics.c.name, metrics.c.window_seconds], order_by=metrics.c.at.desc())
        seen = select(metrics.c.id, newest.label("place")).where(*of, metrics.c.at <= at, metrics.c.at > at - REFERRED).subquery()
        found.update(c.scalars(select(seen.c.id).where(seen.c.place == 1)))
    return found


def _series(labels: Mapping[str, str]) -> dict[str, str]:
    """What of an alert's labels names its series; the others are the rule's own."""
    return {name: labels.get(name, "") for name in _LABELS}


def _changes(c: Connection, start: datetime, end: datetime) -> Iterator[AnyRow]:
    """When alerts changed their state, and the last point of each that was judged."""
    for column in (alert_events.c.at, alerts.c.last_point_at, alerts.c.pending_at, alerts.c.fired_at, alerts.c.resolved_at):
        table = column.table
        yield from c.execute(select(table.c.labels, column.label("at")).where(column > start, column <= end))

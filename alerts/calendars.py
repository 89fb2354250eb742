"""Recurring times of day in a time zone as instants: mute windows and the times of digests. Pure.

Clocks are put forward and back. A time that does not exist on a day (spring) stands for the moment at which the clock
jumps; of one that comes twice (autumn) the first is meant where something begins, and the second where it ends, so that
a range is never torn in two.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from alerts.routing import Digest, MuteWindow, Route, Routing

DAY = timedelta(days=1)
MIDNIGHT = time(0)


def instant(day: date, at: time, zone: ZoneInfo, *, last: bool = False) -> datetime:
    """The moment, in UTC, at which the clocks of a zone show a time of day; with ``last`` the last one where there are two.

    >>> berlin = ZoneInfo("Europe/Berlin")
    >>> instant(date(2026, 3, 29), time(2, 30), berlin).strftime("%H:%M")  # the clock jumps from 02:00 to 03:00
    '01:00'
    >>> [instant(date(2026, 10, 25), time(2, 30), berlin, last=last).strftime("%H:%M") for last in (False, True)]
    ['00:30', '01:30']
    """
    local = datetime.combine(day, at, tzinfo=zone)
    first, second = local.replace(fold=0).astimezone(UTC), local.replace(fold=1).astimezone(UTC)
    if first <= second:
        return second if last else first
    return _jump(second, first, zone)


def covers(window: MuteWindow, at: datetime) -> bool:
    """Whether the moment lies in the window. A range over midnight belongs to the day that it begins on."""
    today = at.astimezone(window.zone).date()
    return any(begin <= at < end for day in (today - DAY, today) if _is_day(window, day) for begin, end in _ranges(window, day))


def open_windows(routing: Routing, at: datetime) -> frozenset[str]:
    """The names of the mute windows in which the moment lies."""
    return frozenset(window.name for window in routing.mute_windows if covers(window, at))


def muted(route: Route, windows: Collection[str]) -> str | None:
    """Why a route tells nobody while these windows are open; None where it does."""
    during = next((name for name in route.mute if name in windows), None)
    if during is not None:
        return f"mute window {during}"
    if route.only and not any(name in windows for name in route.only):
        return f"outside of {' and '.join(route.only)}"
    return None


def next_digest(digest: Digest, after: datetime) -> datetime:
    """The first time of the digest that is later than ``after``."""
    today = after.astimezone(digest.zone).date()
    days = (today + n * DAY for n in range(9))  # a week, and one that the clock may have taken away
    times = (instant(day, at, digest.zone) for day in days if day.weekday() in digest.weekdays for at in digest.at)
    return min(moment for moment in times if moment > after)


def _ranges(window: MuteWindow, day: date) -> Iterator[tuple[datetime, datetime]]:
    """The ranges that begin on the day, as instants: the whole day where the window has no times."""
    for start, end in window.times or ((MIDNIGHT, MIDNIGHT),):
        last_day = day if end > start else day + DAY
        yield instant(day, start, window.zone), instant(last_day, end, window.zone, last=True)


def _is_day(window: MuteWindow, day: date) -> bool:
    if window.months is not None and day.month not in window.months:
        return False
    if window.weekdays is not None and day.weekday() not in window.weekdays:
        return False
    return window.days is None or bool(window.days & {day.day, day.day - _length_of_month(day) - 1})


def _length_of_month(day: date) -> int:
    return ((day.replace(day=1) + timedelta(days=31)).replace(day=1) - DAY).day


def _jump(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The moment between the two at which the clocks of the zone are put forward, to the second."""
    offset = before.astimezone(zone).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = (before + (after - before) / 2).replace(microsecond=0)
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after

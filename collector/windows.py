"""Which windows are due. Pure: plain times in, windows out.

A window of each length ends every step; both are whole numbers of rollup buckets counted from 1970, so that every
window is a sum of whole buckets. A window is due once ``lag`` has passed since its end (predictions are still on their
way until then), and stays due after an outage, as far back as the caller's bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from storage.durations import format_duration, parse_duration
from storage.records import STEPS_PER_WINDOW

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Half-open: ``[start, end)``."""

    start: datetime
    end: datetime

    @property
    def seconds(self) -> int:
        return round((self.end - self.start).total_seconds())


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowPlan:
    """Windows of one length, one of which ends every step."""

    length: timedelta
    step: timedelta

    @property
    def seconds(self) -> int:
        return round(self.length.total_seconds())

    @property
    def name(self) -> str:
        """As people write the length: ``5m``."""
        return format_duration(self.length)

    def ending_at(self, end: datetime) -> Window:
        return Window(start=end - self.length, end=end)


def parse_plans(text: str, collect_interval: timedelta, bucket_seconds: int) -> list[WindowPlan]:
    """The plans for ``"5m,1h,1d"``, shortest first; duplicates count once.

    Raises ValueError for a length that is no duration, or not a whole number of buckets.

    >>> [(plan.name, plan.step.total_seconds()) for plan in parse_plans("1h,5m", timedelta(minutes=1), 60)]
    [('5m', 60.0), ('1h', 300.0)]
    """
    lengths = sorted({parse_duration(part) for part in text.split(",") if part.strip()})
    if not lengths:
        raise ValueError("no window length given; write for example 5m,1h,1d")
    return [_plan(length, collect_interval, bucket_seconds) for length in lengths]


def _plan(length: timedelta, collect_interval: timedelta, bucket_seconds: int) -> WindowPlan:
    seconds = length.total_seconds()
    if seconds < bucket_seconds or seconds % bucket_seconds:
        raise ValueError(f"{format_duration(length)} is not a multiple of the rollup width of {bucket_seconds} seconds")
    step = max(collect_interval.total_seconds(), seconds / STEPS_PER_WINDOW)
    return WindowPlan(length=length, step=timedelta(seconds=math.ceil(step / bucket_seconds) * bucket_seconds))


def latest_end(plan: WindowPlan, now: datetime, lag: timedelta) -> datetime:
    """The end of the newest window that is due."""
    return _EPOCH + (now - lag - _EPOCH) // plan.step * plan.step


def due_windows(plan: WindowPlan, now: datetime, *, lag: timedelta, done_until: datetime | None, most: int) -> list[Window]:
    """The windows that are due and end after ``done_until``, oldest first, the newest ``most`` of them.

    Without ``done_until`` (the job never ran) only the newest one.

    >>> plan = WindowPlan(length=timedelta(minutes=5), step=timedelta(minutes=1))
    >>> now = datetime(2026, 1, 1, 12, 3, 20, tzinfo=UTC)
    >>> due = due_windows(plan, now, lag=timedelta(seconds=5), done_until=now - timedelta(minutes=2), most=10)
    >>> [f"{window.start:%H:%M}-{window.end:%H:%M}" for window in due]
    ['11:57-12:02', '11:58-12:03']
    """
    newest = latest_end(plan, now, lag)
    if done_until is None:
        return [plan.ending_at(newest)]
    missed = max(0, math.ceil((newest - done_until) / plan.step))
    return [plan.ending_at(newest - number * plan.step) for number in reversed(range(min(missed, most)))]


def earlier_windows(plan: WindowPlan, newest: datetime, number: int) -> list[Window]:
    """The ``number`` windows that ended before ``newest``, oldest first: those that late labels restate."""
    return [plan.ending_at(newest - back * plan.step) for back in range(number, 0, -1)]

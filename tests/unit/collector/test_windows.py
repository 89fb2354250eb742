"""Which windows are due."""

from __future__ import annotations

import doctest
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

import collector.windows as module
from collector.windows import WindowPlan, due_windows, earlier_windows, parse_plans

NOW = datetime(2026, 3, 2, 12, 0, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PLAN = WindowPlan(length=5 * MINUTE, step=MINUTE)
LAG = timedelta(seconds=5)


def at(minute: int, second: int = 0) -> datetime:
    return NOW.replace(minute=minute, second=second)


def test_docstring_examples_run() -> None:
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("text", "interval", "bucket", "expected"),
    [
        ("5m,1h,1d", 60, 60, [(300, 60), (3600, 300), (86400, 7200)]),
        ("1h,5m,60m", 60, 60, [(300, 60), (3600, 300)]),
        ("10s", 2, 1, [(10, 2)]),
        ("10s", 1, 2, [(10, 2)]),
        ("7m", 60, 60, [(420, 60)]),
        ("5m", 600, 60, [(300, 600)]),
    ],
)
def test_plans_step_by_whole_buckets(text: str, interval: int, bucket: int, expected: list[tuple[int, int]]) -> None:
    plans = parse_plans(text, timedelta(seconds=interval), bucket)

    assert [(plan.seconds, plan.step.total_seconds()) for plan in plans] == expected


@pytest.mark.parametrize(
    ("text", "problem"), [("", "no window"), ("5x", "not a duration"), ("90s", "multiple"), ("30s", "multiple")]
)
def test_lengths_that_cannot_be_are_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_plans(text, MINUTE, 60)


def test_a_window_waits_for_the_lag() -> None:
    early = due_windows(PLAN, at(3, 4), lag=LAG, done_until=at(2), most=10)
    late = due_windows(PLAN, at(3, 5), lag=LAG, done_until=at(2), most=10)

    assert early == []
    assert [window.end for window in late] == [at(3)]


def test_the_first_run_takes_the_newest_window_only() -> None:
    found = due_windows(PLAN, NOW, lag=LAG, done_until=None, most=10)

    assert [(window.start, window.end) for window in found] == [(at(0) - 5 * MINUTE, at(0))]


def test_an_outage_is_caught_up_oldest_first_within_the_bound() -> None:
    found = due_windows(PLAN, at(30, 30), lag=LAG, done_until=at(10), most=5)

    assert [window.end for window in found] == [at(minute) for minute in (26, 27, 28, 29, 30)]


def test_a_clock_that_went_back_makes_nothing_due() -> None:
    assert due_windows(PLAN, at(1), lag=LAG, done_until=at(10), most=5) == []


def test_earlier_windows_end_before_the_newest() -> None:
    assert [window.end for window in earlier_windows(PLAN, at(10), 3)] == [at(7), at(8), at(9)]


@given(st.integers(0, 10_000), st.integers(0, 400), st.integers(1, 50))
def test_due_windows_are_aligned_in_order_and_never_in_the_future(seconds: int, ago: int, most: int) -> None:
    now = NOW + timedelta(seconds=seconds)

    found = due_windows(PLAN, now, lag=LAG, done_until=now - timedelta(seconds=ago), most=most)

    ends = [window.end for window in found]
    assert len(ends) <= most
    assert all(end.second == 0 and end + LAG <= now and end > now - timedelta(seconds=ago) for end in ends)
    assert all(later - earlier == MINUTE for earlier, later in pairwise(ends))

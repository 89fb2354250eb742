"""Which rows make up a window: each moment of it exactly once, the coarsest that fit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.resolution import DAY, FINE, HOUR, Stretch, ceil_time, cover, enclosing, fits, floor_time, widths_for

MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
minutes = st.integers(-5000, 5000)


def at(minute: float) -> datetime:
    return MIDNIGHT + timedelta(minutes=minute)


@given(minutes, minutes)
def test_a_cover_is_the_window_without_gap_or_overlap(first: int, last: int) -> None:
    parts = sorted(cover(at(first), at(last)), key=lambda part: part.start)

    assert [part.end for part in parts[:-1]] == [part.start for part in parts[1:]]
    assert (parts == []) == (first >= last)
    assert not parts or (parts[0].start, parts[-1].end) == (at(first), at(last))
    assert all(floor_time(part.start, part.seconds or 60) == part.start for part in parts)


@given(minutes, minutes)
def test_a_cover_has_less_than_two_days_of_hours_and_two_hours_of_minutes(first: int, last: int) -> None:
    length = {width: timedelta() for width in (FINE, HOUR, DAY)}
    for part in cover(at(first), at(last)):
        length[part.seconds] += part.end - part.start

    assert length[FINE] < timedelta(hours=2)
    assert length[HOUR] < timedelta(days=2)


@given(minutes, minutes)
def test_what_must_be_complete_touches_every_narrow_stretch_once(first: int, last: int) -> None:
    parts = cover(at(first), at(last))
    for unit in (HOUR, DAY):
        wholes = enclosing(parts, unit)

        assert all(before.end < after.start for before, after in pairwise(wholes))
        for part in parts:
            inside = [whole for whole in wholes if whole.start <= part.start and part.end <= whole.end]
            assert len(inside) == 1 or part.seconds >= unit


@pytest.mark.parametrize(
    ("start", "step", "widths"),
    [(0, 86_400, (DAY, HOUR)), (60, 86_400, (HOUR,)), (0, 7200, (HOUR,)), (0, 5400, ()), (30, 3600, ()), (0, 300, ())],
)
def test_steps_are_made_of_the_widths_that_divide_them(start: int, step: int, widths: tuple[int, ...]) -> None:
    assert widths_for(at(start), step) == widths


def test_times_are_rounded_to_multiples_since_1970() -> None:
    assert floor_time(at(61), HOUR) == at(60)
    assert ceil_time(at(61), HOUR) == at(120)
    assert floor_time(at(60), HOUR) == ceil_time(at(60), HOUR) == at(60)


def test_a_row_fits_where_it_ends_before_the_unit_does() -> None:
    assert fits(at(59), 60, HOUR)
    assert not fits(at(59), 61, HOUR)
    assert fits(at(0), HOUR, HOUR)


def test_a_short_window_across_midnight_is_one_stretch() -> None:
    assert cover(at(-10), at(20)) == [Stretch(seconds=FINE, start=at(-10), end=at(20))]

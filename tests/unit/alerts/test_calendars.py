"""Mute windows and digests by the clock on the wall, across midnight, month ends and changes of the clock."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.calendars import covers, muted, next_digest, open_windows
from alerts.routing import Digest, MuteWindow, Route, Routing

BERLIN = ZoneInfo("Europe/Berlin")
MON, TUE, FRI, SAT, SUN = 0, 1, 4, 5, 6


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def window(*times: str, zone: ZoneInfo = BERLIN, **changes: Any) -> MuteWindow:
    spans = tuple(tuple(map(time.fromisoformat, span.split("-"))) for span in times)
    given = {name: frozenset(values) for name, values in changes.items()}
    return MuteWindow(name="w", zone=zone, times=spans, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("window", "inside", "outside"),
    [
        # An ordinary range, in summer (UTC+2) and in winter (UTC+1): half-open.
        (window("09:00-17:00"), ["2026-07-01 07:00", "2026-07-01 14:59"], ["2026-07-01 06:59", "2026-07-01 15:00"]),
        (window("09:00-17:00"), ["2026-01-05 08:00", "2026-01-05 15:59"], ["2026-01-05 07:59", "2026-01-05 16:00"]),
        # Two ranges, and one to the end of the day.
        (
            window("00:00-01:00", "22:00-00:00", zone=ZoneInfo("UTC")),
            ["2026-07-01 00:30", "2026-07-01 23:59"],
            ["2026-07-01 12:00"],
        ),
        # Without times, the whole day of the zone.
        (window(weekdays=[SAT]), ["2026-03-06 23:00", "2026-03-07 22:59"], ["2026-03-06 22:59", "2026-03-07 23:00"]),
        # Over midnight: it belongs to the day that it begins on. 2026-03-06 is a Friday.
        (
            window("22:00-06:00", weekdays=[FRI]),
            ["2026-03-06 21:00", "2026-03-07 04:59"],
            ["2026-03-05 21:30", "2026-03-06 03:00", "2026-03-07 05:00", "2026-03-07 21:30"],
        ),
        (window("08:00-08:00", weekdays=[FRI]), ["2026-03-06 07:00", "2026-03-07 06:59"], ["2026-03-06 06:59", "2026-03-07 07:00"]),
        # Days of the month from its end, also in a leap year; months.
        (window(days=[-1]), ["2026-02-28 12:00", "2028-02-29 12:00", "2026-12-31 12:00"], ["2028-02-28 12:00", "2026-03-30 12:00"]),
        (window(days=[1, -2]), ["2026-03-01 12:00", "2026-03-30 12:00"], ["2026-03-31 12:00", "2026-03-02 12:00"]),
        (window("23:00-02:00", days=[-1]), ["2026-01-31 23:00", "2026-02-01 00:59"], ["2026-01-31 00:30", "2026-02-01 23:00"]),
        (window(months=[12]), ["2026-11-30 23:00", "2026-12-31 22:59"], ["2026-11-30 22:59", "2026-12-31 23:00"]),
        # Spring: on 2026-03-29 the clock jumps from 02:00 to 03:00, which is 01:00 UTC.
        (window("01:30-02:30"), ["2026-03-29 00:30", "2026-03-29 00:59"], ["2026-03-29 00:29", "2026-03-29 01:00"]),
        (
            window("02:15-02:45"),
            ["2026-03-28 01:15", "2026-03-30 00:15"],
            ["2026-03-29 00:59", "2026-03-29 01:00", "2026-03-29 01:30"],
        ),
        (window("02:30-04:00"), ["2026-03-29 01:00", "2026-03-29 01:59"], ["2026-03-29 00:59", "2026-03-29 02:00"]),
        (window("22:00-06:00", weekdays=[SAT]), ["2026-03-28 21:00", "2026-03-29 03:59"], ["2026-03-29 04:00"]),
        # Autumn: on 2026-10-25 the clock goes back from 03:00 to 02:00, which is 01:00 UTC; 02:30 comes twice.
        (
            window("02:30-03:30"),
            ["2026-10-25 00:30", "2026-10-25 01:15", "2026-10-25 02:29"],
            ["2026-10-25 00:29", "2026-10-25 02:30"],
        ),
        (
            window("02:00-02:30"),
            ["2026-10-25 00:00", "2026-10-25 00:45", "2026-10-25 01:29"],
            ["2026-10-24 23:59", "2026-10-25 01:30"],
        ),
        (window("22:00-06:00", weekdays=[SAT]), ["2026-10-24 20:00", "2026-10-25 04:59"], ["2026-10-25 05:00"]),
        # A zone whose clock jumps at midnight: Beirut, 2026-03-29 (22:00 UTC); the day begins at 01:00.
        (
            window(weekdays=[SUN], zone=ZoneInfo("Asia/Beirut")),
            ["2026-03-28 22:00", "2026-03-29 20:59"],
            ["2026-03-28 21:59", "2026-03-29 21:00"],
        ),
    ],
)
def test_window_covers(window: MuteWindow, inside: list[str], outside: list[str]) -> None:
    assert [text for text in inside if not covers(window, utc(text))] == []
    assert [text for text in outside if covers(window, utc(text))] == []


@settings(deadline=None)
@given(
    st.times().map(lambda at: at.replace(second=0, microsecond=0)),
    st.times().map(lambda at: at.replace(second=0, microsecond=0)),
    st.integers(0, 10),
)
def test_range_is_never_torn_in_two_by_a_change_of_the_clock(start: time, end: time, offset: int) -> None:
    found = MuteWindow(name="w", zone=BERLIN, times=((start, end),))
    for first in ("2026-03-28 12:00", "2026-10-24 12:00"):
        moments = [covers(found, utc(first) + timedelta(minutes=minute)) for minute in range(offset, 22 * 60, 11)]
        changes = sum(one != other for one, other in pairwise(moments))
        assert changes <= 2


def test_names_of_the_open_windows_decide_who_is_muted() -> None:
    nights = MuteWindow(name="nights", zone=BERLIN, times=((time(22), time(6)),))
    office = MuteWindow(name="office", zone=BERLIN, times=((time(9), time(17)),), weekdays=frozenset(range(5)))
    routing = Routing(root=Route(path="", receiver="r"), mute_windows=(nights, office))
    night, day = open_windows(routing, utc("2026-07-01 23:00")), open_windows(routing, utc("2026-07-01 12:00"))

    assert (set(night), set(day)) == ({"nights"}, {"office"})
    assert muted(Route(path="", receiver="r", mute=("nights",)), night) == "mute window nights"
    assert muted(Route(path="", receiver="r", mute=("nights",)), day) is None
    assert muted(Route(path="", receiver="r", only=("office",)), night) == "outside of office"
    assert muted(Route(path="", receiver="r", only=("office", "nights")), night) is None
    assert muted(Route(path="", receiver="r", mute=("nights",), only=("nights",)), night) == "mute window nights"
    assert muted(Route(path="", receiver="r"), night) is None


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ("2026-07-01 06:59", "2026-07-01 07:00"),  # 09:00 in summer
        ("2026-07-01 07:00", "2026-07-01 15:30"),
        ("2026-07-03 15:30", "2026-07-06 07:00"),  # from Friday to Monday
        ("2026-03-27 17:00", "2026-03-30 07:00"),  # over the weekend in which the clock jumps
        ("2026-10-23 16:00", "2026-10-26 08:00"),
    ],
)
def test_digest_comes_at_its_times_on_its_weekdays(after: str, expected: str) -> None:
    digest = Digest(at=(time(9), time(17, 30)), zone=BERLIN, weekdays=frozenset(range(5)))

    assert next_digest(digest, utc(after)) == utc(expected)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ("2026-03-28 12:00", "2026-03-29 01:00"),  # there is no 02:30 on that day
        ("2026-03-29 01:00", "2026-03-30 00:30"),
        ("2026-10-24 12:00", "2026-10-25 00:30"),  # the first of two
        ("2026-10-25 00:30", "2026-10-26 01:30"),
    ],
)
def test_digest_comes_once_on_every_day_that_the_clock_changes(after: str, expected: str) -> None:
    assert next_digest(Digest(at=(time(2, 30),), zone=BERLIN), utc(after)) == utc(expected)


def test_digest_of_one_weekday_comes_after_a_week() -> None:
    digest = Digest(at=(time(9),), zone=ZoneInfo("UTC"), weekdays=frozenset({TUE}))

    assert next_digest(digest, utc("2026-03-03 09:00")) == utc("2026-03-10 09:00")

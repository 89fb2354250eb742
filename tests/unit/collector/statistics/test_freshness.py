"""Silences that are usual and silences that are not, over simulated weeks of traffic, looked at every minute."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pytest

from collector.statistics.freshness import FLOOR_SECONDS, Rhythm, learn_rhythm, silence
from storage.records import Floats, Ints

MINUTE, HOUR, DAY = 60, 3600, 86_400
MONDAY = int(datetime(2026, 3, 2, tzinfo=UTC).timestamp())
Pattern = Callable[[Ints], Floats]


def always(minutes: Ints) -> Floats:
    return np.full(minutes.size, 8.0)


def office(minutes: Ints) -> Floats:
    """Monday to Friday from nine to six, about one prediction every two minutes."""
    day, hour = (minutes - MONDAY) // DAY % 7, minutes % DAY / HOUR
    return np.where((day < 5) & (hour >= 9) & (hour < 18), 0.5, 0.0)


def shop(minutes: Ints) -> Floats:
    """All week, busy in the evening, next to nothing at night."""
    hour = minutes % DAY / HOUR
    return np.where(hour < 6, 0.01, 2.0 + 2.0 * np.sin((hour - 12) / 24 * 2 * np.pi))


def sparse(minutes: Ints) -> Floats:
    return np.full(minutes.size, 0.05)


def hourly(minutes: Ints) -> Floats:
    return np.where(minutes % HOUR == 0, 1e9, 0.0)


def traffic(pattern: Pattern, start: int, end: int, seed: int = 0) -> Ints:
    """The minutes with predictions, Poisson at the pattern's mean numbers per minute."""
    minutes = np.arange(start, end, MINUTE)
    return np.asarray(minutes[np.random.default_rng(seed).random(minutes.size) < -np.expm1(-pattern(minutes))])


def alarms(rhythm: Rhythm, starts: Ints, begin: int, end: int) -> Ints:
    """The minutes at which the silence is too long."""
    found = []
    for now in range(begin, end, MINUTE):
        place = int(np.searchsorted(starts, now - MINUTE, side="right")) - 1
        last = int(starts[place]) + MINUTE
        if now - last > FLOOR_SECONDS and now - last > silence(rhythm, last, now).limit:
            found.append(now)
    return np.array(found, np.int64)


def learned(starts: Ints, until: int, days: int) -> Rhythm:
    rhythm = learn_rhythm(starts[(starts >= until - days * DAY) & (starts < until)], MINUTE)
    assert rhythm is not None
    return rhythm


@pytest.mark.parametrize("days", [7, 28])
@pytest.mark.parametrize("pattern", [always, office, shop, sparse, hourly])
def test_nights_and_weekends_and_chance_do_not_alarm(pattern: Pattern, days: int) -> None:
    """Four weeks, learned again every day; one alarm in these 280 days of all ten cases is chance."""
    starts = traffic(pattern, MONDAY, MONDAY + 56 * DAY)
    number = 0
    for day in range(28, 56):
        now = MONDAY + day * DAY
        number += alarms(learned(starts, now, days), starts, now, now + DAY).size > 0

    assert number <= 1


@pytest.mark.parametrize(
    ("pattern", "stop", "most_minutes"),
    [
        (always, 3 * DAY + 2 * HOUR, 6),
        (office, 1 * DAY + 14 * HOUR, 32),
        (shop, 5 * DAY + 20 * HOUR, 16),
        (sparse, 2 * DAY + 3 * HOUR, 300),
        (hourly, 2 * DAY + 3 * HOUR, 130),
    ],
)
@pytest.mark.parametrize("days", [7, 28])
def test_a_feed_that_stops_is_found(pattern: Pattern, stop: int, most_minutes: int, days: int) -> None:
    now = MONDAY + 28 * DAY
    starts = traffic(pattern, MONDAY, now + stop)

    found = alarms(learned(starts, now + stop, days), starts, now + stop, now + stop + 12 * HOUR)

    assert found.size
    assert (found[0] - now - stop) / MINUTE <= most_minutes


@pytest.mark.parametrize("days", [7, 28])
def test_a_feed_that_stops_at_the_weekend_is_found_on_monday_morning(days: int) -> None:
    friday, monday = MONDAY + 25 * DAY + 12 * HOUR, MONDAY + 28 * DAY
    starts = traffic(office, MONDAY, MONDAY + 26 * DAY)

    found = alarms(learned(starts, friday + 12 * HOUR, days), starts, friday + 7 * HOUR, monday + 12 * HOUR)

    assert monday + 9 * HOUR < found[0] <= monday + 9 * HOUR + 36 * MINUTE
    assert found[-1] == monday + 12 * HOUR - MINUTE


def test_an_outage_in_the_past_does_not_make_the_next_one_usual() -> None:
    now, outage = MONDAY + 28 * DAY, MONDAY + 16 * DAY
    starts = traffic(always, MONDAY, now)
    starts = starts[(starts < outage) | (starts >= outage + DAY)]

    assert silence(learned(starts, now, 28), now, now).limit <= 6 * MINUTE
    assert silence(learned(starts, now, 28), now + 2 * DAY, now + 2 * DAY).limit <= 10 * MINUTE


def test_the_first_weekend_is_unknown_and_the_second_is_not() -> None:
    saturday = MONDAY + 5 * DAY
    starts = traffic(office, MONDAY, saturday)

    first = silence(learned(starts, saturday, 28), int(starts[-1]) + MINUTE, saturday + HOUR)
    weekday = silence(learned(starts, saturday, 28), int(starts[-1]) + MINUTE, saturday - HOUR)

    assert not first.is_known
    assert weekday.is_known


@pytest.mark.parametrize(
    "starts",
    [
        np.zeros(0, np.int64),
        np.array([MONDAY]),
        np.arange(MONDAY, MONDAY + DAY - HOUR, MINUTE),
        np.arange(MONDAY, MONDAY + 10 * DAY, DAY),
    ],
    ids=["none", "one", "less than a day", "ten batches"],
)
def test_too_little_is_no_rhythm(starts: Ints) -> None:
    assert learn_rhythm(starts, MINUTE) is None


@pytest.mark.parametrize("offset", [0, 1, 1799, 3599])
def test_a_limit_is_where_the_expected_activity_is_used_up(offset: int) -> None:
    """Independent of the formula: the activity of the silence, second by second."""
    rates = np.tile(np.arange(24.0), 7)
    rhythm = Rhythm(rates=rates, patience=30.0, days=7, gaps=100)
    since = MONDAY + 3 * HOUR + offset

    limit = silence(rhythm, since, since).limit

    seconds = np.arange(since, since + int(limit))
    used = rates[(seconds - MONDAY) // HOUR % 168].sum() / HOUR
    assert used == pytest.approx(30.0, abs=0.01)


def test_where_nothing_is_ever_expected_four_weeks_are_the_limit() -> None:
    rhythm = Rhythm(rates=np.full(168, np.nan), patience=1.0, days=7, gaps=100)

    assert silence(rhythm, MONDAY, MONDAY + HOUR).limit == 28 * DAY

"""How long a silence is usual at this hour of the week, learned from the rhythm of a model's own traffic.

Time is measured in expected activity: a night without traffic takes no time, a busy hour takes sixty minutes of it. In that
time silences of all hours are alike, so the longest of the past say how long one may last now, whenever it began.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from storage.records import Floats, Ints

HOUR = 3600
WEEK_HOURS = 168
LEAST_DAYS = 1.0
LEAST_GAPS = 20
FORGIVEN = 2
"""The longest silences of the past that are taken for outages, and not for something usual."""
MARGIN = 2.0
ENOUGH_WEEKS = 3
"""With fewer the rate of an hour of the week is drawn to that of the hours like it, as if these made up for the missing weeks."""
FLOOR_SECONDS = 300
"""Least silence that can be too long: so much of the busiest hour's activity, and so much time."""
LONGEST_HOURS = 4 * WEEK_HOURS

_THURSDAY = 3
"""1970-01-01 was a Thursday; days of the week count from Monday, 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """``rates``: expected buckets with predictions in each hour of the week from Monday 00:00 UTC, float64 (168,), NaN unknown.

    ``patience``: the silence, in such buckets, that is still usual. ``days``: how long the history was; ``gaps``: how many
    silences it had.
    """

    rates: Floats
    patience: float
    days: float
    gaps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """``limit``: seconds from the last prediction after which the silence is too long. ``is_known``: every hour of it was seen before."""

    limit: float
    is_known: bool


def learn_rhythm(starts: Ints, width: int) -> Rhythm | None:
    """From the starts, seconds since 1970, int64 (n,) ascending, of the buckets of ``width`` seconds that had predictions.

    The rate of an hour of the week is the mean over the weeks that have it, where these are few together with the mean of the
    same hour of the other working days, or of the other day of the weekend; 0 where it was quiet in all of its weeks; unknown
    where there is nothing of either. None for less than a day, or fewer than ``LEAST_GAPS`` silences.

    >>> every_minute = np.arange(0, 2 * 86_400, 60)
    >>> rhythm = learn_rhythm(every_minute, 60)
    >>> rhythm.patience, silence(rhythm, 2 * 86_400, 2 * 86_400 + 60).limit
    (5.0, 300.0)
    """
    if starts.size <= LEAST_GAPS or starts[-1] - starts[0] < LEAST_DAYS * 86_400:
        return None
    rates = _rates(starts)
    silences = _activity(rates, starts[1:]) - _activity(rates, starts[:-1] + width)
    usual = float(np.sort(silences)[-1 - FORGIVEN])
    patience = max(MARGIN * usual, float(np.nanmax(rates)) * FLOOR_SECONDS / HOUR)
    return Rhythm(rates=rates, patience=patience, days=float(starts[-1] - starts[0]) / 86_400, gaps=starts.size - 1)


def silence(rhythm: Rhythm, since: int, now: int) -> Silence:
    """How long a silence that began at ``since`` may last, both in seconds since 1970; unknown hours count as quiet.

    At least ``FLOOR_SECONDS``, at most four weeks: then nothing at all was expected.
    """
    hours = np.arange(since // HOUR, since // HOUR + LONGEST_HOURS)
    rates = np.nan_to_num(rhythm.rates)[_hour_of_week(hours)]
    rates[0] *= 1 - since % HOUR / HOUR
    reached = np.cumsum(rates)
    place = int(np.searchsorted(reached, rhythm.patience, side="right"))
    if place == hours.size:
        limit = float(hours.size * HOUR)
    else:
        begin, left = max(int(hours[place]) * HOUR, since), rhythm.patience - (reached[place] - rates[place])
        length = HOUR - since % HOUR if place == 0 else HOUR
        limit = begin - since + length * left / rates[place]
    seen = np.arange(since // HOUR, max(math.ceil(now / HOUR), since // HOUR + 1))
    is_known = bool(np.isfinite(rhythm.rates[_hour_of_week(seen)]).all())
    return Silence(limit=max(float(limit), float(FLOOR_SECONDS)), is_known=is_known)


def _rates(starts: Ints) -> Floats:
    """Of whole hours only, up to the last prediction: a silence that lasts still is no usual one."""
    first, end = -(-int(starts[0]) // HOUR), int(starts[-1]) // HOUR
    hours = np.arange(first, end)
    active = np.bincount(starts[(starts >= first * HOUR) & (starts < end * HOUR)] // HOUR - first, minlength=hours.size)
    place = _hour_of_week(hours)
    times, total = np.bincount(place, minlength=WEEK_HOURS), np.bincount(place, weights=active, minlength=WEEK_HOURS)
    alike = (np.arange(WEEK_HOURS) // 24 >= 5) * 24 + np.arange(WEEK_HOURS) % 24  # the hour of a working day, or of a weekend
    times_alike, total_alike = (np.bincount(alike, weights=values, minlength=48)[alike] for values in (times, total))
    with np.errstate(invalid="ignore"):
        mean_alike = total_alike / times_alike
    missing = np.maximum(ENOUGH_WEEKS - times, 0)
    mixed = (total + missing * np.nan_to_num(mean_alike)) / (times + missing)
    return np.asarray(np.where(times == 0, mean_alike, np.where(total > 0, mixed, 0.0)))


def _hour_of_week(hours: Ints) -> Ints:
    return np.asarray((hours + _THURSDAY * 24) % WEEK_HOURS)


def _activity(rates: Floats, at: Ints) -> Floats:
    """The expected activity from some Monday in the past to each moment."""
    known = np.nan_to_num(rates)
    before = np.concatenate([[0.0], np.cumsum(known)])
    hours = at // HOUR + _THURSDAY * 24
    place = hours % WEEK_HOURS
    return np.asarray(hours // WEEK_HOURS * before[-1] + before[place] + known[place] * (at % HOUR) / HOUR)

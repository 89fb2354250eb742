"""From a budget of false alarms to the level of one test, and back to the number of false alarms that is expected."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta

from scipy.special import ndtr, ndtri

HIGHEST_LEVEL = 0.05
SEQUENCE_SHARE = 0.9
"""The part of the budget for small changes that last (``collector.statistics.sequence``); the rest is for windows."""
RESERVE = 2.5
"""Looks are counted as so many more: p-values this far in the tail are good to about this factor, and statistics of several
degrees of freedom cross their level more often than a mean does. With 1.5 the simulation had 1.3 alarms where 1 was allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Persistence:
    """Drift also where ``needed`` of ``windows`` windows that do not overlap are beyond a lower threshold."""

    needed: int = 2
    windows: int = 3

    @property
    def is_used(self) -> bool:
        return self.needed > 1

    @property
    def ways(self) -> int:
        """In how many ways the earlier windows can complete the newest one."""
        return math.comb(self.windows - 1, self.needed - 1)

    @classmethod
    def parse(cls, text: str) -> Persistence:
        """From ``"2/3"``. Raises ValueError.

        >>> Persistence.parse("2/3")
        Persistence(needed=2, windows=3)
        """
        parts = text.split("/")
        if len(parts) != 2 or not all(part.strip().isdigit() for part in parts):
            raise ValueError(f"{text!r} is not a number of windows out of others; write for example 2/3")
        needed, windows = (int(part) for part in parts)
        if not 1 <= needed <= windows <= 12:
            raise ValueError(f"{text!r} must be between 1/1 and 12/12, the first number at most the second")
        return cls(needed=needed, windows=windows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """Levels of one test: ``once`` by itself; ``together`` for the windows of a persistence, all of them beyond.

    ``followed``: false alarms per window length, over all columns, of the sequences that columns are followed by.
    """

    once: float
    together: float | None = None
    followed: float = 0.0


def independent_looks(level: float, step_share: float) -> float:
    """How many independent looks a window length holds when a look is taken every ``step_share`` of it.

    ``RESERVE z**2 nu(z sqrt(2 step_share))``, with ``nu(x) = exp(-0.583 x)`` and z the two-sided normal quantile of the level: the rate
    at which a normal mean over a sliding window crosses z (Siegmund 1985, chapter 4; Pickands 1969 as steps get short). But
    for the reserve at most every look counts, and at least one does.

    >>> round(independent_looks(1e-6, 1 / 12), 1)
    18.7
    """
    z = float(-ndtri(level / 2))
    return RESERVE * min(1 / step_share, max(1.0, z * z * math.exp(-0.583 * z * math.sqrt(2 * step_share))))


def levels_for_budget(
    days_per_false_alarm: float,
    length: timedelta,
    step: timedelta,
    tests: float,
    *,
    lengths: int,
    persistence: Persistence,
    sequence_share: float = 0.0,
) -> Levels:
    """The levels that give one false alarm in that many days, over all tests and all ``lengths`` of window together.

    Each length of window gets the same part of the budget. Of it ``sequence_share`` is for sequences, and of the rest each
    route to drift gets the same: one window by itself, and several that persist. Tests are counted in full (Bonferroni);
    calibration has made them as many as are independent.

    >>> day = levels_for_budget(
    ...     30, timedelta(hours=1), timedelta(minutes=5), 40, lengths=1, persistence=Persistence(needed=1, windows=1)
    ... )
    >>> f"{day.once:.1e}"
    '1.9e-06'
    """
    in_all = (length / timedelta(days=days_per_false_alarm)) / lengths
    followed, allowed = in_all * sequence_share, in_all * (1 - sequence_share) / max(tests, 1.0)
    step_share = min(1.0, step / length)
    if not persistence.is_used:
        return Levels(once=_level(allowed, step_share), followed=followed)
    together = _level(allowed / 2 / persistence.ways, step_share)
    return Levels(once=_level(allowed / 2, step_share), together=together, followed=followed)


def _level(allowed: float, step_share: float) -> float:
    """The level at which a test alarms ``allowed`` times per window length."""
    level = min(HIGHEST_LEVEL, allowed * step_share)
    for _ in range(8):
        level = min(HIGHEST_LEVEL, allowed / independent_looks(level, step_share))
    return level


def level_of_each(together: float, needed: int, n: int, m: int) -> float:
    """The level of each of ``needed`` windows that are all beyond it with probability ``together`` at most.

    Windows of n rows share a reference of m rows, so that without drift their scores correlate by ``r = n / (n + m)``. Where
    all exceed z, so does their mean, whose variance is ``(1 + (k - 1) r) / k``: that bounds the probability for any r. With a
    small reference the windows repeat one another, and persistence proves little.

    >>> round(level_of_each(1e-6, 2, 200, 10_000), 5), round(level_of_each(1e-6, 2, 10_000, 1000), 7)
    (0.00048, 1.8e-06)
    """
    r = n / (n + m) if n + m else 1.0
    z = float(-ndtri(together / 2)) * math.sqrt((1 + (needed - 1) * r) / needed)
    return float(2 * ndtr(-z))


def expected_false_alarms(levels: Levels, length: timedelta, step: timedelta, tests: float, persistence: Persistence) -> float:
    """How many false alarms a week these levels give at most, on rows without drift, over all tests of one window length.

    Floors make it fewer; rows that depend on one another in ways that the reference does not show make it more.

    >>> rule = Persistence()
    >>> hour, step = timedelta(hours=1), timedelta(minutes=5)
    >>> levels = levels_for_budget(30, hour, step, 40, lengths=1, persistence=rule)
    >>> round(expected_false_alarms(levels, hour, step, 40, rule), 3)
    0.233
    """
    step_share = min(1.0, step / length)
    routes = levels.once * independent_looks(levels.once, step_share)
    if levels.together is not None:
        routes += persistence.ways * levels.together * independent_looks(levels.together, step_share)
    return (routes * tests + levels.followed) * (timedelta(days=7) / length)

"""Statistics of two raw samples, exact: Kolmogorov-Smirnov, Wasserstein, Cramér-von Mises, Anderson-Darling.

Samples are float64 (n,) and (m,) without NaN; the order does not matter. The last two have no counterpart from counts.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import gammaln, kve

from collector.statistics.distances import number_or_none
from storage.records import Floats, Ints

ANDERSON_LEVELS = np.array([0.25, 0.1, 0.05, 0.025, 0.01, 0.005, 0.001])
"""Levels between which the p-value of Anderson-Darling is interpolated; beyond them it is cut off."""
_ANDERSON_CRITICAL = np.array([0.325, 1.226, 1.961, 2.718, 3.752, 4.592, 6.546])
"""Critical values of two samples at these levels: Scholz and Stephens (1987), table 1, m = 1."""


def exact_ks(reference: Floats, current: Floats) -> float | None:
    """The largest gap between the empirical distribution functions of two samples without NaN; None where one is empty."""
    if not reference.size or not current.size:
        return None
    left, right = np.sort(reference), np.sort(current)
    values = np.concatenate((left, right))
    gaps = np.searchsorted(left, values, side="right") / left.size - np.searchsorted(right, values, side="right") / right.size
    return float(np.abs(gaps).max())


def exact_wasserstein(reference: Floats, current: Floats) -> float | None:
    """Wasserstein distance divided by the reference's deviation, as ``scipy.stats.wasserstein_distance / reference.std()``.

    None where a sample is empty or holds infinities (the distance is infinite then), or the reference has no deviation.

    >>> exact_wasserstein(np.array([0.0, 2.0]), np.array([1.0, 3.0]))
    1.0
    """
    if not reference.size or not current.size or not (np.isfinite(reference).all() and np.isfinite(current).all()):
        return None
    left, right = np.sort(reference), np.sort(current)
    values = np.sort(np.concatenate((left, right)))
    gaps = _shares_up_to(left, values[:-1]) - _shares_up_to(right, values[:-1])
    with np.errstate(all="ignore"):
        return number_or_none(np.sum(np.abs(gaps) * (np.diff(values) / deviation(left))))


def deviation(values: Floats) -> float:
    """Standard deviation (divided by n) of at least one finite number; NaN where all are equal, whatever rounding says.

    >>> deviation(np.array([1.0, 3.0])), deviation(np.full(3, 0.1))
    (1.0, nan)
    """
    if values.min() == values.max():
        return math.nan
    return float(values.std()) or math.nan


def _shares_up_to(ordered: Floats, values: Floats) -> Floats:
    return np.asarray(np.searchsorted(ordered, values, side="right") / ordered.size)


# ---------------------------------------------------------------------------------------------- Cramér-von Mises


def cramer_von_mises(reference: Floats, current: Floats) -> tuple[float, float] | None:
    """Anderson's (1962) two-sample statistic T and its p-value from the limit, https://doi.org/10.1214/aoms/1177704477.

    Looks at the whole distribution where Kolmogorov-Smirnov looks at one point. As ``scipy.stats.cramervonmises_2samp``
    with ``method="asymptotic"``; ties by middle ranks. None where a sample has fewer than two values.

    >>> t, p = cramer_von_mises(np.arange(10.0), np.arange(10.0) + 5)
    >>> round(t, 3), round(p, 4)
    (0.837, 0.0056)
    """
    n, m = reference.size, current.size
    if n < 2 or m < 2:
        return None
    left, right = np.sort(reference), np.sort(current)
    u = n * _rank_error(left, right) + m * _rank_error(right, left)
    total, product = n + m, n * m
    t = u / (product * total) - (4 * product - 1) / (6 * total)
    mean = (1 + 1 / total) / 6
    variance = (total + 1) * (4 * product * total - 3 * (n**2 + m**2) - 2 * product) / (45 * total**2 * 4 * product)
    at = 1 / 6 + (t - mean) / math.sqrt(45 * variance)
    return float(t), cramer_von_mises_tail(at)


def _rank_error(own: Floats, other: Floats) -> float:
    """Sum of squares of middle rank among both less rank within its own sample."""
    ranks = _middle_ranks(own, own) + _middle_ranks(other, own)
    return float(np.sum((ranks + 0.5 - np.arange(1, own.size + 1)) ** 2))


def _middle_ranks(ordered: Floats, values: Floats) -> Floats:
    left, right = np.searchsorted(ordered, values, side="left"), np.searchsorted(ordered, values, side="right")
    return np.asarray((left + right) / 2)


def cramer_von_mises_tail(statistic: float) -> float:
    """Probability that the limiting distribution exceeds ``statistic``: Csörgő and Faraway (1996), equation 1.2.

    >>> round(cramer_von_mises_tail(0.46136), 3)
    0.05
    """
    if statistic <= 0:
        return 1.0
    k = np.arange(40)
    x = (4 * k + 1) ** 2 / (16 * statistic)
    weights = np.exp(gammaln(k + 0.5) - gammaln(k + 1)) * np.sqrt(4 * k + 1)
    below = np.sum(weights * np.exp(-2 * x) * kve(0.25, x)) / (math.pi**1.5 * math.sqrt(statistic))
    return float(np.clip(1 - below, 0.0, 1.0))


# ---------------------------------------------------------------------------------------------- Anderson-Darling


def anderson_darling(reference: Floats, current: Floats) -> tuple[float, float] | None:
    """The two-sample statistic of Scholz and Stephens (1987), ties by middle ranks, standardised, and its p-value.

    As ``scipy.stats.anderson_ksamp``: weights the tails more than Cramér-von Mises does. The p-value is interpolated in a
    published table and lies between 0.001 and 0.25. None where a sample is empty, all values are equal, or
    there are fewer than four. https://doi.org/10.1080/01621459.1987.10478517

    >>> a, p = anderson_darling(np.arange(10.0), np.arange(10.0) + 5)
    >>> round(a, 2), round(p, 4)
    (5.09, 0.0032)
    """
    values, held = np.unique(np.concatenate((reference, current)), return_counts=True)
    if not reference.size or not current.size or values.size < 2 or held.sum() < 4:
        return None
    sizes = (reference.size, current.size)
    statistic = sum(_weighted_error(np.sort(sample), values, held) for sample in (reference, current))
    standardised = (statistic - 1) / math.sqrt(_anderson_variance(sizes))
    return float(standardised), _anderson_p(standardised)


def _weighted_error(own: Floats, values: Floats, held: Ints) -> float:
    """One sample's part of equation 7 of the paper: rows up to the middle of each value, against its share of all."""
    total = int(held.sum())
    middle = np.cumsum(held) - held / 2
    mine = _middle_ranks(own, values)
    scale = middle * (total - middle) - total * held / 4
    part = np.sum(held / total * (total * mine - own.size * middle) ** 2 / scale)
    return float((total - 1) / total * part / own.size)


def _anderson_variance(sizes: tuple[int, int]) -> float:
    """Equation 4 of the paper with two samples."""
    total = sum(sizes)
    inverse = sum(1 / size for size in sizes)
    tails = np.cumsum(1 / np.arange(total - 1, 1, -1))
    h, g = float(tails[-1]) + 1, float(np.sum(tails / np.arange(2, total)))
    a = (4 * g - 6) + (10 - 6 * g) * inverse
    b = (2 * g - 4) * 4 + 16 * h + (2 * g - 14 * h - 4) * inverse - 8 * h + 4 * g - 6
    c = (6 * h + 2 * g - 2) * 4 + (4 * h - 4 * g + 6) * 2 + (2 * h - 6) * inverse + 4 * h
    d = (2 * h + 6) * 4 - 8 * h
    return (a * total**3 + b * total**2 + c * total + d) / ((total - 1) * (total - 2) * (total - 3))


def _anderson_p(statistic: float) -> float:
    """A parabola through the logarithms of the levels, as the paper suggests."""
    logs = np.polyval(np.polyfit(_ANDERSON_CRITICAL, np.log(ANDERSON_LEVELS), 2), statistic)
    if statistic <= _ANDERSON_CRITICAL[0]:
        return float(ANDERSON_LEVELS[0])
    return float(ANDERSON_LEVELS[-1]) if statistic >= _ANDERSON_CRITICAL[-1] else float(np.exp(logs))

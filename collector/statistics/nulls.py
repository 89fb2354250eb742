"""What each statistic is without drift: its p-value, and the value that it exceeds with a given probability.

Everything takes ``spread = 1/n + 1/m``, the variance that a window of n rows and a reference of m rows bring along; a
finite reference is thereby part of every threshold. Rows that depend on one another say less than their number: their
spread is multiplied by a *design effect*, the variance of their mean over that of independent rows (Kish 1965). All
functions work on arrays as well, by broadcasting.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import chdtrc, chdtri, kolmogi, kolmogorov, ndtr, ndtri

Value: TypeAlias = float | npt.NDArray[np.float64]

BITS = 8 * np.log(2)
"""PSI, for small differences, over the squared Jensen-Shannon distance in bits."""
FOUND = float(ndtri(0.8))
"""How many standard errors beyond its threshold an effect lies that is found four times out of five."""


def spread_of(n: float, m: float) -> float:
    """``1/n + 1/m``, infinite where a side is empty."""
    return 1 / n + 1 / m if n and m else float("inf")


# ---------------------------------------------------------------------------------------------- Kolmogorov-Smirnov


def ks_p(value: Value, spread: Value) -> Value:
    """Probability of a distance of at least ``value`` (Kolmogorov's limit). Never too small where values tie.

    >>> round(float(ks_p(0.192, 1/100 + 1/100)), 3)
    0.05
    """
    return kolmogorov(value / np.sqrt(spread))


def ks_quantile(alpha: Value, spread: Value) -> Value:
    """The distance that is exceeded with probability alpha; above 1 where nothing could be.

    >>> round(float(ks_quantile(0.05, 1/100 + 1/100)), 3)
    0.192
    """
    return kolmogi(alpha) * np.sqrt(spread)


# ---------------------------------------------------------------------------------------------- rank shift


def shift_p(value: Value, deviation: Value, spread: Value) -> Value:
    """Two-sided probability of a rank shift (see ``collector.statistics.shift``) of at least ``value``.

    The Mann-Whitney probability behind the shift is normal with the standard error ``deviation sqrt(spread)``, where
    ``deviation`` is that of the reference's ranks (0.289 without ties).

    >>> round(float(shift_p(0.2, 12**-0.5, 1/200)), 4)
    0.0059
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (ndtr(np.asarray(value) / np.sqrt(2)) - 0.5) / (deviation * np.sqrt(spread))
    return 2 * ndtr(-np.nan_to_num(z, nan=0.0))  # type: ignore[no-any-return]


def shift_quantile(alpha: Value, deviation: Value, spread: Value) -> Value:
    """The rank shift that is exceeded with probability alpha; infinite where nothing could be.

    >>> round(float(shift_quantile(0.05, 12**-0.5, 1/200)), 3)
    0.142
    """
    beyond = -ndtri(np.asarray(alpha) / 2) * deviation * np.sqrt(spread)
    return np.sqrt(2) * ndtri(np.minimum(0.5 + beyond, 1.0))  # type: ignore[no-any-return]


# ---------------------------------------------------------------------------------------------- PSI and Jensen-Shannon


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """The design effects of a set of groups: the eigenvalues of their covariance over that of independent rows.

    ``first``, ``second``, ``third``: means of the eigenvalues, of their squares, and of their cubes; all 1 for
    independent rows.
    """

    first: float = 1.0
    second: float = 1.0
    third: float = 1.0


INDEPENDENT = Weights()


def chi2_p(value: Value, freedom: Value, weights: Weights = INDEPENDENT) -> Value:
    """Upper tail of ``sum(w_i z_i**2)`` over ``freedom`` normals z: three moments matched (Pearson 1959, Imhof 1961).

    The chi-squared tail where all weights are 1.

    >>> round(float(chi2_p(16.92, 9)), 3)
    0.05
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        mean, ratio, like = _matched(freedom, weights)
        return np.asarray(chdtrc(like, np.maximum((value - mean) * ratio + like, 0.0)), np.float64)


def chi2_quantile(alpha: Value, freedom: Value, weights: Weights = INDEPENDENT) -> Value:
    """The value that is exceeded with probability alpha; the inverse of ``chi2_p``.

    >>> round(float(chi2_quantile(0.05, 9)), 2)
    16.92
    """
    mean, ratio, like = _matched(freedom, weights)
    return np.asarray(mean + (chdtri(like, alpha) - like) / ratio, np.float64)


def _matched(freedom: Value, weights: Weights) -> tuple[Value, float, Value]:
    """Mean, scale, and the degrees of freedom of the chi-squared variable with the same skewness."""
    return freedom * weights.first, weights.second / weights.third, freedom * weights.second**3 / weights.third**2


def psi_p(value: Value, groups: int, spread: Value, weights: Weights = INDEPENDENT) -> Value:
    """Probability of a PSI of at least ``value``: see ``psi_quantile``; 1 for a single group."""
    return chi2_p((np.sqrt(1 + 2 * np.asarray(value)) - 1) / spread, groups - 1, weights) if groups > 1 else np.ones_like(value)


def psi_quantile(alpha: Value, groups: int, spread: Value, weights: Weights = INDEPENDENT) -> Value:
    """The PSI exceeded with probability about alpha: ``t (1 + t / 2)`` with ``t = spread chi2_{groups-1}(1 - alpha)``.

    The second factor is fitted to simulations (5 to 20 groups, n from 100, alpha to 2e-5): the plain chi-squared limit
    is exceeded up to 16 times too often there.

    >>> round(float(psi_quantile(0.01, 10, 1/200 + 1/10_000)), 3)
    0.117
    """
    t = spread * chi2_quantile(alpha, groups - 1, weights) if groups > 1 else 0.0
    return t * (1 + t / 2)


def js_p(value: Value, groups: int, spread: Value, weights: Weights = INDEPENDENT) -> Value:
    """Probability of a Jensen-Shannon distance of at least ``value``: see ``js_quantile``; 1 for a single group."""
    t = 2 * (np.sqrt(1 + BITS * np.square(value)) - 1)
    return chi2_p(t / spread, groups - 1, weights) if groups > 1 else np.ones_like(value)


def js_quantile(alpha: Value, groups: int, spread: Value, weights: Weights = INDEPENDENT) -> Value:
    """The Jensen-Shannon distance (base 2) exceeded with probability about alpha; at most 1.

    The divergence in nats is PSI / 8 for small differences, so the square root of ``t (1 + t / 4) / (8 ln 2)``.

    >>> round(float(js_quantile(0.01, 10, 1/500 + 1/10_000)), 3)
    0.091
    """
    t = spread * chi2_quantile(alpha, groups - 1, weights) if groups > 1 else 0.0
    return np.minimum(1.0, np.sqrt(t * (1 + t / 4) / BITS))  # type: ignore[no-any-return]


def chi2_found(limit: Value, freedom: Value) -> Value:
    """How non-central a chi-squared value must be to exceed ``limit`` four times out of five, by its normal limit.

    Solves ``(k + c) - z sqrt(2 (k + 2 c)) = limit`` for c, with k the degrees of freedom.

    >>> round(float(chi2_found(16.92, 9)), 1)  # exactly 15.6
    15.4
    """
    a, b = np.asarray(limit) - freedom, 2 * FOUND**2
    return np.maximum(a + b + np.sqrt(np.maximum(b * b + 2 * a * b + b * freedom, 0.0)), 0.0)


# ---------------------------------------------------------------------------------------------- shares


def expected_share(share: Value, m: Value, pseudo_rows: float = 1.0) -> Value:
    """A share of m reference rows, moved by ``pseudo_rows`` away from 0 and 1: an event not seen yet may still happen."""
    return (share * m + pseudo_rows) / (m + 2 * pseudo_rows)


def share_z(share: Value, expected: Value, spread: Value) -> Value:
    """The signed root of the likelihood ratio ``2 KL(share || expected) / spread``: a normal score without drift.

    Good for shares near 0, where the usual normal approximation alarms far too often.

    >>> round(float(share_z(0.04, 0.02, 1/500 + 1/10_000)), 2)
    2.75
    """
    share = np.asarray(share)
    with np.errstate(divide="ignore", invalid="ignore"):
        head = np.where(share > 0, share * np.log(share / expected), 0.0)
        tail = np.where(share < 1, (1 - share) * np.log((1 - share) / (1 - np.asarray(expected))), 0.0)
    return np.sign(share - expected) * np.sqrt(np.maximum(2 * (head + tail) / spread, 0.0))


def share_upper(alpha: float, expected: float, spread: float) -> float:
    """The share above ``expected`` that is exceeded with probability alpha; 1 where nothing could be.

    >>> round(share_upper(0.001, 0.02, 1/500 + 1/10_000), 4)
    0.0428
    """
    return _share_limit(float(-ndtri(alpha)), 1.0, expected, spread)


def share_lower(alpha: float, expected: float, spread: float) -> float:
    """The share below ``expected`` that is undercut with probability alpha; 0 where nothing could be."""
    return _share_limit(float(-ndtri(alpha)), 0.0, expected, spread)


def _share_limit(z: float, end: float, expected: float, spread: float) -> float:
    """Between ``expected`` and ``end``, by halving; with plain numbers, as it is called for every feature of every window."""
    inside, outside, allowed = expected, end, z * z * spread / 2
    if _divergence(outside, expected) <= allowed:
        return outside
    for _ in range(36):
        middle = (inside + outside) / 2
        if _divergence(middle, expected) > allowed:
            outside = middle
        else:
            inside = middle
    return inside


def _divergence(p: float, q: float) -> float:
    """KL(p || q) of two coins, in nats."""
    head = p * math.log(p / q) if p > 0 else 0.0
    tail = (1 - p) * math.log((1 - p) / (1 - q)) if p < 1 else 0.0
    return head + tail


def upper_tail(z: float) -> float:
    """The probability of a normal score above z."""
    return float(ndtr(-z))

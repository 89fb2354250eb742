"""Distances between two counts of the same groups: PSI, Jensen-Shannon, KL, Hellinger, total variation, chi-squared, G.

Every formula works along the last axis, so that one call covers one column or all columns of a model: counts are int64
(..., groups) of the reference and of the window. Groups that are empty on both sides count for nothing. NaN: a side is
empty. ``psi`` and ``js_distance`` are the same for one column, with None instead of NaN.

None of them has an error of its own from rollups: they are defined on the groups of ``collector.statistics.groups``, and
a group's count is the same whether rows or rollups were counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc, rel_entr, xlogy

from storage.records import Floats, Ints

EMPTY_GROUP_ROWS = 0.5
"""What an empty group counts as in PSI and KL: half a row."""
LEAST_EXPECTED = 5.0
"""Chi-squared and G compare groups that are expected to hold so many rows on the smaller side (Cochran 1954)."""


def psi(reference: Ints, current: Ints) -> float | None:
    """Population stability index ``sum((c - r) ln(c / r))`` over the shares of two counts of the same groups.

    An empty group counts as half a row of its own side; shares are not normalised again. Without drift its mean is
    about ``(groups - 1) (1/n + 1/m)``: it needs a threshold that knows n and m. None where a side is empty.
    Source: Kullback and Leibler's symmetric divergence J; null distribution: Yurdakul and Naranjo (2020),
    https://doi.org/10.1515/jds-2020-0012.

    >>> round(psi(np.array([50, 50]), np.array([60, 40])), 4)
    0.0405
    """
    return number_or_none(psi_rows(reference, current))


def js_distance(reference: Ints, current: Ints) -> float | None:
    """Jensen-Shannon distance: the square root of the divergence in bits, from 0 (same shares) to 1 (no overlap).

    ``sqrt(H((r + c) / 2) - (H(r) + H(c)) / 2)`` with entropies to base 2; empty groups add nothing. None where a
    side is empty. Source: Lin (1991), https://doi.org/10.1109/18.61115; as ``scipy.spatial.distance.jensenshannon``
    with ``base=2``.

    >>> js_distance(np.array([1, 0]), np.array([0, 1]))
    1.0
    """
    return number_or_none(js_rows(reference, current))


def number_or_none(value: float | Floats) -> float | None:
    """A result of numpy for people: None instead of NaN and infinities.

    >>> number_or_none(np.float64(2)), number_or_none(np.nan)
    (2.0, None)
    """
    return float(value) if np.isfinite(value) else None


# ---------------------------------------------------------------------------------------------- along the last axis


def shares(counts: Ints) -> Floats:
    """Counts divided by their sum along the last axis; NaN where that is 0."""
    with np.errstate(invalid="ignore"):
        return np.asarray(counts / counts.sum(axis=-1, keepdims=True))


def psi_rows(reference: Ints, current: Ints) -> Floats:
    """``psi`` along the last axis."""
    r, c = _floored_shares(reference, current)
    return np.asarray(np.sum((c - r) * _log_ratio(c, r), axis=-1))


def kl_rows(reference: Ints, current: Ints) -> Floats:
    """Kullback-Leibler divergence ``sum(r ln(r / c))`` of the window from the reference, in nats, along the last axis.

    Empty groups count as half a row, as in PSI, and the shares are normalised again, so that it is never negative;
    as ``scipy.stats.entropy(r, c)``. Source: Kullback and Leibler (1951), https://doi.org/10.1214/aoms/1177729694.

    >>> kl_rows(np.array([50, 50]), np.array([60, 40])).round(4).item()
    0.0204
    """
    r, c = _floored_shares(reference, current)
    r, c = r / r.sum(axis=-1, keepdims=True), c / c.sum(axis=-1, keepdims=True)
    return np.asarray(np.maximum(np.sum(r * _log_ratio(r, c), axis=-1), 0.0))


def _floored_shares(reference: Ints, current: Ints) -> tuple[Floats, Floats]:
    used = (reference > 0) | (current > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        r, c = (
            np.where(used, np.maximum(counts, EMPTY_GROUP_ROWS), 0.0)
            / np.where(counts.sum(axis=-1, keepdims=True) > 0, counts.sum(axis=-1, keepdims=True), np.nan)
            for counts in (reference, current)
        )
    return r, c


def _log_ratio(upper: Floats, lower: Floats) -> Floats:
    """``ln(upper / lower)``, 0 where both are 0."""
    ratio = np.divide(upper, lower, out=np.ones_like(upper), where=lower != 0)
    return np.asarray(np.log(ratio))


def js_rows(reference: Ints, current: Ints) -> Floats:
    """``js_distance`` along the last axis."""
    r, c = shares(reference), shares(current)
    middle = (r + c) / 2
    nats = (rel_entr(r, middle).sum(axis=-1) + rel_entr(c, middle).sum(axis=-1)) / 2
    return np.asarray(np.sqrt(np.maximum(nats / np.log(2), 0.0)))


def hellinger_rows(reference: Ints, current: Ints) -> Floats:
    """Hellinger distance ``sqrt(sum((sqrt r - sqrt c)^2) / 2)``, from 0 to 1, along the last axis.

    >>> hellinger_rows(np.array([1, 0]), np.array([0, 1])).item()
    1.0
    """
    roots = np.sqrt(shares(reference)) - np.sqrt(shares(current))
    return np.asarray(np.minimum(np.sqrt(np.sum(roots**2, axis=-1) / 2), 1.0))


def total_variation_rows(reference: Ints, current: Ints) -> Floats:
    """Total variation distance ``sum(|r - c|) / 2``, from 0 to 1, along the last axis: the share of rows that moved.

    >>> total_variation_rows(np.array([50, 50]), np.array([60, 40])).round(4).item()
    0.1
    """
    return np.asarray(np.abs(shares(reference) - shares(current)).sum(axis=-1) / 2)


# ---------------------------------------------------------------------------------------------- tests of homogeneity


@dataclass(frozen=True, slots=True, kw_only=True)
class Homogeneity:
    """Pearson's chi-squared and the likelihood ratio G with their p-values, each float64 (...); NaN: nothing to test."""

    chi2: Floats
    chi2_p: Floats
    g: Floats
    g_p: Floats


def homogeneity(reference: Ints, current: Ints) -> Homogeneity:
    """Whether two counts (..., groups) come from one distribution, as ``scipy.stats.chi2_contingency`` without correction.

    Two-sample, because the reference is a sample too: a one-sample test against its shares raises false alarms. Groups
    that expect fewer than 5 rows on the smaller side are joined, and where even they together expect fewer, joined to
    the smallest of the others: one row of a new category is no proof. What is joined depends on the sum of both sides
    only, which leaves the test valid. NaN where fewer than two groups remain.

    >>> homogeneity(np.array([50, 50]), np.array([60, 40])).chi2.round(4).item()
    2.0202
    """
    r, c = joined_groups(reference, current)
    n, m = r.sum(axis=-1, keepdims=True), c.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        expected_r, expected_c = (r + c) * (n / (n + m)), (r + c) * (m / (n + m))
        terms = (r - expected_r) ** 2 / expected_r + (c - expected_c) ** 2 / expected_c
        ratios = xlogy(r, r / expected_r) + xlogy(c, c / expected_c)
    used = (r + c) > 0
    freedom = used.sum(axis=-1) - 1.0
    testable = (freedom > 0) & (n[..., 0] > 0) & (m[..., 0] > 0)
    chi2 = np.where(testable, np.sum(terms, axis=-1, where=used), np.nan)
    g = np.where(testable, np.maximum(2 * np.sum(ratios, axis=-1, where=used), 0.0), np.nan)
    return Homogeneity(chi2=chi2, chi2_p=np.asarray(chdtrc(freedom, chi2)), g=g, g_p=np.asarray(chdtrc(freedom, g)))


def joined_groups(reference: Ints, current: Ints) -> tuple[Floats, Floats]:
    """Both counts as ``homogeneity`` compares them, float64 (..., groups + 1), the last group being the joined ones.

    >>> [side.tolist() for side in joined_groups(np.array([60, 36, 4, 0]), np.array([50, 48, 0, 2]))]
    [[60.0, 40.0, 0.0, 0.0, 0.0], [50.0, 50.0, 0.0, 0.0, 0.0]]
    """
    both = reference + current
    n, m = reference.sum(axis=-1), current.sum(axis=-1)
    smaller = np.minimum(n, m) / np.maximum(n + m, 1)
    expected = both * smaller[..., None]
    small = expected < LEAST_EXPECTED
    rest = np.sum(expected, axis=-1, where=small)
    host = np.argmin(np.where(small, np.inf, expected), axis=-1)
    host = np.where((rest < LEAST_EXPECTED) & ~small.all(axis=-1), host, both.shape[-1])
    at_host = np.arange(both.shape[-1] + 1) == host[..., None]
    return _joined(reference, small, at_host), _joined(current, small, at_host)


def _joined(counts: Ints, small: np.typing.NDArray[np.bool_], at_host: np.typing.NDArray[np.bool_]) -> Floats:
    rest = np.sum(counts, axis=-1, where=small)
    kept = np.concatenate((np.where(small, 0, counts), np.zeros((*counts.shape[:-1], 1), counts.dtype)), axis=-1)
    return np.asarray(kept + np.where(at_host, rest[..., None], 0), dtype=np.float64)

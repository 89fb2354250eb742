"""Statistics of numbers from counts of ordered bins and from moments: Kolmogorov-Smirnov, Wasserstein, shift of the mean.

Bins do not say where in a bin its rows lie. Each statistic that suffers from it has a function for how much it can be off.
Shapes: counts of the present bins (below the range, the bins, above) of one column, or of many columns as (columns, bins).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import kolmogorov

from collector.statistics.distances import number_or_none, shares
from storage.records import Bins, Floats, Ints

LEAST_VARIANCE = 1e-12
"""Of the mean square: below it the variance drowns in the rounding of the sum of squares, and is taken as 0."""


# ---------------------------------------------------------------------------------------------- Kolmogorov-Smirnov


def ks_statistic(reference: Ints, current: Ints) -> float | None:
    """Kolmogorov-Smirnov distance of two counts of the same ordered bins: the largest gap of the cumulative shares.

    It looks at the ends of bins only and is therefore at most the exact distance, and below it by at most
    ``ks_error_bound``. None where a side is empty.

    >>> ks_statistic(np.array([5, 5]), np.array([2, 8]))
    0.3
    """
    return number_or_none(ks_rows(reference, current))


def ks_rows(reference: Ints, current: Ints) -> Floats:
    """``ks_statistic`` along the last axis; NaN where a side is empty."""
    return np.asarray(np.abs(_gaps(reference, current)).max(axis=-1))


def ks_error_bound(reference: Ints, current: Ints) -> float:
    """How much the exact distance can exceed ``ks_statistic`` of the same bins.

    Within a bin that starts with gap g and holds shares r and c, the gap can rise to ``g + r`` and fall to ``g - c``.
    With 120 quantile bins of a continuous reference this is at most 1/120 and mostly far less.

    >>> round(ks_error_bound(np.array([5, 5]), np.array([2, 8])), 2)
    0.5
    """
    statistic = ks_statistic(reference, current)
    if statistic is None:
        return 0.0
    r, c = shares(reference), shares(current)
    starts = _gaps(reference, current) - r + c
    return float(max(0.0, (starts + r).max() - statistic, (c - starts).max() - statistic))


def _gaps(reference: Ints, current: Ints) -> Floats:
    with np.errstate(invalid="ignore"):
        left, right = (np.cumsum(counts, axis=-1) / counts.sum(axis=-1, keepdims=True) for counts in (reference, current))
    return np.asarray(left - right)


def ks_p_value(statistic: float, n: int, m: int) -> float:
    """Probability of a distance of at least ``statistic`` without drift: Kolmogorov's limit with ``n m / (n + m)``.

    Too large (never too small) where values tie or the statistic comes from bins.

    >>> round(ks_p_value(0.192, 100, 100), 3)
    0.05
    """
    return float(kolmogorov(statistic * np.sqrt(n * m / (n + m))))


# ---------------------------------------------------------------------------------------------- moments


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """The window in the reference's scale: ``(mean - mean_r) / deviation_r`` and ``variance / variance_r``, float64 (...).

    ``center`` and ``deviation`` are the reference's. NaN: no values, or a reference without deviation.
    """

    mean: Floats
    variance: Floats
    center: Floats
    deviation: Floats


def shift(reference: Floats, current: Floats) -> Shift:
    """From the moments (n, sum, sum of squares) of the finite values, float64 (..., 3) each; deviations divide by n.

    Exact but for rounding, which a reference whose mean exceeds its deviation a million times gives NaN for.

    >>> shift(np.array([4, 10, 30.0]), np.array([2, 9, 41.0])).mean.round(4).item()
    1.7889
    """
    center, variance = _mean_and_variance(reference)
    mean, own = _mean_and_variance(current)
    deviation = np.sqrt(np.where(variance > 0, variance, np.nan))
    with np.errstate(invalid="ignore", over="ignore"):
        return Shift(mean=(mean - center) / deviation, variance=own / deviation**2, center=center, deviation=deviation)


def _mean_and_variance(moments: Floats) -> tuple[Floats, Floats]:
    n = np.where(moments[..., 0] > 0, moments[..., 0], np.nan)
    with np.errstate(invalid="ignore", over="ignore"):
        mean, square = moments[..., 1] / n, moments[..., 2] / n
        variance = square - np.square(mean)
        return mean, np.where(variance > LEAST_VARIANCE * square, variance, np.where(np.isfinite(square), 0.0, np.nan))


# ---------------------------------------------------------------------------------------------- Wasserstein


@dataclass(frozen=True, slots=True, kw_only=True)
class Transport:
    """Wasserstein distances in the reference's deviations: the estimate and the least and greatest possible, float64 (...)."""

    estimate: Floats
    least: Floats
    greatest: Floats


def wasserstein_error_bound(
    bins: Bins, reference: Ints, current: Ints, reference_moments: Floats, current_moments: Floats
) -> float | None:
    """How far ``wasserstein`` from these counts can be from the exact one, in deviations of the reference.

    The sum over the bins of width times the most that the gap of the cumulative shares can be in it, plus what rows beyond
    the range may travel given the moments, less the estimate; or the estimate less the least possible, if that is more. A
    guarantee, and therefore wide: about 0.2 for samples of 10,000 normal numbers, where the estimate is within 0.01. With a
    long tail on either side (log-normal, Student's t of 3) the estimate has been seen 0.09 off. None where there is no
    distance.

    >>> bins = Bins(name="x", edges=(0.0, 1.0, 2.0, 3.0))
    >>> moments = np.array([4, 6.0, 11.0])
    >>> wasserstein_error_bound(bins, np.array([0, 1, 2, 1, 0]), np.array([0, 1, 2, 1, 0]), moments, moments)
    1.414213562373095
    """
    moved = transport(np.asarray(bins.edges), single_values(bins), reference, current, reference_moments, current_moments)
    return number_or_none(np.maximum(moved.greatest - moved.estimate, moved.estimate - moved.least))


def single_values(bins: Bins) -> bool:
    """Whether each bin was made for one value, its lower edge: the last bin ends next to where it begins.

    >>> single_values(Bins(name="flag", edges=(0.0, 1.0, float(np.nextafter(1.0, np.inf)))))
    True
    """
    edges = bins.edges
    return len(edges) > 1 and edges[-1] == math.nextafter(edges[-2], math.inf)


def transport(
    edges: Floats,
    single: bool | npt.NDArray[np.bool_],
    reference: Ints,
    current: Ints,
    reference_moments: Floats,
    current_moments: Floats,
) -> Transport:
    """The area between the two distribution functions, divided by the reference's deviation (Kantorovich 1942; Ramdas,
    Garcia and Cuturi 2017, https://doi.org/10.3390/e19020047).

    ``edges`` float64 (..., k) ascending, counts (..., k + 1). Rows are taken as evenly spread in their bin, or as lying
    on its lower edge where ``single``; rows beyond the range where the sum of all values puts them. Never below the
    shift of the mean, which no distance can be. NaN where a side is empty or holds infinities (the distance is infinite
    then), or the reference has no deviation.
    """
    scale = shift(reference_moments, current_moments)
    finite = (reference.sum(axis=-1) == reference_moments[..., 0]) & (current.sum(axis=-1) == current_moments[..., 0])
    deviation = np.where(finite, scale.deviation, np.nan)
    with np.errstate(invalid="ignore", over="ignore"):
        z = (edges - scale.center[..., None]) / deviation[..., None]
        r, c = shares(reference), shares(current)
        excesses = [_excess(z, np.asarray(single), held, mean) for held, mean in ((r, 0.0 * scale.mean), (c, scale.mean))]
        inner = _inner(z, np.asarray(single), r, c, excesses[0])
        tails = _tails(z, r, c, excesses, scale)
        shifted = np.abs(scale.mean)
        greatest = inner.greatest + tails.greatest
        estimate = np.minimum(np.maximum(inner.estimate + tails.estimate, shifted), greatest)
        return Transport(estimate=estimate, least=np.maximum(inner.least, shifted), greatest=greatest)


def _inner(z: Floats, single: npt.NDArray[np.bool_], r: Floats, c: Floats, excess: Floats) -> Transport:
    """The part between the first and the last edge: within a bin the gap goes from ``starts`` to ``ends``."""
    widths = np.diff(z, axis=-1)
    starts = np.cumsum(r - c, axis=-1)[..., :-2]
    r, c = r[..., 1:-1], c[..., 1:-1]
    ends = starts + r - c
    filled, before = _filled_widths(z, r, excess)
    size = np.abs(starts) + np.abs(ends)
    crossing = np.divide(starts**2 + ends**2, 2 * size, out=np.zeros_like(size), where=size > 0)
    even = np.where(starts * ends < 0, crossing, size / 2)
    gap = np.where(single[..., None], np.abs(ends), even)
    highest, lowest = starts + r, starts - c
    return Transport(
        estimate=np.sum(filled * gap + (widths - filled) * np.abs(np.where(before, starts, ends)), axis=-1),
        least=np.sum(widths * np.maximum(0.0, np.maximum(lowest, -highest)), axis=-1),
        greatest=np.sum(widths * np.maximum(np.abs(lowest), np.abs(highest)), axis=-1),
    )


def _filled_widths(z: Floats, r: Floats, excess: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """The width of each bin that its rows are spread over, and whether they lie at its upper end.

    The widest bin (that of a long tail) is far from evenly filled. The mean of the reference says by how much.
    """
    widths = np.diff(z, axis=-1)
    if not widths.shape[-1]:
        return widths, np.zeros(widths.shape, bool)
    widest = np.argmax(np.where(r > 0, widths, -1.0), axis=-1)[..., None]
    at_widest = np.arange(widths.shape[-1]) == widest
    empty = np.divide(2 * np.abs(excess)[..., None], r, out=np.zeros_like(widths), where=at_widest & (r > 0))
    return np.maximum(widths - empty, 0.0), at_widest & (excess > 0)[..., None]


def _tails(z: Floats, r: Floats, c: Floats, excesses: list[Floats], scale: Shift) -> Transport:
    """The part beyond the range. Its greatest value is Cauchy's and Schwarz's: ``sqrt(share E[(x - end)^2])``."""
    positions = [_beyond(held, excess) for held, excess in zip((r, c), excesses, strict=True)]
    estimate = sum(_two_points(r[..., at], c[..., at], *(side[at] for side in positions)) for at in (0, -1))
    greatest = sum(
        np.sqrt(share[..., at] * (variance + (mean - z[..., at]) ** 2))
        for at in (0, -1)
        for share, mean, variance in ((r, 0.0, 1.0), (c, scale.mean, scale.variance))
    )
    return Transport(estimate=np.asarray(estimate), least=np.zeros_like(scale.mean), greatest=np.asarray(greatest))


def _excess(z: Floats, single: npt.NDArray[np.bool_], held: Floats, mean: Floats) -> Floats:
    """The mean, less the mean if rows lay in the middle of their bin (or on its edge) and at the ends of the range."""
    middles = np.where(single[..., None], z[..., :-1], (z[..., :-1] + z[..., 1:]) / 2)
    inside = np.sum(held[..., 1:-1] * middles, axis=-1)
    return np.asarray(mean - inside - held[..., 0] * z[..., 0] - held[..., -1] * z[..., -1])


def _beyond(held: Floats, excess: Floats) -> tuple[Floats, Floats]:
    """How far below and above the range the rows out of it lie on average, by the mean."""
    low, high = (
        np.divide(np.maximum(part, 0.0), held[..., at], out=np.zeros_like(excess), where=held[..., at] > 0)
        for part, at in ((-excess, 0), (excess, -1))
    )
    return low, high


def _two_points(r: Floats, c: Floats, ours: Floats, theirs: Floats) -> Floats:
    """Area between two steps of heights r and c at distances ``ours`` and ``theirs`` from an end."""
    ours, theirs = np.where(r > 0, ours, 0.0), np.where(c > 0, theirs, 0.0)
    near, far = np.minimum(ours, theirs), np.maximum(ours, theirs)
    return np.asarray(np.where(ours > theirs, r, c) * (far - near) + np.abs(r - c) * near)

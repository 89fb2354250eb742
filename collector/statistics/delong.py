"""Areas under ROC curves from rows, and how sure their difference is: on different rows, on the same rows, by subject.

Every row moves the area by a known amount (its influence), so that one sum of squares gives each of these errors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr
from scipy.stats import rankdata

from collector.statistics.intervals import z_value
from storage.records import Floats, Ints

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class RocArea:
    """An area with the influence of each row on it: float64 (n,), in the order of the rows. ``positive``: bool (n,)."""

    area: float
    influence: Floats
    positive: Bools


@dataclass(frozen=True, slots=True, kw_only=True)
class AreaDifference:
    """``b - a`` of two areas: standard error, interval and two-sided p-value for one look."""

    difference: float
    standard_error: float
    interval: tuple[float, float]
    p_value: float


def roc_area(scores: Floats, positive: Bools) -> RocArea | None:
    """The probability that a positive scores above a negative, ties counting half; None where a class is empty.

    The influence of a positive is ``(V10 - A) / m``, with V10 the share of negatives below it, that of a negative
    ``(V01 - A) / n``. Source: DeLong, DeLong and Clarke-Pearson (1988), doi:10.2307/2531595, by midranks in n log n
    (Sun and Xu 2014, doi:10.1109/LSP.2014.2337313).

    >>> roc_area(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True])).area
    0.75
    """
    m, n = int(positive.sum()), int((~positive).sum())
    if not m or not n:
        return None
    ranks = rankdata(scores)
    beaten = np.empty(scores.size)
    beaten[positive] = (ranks[positive] - rankdata(scores[positive])) / n
    beaten[~positive] = 1 - (ranks[~positive] - rankdata(scores[~positive])) / m
    area = float(beaten[positive].mean())
    return RocArea(area=area, influence=(beaten - area) / np.where(positive, m, n), positive=positive)


def influence_variance(influence: Floats, positive: Bools, clusters: Ints | None = None) -> float:
    """DeLong's variance of what the rows' influences add up to; by cluster where one is given per row.

    Rows: ``m / (m - 1)`` times the squares of the positives plus ``n / (n - 1)`` times those of the negatives.
    k clusters: ``k / (k - 1)`` times the squares of their sums, as Obuchowski (1997, doi:10.2307/2533958) does.
    """
    if clusters is not None:
        sums = np.bincount(clusters, weights=influence)
        k = int(np.count_nonzero(np.bincount(clusters)))
        return float(sums @ sums) * k / max(k - 1, 1)
    parts = (influence[positive], influence[~positive])
    return sum(float(part @ part) * part.size / max(part.size - 1, 1) for part in parts)


def area_difference(
    a: RocArea, b: RocArea, *, clusters: Sequence[Ints | None] = (None, None), level: float = 0.95
) -> AreaDifference:
    """The difference of areas on different rows: variances add."""
    variance = sum(influence_variance(one.influence, one.positive, own) for one, own in zip((a, b), clusters, strict=True))
    return _difference(b.area - a.area, math.sqrt(variance), level)


def paired_area_difference(a: RocArea, b: RocArea, *, clusters: Ints | None = None, level: float = 0.95) -> AreaDifference:
    """The difference of areas of two scores of the same rows: what both do alike cancels."""
    variance = influence_variance(b.influence - a.influence, a.positive, clusters)
    return _difference(b.area - a.area, math.sqrt(variance), level)


def _difference(difference: float, error: float, level: float) -> AreaDifference:
    reach = z_value(level) * error
    p = (1.0 if difference == 0 else 0.0) if error == 0 else float(2 * ndtr(-abs(difference) / error))
    return AreaDifference(difference=difference, standard_error=error, interval=(difference - reach, difference + reach), p_value=p)

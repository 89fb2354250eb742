"""How far a column has moved as a whole, by ranks: sensitive to small shifts, and indifferent to outliers and scale."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from storage.records import Floats, Ints

LEAST = 1e-9
"""Probabilities nearer to 0 or 1 count as this, so that every shift is a number."""


def rank_scores(reference: Ints) -> Floats:
    """The mid-rank of each bin among the reference's values, from 0 to 1, float64 (bins,). Without the missing bin."""
    total = reference.sum()
    return np.asarray((np.cumsum(reference) - reference / 2) / total) if total else np.full(reference.size, 0.5)


def rank_deviation(reference: Ints) -> float:
    """The standard deviation of the reference's mid-ranks: ``1 / sqrt(12)`` without ties, 0 for a constant.

    >>> round(rank_deviation(np.ones(100, np.int64)), 4)
    0.2887
    """
    total = int(reference.sum())
    if not total:
        return 0.0
    return float(np.sqrt(reference @ np.square(rank_scores(reference) - 0.5) / total))


def rank_shift(reference: Ints, current: Ints) -> Floats:
    """The shift, in standard deviations, that two normal columns with this Mann-Whitney probability would have.

    ``sqrt(2) Phi^-1(P(current > reference) + P(equal) / 2)``, without sign, from counts of the same ordered bins, int64
    (bins,) and (..., bins), the missing bin left out. Values in one bin count as equal. NaN where a side is empty;
    8.5 where the columns do not overlap. Source: Mann and Whitney (1947), https://doi.org/10.1214/aoms/1177730491.

    >>> round(float(rank_shift(np.array([0, 50, 50]), np.array([0, 40, 60]))), 3)
    0.178
    """
    rows = current.sum(axis=-1)
    if not reference.sum():
        return np.full(np.shape(rows), np.nan)
    with np.errstate(invalid="ignore"):
        probability = current @ rank_scores(reference) / rows
    return np.asarray(np.sqrt(2) * np.abs(ndtri(np.clip(probability, LEAST, 1 - LEAST))))

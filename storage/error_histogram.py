"""How the absolute errors of a regressor are distributed: a histogram whose quantiles are off by 2 % at most. Pure.

The bins are of fixed relative width, and begin at a millionth of how far the reference's predictions spread, so they suit
a target of any unit, and any two counts of one layout add up.
"""

from __future__ import annotations

import numpy as np

from storage.records import Floats, Ints, Layout

ERROR_BINS = 600
ERROR_GROWTH = 1.04
"""Each bin is 4 % wider than the one before, so a quantile read from its middle is off by at most 2 %."""
_TINY = float(np.finfo(np.float64).tiny)

LEAST_SHARE = 1e-6
"""Errors of up to this share of the spread fall into the first bin, which stands for 0; the last begins at 15,000 spreads."""


def error_spread(layout: Layout) -> float:
    """The range of the middle half of the reference's predictions; else of all of them, else their size, else 1."""
    edges = np.asarray(layout.score.edges, np.float64)
    if not edges.size:
        return 1.0
    size = float(np.abs(edges).max())
    with np.errstate(over="ignore"):
        ranges = (edges[3 * (edges.size - 1) // 4] - edges[(edges.size - 1) // 4], edges[-1] - edges[0])
    found = (float(width) for width in (*ranges, size) if np.isfinite(width) and width > max(1e-9 * size, _TINY))
    return next(found, 1.0)


def error_upper(layout: Layout) -> Floats:
    """The upper end of each bin, in the unit of the target, float64 (ERROR_BINS,); the last holds all that is larger too."""
    with np.errstate(over="ignore"):
        return np.asarray(LEAST_SHARE * error_spread(layout) * ERROR_GROWTH ** np.arange(ERROR_BINS))


def error_middle(layout: Layout) -> Floats:
    """What a value in each bin is taken for, float64 (ERROR_BINS,): 0 in the first, else its geometric middle."""
    middle = np.asarray(error_upper(layout) / ERROR_GROWTH**0.5)
    middle[0] = 0.0
    return middle


def count_errors(layout: Layout, predicted: Floats, actual: Floats) -> Ints:
    """How many absolute errors fall into each bin, int64 (ERROR_BINS,); pairs that are not two numbers are left out."""
    known = np.isfinite(predicted) & np.isfinite(actual)
    with np.errstate(over="ignore"):
        errors = np.abs(predicted[known] - actual[known])
    places = np.minimum(np.searchsorted(error_upper(layout), errors), ERROR_BINS - 1)
    return np.bincount(places, minlength=ERROR_BINS)

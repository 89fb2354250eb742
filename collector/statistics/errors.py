"""Quantiles of the absolute errors of a regressor: how far off it is at worst in half, nine tenths, nineteen twentieths of its answers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from collector.statistics.latency import at_rank, interval_ranks
from storage.error_histogram import ERROR_GROWTH, error_middle
from storage.records import Ints, Layout

RELATIVE_ERROR = ERROR_GROWTH**0.5 - 1
"""A quantile is off by at most this share, about 2 %, where it is above a millionth of the spread of the predictions."""

QUANTILES = {"absolute_error_p50": 0.5, "absolute_error_p90": 0.9, "absolute_error_p95": 0.95}


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorQuantile:
    """A quantile of ``n`` absolute errors, in the unit of the target; ``interval`` of 95 %, None where too few lie beyond it."""

    q: float
    n: int
    value: float
    interval: tuple[float, float] | None = None


def error_quantile(layout: Layout, errors: Ints, q: float) -> ErrorQuantile | None:
    """The q-quantile of the histogram ``errors``, int64 (ERROR_BINS,); None where it is empty.

    The middle of the bin that holds the error of rank ``ceil(q n)``, the inverted distribution function of the errors.
    The interval lies between the errors of ranks ``n q -+ 1.96 sqrt(n q (1 - q))``, widened by ``RELATIVE_ERROR``.

    >>> import numpy as np
    >>> from storage.error_histogram import count_errors
    >>> from storage.records import Bins
    >>> layout = Layout(model="m", features=(), score=Bins(name="", edges=(0.0, 100.0)), classes=())
    >>> found = error_quantile(layout, count_errors(layout, np.array([10.0, 10.0, 10.0]), np.array([11.0, 8.0, 5.0])), 0.5)
    >>> round(found.value, 1)
    2.0
    """
    n = int(errors.sum())
    if not n:
        return None
    middles = error_middle(layout)
    value = at_rank(errors, max(1, math.ceil(q * n - 1e-9)), middles)
    ranks = interval_ranks(n, q)
    if ranks is None:
        return ErrorQuantile(q=q, n=n, value=value)
    lower, upper = (at_rank(errors, rank, middles) for rank in ranks)
    return ErrorQuantile(q=q, n=n, value=value, interval=(lower * (1 - RELATIVE_ERROR), upper * (1 + RELATIVE_ERROR)))

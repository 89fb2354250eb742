"""Quantiles of the latency and label-delay histograms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from storage.layouts import LATENCY_GROWTH, delay_upper_seconds, latency_middle_seconds
from storage.records import Floats, Ints

RELATIVE_ERROR = LATENCY_GROWTH**0.5 - 1
"""A latency quantile is off by at most this share, about 2 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantile:
    """A latency quantile with a 95 % interval. ``lower`` and ``upper`` are None where too few values lie beyond them."""

    q: float
    n: int
    seconds: float | None
    lower: float | None = None
    upper: float | None = None
    standard_error: float | None = None


def quantile_seconds(histogram: Ints, q: float) -> float | None:
    """The q-quantile of a latency histogram, in seconds, off by at most 2 %; None where it is empty.

    The middle of the bin that holds the value of rank ``ceil(q n)``.

    >>> from storage.layouts import count_latency
    >>> round(quantile_seconds(count_latency([10.0, 20.0, 30.0]), 0.5), 3)
    0.02
    """
    n = int(histogram.sum())
    return at_rank(histogram, max(1, math.ceil(q * n - 1e-9)), latency_middle_seconds()) if n else None


def latency_quantile(histogram: Ints, q: float, *, z: float = 1.959964) -> Quantile:
    """``quantile_seconds`` with the interval between the values of ranks ``n q -+ z sqrt(n q (1 - q))``.

    Without ties the interval holds the quantile in about 95 % of windows once ``n (1 - q)`` is 10 or more (measured:
    86 % for the 99th percentile of 200 values), so it is left out where a rank falls outside the sample.
    """
    n = int(histogram.sum())
    seconds = quantile_seconds(histogram, q)
    if seconds is None:
        return Quantile(q=q, n=n, seconds=None)
    ranks = interval_ranks(n, q, z=z)
    if ranks is None:
        return Quantile(q=q, n=n, seconds=seconds)
    lower, upper = (at_rank(histogram, rank, latency_middle_seconds()) for rank in ranks)
    error = math.hypot((upper - lower) / (2 * z), RELATIVE_ERROR * seconds)
    return Quantile(q=q, n=n, seconds=seconds, lower=lower, upper=upper, standard_error=error)


def bootstrap_quantiles(histogram: Ints, quantiles: Sequence[float], *, draws: int = 1000, seed: int = 0) -> Floats:
    """Quantiles, in seconds, of histograms drawn anew from this one: float64 (draws, quantiles); NaN where it is empty.

    Each draw takes as many values as there were, a multinomial with the observed shares: the bootstrap of the values
    themselves as far as the bins tell them apart. Within its bin a quantile is interpolated, so that it does not jump
    from bin to bin. The same counts and seed give the same draws.
    """
    held = np.flatnonzero(histogram)
    counts = histogram[held]
    n = int(counts.sum())
    if not n:
        return np.full((draws, len(quantiles)), np.nan)
    drawn = np.random.default_rng(seed).multinomial(n, counts / n, size=draws)
    reached = np.cumsum(drawn, axis=1)
    upper = latency_middle_seconds()[held] * LATENCY_GROWTH**0.5
    found = np.empty((draws, len(quantiles)))
    for position, q in enumerate(quantiles):
        rank = max(1, math.ceil(q * n - 1e-9))
        index = (reached < rank).sum(axis=1)
        inside = np.take_along_axis(drawn, index[:, None], axis=1)[:, 0]
        before = np.take_along_axis(reached, index[:, None], axis=1)[:, 0] - inside
        found[:, position] = upper[index] * LATENCY_GROWTH ** ((rank - before - 0.5) / inside - 1)
    return found


def delay_quantile_seconds(histogram: Ints, q: float) -> float | None:
    """The q-quantile of a label-delay histogram in seconds, too high by at most 20 %; None where it is empty."""
    n = int(histogram.sum())
    return at_rank(histogram, max(1, math.ceil(q * n - 1e-9)), delay_upper_seconds()) if n else None


def interval_ranks(n: int, q: float, *, z: float = 1.959964) -> tuple[int, int] | None:
    """The ranks ``n q -+ z sqrt(n q (1 - q))`` of n sorted values, between which their q-quantile lies; None where one falls outside."""
    reach = z * math.sqrt(n * q * (1 - q))
    low, high = math.floor(n * q - reach), math.ceil(n * q + reach) + 1
    return (low, high) if low >= 1 and high <= n else None


def at_rank(histogram: Ints, rank: int, values: Floats) -> float:
    """What the value of this rank, counted from 1, is taken for: ``values`` has one entry per bin of the histogram."""
    return float(values[int(np.searchsorted(np.cumsum(histogram), rank))])

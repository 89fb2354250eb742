"""How the service did: throughput, errors, timeouts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from collector.statistics.intervals import wilson, z_value
from storage.records import Floats, PredictionCounts

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceQuality:
    """Rates over one window; shares are None where there were no predictions. Intervals are of 95 %."""

    rows: int
    requests_per_second: float
    error_rate: float | None
    error_rate_interval: Interval | None
    timeout_rate: float | None
    timeout_rate_interval: Interval | None


def service(counts: PredictionCounts, seconds: float) -> ServiceQuality:
    """Predictions per second, the share that ended in an error, and the share that ended in a timeout (Wilson intervals)."""
    rows = counts.rows
    return ServiceQuality(
        rows=rows,
        requests_per_second=rows / seconds,
        error_rate=counts.errors / rows if rows else None,
        error_rate_interval=wilson(counts.errors, rows),
        timeout_rate=counts.timeouts / rows if rows else None,
        timeout_rate_interval=wilson(counts.timeouts, rows),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Mean and standard deviation of ``n`` numbers, with the 95 % interval of the mean."""

    n: int
    mean: float | None = None
    mean_interval: Interval | None = None
    deviation: float | None = None


def spread(moments: Floats) -> Spread:
    """Mean and standard deviation from (n, sum, sum of squares); the deviation is None for fewer than two numbers.

    Loses digits where the mean is more than about 1e6 times the deviation.

    >>> import numpy as np
    >>> spread(np.array([4.0, 10.0, 30.0])).mean
    2.5
    """
    n, total, squares = float(moments[0]), float(moments[1]), float(moments[2])
    if n < 1:
        return Spread(n=0)
    mean = total / n
    if n < 2:
        return Spread(n=int(n), mean=mean)
    deviation = math.sqrt(max(0.0, squares - n * mean * mean) / (n - 1))
    reach = z_value(0.95) * deviation / math.sqrt(n)
    return Spread(n=int(n), mean=mean, mean_interval=(mean - reach, mean + reach), deviation=deviation)

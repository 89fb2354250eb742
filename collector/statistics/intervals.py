"""Intervals for shares and means, for one look and for any number of looks."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import ndtri, stdtr, stdtrit

SEQUENTIAL_HORIZON = 5000.0
"""Rows at which a confidence sequence is narrowest relative to a fixed interval; fixed before any test begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean of ``n`` values with their variance (of one value, not of the mean)."""

    mean: float
    variance: float
    n: int

    @property
    def squared_error(self) -> float:
        return self.variance / self.n


def z_value(level: float) -> float:
    """The two-sided normal quantile: 1.96 for a level of 0.95."""
    return float(ndtri((1 + level) / 2))


def wilson(count: float, n: int, level: float = 0.95) -> tuple[float, float] | None:
    """Wilson's score interval of a share; None for no rows. Source: Wilson (1927), doi:10.1080/01621459.1927.10502953.

    >>> tuple(round(end, 4) for end in wilson(8, 10))
    (0.4902, 0.9433)
    """
    if n <= 0:
        return None
    z = z_value(level)
    share, spread = count / n, z * z / n
    middle = (share + spread / 2) / (1 + spread)
    reach = z / (1 + spread) * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def share_estimate(count: int, n: int) -> Estimate:
    """A share as an estimate with variance p (1 - p); where all or no rows count, that of half a row moved."""
    p = count / n
    q = p if 0 < count < n else (count + 0.5) / (n + 1)
    return Estimate(mean=p, variance=q * (1 - q), n=n)


def welch(a: Estimate, b: Estimate, level: float = 0.95) -> tuple[tuple[float, float], float]:
    """Interval and two-sided p-value of ``b.mean - a.mean``: Welch's t with its degrees of freedom, for one look.

    >>> a, b = Estimate(mean=0.41002, variance=15.21, n=3407), Estimate(mean=0.70000, variance=38.44, n=3461)
    >>> welch(a, b)[1] < 0.05
    True
    """
    difference, error = b.mean - a.mean, math.sqrt(a.squared_error + b.squared_error)
    if error == 0:
        return (difference, difference), 1.0 if difference == 0 else 0.0
    freedom = _freedom(a, b)
    reach = float(stdtrit(freedom, (1 + level) / 2)) * error
    return (difference - reach, difference + reach), float(2 * stdtr(freedom, -abs(difference) / error))


def _freedom(a: Estimate, b: Estimate) -> float:
    parts = sum(e.squared_error**2 / max(e.n - 1, 1) for e in (a, b))
    return (a.squared_error + b.squared_error) ** 2 / parts


def sequential_reach(squared_error: float, n: int, alpha: float = 0.05, horizon: float = SEQUENTIAL_HORIZON) -> float:
    """Half the width of the asymptotic confidence sequence after n rows: it holds at all times at once, for any number of looks.

    ``SE sqrt(n) sqrt(2 (n r2 + 1) / (n^2 r2) ln(sqrt(n r2 + 1) / alpha))`` with
    ``r2 = (-2 ln alpha + ln(1 - 2 ln alpha)) / horizon``; ``squared_error`` is that of the estimate at n.
    Source: Waudby-Smith et al. (2021), arXiv 2103.06476, equation 9.

    >>> round(sequential_reach(1 / 5000, 5000) / (1 / 5000) ** 0.5, 2)
    3.04
    """
    rho2 = (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))) / horizon
    grown = n * rho2 + 1
    return math.sqrt(squared_error * n) * math.sqrt(2 * grown / (n * n * rho2) * math.log(math.sqrt(grown) / alpha))


def sequential_p(
    difference: float, squared_error: float, n: int, alpha: float = 0.05, horizon: float = SEQUENTIAL_HORIZON
) -> float:
    """The p-value that belongs to ``sequential_reach``: 1 / e, at most 1; below alpha exactly where 0 is outside the sequence."""
    if squared_error == 0:
        return 1.0 if difference == 0 else 0.0
    rho2 = (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))) / horizon
    grown = n * rho2 + 1
    log_e = rho2 * n * difference**2 / squared_error / (2 * grown) - math.log(grown) / 2
    return min(1.0, math.exp(-max(log_e, 0.0)))

"""Statistics of raw samples that need more than the bins of a layout: Wasserstein, two-sample chi-squared, unseen values."""

from __future__ import annotations

import numpy as np
from scipy.special import chdtrc
from scipy.stats import wasserstein_distance

from storage.records import Floats, Ints


def normalised_wasserstein(reference: Floats, current: Floats) -> float | None:
    """The Wasserstein distance in units of the reference's (population) standard deviation; NaN and infinities left out.

    ``integral |F_reference - F_current| / std(reference)``: a shift of a distribution by half a deviation gives 0.5. None where
    a side is empty, or where the reference is constant and the current data are not the same constant.
    Source: Vallender (1974), https://doi.org/10.1137/1118101.

    >>> normalised_wasserstein(np.array([0.0, 2.0]), np.array([1.0, 3.0, np.nan]))
    1.0
    """
    left, right = reference[np.isfinite(reference)], current[np.isfinite(current)]
    if not left.size or not right.size:
        return None
    # A power of two takes the size away without rounding, so that the squares of huge numbers do not overflow.
    exponent = -int(np.frexp(max(np.abs(left).max(), np.abs(right).max()))[1])
    left, right = np.ldexp(left, exponent), np.ldexp(right, exponent)
    distance, deviation = float(wasserstein_distance(left, right)), float(np.std(left))
    if deviation <= 1e-12:
        return 0.0 if distance <= 1e-12 else None
    return distance / deviation


def chi_squared(reference: Ints, current: Ints) -> tuple[float, float] | None:
    """Pearson's statistic and p-value of two counts of the same categories, int64 (k,) each: were both drawn alike?

    ``sum (observed - expected)^2 / expected`` with expected counts from the pooled shares, k - 1 degrees of freedom, no
    continuity correction. Categories without a row on either side do not count. None where a side is empty; one category
    gives (0, 1). As ``scipy.stats.chi2_contingency`` with ``correction=False``.

    >>> tuple(round(value, 4) for value in chi_squared(np.array([50, 50]), np.array([60, 40])))
    (2.0202, 0.1552)
    """
    n, m = int(reference.sum()), int(current.sum())
    if not n or not m:
        return None
    pooled = (reference + current) / (n + m)
    used = pooled > 0
    parts = [
        ((counts - total * pooled)[used] ** 2 / (total * pooled[used])).sum() for counts, total in ((reference, n), (current, m))
    ]
    statistic, degrees = float(sum(parts)), int(np.count_nonzero(used)) - 1
    return statistic, float(chdtrc(degrees, statistic)) if degrees else 1.0


def unseen_shares(reference: Ints, current: Ints) -> tuple[float | None, float | None]:
    """The share of current rows with a value that the reference does not have, and what is to be expected of it without drift.

    From counts of the same values, int64 (k,) each. The expectation is Good and Turing's: the share of the reference's rows
    whose value occurs once in it. With a thousand names among ten thousand rows, some that were never seen are no drift.
    None where a side is empty. Source: Good (1953), https://doi.org/10.1093/biomet/40.3-4.237.

    >>> unseen_shares(np.array([6, 3, 1, 0]), np.array([2, 1, 0, 1]))
    (0.25, 0.1)
    """
    n, m = int(reference.sum()), int(current.sum())
    if not n or not m:
        return None, None
    return int(current[reference == 0].sum()) / m, int(np.count_nonzero(reference == 1)) / n


def expected_other_share(counts: Ints, kept: int) -> float | None:
    """The share of fresh rows to be expected outside the ``kept`` most frequent values of a reference, int64 (k,) rows of each value.

    These were chosen because they were frequent in it, so in fresh rows they are less so: of a thousand equally frequent
    values, the hundred that came most often had luck. By Good and Turing the values that came r times hold
    ``(r + 1) N_(r + 1) / n`` of fresh rows, N_r being their number; summed over all that came more than r times, that is the
    share of the rows whose value came at least r + 2 times. Where all values are kept it is what ``unseen_shares`` expects.
    None without rows.

    >>> expected_other_share(np.array([6, 3, 1]), 100), expected_other_share(np.array([5, 2, 2, 1]), 2)
    (0.1, 0.5)
    """
    present = np.sort(counts[counts > 0])[::-1]
    n = int(present.sum())
    if not n:
        return None
    least = int(present[kept - 1]) if kept < present.size else 0
    above = float(present[present >= least + 2].sum())
    if least:
        share = (kept - int(np.count_nonzero(present > least))) / int(np.count_nonzero(present == least))
        above += share * (least + 1) * int(np.count_nonzero(present == least + 1))
    return min(1.0, max(0.0, (n - above) / n))

"""Whether scores still mean what they meant: changes of p(y | score), in a window and along a stream of errors.

Both hold the labels of a window against what the reference's rates (``collector.statistics.estimation``) promise for the
very scores of its rows. So rows that are merely harder, or of another mix, are no concept drift.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc, expit, logit, xlogy

from collector.statistics.estimation import ScoreRates
from collector.statistics.performance import RegressionQuality
from storage.records import Floats, Ints

LEAST_VARIANCE = 5.0
"""Expected variance of a stratum's positives from which the chi-squared limit holds; there are as many strata as have it."""
MOST_STRATA = 10
ODDS = (0.25, 0.5, 1.0, 2.0)
"""Rises of the log odds of an error that the detector bets on, in equal parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConceptChange:
    """How far p(y | score) lies from the reference: ``effect`` in standard deviations of a label, 0.1 being 5 points at p = 0.5.

    ``rows``: labels of the window that the reference can say something of, discounted by its own uncertainty, so that
    ``effect**2 * rows`` is chi-squared with ``freedom`` degrees without concept drift.
    """

    effect: float
    p_value: float
    freedom: int
    rows: float
    n: int
    n_reference: int


# ---------------------------------------------------------------------------------------------- windows


def concept_change(rates: ScoreRates, negatives: Ints, positives: Ints) -> ConceptChange | None:
    """The change of p(y | score) of a window's labels, counted by score bin as ``rates`` are; None where too few can be compared.

    Neighbouring bins form up to ten strata of about equal expected variance. In each, the positives ``O`` of n rows are
    held against ``E = sum(n_b rate_b)`` by the deviance ``2 n KL(O/n || E/n)``, scaled to the variance
    ``sum(n_b v_b + n_b**2 v_b / m_b)`` that the labels of both sides have; m_b are the reference's rows. The sum is
    chi-squared with one degree per stratum. Like Hosmer and Lemeshow (1980), against rates instead of a model.

    >>> from collector.statistics.estimation import score_rates
    >>> rates = score_rates(np.array([800, 200]), np.array([200, 800]))
    >>> found = concept_change(rates, np.array([40, 40]), np.array([40, 40]))
    >>> round(found.effect, 2), found.freedom
    (0.67, 2)
    """
    known = (negatives + positives > 0) & (rates.rows > 0)
    n, o = (negatives + positives)[known].astype(np.float64), positives[known].astype(np.float64)
    rate, own = rates.rates[known], n * rates.variances[known]
    total = own + np.square(n) * rates.variances[known] / rates.rows[known]
    strata = _strata(own)
    if strata is None:
        return None
    sums: list[Floats] = [np.bincount(strata, weights=values) for values in (n, o, n * rate, own, total)]  # type: ignore[misc]
    rows, found, expected, variance, both = sums
    expected = np.clip(expected, variance, rows - variance)  # a share p has a variance of at most p
    deviance = 2 * (_xlogratio(found, expected) + _xlogratio(rows - found, rows - expected))
    scale = expected * (1 - expected / rows) / both
    weighed = float(rows @ scale)
    statistic = max(0.0, float(deviance @ scale))
    return ConceptChange(
        effect=math.sqrt(statistic / weighed),
        p_value=float(chdtrc(rows.size, statistic)),
        freedom=int(rows.size),
        rows=weighed,
        n=int(n.sum()),
        n_reference=rates.n,
    )


def _strata(variance: Floats) -> Ints | None:
    """The stratum of each bin, so that each has about equal shares of the ``variance`` on average at least ``LEAST_VARIANCE``; None for less in all."""
    total = float(variance.sum())
    count = min(MOST_STRATA, int(total / LEAST_VARIANCE))
    if count < 1:
        return None
    middle = np.cumsum(variance) - variance / 2
    place = np.minimum((middle / total * count).astype(np.int64), count - 1)
    return np.asarray(np.unique(place, return_inverse=True)[1], dtype=np.int64)


def _xlogratio(found: Floats, expected: Floats) -> Floats:
    return np.asarray(xlogy(found, found / expected))


@dataclass(frozen=True, slots=True, kw_only=True)
class BiasChange:
    """How far the mean error of a regressor lies from that of the reference, in standard deviations of the reference's errors.

    ``error`` is the standard error of ``effect``.
    """

    effect: float
    error: float
    n: int
    n_reference: int


def bias_change(reference: RegressionQuality, current: RegressionQuality) -> BiasChange | None:
    """The change of the mean of prediction - label; None without errors on both sides, or where the reference has none to speak of."""
    sides = [_bias(reference), _bias(current)]
    if sides[0] is None or sides[1] is None or sides[0][1] <= 0:
        return None
    (mean_r, variance_r), (mean_c, variance_c) = sides[0], sides[1]
    deviation = math.sqrt(variance_r)
    error = math.sqrt(variance_r / reference.n + max(variance_c, 0.0) / current.n)
    return BiasChange(effect=abs(mean_c - mean_r) / deviation, error=error / deviation, n=current.n, n_reference=reference.n)


def _bias(quality: RegressionQuality) -> tuple[float, float] | None:
    if quality.bias is None or quality.rmse is None or quality.n < 2:
        return None
    return quality.bias, (quality.rmse**2 - quality.bias**2) * quality.n / (quality.n - 1)


# ---------------------------------------------------------------------------------------------- streams


@dataclass(frozen=True, slots=True, kw_only=True)
class Rise:
    """Errors rose: the alarm came at bucket ``found``, and they have most likely been more frequent since bucket ``since``."""

    found: int
    since: int


def error_rise(errors: Ints, rows: Ints, expected: Floats, run_length: float) -> Rise | None:
    """The first alarm that errors have become more frequent than ``expected``; None without one. All (buckets,), in order of time.

    An e-detector: in each bucket a bet that the odds of an error rose, by each of ``ODDS``, wins or loses the likelihood
    ratio; a new bet of 1 begins with each bucket, so that no start of the change is favoured (Shiryaev-Roberts):
    ``M_t = (M_{t-1} + 1) LR_t``, and the alarm is given when their mean reaches ``run_length``. While no bucket has an
    error rate above ``expected`` the mean number of buckets until a false alarm is at least ``run_length``, however
    many rows they have and however the rate varies below it. ADWIN promises less, a level for every step, so that
    alarms come with time, and needs a history of its own. Source: Shin, Ramdas and Rinaldo (2022), arXiv 2203.03532.

    >>> error_rise(np.array([2, 1, 2, 9, 8, 9]), np.full(6, 20), np.full(6, 0.1), 1000)
    Rise(found=4, since=3)
    """
    gains = _gains(errors, rows, expected)
    bets = np.zeros(len(ODDS))
    best, since = np.zeros(len(ODDS)), np.zeros(len(ODDS), np.int64)
    for bucket, gain in enumerate(gains):
        since = np.where(best <= 0, bucket, since)
        best = np.maximum(best, 0.0) + gain
        bets = np.minimum((bets + 1) * np.exp(np.minimum(gain, 500.0)), 1e200)
        if float(bets.mean()) >= run_length:
            return Rise(found=bucket, since=int(since[int(np.argmax(best))]))
    return None


def _gains(errors: Ints, rows: Ints, expected: Floats) -> Floats:
    """The logarithm of what each bet gains in each bucket, float64 (buckets, odds)."""
    p = np.clip(expected, 1e-6, 1 - 1e-6)[:, None]
    risen = expit(logit(p) + np.asarray(ODDS))
    wrong, right = errors[:, None], (rows - errors)[:, None]
    return np.asarray(wrong * np.log(risen / p) + right * np.log((1 - risen) / (1 - p)))

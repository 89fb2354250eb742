"""How good a model probably is where no labels have come yet, from its scores and what they meant on the reference.

Confidence-based performance estimation (CBPE): on the reference, the share of positives is known for each score bin; a
window has rows in the same bins; so the expected confusion of the window, its accuracy and its AUC follow. It holds
while p(y | score) is that of the reference (no concept drift), and for scores that the reference has seen. It adjusts for
a window whose rows are easier or harder than those of the reference, and for nothing else.

The rates are those of the bins themselves (post-stratification), not smoothed: estimates that are linear in them stay
without bias, and the reference's own performance comes out exactly. Their isotonic fit gives the variances, and the
rates of bins that the reference has no labels in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression

from collector.statistics.intervals import z_value
from storage.records import Floats, Ints, LabelCounts

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimated:
    """An estimate for a window of ``n`` scored rows, from ``n_reference`` labelled ones.

    ``interval``: where the realised value of this window lies, with probability 95 %, once all its labels are there; so
    it holds the noise of those labels and that of the reference. It leaves out ``bound``, the most by which rows that all
    sit at one end of their bins can move the value (None where that is not known). ``out_of_support``: share of rows whose score bin has no label in
    the reference, or that have no score.
    """

    value: float
    error: float
    interval: Interval
    bound: float | None
    n: int
    n_reference: int
    out_of_support: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRates:
    """What a score means: for each score bin (the missing bin left out) the share of positives among the reference's labels.

    ``rows``: labelled rows, int64 (bins,). ``rates``, ``variances`` (of one label) and ``isotonic``: float64 (bins,).
    """

    rows: Ints
    rates: Floats
    variances: Floats
    isotonic: Floats

    @property
    def n(self) -> int:
        return int(self.rows.sum())


def score_rates(negatives: Ints, positives: Ints) -> ScoreRates | None:
    """The rates of a reference's labels by ascending score bin; None unless both classes occur.

    >>> score_rates(np.array([8, 0, 2]), np.array([2, 0, 8])).rates.tolist()
    [0.2, 0.5, 0.8]
    """
    rows = negatives + positives
    if not negatives.sum() or not positives.sum():
        return None
    seen = np.flatnonzero(rows)
    shares = positives[seen] / rows[seen]
    fit = isotonic_regression(shares, weights=rows[seen].astype(np.float64))
    pooled = np.repeat(fit.weights, np.diff(fit.blocks))
    moved = (fit.x * pooled + 0.5) / (pooled + 1)
    everywhere = np.arange(rows.size)
    isotonic = np.interp(everywhere, seen, fit.x)
    rates = isotonic.copy()
    rates[seen] = shares
    return ScoreRates(rows=rows, rates=rates, variances=np.interp(everywhere, seen, moved * (1 - moved)), isotonic=isotonic)


def rates_of(labels: LabelCounts) -> ScoreRates | None:
    """The rates of a binary reference's label counts. Labels that the model does not know are left out."""
    return score_rates(labels.score_by_class[:-1, 0], labels.score_by_class[:-1, 1])


# ---------------------------------------------------------------------------------------------- classifiers


def estimate_accuracy(rates: ScoreRates, scores: Ints, called: int) -> Estimated | None:
    """Expected share of right predictions among scored rows, int64 (bins + 1,), the last without a score; None for none.

    ``sum(called_b rate_b + (n_b - called_b) (1 - rate_b)) / n``. The ``called`` rows that were predicted positive are
    those with the highest scores, as with any one threshold; in the bin of that threshold both kinds share the rate.

    >>> rates = score_rates(np.array([80, 20]), np.array([20, 80]))
    >>> round(estimate_accuracy(rates, np.array([50, 150, 0]), 150).value, 3)
    0.8
    """
    rows = scores[:-1]
    n = int(rows.sum())
    if not n:
        return None
    positive = called_by_bin(rows, called)
    right = positive * rates.rates + (rows - positive) * (1 - rates.rates)
    bound = float(np.abs(2 * positive - rows) @ _steps(rates.isotonic)) / n
    return _estimated(rates, scores, float(right.sum()) / n, (2 * positive - rows) / n, bound=bound)


def called_by_bin(rows: Ints, called: int) -> Floats:
    """How many rows of each bin are among the ``called`` ones with the highest scores, float64 (bins,).

    >>> called_by_bin(np.array([5, 4, 3]), 5).tolist()
    [0.0, 2.0, 3.0]
    """
    above = np.cumsum(rows[::-1])[::-1] - rows
    return np.asarray(np.clip(called - above, 0, rows), dtype=np.float64)


def estimate_roc_auc(rates: ScoreRates, scores: Ints) -> Estimated | None:
    """Expected probability that a positive scores above a negative; ``scores`` as for the accuracy, None without both classes.

    Each bin has ``n_b rate_b`` expected positives; ties in a bin count half, which is the ``bound``. The error is that of
    the delta method.

    >>> rates = score_rates(np.array([80, 20]), np.array([20, 80]))
    >>> round(estimate_roc_auc(rates, np.array([100, 100, 0])).value, 3)
    0.8
    """
    rows = scores[:-1]
    p, q = rows * rates.rates, rows * (1 - rates.rates)
    positives, negatives = float(p.sum()), float(q.sum())
    if not positives or not negatives:
        return None
    below = np.cumsum(q) - q / 2
    above = positives - np.cumsum(p) + p / 2
    area = float(p @ below) / (positives * negatives)
    slope = rows * ((below - above) / (positives * negatives) - area / positives + area / negatives)
    return _estimated(rates, scores, area, slope, bound=float(p @ q) / (2 * positives * negatives))


def _estimated(rates: ScoreRates, scores: Ints, value: float, slope: Floats, *, bound: float) -> Estimated:
    """``slope``: derivative of the value with respect to the rate of each bin.

    A rate is uncertain by the labels of the reference in its bin; the share of positives in the window differs from the
    rate by the labels of the window. Both have the same variance per label.
    """
    rows = scores[:-1]
    used = rows > 0
    per_label = 1 / np.maximum(rates.rows[used], 1) + 1 / rows[used]
    error = math.sqrt(float(np.square(slope[used]) * rates.variances[used] @ per_label))
    reach = z_value(0.95) * error
    return Estimated(
        value=value,
        error=error,
        interval=(max(0.0, value - reach), min(1.0, value + reach)),
        bound=bound,
        n=int(rows.sum()),
        n_reference=rates.n,
        out_of_support=out_of_support(rates.rows, scores),
    )


# ---------------------------------------------------------------------------------------------- checks


def _steps(isotonic: Floats) -> Floats:
    """How far the rate inside a bin can be from that of the bin, where it rises with the score: the larger step to a neighbour."""
    step = np.diff(isotonic)
    return np.asarray(np.maximum(np.append(step, 0.0), np.insert(step, 0, 0.0)))


def out_of_support(reference: Ints, scores: Ints) -> float:
    """Share of the ``scores``, int64 (bins + 1,), in bins that the ``reference``, int64 (bins,), has nothing in."""
    total = int(scores.sum())
    return float(scores[:-1][reference == 0].sum() + scores[-1]) / total if total else 0.0


def calibration_gap(rates: ScoreRates, labels: LabelCounts) -> float:
    """By how much the estimate misses the accuracy that the reference itself had, without sign.

    The rates are the reference's own, so the gap shows what is wrong with the method: predictions that do not follow one
    threshold of the score, or labels that the model does not know.
    """
    total = int(labels.confusion.sum())
    found = estimate_accuracy(rates, np.append(rates.rows, 0), int(labels.confusion[1].sum()))
    return abs(found.value - float(np.trace(labels.confusion[:-1, :-1])) / total) if found and total else 1.0

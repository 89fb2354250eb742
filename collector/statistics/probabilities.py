"""How good the probabilities of a binary classifier are, from counts of classes by score bin.

``negatives`` and ``positives`` are int64 (bins,), by ascending score bin, the missing bin left out. What binning hides is
where in its bin a score lies. Each value takes one typical score per bin; ``bound`` is the most by which the value from
the raw scores can differ, and widens the interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, expit, logit

from collector.statistics.intervals import z_value
from storage.layouts import NUMERIC_BINS
from storage.records import Floats, Ints, Layout

Interval = tuple[float, float]
_Loss = Callable[[Floats], Floats]

CALIBRATION_GROUPS = 10
CLIP = float(np.finfo(np.float64).eps)
"""Probabilities are kept this far from 0 and 1 in the log loss, as scikit-learn does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binned:
    """A value from score bins, its standard error, its 95 % interval, and the most that binning can have moved it."""

    value: float
    bound: float
    error: float | None = None
    interval: Interval | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreBins:
    """Least, greatest and typical score of each bin, float64 (bins,), within 0 and 1, the missing bin left out."""

    low: Floats
    high: Floats
    typical: Floats


def has_probabilities(layout: Layout) -> bool:
    """Whether the score is a probability, of the last of two classes or the largest of more, not a mere 0 or 1 for the predicted class."""
    edges = layout.score.edges
    if len(layout.classes) < 2 or not edges:
        return False
    return edges[0] >= 0 and edges[-1] <= math.nextafter(1, 2) and any(0 < edge < 1 for edge in edges)


def score_bins(edges: tuple[float, ...]) -> ScoreBins:
    """The bins of ascending ``edges`` within 0 and 1.

    The typical score is the middle of a bin; its lower end where there are fewer than ``NUMERIC_BINS`` edges, because then
    the model has few distinct scores and each of them is an edge.

    >>> score_bins((0.2, 0.6)).typical.tolist()
    [0.1, 0.2, 0.6]
    """
    inner = np.clip(np.asarray(edges, dtype=np.float64), 0.0, 1.0)
    low, high = np.concatenate([[0.0], inner]), np.concatenate([inner, [1.0]])
    typical = (low + high) / 2
    if inner.size < NUMERIC_BINS:
        typical[1:] = low[1:]
    return ScoreBins(low=low, high=high, typical=typical)


# ---------------------------------------------------------------------------------------------- losses


def brier(negatives: Ints, positives: Ints, bins: ScoreBins) -> Binned | None:
    """Mean of ``(score - y)**2``, y 1 for a positive; None for no rows. Source: Brier (1950).

    >>> bins = score_bins((0.0, 0.25, 0.75, 1.0))
    >>> brier(np.array([0, 0, 3, 0, 0]), np.array([0, 0, 0, 1, 0]), bins).value
    0.0625
    """
    return _mean_loss(negatives, positives, bins, lambda s: s * s, lambda s: (1 - s) ** 2, 1.0)


def log_loss(negatives: Ints, positives: Ints, bins: ScoreBins) -> Binned | None:
    """Mean of ``-ln(score)`` of positives and ``-ln(1 - score)`` of negatives, scores kept ``CLIP`` from 0 and 1; None for no rows."""

    def of_negative(s: Floats) -> Floats:
        return np.asarray(-np.log1p(-np.clip(s, CLIP, 1 - CLIP)))

    def of_positive(s: Floats) -> Floats:
        return np.asarray(-np.log(np.clip(s, CLIP, 1 - CLIP)))

    return _mean_loss(negatives, positives, bins, of_negative, of_positive, math.inf)


def _mean_loss(
    negatives: Ints, positives: Ints, bins: ScoreBins, of_negative: _Loss, of_positive: _Loss, most: float
) -> Binned | None:
    """Of a loss that falls with the score of a positive and rises with that of a negative, so that bin ends are its extremes."""
    n = int(negatives.sum() + positives.sum())
    if not n:
        return None
    losses = of_negative(bins.typical), of_positive(bins.typical)
    mean = float(negatives @ losses[0] + positives @ losses[1]) / n
    square = float(negatives @ np.square(losses[0] - mean) + positives @ np.square(losses[1] - mean))
    error = math.sqrt(square / max(n - 1, 1) / n)
    least = float(negatives @ of_negative(bins.low) + positives @ of_positive(bins.high)) / n
    greatest = float(negatives @ of_negative(bins.high) + positives @ of_positive(bins.low)) / n
    bound = max(mean - least, greatest - mean)
    reach = z_value(0.95) * error + bound
    return Binned(value=mean, bound=bound, error=error, interval=(max(0.0, mean - reach), min(most, mean + reach)))


# ---------------------------------------------------------------------------------------------- precision and recall


def average_precision(negatives: Ints, positives: Ints) -> Binned | None:
    """Area under the precision-recall curve, ``sum((R_k - R_{k-1}) P_k)`` from the highest bin down; None without positives.

    Equals scikit-learn's average precision of scores rounded to their bin. ``bound`` comes from the extreme orders within
    each bin: all its negatives above its positives, and none of them. The interval is that of the logit with
    ``1 / sqrt(positives a (1 - a))`` as its error (Boyd, Eng and Page 2013, doi:10.1007/978-3-642-40994-3_29).

    >>> average_precision(np.array([1, 1, 0]), np.array([0, 1, 1])).value
    0.8333333333333333
    """
    p, q = positives[::-1].astype(np.float64), negatives[::-1].astype(np.float64)
    total = float(p.sum())
    if not total:
        return None
    hits, called = np.cumsum(p), np.cumsum(p + q)
    area = float(p @ (hits / np.maximum(called, 1))) / total
    above = hits - p
    first, misses = called - p - q - above, called - hits
    highest = float(p @ (hits / np.maximum(hits + first, 1))) / total
    lowest = float(np.sum(p - misses * (digamma(hits + misses + 1) - digamma(above + misses + 1)))) / total
    bound = max(highest - area, area - lowest)
    inside = min(max(area, 1 / (2 * total)), 1 - 1 / (2 * total)) if total > 1 else 0.5
    spread = 1 / math.sqrt(total * inside * (1 - inside))
    reach = z_value(0.95) * spread
    low, high = (float(expit(logit(inside) + move)) for move in (-reach, reach))
    return Binned(
        value=area,
        bound=bound,
        error=inside * (1 - inside) * spread,
        interval=(max(0.0, min(low, area) - bound), min(1.0, max(high, area) + bound)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusions:
    """Counts when every score at or above ``threshold`` is called positive, all (thresholds,); exact."""

    threshold: Floats
    true_positives: Ints
    false_positives: Ints
    false_negatives: Ints
    true_negatives: Ints


def confusion_by_threshold(negatives: Ints, positives: Ints, edges: tuple[float, ...]) -> Confusions:
    """The confusion at every edge of the score bins, ascending.

    >>> found = confusion_by_threshold(np.array([5, 2, 1]), np.array([0, 1, 4]), (0.3, 0.6))
    >>> found.true_positives.tolist(), found.false_positives.tolist()
    ([5, 4], [3, 1])
    """
    below = np.cumsum(negatives)[:-1], np.cumsum(positives)[:-1]
    return Confusions(
        threshold=np.asarray(edges, dtype=np.float64),
        true_positives=positives.sum() - below[1],
        false_positives=negatives.sum() - below[0],
        false_negatives=below[1],
        true_negatives=below[0],
    )


# ---------------------------------------------------------------------------------------------- calibration


def calibration_error(negatives: Ints, positives: Ints, bins: ScoreBins, groups: int = CALIBRATION_GROUPS) -> Binned | None:
    """Expected calibration error: mean over rows of ``|mean score - share of positives|`` in groups of neighbouring bins.

    Groups hold about equal numbers of rows. Noise alone makes it positive, by about ``0.8 sqrt(groups p (1 - p) / n)``,
    so it has no interval. Source: Naeini, Cooper and Hauskrecht (2015). None for no rows.

    >>> calibration_error(np.array([0, 2, 0]), np.array([0, 2, 0]), score_bins((0.4, 0.8))).value
    0.09999999999999998
    """
    rows = negatives + positives
    n = int(rows.sum())
    if not n:
        return None
    place = equal_groups(rows, groups)
    expected = np.bincount(place, weights=rows * bins.typical, minlength=groups)
    found = np.bincount(place, weights=positives, minlength=groups)
    value = float(np.abs(expected - found).sum()) / n
    farthest = np.maximum(bins.typical - bins.low, bins.high - bins.typical)
    return Binned(value=value, bound=float(rows @ farthest) / n)


def equal_groups(rows: Ints, groups: int) -> Ints:
    """The group of each bin, int64 (bins,) from 0 to ``groups - 1``: neighbouring bins with about equal sums of ``rows``."""
    total = max(int(rows.sum()), 1)
    middle = (np.cumsum(rows) - rows / 2) / total
    return np.minimum((middle * groups).astype(np.int64), groups - 1)

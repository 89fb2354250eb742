"""How well labelled predictions came out, from the counts of labels alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from collector.statistics.intervals import wilson, z_value
from collector.statistics.latency import delay_quantile_seconds
from storage.records import Floats, Ints, LabelCounts

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerances:
    """How far performance may fall below the reference before it matters: points of a score, share of an error."""

    score: float = 0.05
    error_share: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassificationQuality:
    """Quality of ``n`` labelled predictions; None where a value is undefined. Intervals are of 95 %.

    Binary: precision, recall and F1 of the last class. Several classes: their plain mean over the classes that occur
    (macro), without intervals. ``roc_auc`` is binary only; the exact one lies within ``roc_auc_bound`` of it. ``called`` and
    ``positives`` count the rows that were predicted to be of the last class, and those that are.
    """

    n: int
    accuracy: float | None = None
    accuracy_interval: Interval | None = None
    precision: float | None = None
    precision_interval: Interval | None = None
    recall: float | None = None
    recall_interval: Interval | None = None
    called: int = 0
    f1: float | None = None
    f1_interval: Interval | None = None
    roc_auc: float | None = None
    roc_auc_interval: Interval | None = None
    roc_auc_error: float | None = None
    roc_auc_bound: float | None = None
    positives: int = 0
    delay_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegressionQuality:
    """Quality of ``n`` labelled predictions; error = prediction - label. The interval of the MAE is of 95 %.

    RMSE and R2 have no interval: that needs moments that the counts do not hold.
    """

    n: int
    mae: float | None = None
    mae_interval: Interval | None = None
    mae_variance: float | None = None
    rmse: float | None = None
    r2: float | None = None
    bias: float | None = None
    delay_seconds: float | None = None


# ---------------------------------------------------------------------------------------------- classification


def classification(labels: LabelCounts) -> ClassificationQuality:
    """Accuracy, precision, recall, F1 and ROC AUC of counted labels.

    A label that the model does not know counts as a wrong prediction, and is left out of the AUC.
    """
    confusion = labels.confusion
    n = int(confusion.sum())
    delay = delay_quantile_seconds(labels.delay, 0.5)
    if not n:
        return ClassificationQuality(n=0, delay_seconds=delay)
    right = int(np.trace(confusion[:-1, :-1]))
    if confusion.shape[0] != 3:
        precision, recall, f1 = _macro(confusion)
        return ClassificationQuality(
            n=n,
            accuracy=right / n,
            accuracy_interval=wilson(right, n),
            precision=precision,
            recall=recall,
            f1=f1,
            delay_seconds=delay,
        )
    return _binary(labels, n, right, delay)


def _binary(labels: LabelCounts, n: int, right: int, delay: float | None) -> ClassificationQuality:
    confusion = labels.confusion
    hits, called, actual = int(confusion[1, 1]), int(confusion[1].sum()), int(confusion[:, 1].sum())
    auc = roc_auc(labels.score_by_class[:-1, 0], labels.score_by_class[:-1, 1])
    return ClassificationQuality(
        n=n,
        accuracy=right / n,
        accuracy_interval=wilson(right, n),
        precision=_ratio(hits, called),
        precision_interval=wilson(hits, called),
        recall=_ratio(hits, actual),
        recall_interval=wilson(hits, actual),
        called=called,
        f1=_ratio(2 * hits, called + actual),
        f1_interval=_f1_interval(hits, called + actual - hits),
        roc_auc=auc.area if auc else None,
        roc_auc_interval=auc.interval if auc else None,
        roc_auc_error=auc.standard_error if auc else None,
        roc_auc_bound=auc.bound if auc else None,
        positives=actual,
        delay_seconds=delay,
    )


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _f1_interval(hits: int, union: int) -> Interval | None:
    """F1 is ``2 J / (1 + J)`` of the share J of hits among the rows that are positive or were called so: Wilson on J."""
    ends = wilson(hits, union)
    return None if ends is None else (2 * ends[0] / (1 + ends[0]), 2 * ends[1] / (1 + ends[1]))


def _macro(confusion: Ints) -> tuple[float | None, float | None, float | None]:
    """Mean precision, recall and F1 over the classes that were predicted or occurred; undefined ones count as 0."""
    hits = np.diag(confusion)[:-1]
    called, actual = confusion.sum(axis=1)[:-1], confusion.sum(axis=0)[:-1]
    seen = (called + actual) > 0
    if not seen.any():
        return None, None, None
    precision, recall = hits / np.maximum(called, 1), hits / np.maximum(actual, 1)
    f1 = 2 * hits / np.maximum(called + actual, 1)
    return float(precision[seen].mean()), float(recall[seen].mean()), float(f1[seen].mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class Auc:
    """Area under the ROC curve of binned scores, its DeLong error and interval, and the most that binning can have moved it."""

    area: float
    standard_error: float
    interval: Interval
    bound: float


def roc_auc(negatives: Ints, positives: Ints, level: float = 0.95) -> Auc | None:
    """The probability that a positive scores above a negative, ties counting half, from counts by ascending score bin.

    Equals the exact area of scores rounded to their bin; that of the raw scores differs by at most ``bound``, half
    the share of pairs that fall into one bin. The interval is DeLong's (1988) on the binned scores, widened by the
    bound; where every pair is in order (variance 0) Hanley and McNeil's (1982) half a pair inside. None where a
    class is empty.

    >>> auc = roc_auc(np.array([3, 1, 0]), np.array([0, 1, 3]))
    >>> auc.area, auc.bound
    (0.96875, 0.03125)
    """
    n, m = int(negatives.sum()), int(positives.sum())
    if not n or not m:
        return None
    below_positive = (np.cumsum(negatives) - negatives / 2) / n
    above_negative = (m - np.cumsum(positives) + positives / 2) / m
    area = float(below_positive @ positives / m)
    variance = _weighted_variance(below_positive, positives) / m + _weighted_variance(above_negative, negatives) / n
    error = math.sqrt(variance) or _hanley_mcneil_error(area, n, m)
    bound = float(negatives @ positives) / (2 * n * m)
    reach = z_value(level) * error + bound
    return Auc(area=area, standard_error=error, interval=(max(0.0, area - reach), min(1.0, area + reach)), bound=bound)


def _weighted_variance(values: Floats, weights: Ints) -> float:
    total = int(weights.sum())
    if total < 2:
        return 0.0
    mean = values @ weights / total
    return float(np.square(values - mean) @ weights / (total - 1))


def _hanley_mcneil_error(area: float, n: int, m: int) -> float:
    least = 1 / (2 * min(n, m))
    a = min(max(area, least), 1 - least)
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    return math.sqrt((a * (1 - a) + (m - 1) * (q1 - a * a) + (n - 1) * (q2 - a * a)) / (n * m))


# ---------------------------------------------------------------------------------------------- regression


def regression(labels: LabelCounts) -> RegressionQuality:
    """MAE, RMSE, R2 and bias of counted labels; R2 is None where the labels do not vary."""
    n, error, absolute, squared, actual, actual_squared = (float(value) for value in labels.residuals)
    delay = delay_quantile_seconds(labels.delay, 0.5)
    if not n:
        return RegressionQuality(n=0, delay_seconds=delay)
    mae = absolute / n
    variance = max(0.0, squared - n * mae * mae) / max(n - 1, 1)
    reach = z_value(0.95) * math.sqrt(variance / n)
    spread = actual_squared - actual * actual / n
    varies = spread > 1e-12 * max(actual_squared, 1e-300)
    return RegressionQuality(
        n=int(n),
        mae=mae,
        mae_interval=(max(0.0, mae - reach), mae + reach),
        mae_variance=variance,
        rmse=math.sqrt(squared / n),
        r2=1 - squared / spread if varies else None,
        bias=error / n,
        delay_seconds=delay,
    )

"""Every quality that the labels of a window give, in one form, and how one is held against the same of the reference."""

from __future__ import annotations

import math
from dataclasses import dataclass

from collector.statistics.errors import QUANTILES, ErrorQuantile, error_quantile
from collector.statistics.intervals import z_value
from collector.statistics.multiclass import (
    macro_average_precision,
    macro_roc_auc,
    mean_brier,
    mean_log_loss,
    top_calibration_error,
)
from collector.statistics.performance import (
    ClassificationQuality,
    Interval,
    RegressionQuality,
    Tolerances,
    classification,
    regression,
)
from collector.statistics.probabilities import (
    Binned,
    average_precision,
    brier,
    calibration_error,
    has_probabilities,
    log_loss,
    score_bins,
)
from storage.class_probabilities import is_of_many
from storage.layouts import is_regression
from storage.records import LabelCounts, Layout, Verdict

POWER_Z = 0.8416
"""Standard errors by which an effect must lie beyond its threshold to be found four times out of five."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One quality. ``n`` is the number of rows that it is about: for precision those called positive, for recall the positives.

    ``error`` is its standard error, None where it has none that is sound. A share needs none: it follows from both
    shares. ``is_loss``: less is better.
    """

    name: str
    value: float
    n: int
    interval: Interval | None = None
    error: float | None = None
    is_share: bool = False
    is_loss: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A verdict with the threshold that it rests on, the smallest loss of quality that it finds 4 times of 5, and the reason."""

    verdict: Verdict
    threshold: float | None = None
    detectable: float | None = None
    basis: str = ""


# ---------------------------------------------------------------------------------------------- measuring


def measures(layout: Layout, labels: LabelCounts) -> list[Measure]:
    """All qualities that the labels define, the main one (accuracy, or the mean absolute error) first."""
    if is_regression(layout):
        quantiles = [error_quantile(layout, labels.errors, q) for q in QUANTILES.values()]
        return _of_numbers(regression(labels)) + _of_quantiles(dict(zip(QUANTILES, quantiles, strict=True)))
    found = _of_classes(classification(labels))
    if not has_probabilities(layout):
        return found
    return found + (_of_many_classes(layout, labels) if is_of_many(layout) else _of_probabilities(layout, labels))


def _of_classes(q: ClassificationQuality) -> list[Measure]:
    is_binary = q.recall_interval is not None or q.precision_interval is not None
    found = [
        _share("accuracy", q.accuracy, q.n, q.accuracy_interval),
        _share("precision", q.precision, q.called if is_binary else q.n, q.precision_interval),
        _share("recall", q.recall, q.positives if is_binary else q.n, q.recall_interval),
        _measure("f1", q.f1, q.n, q.f1_interval, _half_width(q.f1_interval)),
        _measure("roc_auc", q.roc_auc, q.n, q.roc_auc_interval, q.roc_auc_error),
    ]
    return [measure for measure in found if measure is not None]


def _of_probabilities(layout: Layout, labels: LabelCounts) -> list[Measure]:
    negatives, positives = labels.score_by_class[:-1, 0], labels.score_by_class[:-1, 1]
    n, bins = int(negatives.sum() + positives.sum()), score_bins(layout.score.edges)
    found = [
        _binned("pr_auc", average_precision(negatives, positives), n),
        _binned("log_loss", log_loss(negatives, positives, bins), n, is_loss=True),
        _binned("brier", brier(negatives, positives, bins), n, is_loss=True),
        _binned("calibration_error", calibration_error(negatives, positives, bins), n, is_loss=True),
    ]
    return [measure for measure in found if measure is not None]


def _of_many_classes(layout: Layout, labels: LabelCounts) -> list[Measure]:
    n, scored = int(labels.losses[0]), int(labels.score_by_class[:-1].sum())
    found = [
        _binned("roc_auc", macro_roc_auc(layout, labels), n),
        _binned("pr_auc", macro_average_precision(layout, labels), n),
        _binned("log_loss", mean_log_loss(labels.losses), n, is_loss=True),
        _binned("brier", mean_brier(labels.losses), n, is_loss=True),
        _binned("calibration_error", top_calibration_error(layout, labels), scored, is_loss=True),
    ]
    return [measure for measure in found if measure is not None]


def _of_quantiles(found: dict[str, ErrorQuantile | None]) -> list[Measure]:
    """Not judged: their errors are too skewed for a number of standard errors, and the mean absolute error is."""
    return [
        Measure(name=name, value=quantile.value, n=quantile.n, interval=quantile.interval, is_loss=True)
        for name, quantile in found.items()
        if quantile is not None and quantile.n * (1 - quantile.q) >= 1
    ]


def _of_numbers(q: RegressionQuality) -> list[Measure]:
    if q.mae is None or q.mae_variance is None or q.rmse is None:
        return []
    mae = Measure(name="mae", value=q.mae, n=q.n, interval=q.mae_interval, error=math.sqrt(q.mae_variance / q.n), is_loss=True)
    r2 = _measure("r2", q.r2, q.n, None, None)
    return [mae, Measure(name="rmse", value=q.rmse, n=q.n, is_loss=True), *([r2] if r2 else [])]


def _measure(name: str, value: float | None, n: int, interval: Interval | None, error: float | None) -> Measure | None:
    return None if value is None else Measure(name=name, value=value, n=n, interval=interval, error=error)


def _share(name: str, value: float | None, n: int, interval: Interval | None) -> Measure | None:
    """Without an interval it is a mean of shares, which is not judged."""
    if value is None:
        return None
    return Measure(name=name, value=value, n=n, interval=interval, is_share=interval is not None)


def _binned(name: str, found: Binned | None, n: int, *, is_loss: bool = False) -> Measure | None:
    if found is None:
        return None
    return Measure(name=name, value=found.value, n=n, interval=found.interval, error=found.error, is_loss=is_loss)


def _half_width(interval: Interval | None) -> float | None:
    return None if interval is None else (interval[1] - interval[0]) / (2 * z_value(0.95))


# ---------------------------------------------------------------------------------------------- judging


def share_difference_error(reference: float, n_reference: int, value: float, n: int) -> float:
    """Standard error of the difference of two shares; the pooled share is moved by half a row so that it is never 0."""
    pooled = (reference * n_reference + value * n + 0.5) / (n_reference + n + 1)
    return math.sqrt(pooled * (1 - pooled) * (1 / max(n_reference, 1) + 1 / max(n, 1)))


def difference_error(current: Measure, reference: Measure) -> float | None:
    """Standard error of the difference of one quality on two sets of rows; None where it has none.

    A reference that keeps no error of its own is given that of the window, scaled to its number of rows.
    """
    if current.is_share:
        return share_difference_error(reference.value, reference.n, current.value, current.n)
    if current.error is None:
        return None
    own = reference.error if reference.error is not None else current.error * math.sqrt(current.n / max(reference.n, 1))
    return math.hypot(current.error, own)


def compare(current: Measure, reference: Measure | None, *, z: float, tolerances: Tolerances, min_labels: int) -> Comparison:
    """Drift where the quality is worse than that of the reference by more than the larger of the tolerance and ``z`` standard errors.

    The tolerance is in points of a score, and a share of the reference for a loss. Fewer than ``min_labels`` rows are
    insufficient data. Without a reference, or an error, there is no threshold.
    """
    if current.n < min_labels:
        return Comparison(verdict=Verdict.INSUFFICIENT, basis=f"fewer than {min_labels} labelled rows that it is about")
    error = difference_error(current, reference) if reference is not None else None
    if reference is None or error is None:
        return Comparison(verdict=Verdict.OK)
    if reference.n < min_labels:
        return Comparison(verdict=Verdict.INSUFFICIENT, basis=f"fewer than {min_labels} labelled rows in the reference")
    tolerance = tolerances.error_share * reference.value if current.is_loss else tolerances.score
    margin = max(tolerance, z * error)
    worse = current.value - reference.value if current.is_loss else reference.value - current.value
    noise = f"{z:.1f} standard errors" if z * error > tolerance else "the tolerance"
    return Comparison(
        verdict=Verdict.DRIFT if worse > margin else Verdict.OK,
        threshold=reference.value + margin if current.is_loss else reference.value - margin,
        detectable=margin + POWER_Z * error,
        basis=f"reference {reference.value:.4g} {'plus' if current.is_loss else 'less'} {noise} ({margin:.2g})",
    )

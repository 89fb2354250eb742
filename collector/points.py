"""From the counts of one window to its metric points. Pure: counts and a policy in, points out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from scipy.special import ndtri

from collector.drift_points import drift_points
from collector.judging import Judging, Subject
from collector.statistics.latency import latency_quantile
from collector.statistics.performance import (
    ClassificationQuality,
    RegressionQuality,
    classification,
    judge_error,
    judge_score,
    regression,
    share_difference_error,
)
from collector.statistics.service import service
from storage.layouts import is_regression
from storage.records import Ints, LabelCounts, MetricPoint, PredictionCounts, Verdict

Interval = tuple[float, float]

QUANTILES = {"latency_p50_seconds": 0.5, "latency_p95_seconds": 0.95, "latency_p99_seconds": 0.99}


def window_points(
    subject: Subject, predictions: PredictionCounts, judging: Judging, earlier: Sequence[MetricPoint] = ()
) -> list[MetricPoint]:
    """All points that the predictions of a window give; a window without any gives its throughput of 0 and no more.

    ``earlier`` are points of windows before it, see ``collector.drift_points.remembered_times``.
    """
    points = service_points(subject, predictions)
    if predictions.rows > predictions.errors + predictions.timeouts:
        points += drift_points(subject, predictions, judging, earlier)
    return points


# ---------------------------------------------------------------------------------------------- service


def service_points(subject: Subject, counts: PredictionCounts) -> list[MetricPoint]:
    """Throughput, and where there were predictions the error rate, the timeout rate and three latencies."""
    found = service(counts, subject.window.seconds)
    points = [subject.point("requests_per_second", found.requests_per_second, n_current=found.rows)]
    if not found.rows:
        return points
    points.append(_share_point(subject, "error_rate", found.error_rate, found.error_rate_interval, found.rows))
    points.append(_share_point(subject, "timeout_rate", found.timeout_rate, found.timeout_rate_interval, found.rows))
    return points + latency_points(subject, counts.latency)


def latency_points(subject: Subject, histogram: Ints) -> list[MetricPoint]:
    """The latencies; a quantile of too few values to have one beyond it is insufficient data."""
    points = []
    for name, q in QUANTILES.items():
        found = latency_quantile(histogram, q)
        if found.seconds is None:
            continue
        verdict = Verdict.OK if found.n * (1 - q) >= 1 else Verdict.INSUFFICIENT
        points.append(subject.point(name, found.seconds, lower=found.lower, upper=found.upper, n_current=found.n, verdict=verdict))
    return points


def _share_point(subject: Subject, name: str, value: float | None, interval: Interval | None, n: int) -> MetricPoint:
    lower, upper = interval or (None, None)
    return subject.point(name, value, lower=lower, upper=upper, n_current=n)


# ---------------------------------------------------------------------------------------------- performance


def performance_points(subject: Subject, labels: LabelCounts, served: int | None, judging: Judging) -> list[MetricPoint]:
    """Quality against the labels of a window, their coverage and delay. ``served`` None leaves the coverage out."""
    points = []
    if served:
        points.append(subject.point("label_coverage", min(1.0, labels.rows / served), n_current=served))
    if not labels.rows:
        return points
    if is_regression(subject.layout):
        quality: RegressionQuality | ClassificationQuality = regression(labels)
        points += _regression_points(subject, regression(labels), judging)
    else:
        quality = classification(labels)
        points += _classification_points(subject, quality, judging)
    if quality.delay_seconds is not None:
        points.append(subject.point("label_delay_seconds", quality.delay_seconds, n_current=labels.rows))
    return points


@dataclass(frozen=True, slots=True, kw_only=True)
class _Score:
    """One quality where more is better; ``error`` is the standard error of its difference from the reference."""

    name: str
    value: float | None
    interval: Interval | None
    reference: float | None = None
    error: float | None = None


def _classification_points(subject: Subject, quality: ClassificationQuality, judging: Judging) -> list[MetricPoint]:
    scores = [
        _accuracy(subject, quality),
        _Score(name="precision", value=quality.precision, interval=quality.precision_interval),
        _Score(name="recall", value=quality.recall, interval=quality.recall_interval),
        _Score(name="f1", value=quality.f1, interval=quality.f1_interval),
        _roc_auc(subject, quality),
    ]
    return [_scored(subject, score, quality.n, judging) for score in scores if score.value is not None]


def _accuracy(subject: Subject, quality: ClassificationQuality) -> _Score:
    reference, rows = _reference(subject)
    expected, error = reference.get("accuracy"), None
    if expected is not None and quality.accuracy is not None:
        error = share_difference_error(expected, rows, quality.accuracy, quality.n)
    return _Score(name="accuracy", value=quality.accuracy, interval=quality.accuracy_interval, reference=expected, error=error)


def _roc_auc(subject: Subject, quality: ClassificationQuality) -> _Score:
    """The reference keeps no error of its own: the window's, scaled to both sizes, stands for both."""
    reference, rows = _reference(subject)
    error = None
    if quality.roc_auc_error is not None and rows:
        error = quality.roc_auc_error * math.sqrt(1 + quality.n / rows)
    return _Score(
        name="roc_auc", value=quality.roc_auc, interval=quality.roc_auc_interval, reference=reference.get("roc_auc"), error=error
    )


def _scored(subject: Subject, score: _Score, n: int, judging: Judging) -> MetricPoint:
    _, rows = _reference(subject)
    z, tolerance = _z(subject, judging), judging.tolerances.score
    found = judge_score(score.value, score.error, n, score.reference, rows, z=z, tolerance=tolerance, min_labels=judging.min_labels)
    lower, upper = score.interval or (None, None)
    return replace(subject.judged(score.name, found), lower=lower, upper=upper)


def _regression_points(subject: Subject, quality: RegressionQuality, judging: Judging) -> list[MetricPoint]:
    reference, rows = _reference(subject)
    found = judge_error(
        quality,
        reference.get("mae"),
        rows,
        z=_z(subject, judging),
        tolerance_share=judging.tolerances.error_share,
        min_labels=judging.min_labels,
    )
    lower, upper = quality.mae_interval or (None, None)
    points = [replace(subject.judged("mae", found), lower=lower, upper=upper)]
    verdict = Verdict.OK if quality.n >= judging.min_labels else Verdict.INSUFFICIENT
    for name, value in (("rmse", quality.rmse), ("r2", quality.r2)):
        points.append(subject.point(name, value, n_reference=rows, n_current=quality.n, verdict=verdict))
    return [point for point in points if point.value is not None]


def _reference(subject: Subject) -> tuple[dict[str, float], int]:
    return (subject.profile.performance, subject.profile.rows) if subject.profile else ({}, 0)


def _z(subject: Subject, judging: Judging) -> float:
    """How many standard errors a value must be worse than the reference: one-sided, at the level of all tests."""
    return float(-ndtri(judging.policy(subject.layout).alpha))

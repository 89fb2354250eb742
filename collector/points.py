"""From the counts of one window to its metric points. Pure: counts and a policy in, points out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from scipy.special import ndtri

from collector.statistics.drift import FeatureDrift, feature_drift, js_distance, psi
from collector.statistics.latency import latency_quantile
from collector.statistics.layout_drift import layout_drift
from collector.statistics.performance import (
    ClassificationQuality,
    RegressionQuality,
    Tolerances,
    classification,
    judge_error,
    judge_score,
    regression,
    share_difference_error,
)
from collector.statistics.service import service, spread
from collector.statistics.verdict import (
    FEATURE_TESTS,
    Floors,
    Judgement,
    Policy,
    alpha_for_budget,
    drift_share,
    js_threshold,
    judge,
    judge_drift,
    overall,
    psi_threshold,
)
from collector.windows import Window, WindowPlan
from storage.layouts import is_regression, split_bins
from storage.records import Ints, LabelCounts, Layout, MetricPoint, PredictionCounts, Profile, Verdict

Interval = tuple[float, float]

PREDICTION_TESTS = 2
PERFORMANCE_TESTS = 2
QUANTILES = {"latency_p50_seconds": 0.5, "latency_p95_seconds": 0.95, "latency_p99_seconds": 0.99}
DRIFT_NAMES = {
    "ks": "drift_ks",
    "psi": "drift_psi",
    "js": "drift_js",
    "missing": "drift_missing",
    "unseen": "drift_unseen",
    "out_of_range": "drift_out_of_range",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """Everything that turns statistics into verdicts, the same for all models."""

    plans: Sequence[WindowPlan]
    false_alarm_days: float = 30.0
    min_samples: int = 200
    min_labels: int = 100
    floors: Floors = field(default_factory=Floors)
    tolerances: Tolerances = field(default_factory=Tolerances)
    drift_share_limit: float = 0.3

    def policy(self, layout: Layout) -> Policy:
        """The policy for a model: the more features it has, the less each of them may alarm."""
        tests = len(layout.features) * FEATURE_TESTS + PREDICTION_TESTS + PERFORMANCE_TESTS
        steps: list[timedelta] = [plan.step for plan in self.plans]
        alpha = alpha_for_budget(self.false_alarm_days, steps, tests)
        return Policy(alpha=alpha, min_samples=self.min_samples, floors=self.floors)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whose window it is, and the fields that all its points share."""

    layout: Layout
    profile: Profile | None
    version: str
    window: Window
    role: str = ""

    def point(self, name: str, value: float | None, **further: object) -> MetricPoint:
        base = MetricPoint(
            at=self.window.end,
            name=name,
            value=value,
            model=self.layout.model,
            version=self.version,
            role=self.role,
            window_seconds=self.window.seconds,
        )
        return replace(base, **further)  # type: ignore[arg-type]


def window_points(subject: Subject, predictions: PredictionCounts, judging: Judging) -> list[MetricPoint]:
    """All points that the predictions of a window give; a window without any gives its throughput of 0 and no more."""
    points = service_points(subject, predictions)
    if predictions.rows > predictions.errors + predictions.timeouts:
        policy = judging.policy(subject.layout)
        points += feature_points(subject, predictions, policy, judging.drift_share_limit)
        points += prediction_points(subject, predictions, policy)
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


# ---------------------------------------------------------------------------------------------- drift


def feature_points(subject: Subject, counts: PredictionCounts, policy: Policy, share_limit: float) -> list[MetricPoint]:
    """Every drift statistic of every feature, and the share of drifted features; none without a reference."""
    if subject.profile is None:
        return []
    points: list[MetricPoint] = []
    verdicts: list[Verdict] = []
    for bins, drift in zip(subject.layout.features, _drifts(subject.layout, subject.profile.counts, counts), strict=True):
        judgements = judge_drift(drift, policy)
        points += [_judged(subject, DRIFT_NAMES[name], found, bins.name) for name, found in judgements.items()]
        verdicts.append(overall(judgements))
    share, verdict = drift_share(verdicts, share_limit)
    served = counts.rows - counts.errors - counts.timeouts
    summary = subject.point(
        "drift_share",
        share,
        threshold=share_limit if share is not None else None,
        n_reference=subject.profile.rows,
        n_current=served,
        verdict=verdict,
    )
    return [*points, summary]


def _drifts(layout: Layout, reference: PredictionCounts, current: PredictionCounts) -> list[FeatureDrift]:
    return layout_drift(layout, reference.bins, current.bins, reference.moments, current.moments)


def _judged(subject: Subject, name: str, found: Judgement, feature: str = "") -> MetricPoint:
    return subject.point(
        name,
        found.value,
        feature=feature,
        p_value=found.p_value,
        n_reference=found.n_reference,
        n_current=found.n_current,
        threshold=found.threshold,
        verdict=found.verdict,
    )


# ---------------------------------------------------------------------------------------------- predictions


def prediction_points(subject: Subject, counts: PredictionCounts, policy: Policy) -> list[MetricPoint]:
    """Mean and deviation of the score, and the drift of the score, or of the classes where a model gives no score."""
    points = []
    found = spread(counts.moments[-1])
    if found.mean is not None:
        lower, upper = found.mean_interval or (None, None)
        points.append(subject.point("prediction_mean", found.mean, lower=lower, upper=upper, n_current=found.n))
    if found.deviation is not None:
        points.append(subject.point("prediction_std", found.deviation, n_current=found.n))
    return points + _prediction_drift(subject, counts, policy)


def _prediction_drift(subject: Subject, counts: PredictionCounts, policy: Policy) -> list[MetricPoint]:
    if subject.profile is None:
        return []
    drift = _output_drift(subject.layout, subject.profile.counts, counts)
    if drift is None or not drift.n_reference or not drift.n_current:
        return []
    n, m, groups = drift.n_current, drift.n_reference, len(drift.group_shares)
    psi_limit = max(policy.floors.psi, psi_threshold(n, m, groups, policy.alpha))
    js_limit = max(policy.floors.js, js_threshold(n, m, groups, policy.alpha))
    return [
        _judged(subject, "prediction_drift_psi", judge(drift.psi, psi_limit, m, n, policy.min_samples)),
        _judged(subject, "prediction_drift_js", judge(drift.js, js_limit, m, n, policy.min_samples)),
    ]


def _output_drift(layout: Layout, reference: PredictionCounts, current: PredictionCounts) -> FeatureDrift | None:
    scores = split_bins(layout, reference.bins)[1], split_bins(layout, current.bins)[1]
    if any(int(side[:-1].sum()) for side in scores):
        return feature_drift(layout.score, *scores)
    return _class_drift(reference.classes, current.classes) if layout.classes else None


def _class_drift(reference: Ints, current: Ints) -> FeatureDrift:
    used = (reference + current) > 0
    r, c = reference[used], current[used]
    n, m = int(c.sum()), int(r.sum())
    shares = tuple((r / m).tolist()) if m else ()
    return FeatureDrift(
        n_reference=m, n_current=n, present_reference=m, present_current=n, psi=psi(r, c), js=js_distance(r, c), group_shares=shares
    )


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
    return replace(_judged(subject, score.name, found), lower=lower, upper=upper)


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
    points = [replace(_judged(subject, "mae", found), lower=lower, upper=upper)]
    verdict = Verdict.OK if quality.n >= judging.min_labels else Verdict.INSUFFICIENT
    for name, value in (("rmse", quality.rmse), ("r2", quality.r2)):
        points.append(subject.point(name, value, n_reference=rows, n_current=quality.n, verdict=verdict))
    return [point for point in points if point.value is not None]


def _reference(subject: Subject) -> tuple[dict[str, float], int]:
    return (subject.profile.performance, subject.profile.rows) if subject.profile else ({}, 0)


def _z(subject: Subject, judging: Judging) -> float:
    """How many standard errors a value must be worse than the reference: one-sided, at the level of all tests."""
    return float(-ndtri(judging.policy(subject.layout).alpha))

"""From the counts of one window to its metric points. Pure: counts and a policy in, points out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from collector.statistics.drift import FeatureDrift, feature_drift, js_distance, psi
from collector.statistics.latency import latency_quantile
from collector.statistics.performance import Tolerances
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
from storage.layouts import split_bins
from storage.records import Ints, Layout, MetricPoint, PredictionCounts, Profile, Verdict

Interval = tuple[float, float]

PREDICTION_TESTS = 2
PERFORMANCE_TESTS = 12
"""Accuracy, precision, recall, F1, ROC AUC, PR AUC, log loss, Brier score, two estimates, concept drift, selected labels."""
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
    segment: str = ""

    def point(self, name: str, value: float | None, **further: object) -> MetricPoint:
        base = MetricPoint(
            at=self.window.end,
            name=name,
            value=value,
            model=self.layout.model,
            version=self.version,
            role=self.role,
            segment=self.segment,
            window_seconds=self.window.seconds,
        )
        return replace(base, **further)  # type: ignore[arg-type]


def window_points(subject: Subject, predictions: PredictionCounts, judging: Judging) -> list[MetricPoint]:
    """All points that the predictions of a window give; a window without any gives its throughput of 0 and no more."""
    points = service_points(subject, predictions)
    if predictions.rows > predictions.errors + predictions.timeouts:
        points += score_points(subject, predictions)
        points += drift_points(subject, predictions, judging)
    return points


def drift_points(subject: Subject, predictions: PredictionCounts, judging: Judging) -> list[MetricPoint]:
    """How far the features and the score lie from the subject's reference; none without one."""
    policy = judging.policy(subject.layout)
    return feature_points(subject, predictions, policy, judging.drift_share_limit) + _prediction_drift(subject, predictions, policy)


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
    for bins, reference, current in zip(subject.layout.features, *_split(subject, counts), strict=True):
        judgements = judge_drift(feature_drift(bins, reference, current), policy)
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


def _split(subject: Subject, counts: PredictionCounts) -> tuple[list[Ints], list[Ints]]:
    assert subject.profile is not None
    return split_bins(subject.layout, subject.profile.counts.bins)[0], split_bins(subject.layout, counts.bins)[0]


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


def score_points(subject: Subject, counts: PredictionCounts) -> list[MetricPoint]:
    """Mean and deviation of the score."""
    points = []
    found = spread(counts.moments[-1])
    if found.mean is not None:
        lower, upper = found.mean_interval or (None, None)
        points.append(subject.point("prediction_mean", found.mean, lower=lower, upper=upper, n_current=found.n))
    if found.deviation is not None:
        points.append(subject.point("prediction_std", found.deviation, n_current=found.n))
    return points


def _prediction_drift(subject: Subject, counts: PredictionCounts, policy: Policy) -> list[MetricPoint]:
    """The drift of the score, or of the classes where a model gives no score."""
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

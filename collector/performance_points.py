"""From the label counts of one window to its points of performance. Pure: counts and a policy in, points out."""

from __future__ import annotations

from scipy.special import ndtri

from collector.points import Judging, Subject
from collector.statistics.latency import delay_quantile_seconds
from collector.statistics.measures import Comparison, Measure, compare, measures
from storage.records import LabelCounts, MetricPoint

LOSSES = frozenset({"mae", "rmse", "log_loss", "brier"})
SHARES = frozenset({"accuracy", "precision", "recall"})


def performance_points(subject: Subject, labels: LabelCounts, served: int | None, judging: Judging) -> list[MetricPoint]:
    """Quality against the labels of a window, their coverage and delay. ``served`` None leaves the coverage out."""
    points = []
    if served:
        points.append(subject.point("label_coverage", min(1.0, labels.rows / served), n_current=served))
    if not labels.rows:
        return points
    references = reference_measures(subject)
    for measure in measures(subject.layout, labels):
        found = judge_measure(subject, measure, references.get(measure.name), judging)
        points.append(measure_point(subject, measure, references.get(measure.name), found))
    delay = delay_quantile_seconds(labels.delay, 0.5)
    if delay is not None:
        points.append(subject.point("label_delay_seconds", delay, n_current=labels.rows))
    return points


def reference_measures(subject: Subject) -> dict[str, Measure]:
    """The qualities of the reference by name: from the counts of its labels, else what registration measured on its rows."""
    profile = subject.profile
    if profile is None:
        return {}
    if profile.labels.rows:
        return {measure.name: measure for measure in measures(subject.layout, profile.labels)}
    return {
        name: Measure(name=name, value=value, n=profile.rows, is_share=name in SHARES, is_loss=name in LOSSES)
        for name, value in profile.performance.items()
    }


def judge_measure(subject: Subject, measure: Measure, reference: Measure | None, judging: Judging) -> Comparison:
    """One-sided, at the level of all tests of the model."""
    z = float(-ndtri(judging.policy(subject.layout).alpha))
    return compare(measure, reference, z=z, tolerances=judging.tolerances, min_labels=judging.min_labels)


def measure_point(subject: Subject, measure: Measure, reference: Measure | None, found: Comparison) -> MetricPoint:
    lower, upper = measure.interval or (None, None)
    return subject.point(
        measure.name,
        measure.value,
        lower=lower,
        upper=upper,
        n_reference=reference.n if reference else None,
        n_current=measure.n,
        threshold=found.threshold,
        verdict=found.verdict,
        detectable=found.detectable,
        basis=found.basis,
    )

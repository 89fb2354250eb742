"""From the label counts of one window to its points of performance. Pure: counts and a policy in, points out."""

from __future__ import annotations

import math
from dataclasses import replace

from scipy.special import chdtri, chndtrinc, ndtri

from collector.judging import Judging, Subject
from collector.statistics.concept import BiasChange, ConceptChange, bias_change, concept_change
from collector.statistics.errors import QUANTILES
from collector.statistics.estimation import rates_of
from collector.statistics.latency import delay_quantile_seconds
from collector.statistics.maturity import is_mature, label_selection
from collector.statistics.measures import POWER_Z, Comparison, Measure, compare, measures
from collector.statistics.multiclass import concept_changes
from collector.statistics.performance import regression
from storage.class_probabilities import is_of_many
from storage.layouts import is_regression
from storage.records import Ints, LabelCounts, MetricPoint, Profile, Verdict

LOSSES = frozenset({"mae", "rmse", "log_loss", "brier", *QUANTILES})
SHARES = frozenset({"accuracy", "precision", "recall"})
CONCEPT_FLOOR = 0.1
"""Least change of p(y | score), in standard deviations of a label, or of a mean error, in those of an error, that can be drift."""
SELECTION_FLOOR = 0.1
"""Least Cramér's V between the scores of labelled and other rows that can be drift."""
IMMATURE = "labels still arriving"
"""How the basis of a point begins that waits for its window's labels."""


def performance_points(
    subject: Subject,
    labels: LabelCounts,
    served: int | None,
    judging: Judging,
    *,
    arrived: float | None = None,
    scored: Ints | None = None,
) -> list[MetricPoint]:
    """Quality against the labels of a window, their coverage and delay, and the change of what scores mean.

    ``served`` None leaves the coverage out. ``arrived``: share of the labels that has usually come by now; while that is
    too little nothing is judged. ``scored``: predictions by score bin, which the labelled ones are held against.
    """
    points = []
    coverage = min(1.0, labels.rows / served) if served else None
    mature = is_mature(arrived, coverage)
    if served and coverage is not None:
        points.append(_coverage_point(subject, labels, served, scored if mature else None, judging))
    if not labels.rows:
        return points
    judged = _quality_points(subject, labels, judging) + concept_points(subject, labels, judging)
    points += judged if mature else [immature(point, arrived or 0.0) for point in judged]
    delay = delay_quantile_seconds(labels.delay, 0.5)
    if delay is not None:
        points.append(subject.point("label_delay_seconds", delay, n_current=labels.rows))
    return points


def waits_for_labels(point: MetricPoint | None) -> bool:
    """Whether a point was not judged because its window's labels were still arriving."""
    return point is not None and point.basis.startswith(IMMATURE)


def immature(point: MetricPoint, arrived: float) -> MetricPoint:
    """The point of a window whose labels are still arriving: its value without a verdict."""
    basis = f"{IMMATURE}: usually {arrived:.0%} of them have come by now"
    return replace(point, verdict=Verdict.INSUFFICIENT, threshold=None, detectable=None, basis=basis)


def _coverage_point(subject: Subject, labels: LabelCounts, served: int, scored: Ints | None, judging: Judging) -> MetricPoint:
    """Drift where the labelled rows have other scores than the rest."""
    point = subject.point("label_coverage", min(1.0, labels.rows / served), n_current=served)
    found = label_selection(scored, labels.score_by_class.sum(axis=1)) if scored is not None else None
    if found is None or min(found.labelled, found.others) < judging.min_labels:
        return point
    noise = float(chdtri(found.freedom, judging.policy(subject.layout).alpha)) / (found.labelled + found.others)
    limit = max(SELECTION_FLOOR, math.sqrt(noise))
    if found.effect <= limit:
        return replace(point, p_value=found.p_value)
    basis = f"labelled rows have other scores than the rest: Cramér's V {found.effect:.2g} above {limit:.2g}"
    return replace(point, p_value=found.p_value, verdict=Verdict.DRIFT, basis=basis)


# ---------------------------------------------------------------------------------------------- quality


def _quality_points(subject: Subject, labels: LabelCounts, judging: Judging) -> list[MetricPoint]:
    references, points = reference_measures(subject), []
    for measure in measures(subject.layout, labels):
        reference = references.get(measure.name)
        found = judge_measure(subject, measure, reference, judging)
        points.append(measure_point(subject, measure, reference, found))
    if not points:
        basis = f"none of {labels.rows} labels and their predictions are numbers"
        return [subject.point("mae", None, n_current=0, verdict=Verdict.INSUFFICIENT, basis=basis)]
    return [_with_unknown(points[0], labels), *points[1:]]


def _with_unknown(accuracy: MetricPoint, labels: LabelCounts) -> MetricPoint:
    """Says in the basis how many labels are no class of the model, since each counts as a wrong prediction."""
    unknown = int(labels.confusion[:, -1].sum()) if labels.confusion.size else 0
    if not unknown:
        return accuracy
    reason = f"{unknown} of {labels.rows} labels are of no class that the model knows"
    return replace(accuracy, basis=f"{accuracy.basis}; {reason}" if accuracy.basis else reason)


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
    """One quality with its verdict."""
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


# ---------------------------------------------------------------------------------------------- concept drift


def concept_points(subject: Subject, labels: LabelCounts, judging: Judging) -> list[MetricPoint]:
    """How far what scores mean, or a regressor's mean error, lies from the reference; none where that cannot be compared."""
    profile = subject.profile
    if profile is None or not profile.labels.rows:
        return []
    if is_regression(subject.layout):
        bias = bias_change(regression(profile.labels), regression(labels))
        return [_bias_point(subject, bias, judging)] if bias else []
    if is_of_many(subject.layout):
        return _change_of_many(subject, concept_changes(subject.layout, profile.labels, labels), judging)
    change = _change(profile, labels)
    return [_change_point(subject, change, judging)] if change else []


def _change(profile: Profile, labels: LabelCounts) -> ConceptChange | None:
    rates = rates_of(profile.labels)
    return concept_change(rates, labels.score_by_class[:-1, 0], labels.score_by_class[:-1, 1]) if rates else None


def _change_of_many(subject: Subject, found: dict[str, ConceptChange], judging: Judging) -> list[MetricPoint]:
    """The least probable of the changes of all classes, at a level that their number was taken off (Bonferroni)."""
    if not found:
        return []
    # Far out every p-value is 0; there the excess over the degrees of freedom tells them apart.
    name, change = min(found.items(), key=lambda item: (item[1].p_value, item[1].freedom - item[1].effect ** 2 * item[1].rows))
    point = _change_point(subject, change, judging, tests=len(found))
    return [replace(point, basis=f"{point.basis}; the class {name}, furthest of {len(found)}")] if name else [point]


def _change_point(subject: Subject, found: ConceptChange, judging: Judging, tests: int = 1) -> MetricPoint:
    quantile = float(chdtri(found.freedom, judging.policy(subject.layout).alpha / tests))
    limit = max(CONCEPT_FLOOR, math.sqrt(quantile / found.rows))
    beyond = float(chndtrinc(limit * limit * found.rows, found.freedom, 0.2))
    p_value = min(1.0, tests * found.p_value)
    point = subject.point("concept_drift", found.effect, p_value=p_value, n_reference=found.n_reference, n_current=found.n)
    return _judged(point, limit, math.sqrt(beyond / found.rows), f"p(y | score) over {found.freedom} strata of scores", judging)


def _bias_point(subject: Subject, found: BiasChange, judging: Judging) -> MetricPoint:
    z = float(-ndtri(judging.policy(subject.layout).alpha / 2))
    limit = max(CONCEPT_FLOOR, z * found.error)
    p_value = math.erfc(found.effect / found.error / math.sqrt(2)) if found.error else None
    point = subject.point("concept_drift", found.effect, p_value=p_value, n_reference=found.n_reference, n_current=found.n)
    return _judged(point, limit, limit + POWER_Z * found.error, "mean error, in deviations of the reference's errors", judging)


def _judged(point: MetricPoint, limit: float, detectable: float, basis: str, judging: Judging) -> MetricPoint:
    if min(point.n_current or 0, point.n_reference or 0) < judging.min_labels:
        return replace(point, verdict=Verdict.INSUFFICIENT, basis=f"fewer than {judging.min_labels} labels that can be compared")
    verdict = Verdict.DRIFT if point.value is not None and point.value > limit else Verdict.OK
    return replace(point, verdict=verdict, threshold=limit, detectable=detectable, basis=basis)

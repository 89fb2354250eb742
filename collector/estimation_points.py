"""From the scores of one window to its points of estimated performance, and from earlier points to doubts about them. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import numpy as np

from collector.judging import Judging, Subject
from collector.performance_points import judge_measure, measure_point, reference_measures
from collector.statistics.concept import error_rise
from collector.statistics.estimation import (
    Estimated,
    calibration_gap,
    estimate_accuracy,
    estimate_roc_auc,
    rates_of,
)
from collector.statistics.losses import LossModel, estimate_losses
from collector.statistics.measures import Measure
from collector.statistics.performance import Tolerances, regression
from collector.statistics.track_record import Limits, Pair, estimate_doubt, record_doubt, track_record
from storage.layouts import is_regression, split_bins
from storage.records import LabelCounts, Layout, MetricPoint, PredictionCounts, Profile, Verdict

REALISED = {"estimated_accuracy": "accuracy", "estimated_roc_auc": "roc_auc", "estimated_mae": "mae"}
"""The metric that tells, once labels are there, how good an estimate was."""
OF_TWO_CLASSES = ("estimated_accuracy", "estimated_roc_auc")
DOUBTED_BY = ("concept_drift", *REALISED, *REALISED.values())
"""What must be read of earlier windows to doubt an estimate."""
COMPLETE = 0.9
"""Share of a window's predictions that must have a label for its estimate to be held against it."""


def estimation_points(
    subject: Subject,
    counts: PredictionCounts,
    judging: Judging,
    doubts: Mapping[str, str],
    losses: LossModel | None = None,
) -> list[MetricPoint]:
    """Estimated accuracy and AUC of a classifier, or mean absolute error of a regressor, judged as the realised ones are.

    A refused estimate is insufficient data, with the reason in ``basis``; it keeps its value, so that its record goes on.
    ``doubts`` are reasons from outside the window, by metric. Regressors and classifiers of several classes are estimated from the ``losses`` of the
    reference's sample. None without a reference or predictions. Those of a segment are not held against the reference, which
    is of all rows.
    """
    served = counts.rows - counts.errors - counts.timeouts
    if subject.profile is None or served <= 0:
        return []
    found, gap, reason = _estimates(subject, subject.profile, counts, losses)
    references = {} if subject.segment else reference_measures(subject)
    limits = Limits(min_rows=judging.min_samples)
    points = []
    for name, estimated in found.items():
        if estimated is None:
            points.append(subject.point(name, None, n_current=served, verdict=Verdict.INSUFFICIENT, basis=reason))
            continue
        doubt = estimate_doubt(estimated, gap, limits) or doubts.get(name, "")
        points.append(_point(subject, name, estimated, references.get(REALISED[name]), doubt, judging))
    return points


def _estimates(
    subject: Subject, profile: Profile, counts: PredictionCounts, losses: LossModel | None
) -> tuple[dict[str, Estimated | None], float, str]:
    """The estimates by name, by how much they miss the reference itself, and why one is missing."""
    features, scores = split_bins(subject.layout, counts.bins)
    if len(subject.layout.classes) != 2:
        name, most = ("estimated_mae", math.inf) if is_regression(subject.layout) else ("estimated_accuracy", 1.0)
        reason = "no scores" if losses else "the sample of the reference has no labels"
        old_features, old_scores = split_bins(subject.layout, profile.counts.bins)
        found = estimate_losses(losses, [*features, scores], [*old_features, old_scores], most) if losses else None
        return {name: found}, 0.0, reason
    rates = rates_of(profile.labels)
    if rates is None:
        return dict.fromkeys(OF_TWO_CLASSES), 0.0, "the reference has no labels of both classes"
    accuracy, area = estimate_accuracy(rates, scores, int(counts.classes[1])), estimate_roc_auc(rates, scores)
    return (
        dict(zip(OF_TWO_CLASSES, (accuracy, area), strict=True)),
        calibration_gap(rates, profile.labels),
        "no scores, or only such as mean one class",
    )


def _point(subject: Subject, name: str, found: Estimated, reference: Measure | None, doubt: str, judging: Judging) -> MetricPoint:
    measure = Measure(
        name=name,
        value=found.value,
        n=found.n,
        interval=found.interval,
        error=found.error,
        is_share=name == "estimated_accuracy",
        is_loss=name == "estimated_mae",
    )
    if doubt:
        return subject.point(
            name,
            found.value,
            lower=found.interval[0],
            upper=found.interval[1],
            n_reference=found.n_reference,
            n_current=found.n,
            verdict=Verdict.INSUFFICIENT,
            basis=doubt,
        )
    return measure_point(subject, measure, reference, judge_measure(subject, measure, reference, judging))


# ---------------------------------------------------------------------------------------------- doubts


def most_errors(layout: Layout, profile: Profile, tolerances: Tolerances) -> dict[str, float]:
    """By how much the estimates of a version may be off on average: points of a score, a share of the reference's error."""
    mae = (regression(profile.labels).mae if is_regression(layout) else None) or profile.performance.get("mae", 0.0)
    return dict.fromkeys(OF_TWO_CLASSES, tolerances.score) | {"estimated_mae": tolerances.error_share * mae}


def doubts_of(points: Sequence[MetricPoint], length: timedelta, most_error: Mapping[str, float]) -> dict[str, str]:
    """Reasons against the estimates of a version, by metric, from its earlier points of windows of one ``length``.

    Concept drift in the newest window that could be judged speaks against all of them, a bad record against its own.
    """
    concept = [point for point in points if point.name == "concept_drift" and point.verdict is not Verdict.INSUFFICIENT]
    newest = max(concept, key=lambda point: point.at, default=None)
    if newest is not None and newest.verdict is Verdict.DRIFT:
        return dict.fromkeys(REALISED, f"concept drift in the window that ended at {newest.at:%Y-%m-%d %H:%M} UTC")
    found = {}
    for name in REALISED:
        record = track_record(pairs_of(points, name, length))
        found[name] = record_doubt(record, most_error[name])
    return {name: reason for name, reason in found.items() if reason}


def error_doubts(steps: Sequence[tuple[datetime, LabelCounts]], profile: Profile | None, run_length: float) -> dict[str, str]:
    """A reason against all estimates where labels show more errors, step by step, than the scores of their rows promise.

    What is promised is raised by two standard errors of the reference's accuracy. One false alarm in ``run_length`` steps.
    """
    rates = rates_of(profile.labels) if profile is not None and profile.labels.confusion.shape[0] == 3 else None
    if rates is None:
        return {}
    kept, found = [], []
    for at, labels in steps:
        known = labels.confusion[:-1, :-1]
        promised = estimate_accuracy(rates, np.append(labels.score_by_class[:-1, :-1].sum(axis=1), 0), int(known[1].sum()))
        if promised is not None and promised.n == known.sum():
            kept.append(at)
            found.append((int(known.sum() - np.trace(known)), promised.n, 1 - promised.value))
    if not found:
        return {}
    errors, rows, expected = (np.array(values) for values in zip(*found, strict=True))
    margin = 2 * np.sqrt(np.maximum(expected * (1 - expected), 1 / rates.n) / rates.n)
    rise = error_rise(errors, rows, expected + margin, run_length)
    if rise is None:
        return {}
    return dict.fromkeys(REALISED, f"more errors than the scores promise since {kept[rise.since]:%Y-%m-%d %H:%M} UTC")


def pairs_of(points: Sequence[MetricPoint], estimated: str, length: timedelta) -> list[Pair]:
    """Estimates with what they turned out to be, of windows that are labelled nearly whole and do not overlap, oldest first."""
    realised = {
        point.at: point for point in points if point.name == REALISED[estimated] and point.verdict is not Verdict.INSUFFICIENT
    }
    pairs: list[Pair] = []
    free_from: datetime | None = None
    for point in sorted((point for point in points if point.name == estimated), key=lambda point: point.at):
        actual = realised.get(point.at)
        if actual is None or (free_from is not None and point.at < free_from):
            continue
        if point.value is None or point.lower is None or point.upper is None or actual.value is None:
            continue
        if (actual.n_current or 0) >= COMPLETE * (point.n_current or 0):
            pairs.append(Pair(estimate=point.value, lower=point.lower, upper=point.upper, realised=actual.value))
            free_from = point.at + length
    return pairs

"""From the scores of one window to its points of estimated performance, and from earlier points to doubts about them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import numpy as np

from collector.performance_points import judge_measure, measure_point
from collector.points import Judging, Subject
from collector.statistics.concept import error_rise
from collector.statistics.estimation import Estimated, calibration_gap, estimate_accuracy, estimate_roc_auc, rates_of
from collector.statistics.measures import Measure, measures
from collector.statistics.track_record import Limits, Pair, estimate_doubt, record_doubt, track_record
from storage.layouts import split_bins
from storage.records import LabelCounts, MetricPoint, PredictionCounts, Profile, Verdict

REALISED = {"estimated_accuracy": "accuracy", "estimated_roc_auc": "roc_auc"}
"""The metric that tells, once labels are there, how good an estimate was."""
DOUBTED_BY = ("concept_drift", *REALISED, *REALISED.values())
"""What must be read of earlier windows to doubt an estimate."""
COMPLETE = 0.9
"""Share of a window's predictions that must have a label for its estimate to be held against it."""


def estimation_points(subject: Subject, counts: PredictionCounts, judging: Judging, doubts: Mapping[str, str]) -> list[MetricPoint]:
    """Estimated accuracy and AUC of a window of a binary classifier, judged as the realised ones are.

    A refused estimate is insufficient data, with the reason in ``basis``; it keeps its value, so that its record goes on.
    ``doubts`` are reasons from outside the window, by metric. None without a reference or predictions.
    """
    profile = subject.profile
    served = counts.rows - counts.errors - counts.timeouts
    if profile is None or served <= 0 or len(subject.layout.classes) != 2:
        return []
    rates = rates_of(profile.labels)
    if rates is None:
        reason = "the reference has no labels of both classes"
        return [_refused(subject, name, served, reason) for name in REALISED]
    scores, called = split_bins(subject.layout, counts.bins)[1], int(counts.classes[1])
    found = {"estimated_accuracy": estimate_accuracy(rates, scores, called), "estimated_roc_auc": estimate_roc_auc(rates, scores)}
    gap = calibration_gap(rates, profile.labels)
    limits = Limits(mean_error=judging.tolerances.score, min_rows=judging.min_samples)
    references = {measure.name: measure for measure in measures(subject.layout, profile.labels)}
    points = []
    for name, estimated in found.items():
        if estimated is None:
            points.append(_refused(subject, name, served, "no scores, or only such as mean one class"))
            continue
        doubt = estimate_doubt(estimated, gap, limits) or doubts.get(name, "")
        points.append(_point(subject, name, estimated, references.get(REALISED[name]), doubt, judging))
    return points


def _refused(subject: Subject, name: str, served: int, reason: str) -> MetricPoint:
    return subject.point(name, None, n_current=served, verdict=Verdict.INSUFFICIENT, basis=reason)


def _point(subject: Subject, name: str, found: Estimated, reference: Measure | None, doubt: str, judging: Judging) -> MetricPoint:
    measure = Measure(
        name=name,
        value=found.value,
        n=found.n,
        interval=found.interval,
        error=found.error,
        is_share=name == "estimated_accuracy",
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


def doubts_of(points: Sequence[MetricPoint], length: timedelta, judging: Judging) -> dict[str, str]:
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
        found[name] = record_doubt(record, judging.tolerances.score)
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

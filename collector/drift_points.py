"""From the counts of one window to its points about drift, of the features and of the predictions. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias

from collector.judging import Judging, Subject
from collector.sequences import Steps, follow
from collector.statistics.budget import Persistence
from collector.statistics.calibration import UNCALIBRATED, Calibration
from collector.statistics.drift import FeatureDrift, feature_drift, js_distance, psi
from collector.statistics.layout_drift import layout_drift
from collector.statistics.sequence import Bets
from collector.statistics.service import spread
from collector.statistics.shift import rank_deviation, rank_shift
from collector.statistics.verdict import (
    NO_PAST,
    Judgement,
    Past,
    Policy,
    Shift,
    drift_share,
    judge_drift,
    judge_measured,
    measure_groups,
    overall,
)
from collector.windows import Window, WindowPlan
from storage.layouts import split_bins
from storage.records import Ints, Layout, MetricPoint, PredictionCounts, Verdict

DRIFT_NAMES = {
    "ks": "drift_ks",
    "shift": "drift_rank_shift",
    "psi": "drift_psi",
    "js": "drift_js",
    "missing": "drift_missing",
    "unseen": "drift_unseen",
    "out_of_range": "drift_out_of_range",
    "cusum": "drift_cusum",
}
FURTHER_NAMES = {
    "kl": "drift_kl",
    "hellinger": "drift_hellinger",
    "wasserstein": "drift_wasserstein",
    "mean_shift": "drift_mean_shift",
    "chi2": "drift_chi2",
}
PREDICTION_DRIFT_NAMES = {"psi": "prediction_drift_psi", "js": "prediction_drift_js"}
REMEMBERED_NAMES = (*DRIFT_NAMES.values(), *PREDICTION_DRIFT_NAMES.values())
"""Points whose verdict looks at those of earlier windows."""

Pasts: TypeAlias = Mapping[tuple[str, str], Past]
"""By name of the point and feature."""


# ---------------------------------------------------------------------------------------------- what came before


def remembered_times(plan: WindowPlan, persistence: Persistence, window: Window) -> list[datetime]:
    """The ends of the earlier windows that the verdict of a window looks at.

    The one before it, for hysteresis, and those that lie whole lengths before it and so do not overlap, for persistence.
    """
    earlier = range(1, persistence.windows) if persistence.is_used else range(0)
    return [window.end - plan.step, *(window.end - number * plan.length for number in earlier)]


def pasts_of(earlier: Sequence[MetricPoint], plan: WindowPlan, policy: Policy, window: Window) -> Pasts:
    """From the points at ``remembered_times``, what each series said; points at other times do not count."""
    before, *others = remembered_times(plan, policy.persistence, window)
    found: dict[tuple[str, str], Past] = {}
    for point in earlier:
        past = found.get((point.name, point.feature), NO_PAST)
        found[point.name, point.feature] = Past(
            was_drift=past.was_drift or (point.at == before and point.verdict is Verdict.DRIFT),
            repeats=past.repeats + (point.at in others and _is_beyond(point, policy)),
        )
    return found


def _is_beyond(point: MetricPoint, policy: Policy) -> bool:
    if point.p_value is None or point.verdict is Verdict.INSUFFICIENT:
        return False
    return point.p_value < policy.lower_level(point.n_current or 0, point.n_reference or 0)


# ---------------------------------------------------------------------------------------------- features and predictions


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """What a version's features are followed by, and their counts by step up to the window and further."""

    bets: Mapping[str, Bets]
    steps: Steps


def drift_points(
    subject: Subject,
    counts: PredictionCounts,
    judging: Judging,
    earlier: Sequence[MetricPoint] = (),
    followed: Followed | None = None,
) -> list[MetricPoint]:
    """The drift of every feature and of the predictions; ``earlier`` are the points at ``remembered_times``.

    Without ``followed`` windows have the whole budget, and small changes that last are not looked for.
    """
    calibration, plan = subject.calibration, judging.plan_of(subject.window)
    policy = judging.drift_policy(subject.layout, calibration, plan, is_followed=followed is not None)
    pasts = pasts_of(earlier, plan, policy, subject.window)
    lasting: Mapping[str, Judgement] = {}
    if followed is not None:
        name = DRIFT_NAMES["cusum"]
        lasting = follow(subject, followed.bets, followed.steps, judging, {f: past for (n, f), past in pasts.items() if n == name})
    points = feature_points(
        subject, counts, policy, judging.drift_share_limit, calibration, pasts, judging.further_statistics, lasting
    )
    return points + prediction_points(subject, counts, policy, calibration, pasts)


def feature_points(
    subject: Subject,
    counts: PredictionCounts,
    policy: Policy,
    share_limit: float,
    calibration: Calibration = UNCALIBRATED,
    pasts: Pasts | None = None,
    further: Collection[str] = (),
    lasting: Mapping[str, Judgement] | None = None,
) -> list[MetricPoint]:
    """Every drift statistic of every feature, the ``further`` ones without a verdict, and the share of drifted features; none without a reference.

    ``lasting``: by feature, the judgement of small changes that last.
    """
    if subject.profile is None:
        return []
    points: list[MetricPoint] = []
    verdicts: list[Verdict] = []
    reference = subject.profile.counts
    drifts = layout_drift(subject.layout, reference.bins, counts.bins, reference.moments, counts.moments)
    sides = zip(subject.layout.features, drifts, *_split(subject, counts), strict=True)
    for bins, found_drift, before, current in sides:
        drift = _with_expected_unseen(found_drift, subject.profile.thresholds.get("unseen", {}).get(bins.name))
        judgements = judge_drift(
            drift,
            policy,
            shift=None if bins.is_categorical else _shift(before[:-1], current[:-1]),
            dependence=calibration.of(bins.name),
            past={name: (pasts or {}).get((point, bins.name), NO_PAST) for name, point in DRIFT_NAMES.items()},
        )
        if lasting and bins.name in lasting:
            judgements["cusum"] = lasting[bins.name]
        points += [subject.judged(DRIFT_NAMES[name], found, bins.name) for name, found in judgements.items()]
        points += further_points(subject, drift, bins.name, policy.min_samples, further)
        verdicts.append(overall(judgements))
    share, verdict = drift_share(verdicts, share_limit)
    summary = subject.point(
        "drift_share",
        share,
        threshold=share_limit if share is not None else None,
        n_reference=subject.profile.rows,
        n_current=counts.rows - counts.errors - counts.timeouts,
        verdict=verdict,
        basis="setting" if share is not None else "",
    )
    return [*points, summary]


def _with_expected_unseen(drift: FeatureDrift, expected: float | None) -> FeatureDrift:
    """The values that have a bin were chosen for being frequent in the reference, so fresh rows have fewer of them."""
    if expected is None or drift.unseen_reference is None:
        return drift
    return replace(drift, unseen_reference=max(drift.unseen_reference, expected))


def further_points(
    subject: Subject, drift: FeatureDrift, feature: str, min_samples: int, names: Collection[str]
) -> list[MetricPoint]:
    """Statistics that are shown and not judged: what they would say is judged by others already."""
    enough = min(drift.n_reference, drift.n_current) >= min_samples
    return [
        subject.point(
            FURTHER_NAMES[name],
            value,
            feature=feature,
            p_value=drift.chi2_p if name == "chi2" else None,
            n_reference=drift.n_reference,
            n_current=drift.n_current,
            verdict=Verdict.OK if enough else Verdict.INSUFFICIENT,
        )
        for name in names
        if (value := getattr(drift, name)) is not None
    ]


def _split(subject: Subject, counts: PredictionCounts) -> tuple[list[Ints], list[Ints]]:
    assert subject.profile is not None
    return split_bins(subject.layout, subject.profile.counts.bins)[0], split_bins(subject.layout, counts.bins)[0]


def _shift(reference: Ints, current: Ints) -> Shift | None:
    if not reference.sum() or not current.sum():
        return None
    return Shift(value=float(rank_shift(reference, current)), deviation=rank_deviation(reference))


def prediction_points(
    subject: Subject,
    counts: PredictionCounts,
    policy: Policy,
    calibration: Calibration = UNCALIBRATED,
    pasts: Pasts | None = None,
) -> list[MetricPoint]:
    """Mean and deviation of the score, and the drift of the score, or of the classes where a model gives no score."""
    return spread_points(subject, counts) + _prediction_drift(subject, counts, policy, calibration, pasts or {})


def spread_points(subject: Subject, counts: PredictionCounts) -> list[MetricPoint]:
    """Mean and deviation of the score."""
    points = []
    found = spread(counts.moments[-1])
    if found.mean is not None:
        lower, upper = found.mean_interval or (None, None)
        points.append(subject.point("prediction_mean", found.mean, lower=lower, upper=upper, n_current=found.n))
    if found.deviation is not None:
        points.append(subject.point("prediction_std", found.deviation, n_current=found.n))
    return points


def _prediction_drift(
    subject: Subject, counts: PredictionCounts, policy: Policy, calibration: Calibration, pasts: Pasts
) -> list[MetricPoint]:
    if subject.profile is None:
        return []
    drift = _output_drift(subject.layout, subject.profile.counts, counts)
    if drift is None or not drift.n_reference or not drift.n_current:
        return []
    points = []
    for name, measured in measure_groups(drift, policy.floors, calibration.of(subject.layout.score.name)).items():
        point = PREDICTION_DRIFT_NAMES[name]
        points.append(subject.judged(point, judge_measured(measured, policy, pasts.get((point, ""), NO_PAST))))
    return points


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


# ---------------------------------------------------------------------------------------------- over several windows


class Memory:
    """The points of a version that later windows look at: as stored, and as computed since."""

    def __init__(self, stored: Sequence[MetricPoint]) -> None:
        self._by_time: dict[datetime, list[MetricPoint]] = {}
        for point in stored:
            self._by_time.setdefault(point.at, []).append(point)

    def at(self, times: Sequence[datetime]) -> list[MetricPoint]:
        return [point for time in dict.fromkeys(times) for point in self._by_time.get(time, ())]

    def keep(self, end: datetime, points: Sequence[MetricPoint]) -> None:
        """The points of the window that ends then, in place of what was stored."""
        self._by_time[end] = [point for point in points if point.name in REMEMBERED_NAMES]

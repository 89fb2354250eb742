"""From the label counts of one window, whole and by segment, to the points that say where a model does worse. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from collector.judging import Judging, Subject
from collector.performance_points import immature
from collector.statistics.segments import SegmentGap, weak_segments, worst
from storage.layouts import is_regression
from storage.records import LabelCounts, MetricPoint, Verdict

NAME = "segment_gap"


def gap_points(
    subject: Subject, whole: LabelCounts, parts: Mapping[str, LabelCounts], judging: Judging, *, mature: bool, arrived: float | None
) -> list[MetricPoint]:
    """The gap of each segment that has labels, and before them one point, without a segment, for the worst of all.

    A value is beyond its threshold where the verdict is drift, and nowhere else: rules compare the two. So the threshold is
    the tolerance, or the value itself where that is beyond the tolerance without being significant.

    ``subject`` is the whole; ``whole`` counts all its labels, and none means no points. While the window's labels are not
    ``mature``, nothing is judged. Together the segments of a window are one test of the model's budget of false alarms.
    """
    if not whole.rows:
        return []
    gaps = weak_segments(
        whole,
        parts,
        tolerance=judging.tolerances.error_share if is_regression(subject.layout) else judging.tolerances.score,
        alpha=judging.policy(subject.layout).alpha,
        min_labels=judging.min_labels,
    )
    found = worst(gaps)
    points = [_point(subject, gap, judging, f"worst of {len(gaps)} segments" if gap is found else "") for gap in gaps]
    points = [_summary(subject, whole, gaps, points), *points]
    return points if mature else [immature(point, arrived or 0.0) for point in points]


def _point(subject: Subject, gap: SegmentGap, judging: Judging, basis: str) -> MetricPoint:
    lower, upper = gap.interval
    point = replace(subject, segment=gap.segment).point(
        NAME,
        gap.difference,
        lower=lower,
        upper=upper,
        p_value=gap.adjusted_p,
        n_current=gap.n,
        n_reference=gap.n_rest,
        verdict=gap.verdict,
        basis=basis,
    )
    if gap.verdict is Verdict.INSUFFICIENT:
        return replace(point, basis=f"fewer than {judging.min_labels} labels in the segment or the rest")
    is_loss = is_regression(subject.layout)
    limit = judging.tolerances.error_share * gap.rest if is_loss else -judging.tolerances.score
    is_beyond = gap.difference > limit if is_loss else gap.difference < limit
    if is_beyond and gap.verdict is Verdict.OK:
        return replace(point, threshold=gap.difference, basis="beyond the tolerance, but may be chance")
    return replace(point, threshold=limit)


def _summary(subject: Subject, whole: LabelCounts, gaps: list[SegmentGap], points: list[MetricPoint]) -> MetricPoint:
    """The finding with most at stake, else the segment with most at stake of those that could be judged.

    ``n_current`` is how many labels the window had, which tells a window that has got more since.
    """
    judged = [point for gap, point in zip(gaps, points, strict=True) if gap.verdict is not Verdict.INSUFFICIENT]
    chosen = next((point for point in judged if point.verdict is Verdict.DRIFT), judged[0] if judged else None)
    if chosen is None:
        basis = "no segment and its rest have enough labels"
        return subject.point(NAME, None, n_current=whole.rows, verdict=Verdict.INSUFFICIENT, basis=basis)
    basis = f"{chosen.segment}, worst of {len(gaps)} segments"
    return replace(chosen, segment="", n_current=whole.rows, n_reference=None, basis=basis)

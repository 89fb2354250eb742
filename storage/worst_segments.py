"""Which declared segments stand worst in a metric at a time, from the stored points: what an alert or a page names as the cause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, func, select

from storage.metrics import point_of
from storage.records import MetricPoint, Task, Verdict
from storage.rows import columns_of
from storage.schema import metrics, models, segment_values

LOOK_BACK = timedelta(days=1)
"""How much older than the asked time the points may be."""
GAP = "segment_gap"
HIGHER_IS_BETTER = frozenset(
    {
        "accuracy",
        "precision",
        "recall",
        "f1",
        "roc_auc",
        "pr_auc",
        "r2",
        "label_coverage",
        "estimated_accuracy",
        "estimated_roc_auc",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentStanding:
    """One segment in one metric. ``difference`` is from the whole (a drift statistic: from its threshold), None without either.

    ``stake`` ranks: how much worse it is, times its predictions, so that a small segment does not come first for its noise.
    """

    segment: str
    feature: str
    at: datetime
    window_seconds: int
    value: float
    difference: float | None
    n: int
    lower: float | None
    upper: float | None
    verdict: Verdict
    stake: float


def worst_segments(
    c: Connection, model: str, version: str, metric: str, at: datetime, limit: int = 5, *, window_seconds: int | None = None
) -> list[SegmentStanding]:
    """The segments of live traffic that stand worse in ``metric`` than the whole, the one with most at stake first.

    Looks at the newest window that ends by ``at`` (of that length, else of the shortest that has points) and not more than a
    day before; empty where there is none, or no field is declared. Points with too little data are left out; findings
    (drift) come before others. For ``segment_gap`` the value itself is the difference, from the rest. For a statistic of drift
    it is the segment against its own past (``country=de,reference=before``), by feature; those below their threshold are left out.
    """
    of = [metrics.c.name == metric, metrics.c.model == model, metrics.c.version == version, metrics.c.role == ""]
    fields = c.scalars(select(segment_values.c.field).where(segment_values.c.model == model).distinct()).all()
    points = _newest(c, of, fields, at, window_seconds) if fields else []
    whole = {point.feature: point.value for point in points if not point.segment}
    sign = -1.0 if _higher_is_better(c, model, metric) else 1.0
    found = [
        _standing(point, _base(point, whole), sign)
        for point in points
        if point.segment and point.value is not None and point.verdict is not Verdict.INSUFFICIENT
    ]
    worse = [standing for standing in found if standing.stake > 0 or standing.verdict is Verdict.DRIFT]
    return sorted(worse, key=lambda s: (s.verdict is not Verdict.DRIFT, -s.stake, s.segment, s.feature))[:limit]


def _newest(
    c: Connection, of: Sequence[ColumnElement[bool]], fields: Sequence[str], at: datetime, window_seconds: int | None
) -> list[MetricPoint]:
    """The points of the newest window: those of declared segments, and those of the whole."""
    within = [*of, metrics.c.at <= at, metrics.c.at > at - LOOK_BACK]
    if window_seconds is not None:
        within.append(metrics.c.window_seconds == window_seconds)
    query = select(metrics.c.window_seconds, func.max(metrics.c.at).label("at")).where(*within, metrics.c.segment != "")
    newest = c.execute(query.group_by(metrics.c.window_seconds).order_by(metrics.c.window_seconds).limit(1)).one_or_none()
    if newest is None:
        return []
    this = (metrics.c.at == newest.at, metrics.c.window_seconds == newest.window_seconds)
    rows = c.execute(select(*columns_of(metrics, MetricPoint)).where(*of, *this))
    found = [point_of(row) for row in rows]
    return [point for point in found if not point.segment or point.segment.partition("=")[0] in fields]


def _higher_is_better(c: Connection, model: str, metric: str) -> bool:
    if metric != GAP:
        return metric in HIGHER_IS_BETTER
    return c.scalar(select(models.c.task).where(models.c.name == model)) == Task.CLASSIFICATION.value


def _base(point: MetricPoint, whole: dict[str, float | None]) -> float | None:
    """What the segment is held against; 0 where its value is a difference already."""
    if point.name == GAP:
        return 0.0
    return point.threshold if ",reference=" in point.segment else whole.get(point.feature)


def _standing(point: MetricPoint, base: float | None, sign: float) -> SegmentStanding:
    assert point.value is not None
    difference = None if base is None else point.value - base
    n = point.n_current or 0
    return SegmentStanding(
        segment=point.segment,
        feature=point.feature,
        at=point.at,
        window_seconds=point.window_seconds,
        value=point.value,
        difference=difference,
        n=n,
        lower=point.lower,
        upper=point.upper,
        verdict=point.verdict,
        stake=sign * (difference or 0.0) * n,
    )

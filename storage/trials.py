"""Reads what a comparison of two versions needs beyond counts: rows by subject, rows in both arms, shadows with what they shadow.

Counts say how much; only rows say who. Every read is over the index (model, version, at) and bounded, so that a page
costs the same however long a comparison has run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, and_, case, cast, func, select
from sqlalchemy import Float as SqlFloat

from storage.dialects import as_number
from storage.evidence import Answers, ArmRows, ClusterSums, Pairs, ScoredRows, SplitRows, SubjectSums
from storage.layouts import is_regression, latency_middle_seconds
from storage.records import (
    Floats,
    Layout,
    PredictionCounts,
    Role,
    Status,
)
from storage.rollups import LIVE_ROLES, read_labels, read_predictions
from storage.rows import AnyRow
from storage.schema import labels, predictions

MOST_ROWS = 50_000
"""Rows of each version that are grouped by subject."""
MOST_PAIRS = 50_000
MOST_SCORED = 20_000
"""Rows of each version that an exact AUC is computed from."""
_SPLIT_ROLES = (Role.CHAMPION.value, Role.CHALLENGER.value)
_LARGEST = 1e100  # what is larger would overflow when it is squared and added up


def rows_since(
    c: Connection, model: str, versions: Sequence[str], start: datetime, end: datetime, most: int = MOST_ROWS
) -> datetime:
    """From when on none of the versions has more than about ``most`` rows in ``[start, end)``: all are read over one time."""
    cuts = [_row_before(c, model, version, start, end, most) for version in versions]
    return max([start, *(cut for cut in cuts if cut is not None)])


def _row_before(c: Connection, model: str, version: str, start: datetime, end: datetime, most: int) -> datetime | None:
    """When the row before the newest ``most`` came; None where there are no more than those."""
    newest = select(predictions.c.at).where(*_window(model, version, start, end)).order_by(predictions.c.at.desc())
    return c.scalar(newest.offset(most).limit(1))


def read_split(
    c: Connection, layouts: tuple[Layout, Layout], versions: tuple[str, str], start: datetime, end: datetime
) -> SplitRows:
    """Both arms over ``[start, end)``: counts of all of it, and rows of as much of its end as is bounded."""
    model = layouts[0].model
    since = rows_since(c, model, versions, start, end)
    a, b = (_read_arm(c, layout, version, start, end, since) for layout, version in zip(layouts, versions, strict=True))
    return SplitRows(a=a, b=b, both=subjects_in_both(c, model, versions, since, end))


def _read_arm(c: Connection, layout: Layout, version: str, start: datetime, end: datetime, since: datetime) -> ArmRows:
    counted = read_predictions(c, layout, version, start, end)
    return ArmRows(
        predictions=counted,
        labels=read_labels(c, layout, version, start, end),
        sums=subject_sums(c, layout, version, since, end, slow_seconds=_slow_seconds(counted)),
        scored=scored_rows(c, layout.model, version, start, end) if len(layout.classes) == 2 else None,
    )


def _slow_seconds(counts: PredictionCounts) -> float | None:
    """The 95th percentile: whether a subject's rows are slow together says how much its quantile can be trusted."""
    reached = np.cumsum(counts.latency)
    return float(latency_middle_seconds()[np.searchsorted(reached, 0.95 * reached[-1])]) if reached[-1] else None


def is_shadowed(c: Connection, layout: Layout, version: str, start: datetime, end: datetime) -> bool:
    """Whether the version answered more often as a shadow than for callers in ``[start, end)``."""
    shadow = read_predictions(c, layout, version, start, end, roles=[Role.SHADOW]).rows
    return shadow > 0 and shadow > read_predictions(c, layout, version, start, end).rows


# ---------------------------------------------------------------------------------------------- subjects


def subject_sums(
    c: Connection, layout: Layout, version: str, start: datetime, end: datetime, *, slow_seconds: float | None = None
) -> SubjectSums:
    """The live rows of a version in ``[start, end)``, added up by subject; labels as far as they have come.

    ``slow_seconds``: the latency above which a row counts as slow; None counts none.
    """
    succeeded = predictions.c.status == Status.OK.value
    quality = _quality(c, layout)
    labelled = case((and_(succeeded, quality.is_not(None)), 1.0), (succeeded, 0.0))
    failed = case((succeeded, 0.0), else_=1.0)
    slow = case((predictions.c.latency_ms > (slow_seconds or 0.0) * 1000.0, 1.0), (predictions.c.latency_ms.is_not(None), 0.0))
    rows = (
        select(
            func.coalesce(predictions.c.subject, predictions.c.id).label("unit"),
            case((predictions.c.subject.is_(None), 1), else_=0).label("anonymous"),
            case((predictions.c.role.in_(_SPLIT_ROLES), 1), else_=0).label("assigned"),
            case((succeeded, quality)).label("quality"),
            labelled.label("labelled"),
            failed.label("failures"),
            (slow if slow_seconds is not None else cast(None, SqlFloat)).label("slow"),
        )
        .select_from(predictions.outerjoin(labels, _label_of(predictions.c.id)))
        .where(*_window(layout.model, version, start, end), predictions.c.role.in_([role.value for role in LIVE_ROLES]))
        .subquery()
    )
    names = ("quality", "labelled", "failures", "slow")
    by_unit = (
        select(
            func.count().label("rows"),
            func.sum(rows.c.anonymous).label("anonymous"),
            func.max(rows.c.assigned).label("assigned"),
            *(column for name in names for column in _per_unit(rows.c[name], name)),
        )
        .group_by(rows.c.unit)
        .subquery()
    )
    whole = [func.sum(by_unit.c[name]).label(name) for name in ("rows", "anonymous", "assigned")]
    row = c.execute(select(*whole, *(column for name in names for column in _over_units(by_unit, name)))).one()
    return SubjectSums(
        rows=int(row.rows or 0),
        anonymous=int(row.anonymous or 0),
        assigned=int(row.assigned or 0),
        quality=_cluster_sums(row, "quality"),
        labelled=_cluster_sums(row, "labelled"),
        failures=_cluster_sums(row, "failures"),
        slow=_cluster_sums(row, "slow"),
    )


def assigned_subjects(c: Connection, model: str, version: str, start: datetime, end: datetime) -> int:
    """How many subjects the split sent to a version in ``[start, end)``; a row without a subject is one of its own."""
    units = func.count(func.distinct(func.coalesce(predictions.c.subject, predictions.c.id)))
    return int(c.scalar(select(units).where(*_window(model, version, start, end), predictions.c.role.in_(_SPLIT_ROLES))) or 0)


def subjects_in_both(c: Connection, model: str, versions: tuple[str, str], start: datetime, end: datetime) -> int:
    """How many subjects the split sent to both versions in ``[start, end)``."""
    first, second = (
        select(predictions.c.subject).where(
            *_window(model, version, start, end), predictions.c.role.in_(_SPLIT_ROLES), predictions.c.subject.is_not(None)
        )
        for version in versions
    )
    # Not a join: SQLite has no index on the subjects of a subquery, and would look through one for each of the other.
    both = first.intersect(second).subquery()
    return int(c.scalar(select(func.count()).select_from(both)) or 0)


def _per_unit(value: ColumnElement[Any], name: str) -> list[ColumnElement[Any]]:
    return [
        func.count(value).label(f"{name}_n"),
        func.coalesce(func.sum(value), 0.0).label(f"{name}_t"),
        func.coalesce(func.sum(value * value), 0.0).label(f"{name}_q"),
    ]


def _over_units(units: Any, name: str) -> list[ColumnElement[Any]]:
    n, total, squares = (cast(units.c[f"{name}_{part}"], SqlFloat) for part in "ntq")
    sums = {
        "clusters": case((n > 0, 1.0), else_=0.0),
        "rows": n,
        "total": total,
        "rows_squared": n * n,
        "total_squared": total * total,
        "product": n * total,
        "squares": squares,
    }
    return [func.sum(value).label(f"{name}_{part}") for part, value in sums.items()]


def _cluster_sums(row: AnyRow, name: str) -> ClusterSums:
    found = {one.name: float(getattr(row, f"{name}_{one.name}") or 0.0) for one in fields(ClusterSums)}
    return ClusterSums(**{**found, "clusters": int(found["clusters"])})  # type: ignore[arg-type]


def _quality(c: Connection, layout: Layout) -> ColumnElement[Any]:
    """1 or 0 for right or wrong, or the absolute error; NULL without a label that can be read."""
    if not is_regression(layout):
        return case((labels.c.label.is_(None), None), (predictions.c.prediction == labels.c.label, 1.0), else_=0.0)
    actual = as_number(c, labels.c.label)
    error = case((func.abs(predictions.c.score) < _LARGEST, func.abs(predictions.c.score - actual)))
    return case((error < _LARGEST, error))


# ---------------------------------------------------------------------------------------------- rows


def scored_rows(
    c: Connection, model: str, version: str, start: datetime, end: datetime, *, most: int = MOST_SCORED
) -> ScoredRows | None:
    """The labelled rows with a score; None where there are more than ``most`` rows in ``[start, end)``."""
    if _row_before(c, model, version, start, end, most) is not None:
        return None
    query = (
        select(predictions.c.score, labels.c.label, predictions.c.subject)
        .join(labels, _label_of(predictions.c.id))
        .where(
            *_window(model, version, start, end),
            predictions.c.role.in_([role.value for role in LIVE_ROLES]),
            predictions.c.status == Status.OK.value,
            predictions.c.score.is_not(None),
        )
        .order_by(predictions.c.at)
    )
    found = c.execute(query).all()
    scores, texts, subjects = zip(*found, strict=True) if found else ((), (), ())
    return ScoredRows(scores=np.array(scores, np.float64), labels=texts, subjects=subjects)


def shadow_pairs(c: Connection, model: str, a: str, b: str, start: datetime, end: datetime, *, most: int = MOST_PAIRS) -> Pairs:
    """What ``a`` answered and ``b``, its shadow, answered to the same inputs, oldest first, by the time of the shadow.

    Where there are more than ``most`` pairs the first ones are read: a longer look does not move them, so what was
    decided on them stays decided. A label belongs to either of the two predictions.
    """
    shadow, answered = predictions.alias("shadow"), predictions.alias("answered")
    first, second = labels.alias("first"), labels.alias("second")
    query = (
        select(
            *(answered.c[name] for name in ("subject", "prediction", "score", "latency_ms", "status")),
            *(shadow.c[name].label(f"b_{name}") for name in ("prediction", "score", "latency_ms", "status")),
            func.coalesce(first.c.label, second.c.label).label("label"),
        )
        .select_from(
            shadow.join(answered, answered.c.id == shadow.c.shadow_of)
            .outerjoin(first, and_(first.c.prediction_id == answered.c.id, first.c.model == model))
            .outerjoin(second, and_(second.c.prediction_id == shadow.c.id, second.c.model == model))
        )
        .where(
            shadow.c.model == model,
            shadow.c.version == b,
            shadow.c.role == Role.SHADOW.value,
            shadow.c.at >= start,
            shadow.c.at < end,
            answered.c.model == model,
            answered.c.version == a,
        )
        .order_by(shadow.c.at, shadow.c.id)
        .limit(most + 1)
    )
    return _pairs(c.execute(query).all(), most)


def turned(pairs: Pairs) -> Pairs:
    """The same pairs seen from the other version."""
    return replace(pairs, a=pairs.b, b=pairs.a)


def _pairs(found: Sequence[AnyRow], most: int) -> Pairs:
    kept = found[:most]
    return Pairs(
        a=_answers(kept, ""),
        b=_answers(kept, "b_"),
        labels=tuple(row.label for row in kept),
        subjects=tuple(row.subject for row in kept),
        truncated=len(found) > most,
    )


def _answers(rows: Sequence[AnyRow], prefix: str) -> Answers:
    def column(name: str) -> list[Any]:
        return [getattr(row, prefix + name) for row in rows]

    return Answers(
        predictions=tuple(column("prediction")),
        scores=_numbers(column("score")),
        latency_ms=_numbers(column("latency_ms")),
        ok=np.array([status == Status.OK.value for status in column("status")], np.bool_),
    )


def _numbers(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _window(model: str, version: str, start: datetime, end: datetime) -> list[ColumnElement[bool]]:
    return [predictions.c.model == model, predictions.c.version == version, predictions.c.at >= start, predictions.c.at < end]


def _label_of(prediction_id: ColumnElement[str]) -> ColumnElement[bool]:
    return and_(labels.c.prediction_id == prediction_id, labels.c.model == predictions.c.model)

"""Drift points as a grid of features by time. Pure: metric points in, frames out."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from storage.records import MetricPoint, Verdict

SCORE = ""
"""The feature name that stands for the model's own output."""
STATISTICS: dict[str, tuple[str, str | None]] = {
    "psi": ("drift_psi", "prediction_drift_psi"),
    "js": ("drift_js", "prediction_drift_js"),
    "ks": ("drift_ks", "prediction_drift_ks"),
    "shift": ("drift_rank_shift", None),
    "cusum": ("drift_cusum", None),
    "missing": ("drift_missing", None),
    "unseen": ("drift_unseen", None),
    "out_of_range": ("drift_out_of_range", None),
}
"""What can be shown: the metric per feature, and the one of the score."""
COLUMNS = ["feature", "at", "value", "threshold", "ratio", "verdict", "n_reference", "n_current", "p_value", "window_seconds"]
MAX_COLUMNS = 60
FEATURES_PER_PAGE = 40

_VERDICT_RANK = {Verdict.INSUFFICIENT: 0, Verdict.OK: 1, Verdict.DRIFT: 2}


def metric_names(statistic: str) -> tuple[str, ...]:
    """The metrics to read for one statistic."""
    return tuple(name for name in STATISTICS[statistic] if name)


def cells(points: Sequence[MetricPoint]) -> pd.DataFrame:
    """One row per feature and window; ``ratio`` is value over threshold, so 1 is the line."""
    rows = [
        (
            point.feature,
            point.at,
            _finite(point.value),
            _finite(point.threshold),
            _ratio(point.value, point.threshold),
            str(point.verdict),
            point.n_reference,
            point.n_current,
            _finite(point.p_value),
            point.window_seconds,
        )
        for point in points
        if point.role == "" and point.segment == ""
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _finite(value: float | None) -> float | None:
    return value if value is not None and abs(value) < float("inf") else None


def _ratio(value: float | None, threshold: float | None) -> float | None:
    if _finite(value) is None or not _finite(threshold):
        return None
    return float(value) / float(threshold)  # type: ignore[arg-type]


def bounded(frame: pd.DataFrame, most: int = MAX_COLUMNS) -> pd.DataFrame:
    """At most ``most`` points of time: neighbours share a column, and each cell keeps its worst window."""
    times = sorted(frame["at"].unique())
    if len(times) <= most:
        return frame
    first, last = times[0], times[-1]
    width = (last - first) / (most - 1)
    slots = ((frame["at"] - first) / width).astype(int)
    ranked = frame.assign(slot=slots, rank=frame["verdict"].map(lambda verdict: _VERDICT_RANK[Verdict(verdict)]))
    ranked = ranked.sort_values(["rank", "ratio", "at"], na_position="first")
    worst = ranked.groupby(["feature", "slot"], as_index=False, sort=False).tail(1)
    column_time = frame.assign(slot=slots).groupby("slot")["at"].max()
    return worst.assign(shown_at=worst["slot"].map(column_time)).drop(columns=["slot", "rank"]).sort_values(["feature", "at"])


def latest(frame: pd.DataFrame) -> pd.DataFrame:
    """The newest row of each feature."""
    return frame.sort_values("at").groupby("feature", as_index=False, sort=False).tail(1)


def order_of_features(frame: pd.DataFrame, by: str = "worst") -> list[str]:
    """The score first, then the features: the one that is furthest over its threshold now on top, or by name."""
    if frame.empty:
        return []
    now = latest(frame).assign(over=lambda rows: rows["ratio"].fillna(-1.0))
    names = (
        sorted(now["feature"], key=str.casefold)
        if by == "name"
        else [name for _, name in sorted(zip(-now["over"], now["feature"], strict=True))]
    )
    return [name for name in names if name == SCORE] + [name for name in names if name != SCORE]


def counted(frame: pd.DataFrame) -> tuple[int, int]:
    """How many features drift by their newest window, and how many were judged at all."""
    now = latest(frame)
    now = now[now["feature"] != SCORE]
    return int((now["verdict"] == Verdict.DRIFT).sum()), int((now["verdict"] != Verdict.INSUFFICIENT).sum())

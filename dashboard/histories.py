"""Traffic, latency and quality over time. Pure: counts per step in, frames out; a step without data is a gap, never 0."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from collector.statistics.latency import quantile_seconds
from collector.statistics.performance import classification, regression
from storage.layouts import add_labels, delay_upper_seconds, empty_label_counts
from storage.records import Ints, LabelCounts, Layout, PredictionCounts

TRAFFIC = ["at", "rows", "per_second", "error_rate", "p50", "p95", "p99"]
QUALITY = ["at", "n", "value", "lower", "upper"]
LABELS = ["at", "rows", "labels", "coverage"]
MATURE_SHARE = 0.9
"""Labels are taken as complete once this share of them has usually come."""


def traffic(
    series: Sequence[tuple[datetime, PredictionCounts]], start: datetime, end: datetime, step: int, seen_until: datetime
) -> pd.DataFrame:
    """Rate, error share and latency quantiles per step of ``[start, end)``; the last step counts only up to ``seen_until``."""
    rows = []
    for at, counts in series:
        covered = min(step, max((seen_until - at).total_seconds(), 1.0))
        failed = counts.errors + counts.timeouts
        rows.append(
            (
                at,
                counts.rows,
                counts.rows / covered,
                failed / counts.rows if counts.rows else None,
                *(quantile_seconds(counts.latency, q) for q in (0.5, 0.95, 0.99)),
            )
        )
    return with_gaps(pd.DataFrame(rows, columns=TRAFFIC), start, end, step)


def label_arrival(
    predictions: Sequence[tuple[datetime, PredictionCounts]],
    labels: Sequence[tuple[datetime, LabelCounts]],
    start: datetime,
    end: datetime,
    step: int,
) -> pd.DataFrame:
    """Predictions, labels and the share that has one, per step of the predictions' own time."""
    known = dict(labels)
    rows = []
    for at, counts in predictions:
        answered = counts.rows - counts.errors - counts.timeouts
        labelled = known[at].rows if at in known else 0
        rows.append((at, answered, labelled, min(labelled / answered, 1.0) if answered else None))
    return with_gaps(pd.DataFrame(rows, columns=LABELS), start, end, step)


Estimate = tuple[int, float | None, float | None, float | None]


def quality(
    layout: Layout, series: Sequence[tuple[datetime, LabelCounts]], metric: str, start: datetime, end: datetime, step: int
) -> pd.DataFrame:
    """One metric with its interval per step, columns at, n, value, lower, upper."""
    rows = [(at, *estimate(layout, counts, metric)) for at, counts in series]
    return with_gaps(pd.DataFrame(rows, columns=QUALITY), start, end, step)


def quality_metrics(layout: Layout) -> tuple[str, ...]:
    """What can be told of a model of this kind, the main one first."""
    return ("accuracy", "roc_auc") if len(layout.classes) == 2 else ("accuracy",) if layout.classes else ("mae", "rmse", "r2")


def estimate(layout: Layout, counts: LabelCounts, metric: str) -> Estimate:
    """n, value, lower and upper of a metric; None where it is undefined."""
    found = classification(counts) if layout.classes else regression(counts)
    interval = getattr(found, f"{metric}_interval", None)
    lower, upper = interval or (None, None)
    return found.n, getattr(found, metric, None), lower, upper


def total_labels(layout: Layout, series: Sequence[tuple[datetime, LabelCounts]]) -> LabelCounts:
    """All steps together."""
    total = empty_label_counts(layout)
    for _, counts in series:
        total = add_labels(total, counts)
    return total


def delay_quantile(delay: Ints, q: float) -> float | None:
    """Seconds until the share ``q`` of the labels that have come had come, from the delay histogram."""
    total = int(delay.sum())
    if not total:
        return None
    index = int(np.searchsorted(np.cumsum(delay), q * total))
    return float(delay_upper_seconds()[min(index, delay.size - 1)])


def provisional_from(delay: Ints, now: datetime) -> datetime | None:
    """From when on labels are likely to be still on their way; None where none has ever come."""
    usual = delay_quantile(delay, MATURE_SHARE)
    return None if usual is None else now - timedelta(seconds=usual)


def with_gaps(frame: pd.DataFrame, start: datetime, end: datetime, step: int) -> pd.DataFrame:
    """The frame with an empty row beside each gap, so that a line does not run over time without data."""
    if frame.empty:
        return frame
    width = timedelta(seconds=step)
    have = set(frame["at"])
    edges = {at + move for at in have for move in (width, -width)} - have
    gaps = [at for at in edges if start <= at < end]
    if not gaps:
        return frame
    empty = pd.DataFrame({"at": gaps}).reindex(columns=frame.columns)
    both = pd.concat([frame.astype(object), empty.astype(object)]).sort_values("at", ignore_index=True)
    numeric = [name for name in frame.columns if name != "at"]
    both[numeric] = both[numeric].astype(float)
    return both

"""Every read of the pages. Each calls a function of ``storage`` and is cached for a few seconds by its plain arguments.

Frames as arguments would be hashed by sample, so nothing but scalars and tuples is ever an argument here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import pandas as pd
import streamlit as st
from sqlalchemy import Connection, Engine

from collector.statistics.comparison import compare_trial
from collector.statistics.comparison_json import to_json
from dashboard import drifts
from dashboard.settings import DashboardSettings
from storage import alerts, comparisons, deployments, jobs, metrics, migrate, outbox, profiles, registry, rollups, splits
from storage.engine import create_engine, reading
from storage.records import (
    AlertEvent,
    AlertRow,
    Deployment,
    JobRun,
    LabelCounts,
    Layout,
    MetricPoint,
    OutboxItem,
    PredictionCounts,
    Profile,
    StoredComparison,
    Version,
)

FRESH_SECONDS = 4
"""Shorter than the quickest refresh, long enough for several people to share one read."""
ROWS_SECONDS = 30
"""For reads of rows, which cost up to a second where counts cost milliseconds."""
FEW_ROWS = 5_000
"""So many rows are compared for whoever opens the page; for more, which may take seconds, a reader has to ask."""
LASTING_SECONDS = 300
MAX_POINTS = 50_000
MAX_MESSAGES = 100

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """All versions in the order they were registered, and what is deployed, by model."""

    versions: tuple[Version, ...]
    deployed: dict[str, Deployment]

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(version.model for version in self.versions))

    def of(self, model: str) -> tuple[Version, ...]:
        """The versions of a model, newest first."""
        return tuple(version for version in reversed(self.versions) if version.model == model)

    def get(self, model: str | None, version: str | None) -> Version | None:
        return next((found for found in self.versions if (found.model, found.version) == (model, version)), None)


@st.cache_resource(show_spinner=False)
def settings() -> DashboardSettings:
    """The settings that ``dashboard.serve`` has put into the environment."""
    return DashboardSettings.load()


@st.cache_resource(show_spinner=False, on_release=Engine.dispose)
def _engine() -> Engine:
    return create_engine(settings().database)


def _cached(seconds: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        cached: Callable[P, R] = st.cache_data(ttl=seconds, max_entries=256, show_spinner=False)(function)
        return cached

    return decorate


def _read(read: Callable[[Connection], R]) -> R:
    with reading(_engine()) as c:
        return read(c)


@_cached(30)
def require_current_schema() -> bool:
    """True, or raises DatabaseUnavailable or SchemaMismatch."""
    migrate.require_current(_engine())
    return True


# ---------------------------------------------------------------------------------------------- models


@_cached(FRESH_SECONDS)
def read_registry() -> Registry:
    def read(c: Connection) -> Registry:
        return Registry(versions=tuple(registry.list_versions(c)), deployed=deployments.all_current(c))

    return _read(read)


@_cached(FRESH_SECONDS)
def deployment_history(model: str) -> list[Deployment]:
    """Newest first."""
    return _read(lambda c: deployments.history(c, model))


@_cached(LASTING_SECONDS)
def layout(layout_id: int) -> Layout:
    return _read(lambda c: rollups.load_layout(c, layout_id))


@_cached(LASTING_SECONDS)
def profile(model: str, version: str, layout_id: int) -> Profile | None:
    """The reference of a version."""
    of = layout(layout_id)
    return _read(lambda c: profiles.load_profile(c, model, version, of))


# ---------------------------------------------------------------------------------------------- counts


@_cached(FRESH_SECONDS)
def extent(model: str, version: str | None = None) -> tuple[datetime, datetime] | None:
    """From the first prediction to the last."""
    return _read(lambda c: rollups.extent(c, model, version))


@_cached(FRESH_SECONDS)
def prediction_steps(
    layout_id: int, version: str, start: datetime, end: datetime, step: int
) -> list[tuple[datetime, PredictionCounts]]:
    of = layout(layout_id)
    return _read(lambda c: rollups.prediction_series(c, of, version, start, end, step))


@_cached(FRESH_SECONDS)
def label_steps(layout_id: int, version: str, start: datetime, end: datetime, step: int) -> list[tuple[datetime, LabelCounts]]:
    of = layout(layout_id)
    return _read(lambda c: rollups.label_series(c, of, version, start, end, step))


@_cached(FRESH_SECONDS)
def prediction_counts(layout_id: int, version: str, start: datetime, end: datetime) -> PredictionCounts:
    of = layout(layout_id)
    # Outwards to what is kept: a range that begins long ago may cut an hour or a day of which only the whole is known.
    return _read(lambda c: rollups.read_predictions(c, of, version, *rollups.widened(c, of, version, start, end)))


@_cached(FRESH_SECONDS)
def split_began(model: str, a: str, b: str) -> datetime | None:
    """From when the counts of two versions that share the traffic hold the split in force; None where they do not share it."""

    def look(c: Connection) -> datetime | None:
        split = deployments.current(c, model)
        return None if split is None or splits.share_of(split, a, b) is None else splits.since_split(c, split, (a, b))

    return _read(look)


@_cached(FRESH_SECONDS)
def kept_comparison(model: str, a: str, b: str) -> StoredComparison | None:
    """What the collector found when it last compared two versions."""
    return _read(lambda c: comparisons.load_comparison(c, model, a, b))


@_cached(ROWS_SECONDS)
def compared(layout_id: int, a: str, b: str, since: datetime | None, end: datetime) -> dict[str, Any]:
    """Two versions compared here and now, from rows; without ``since`` from when they began to share the traffic."""
    of = layout(layout_id)
    trial = _read(lambda c: comparisons.read_trial(c, (of, of), (a, b), since=since, end=end))
    return to_json(compare_trial(trial))


# ---------------------------------------------------------------------------------------------- metrics


def _points(
    names: tuple[str, ...], model: str, version: str, window_seconds: int | None, start: datetime, end: datetime
) -> list[MetricPoint]:
    return _read(
        lambda c: metrics.read_points(
            c,
            names=names,
            model=model,
            version=version,
            segment="",
            window_seconds=window_seconds,
            start=start,
            end=end,
            limit=MAX_POINTS,
        )
    )


points = _cached(FRESH_SECONDS)(_points)
"""The points of some metrics over all rows, against the training data, oldest first."""


@_cached(FRESH_SECONDS)
def drift_cells(
    names: tuple[str, ...], model: str, version: str, window_seconds: int | None, start: datetime, end: datetime
) -> pd.DataFrame:
    """The same as cells of a heat map: a frame is kept and given out several times as fast as its points."""
    return drifts.cells(_points(names, model, version, window_seconds, start, end))


@_cached(FRESH_SECONDS)
def latest(names: tuple[str, ...], since: datetime) -> list[MetricPoint]:
    """The newest point of every series of some metrics."""
    return _read(lambda c: [point for name in names for point in metrics.latest_points(c, name, since=since)])


@_cached(FRESH_SECONDS)
def window_lengths(model: str, names: tuple[str, ...]) -> list[int]:
    return _read(lambda c: metrics.window_lengths(c, model, names))


@_cached(FRESH_SECONDS)
def job_runs() -> list[JobRun]:
    return _read(jobs.runs)


# ---------------------------------------------------------------------------------------------- alerts


@_cached(FRESH_SECONDS)
def alert_rows() -> list[AlertRow]:
    return _read(lambda c: alerts.load_alerts(c))


@_cached(FRESH_SECONDS)
def alert_events(since: datetime, limit: int = 500) -> list[AlertEvent]:
    """Newest first."""
    return _read(lambda c: alerts.list_events(c, since=since, limit=limit))


@_cached(FRESH_SECONDS)
def deliveries(limit: int = 200) -> list[OutboxItem]:
    """Newest first."""
    return _read(lambda c: outbox.list_items(c, limit=limit))


@_cached(FRESH_SECONDS)
def inbox(path: str) -> list[dict[str, Any]]:
    """What the demo's stand-ins for Slack and e-mail received, newest first; lines that are no JSON object are left out."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()[-MAX_MESSAGES:]
    except FileNotFoundError:
        return []
    return [message for line in reversed(lines) if (message := _message(line)) is not None]


def _message(line: str) -> dict[str, Any] | None:
    try:
        content = json.loads(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None

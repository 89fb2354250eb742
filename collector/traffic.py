"""A version's counts as the collector reads them: what is served, its predictions and labels in steps."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import numpy as np
from sqlalchemy import Connection

from collector.statistics.maturity import arrived_share
from collector.windows import Window, WindowPlan
from storage import deployments, profiles, registry, rollups
from storage.layouts import add_labels, add_predictions, empty_label_counts, empty_prediction_counts
from storage.records import (
    Deployment,
    Ints,
    LabelCounts,
    Layout,
    PredictionCounts,
    Profile,
    Role,
)

Counts = TypeVar("Counts")

LIVE = ""
"""The role of points over all roles whose answers callers have seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One model's version with what its points need."""

    version: str
    layout: Layout
    profile: Profile | None
    deployment: Deployment | None

    @property
    def is_deployed(self) -> bool:
        return self.deployment is not None and self.version in (self.deployment.champion, self.deployment.challenger)


def load_served(c: Connection, model: str, version: str) -> Served:
    """A version's layout, reference and deployment. Raises UnknownVersion."""
    layout = registry.LayoutLookup(c)(model, version)
    return Served(
        version=version,
        layout=layout,
        profile=profiles.load_profile(c, model, version, layout),
        deployment=deployments.current(c, model),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """A version's predictions in steps that every window of the plan is made of; ``role`` is "" or "shadow"."""

    layout: Layout
    start: datetime
    end: datetime
    role: str
    steps: Sequence[tuple[datetime, PredictionCounts]]

    @classmethod
    def read(cls, c: Connection, served: Served, plan: WindowPlan, start: datetime, end: datetime) -> Traffic:
        """Live traffic, or where there is none that of the shadow."""
        step = step_seconds(plan)
        role, steps = LIVE, rollups.prediction_series(c, served.layout, served.version, start, end, step)
        if not steps:
            shadow = rollups.prediction_series(c, served.layout, served.version, start, end, step, roles=[Role.SHADOW])
            role, steps = (Role.SHADOW.value, shadow) if shadow else (LIVE, [])
        return cls(layout=served.layout, start=start, end=end, role=role, steps=steps)

    def predictions(self, window: Window) -> PredictionCounts:
        counts = empty_prediction_counts(self.layout)
        for _, step in _within(self.steps, window):
            counts = add_predictions(counts, step)
        return counts

    def served(self, window: Window) -> int | None:
        """Predictions that succeeded; None for a window that was not read whole."""
        if window.start < self.start or window.end > self.end:
            return None
        return sum(step.rows - step.errors - step.timeouts for _, step in _within(self.steps, window))


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A version's labels, by the time of their prediction, in steps that every window of the plan is made of."""

    layout: Layout
    steps: Sequence[tuple[datetime, LabelCounts]]
    delays: Ints
    """The delay histogram of the steps before each step, and of all, int64 (steps + 1, DELAY_BINS)."""

    @classmethod
    def read(cls, c: Connection, served: Served, plan: WindowPlan, start: datetime, end: datetime, role: str) -> Labelled:
        roles = [role] if role else None
        steps = rollups.label_series(c, served.layout, served.version, start, end, step_seconds(plan), roles=roles)
        none = empty_label_counts(served.layout).delay
        return cls(layout=served.layout, steps=steps, delays=np.cumsum([none, *(step.delay for _, step in steps)], axis=0))

    def rows(self, window: Window) -> int:
        return sum(step.rows for _, step in _within(self.steps, window))

    def arrived(self, window: Window, now: datetime) -> float | None:
        """The share of the window's labels that has usually come by ``now``, going by predictions before it."""
        first = bisect_left(self.steps, window.start, key=lambda step: step[0])
        ages = ((now - moment).total_seconds() for moment in (window.end, window.start))
        return arrived_share(self.delays[first], *ages)

    def in_window(self, window: Window) -> LabelCounts:
        counts = empty_label_counts(self.layout)
        for _, step in _within(self.steps, window):
            counts = add_labels(counts, step)
        return counts


def _within(steps: Sequence[tuple[datetime, Counts]], window: Window) -> Sequence[tuple[datetime, Counts]]:
    """The steps that begin in the window; steps are in order of time."""
    first, last = (bisect_left(steps, moment, key=lambda step: step[0]) for moment in (window.start, window.end))
    return steps[first:last]


def step_seconds(plan: WindowPlan) -> int:
    """The width of steps that both the length and the step of the plan are whole numbers of."""
    return math.gcd(plan.seconds, round(plan.step.total_seconds()))

"""Compares running versions now and then: splits by subject, shadows pair by pair.

Both need rows, not counts, so this job looks rarely, reads a bounded part, and keeps the last whole comparison for the
page that shows it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine

from collector.outcome import Outcome
from collector.settings import CollectorSettings
from collector.statistics.comparison import compare_trial
from collector.statistics.comparison_json import to_json
from collector.statistics.health import SAMPLE_RATIO_ALPHA, sample_ratio_p, sequential_sample_ratio_p
from collector.statistics.paired import disagreement
from collector.statistics.trial import Terms
from collector.traffic import LIVE
from storage import comparisons, deployments, metrics, registry, rollups, splits, trials
from storage.engine import DatabaseUnavailable, reading
from storage.records import Deployment, JobRun, Layout, MetricPoint, Role, StoredComparison, Verdict
from storage.resolution import DAY, floor_time

_logger = logging.getLogger(__name__)

BY_SUBJECT = "unit=subject"
"""The segment of points that count subjects where others of their name count predictions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonJob:
    """The sample ratio of each split by subject since it began, how often each shadow disagrees with the champion, and the
    whole comparison of both, as `modelwatch compare` makes it."""

    engine: Engine
    settings: CollectorSettings

    @property
    def name(self) -> str:
        return "comparison"

    def gather(self, now: datetime, previous: JobRun | None, keep: Callable[[], None]) -> Outcome | None:
        """Once an interval: at its end, or as soon as there is a collector again; what was missed is not made up for."""
        every = self.settings.comparison_interval
        end = rollups.bucket_start(now - self.settings.window_lag, max(1, int(every.total_seconds())))
        if previous is not None and previous.done_until is not None and previous.done_until >= end:
            return None
        points: list[MetricPoint] = []
        compared: list[StoredComparison] = []
        problems: list[str] = []
        with reading(self.engine) as c:
            current = deployments.all_current(c)
        for deployment in current.values():
            keep()
            try:
                with reading(self.engine) as c:
                    shadows = self._shadows(c, deployment, end)
                    points += self._points(c, deployment, shadows, end)
                    compared += compare_deployed(c, deployment, shadows, end)
            except DatabaseUnavailable:
                raise
            except Exception as error:
                _logger.exception("the comparison of a model's versions failed", extra={"model": deployment.model})
                problems.append(f"{deployment.model}: {type(error).__name__}: {error}")

        def write(c: Connection) -> None:
            metrics.write_points(c, points)
            for comparison in compared:
                comparisons.save_comparison(c, comparison)

        return Outcome(write=write, done_until=end, problems=tuple(problems))

    def _points(self, c: Connection, deployment: Deployment, shadows: Sequence[str], end: datetime) -> list[MetricPoint]:
        found = [self._shadow(c, deployment, version, end) for version in shadows]
        return [*self._split(c, deployment, end), *(point for point in found if point is not None)]

    # ------------------------------------------------------------------------------------------ splits

    def _split(self, c: Connection, split: Deployment, end: datetime) -> list[MetricPoint]:
        """The anytime-valid sample ratio over subjects since the split began; a point of the challenger.

        It is a series of its own beside those of windows, which count predictions.
        """
        if split.challenger is None or not 0 < split.weight < 1:
            return []
        versions = (split.champion, split.challenger)
        start = trials.rows_since(c, split.model, versions, splits.since_split(c, split, versions), end)
        n_a, n_b = (trials.assigned_subjects(c, split.model, version, start, end) for version in versions)
        p = sequential_sample_ratio_p(n_a, n_b, split.weight)
        if p is None:
            return []
        enough = n_a + n_b >= self.settings.min_samples
        verdict = Verdict.INSUFFICIENT if not enough else Verdict.DRIFT if p < SAMPLE_RATIO_ALPHA else Verdict.OK
        return [
            MetricPoint(
                at=end,
                name="sample_ratio_p",
                value=p,
                model=split.model,
                version=split.challenger,
                role=LIVE,
                segment=BY_SUBJECT,
                window_seconds=int(self.settings.comparison_window.total_seconds()),
                p_value=sample_ratio_p(n_a, n_b, split.weight),
                n_current=n_a + n_b,
                threshold=SAMPLE_RATIO_ALPHA if enough else None,
                verdict=verdict,
            )
        ]

    # ------------------------------------------------------------------------------------------ shadows

    def _shadows(self, c: Connection, deployment: Deployment, end: datetime) -> list[str]:
        """Versions that answered as a shadow in the window, other than the champion."""
        start = end - self.settings.comparison_window
        since = floor_time(start, DAY)  # an hour or a day that is kept as a whole stands at its start
        active = [version for model, version in rollups.active_versions(c, since, end) if model == deployment.model]
        lookup = registry.LayoutLookup(c)
        return [
            version
            for version in active
            if version != deployment.champion and self._is_shadow(c, lookup(deployment.model, version), version, start, end)
        ]

    def _is_shadow(self, c: Connection, layout: Layout, version: str, start: datetime, end: datetime) -> bool:
        """In the window, or as little beyond it as counts that are only kept by the hour or the day need; the pairs are exact."""
        wider = rollups.widened(c, layout, version, start, end, roles=[Role.SHADOW])
        return rollups.read_predictions(c, layout, version, *wider, roles=[Role.SHADOW]).rows > 0

    def _shadow(self, c: Connection, deployment: Deployment, version: str, end: datetime) -> MetricPoint | None:
        """How often the shadow and the champion answer one input differently, by subject; None without a pair."""
        window = self.settings.comparison_window
        pairs = trials.shadow_pairs(c, deployment.model, deployment.champion, version, end - window, end)
        found = disagreement(pairs, registry.LayoutLookup(c)(deployment.model, version), Terms())
        if found.rate is None:
            return None
        lower, upper = found.interval or (None, None)
        return MetricPoint(
            at=end,
            name="disagreement_rate",
            value=found.rate,
            model=deployment.model,
            version=version,
            role=Role.SHADOW.value,
            window_seconds=int(window.total_seconds()),
            lower=lower,
            upper=upper,
            n_current=found.n,
            verdict=Verdict.OK if found.n >= self.settings.min_samples else Verdict.INSUFFICIENT,
        )


def compare_deployed(c: Connection, deployment: Deployment, shadows: Sequence[str], end: datetime) -> list[StoredComparison]:
    """The champion against the challenger that it shares the traffic with, and against each shadow, as far as both answered.

    From when they began to share the traffic, or for a shadow from the model's first prediction, until ``end``.
    """
    is_split = deployment.challenger is not None and 0 < deployment.weight < 1
    others = dict.fromkeys([*([deployment.challenger] if is_split and deployment.challenger else []), *shadows])
    found = (_compared(c, deployment, other, end) for other in others)
    return [comparison for comparison in found if comparison is not None]


def _compared(c: Connection, deployment: Deployment, other: str, end: datetime) -> StoredComparison | None:
    versions, lookup = (deployment.champion, other), registry.LayoutLookup(c)
    layouts = (lookup(deployment.model, versions[0]), lookup(deployment.model, versions[1]))
    trial = comparisons.read_trial(c, layouts, versions, since=None, end=end)
    comparison = compare_trial(trial)
    if not any(arm.rows for arm in comparison.arms):
        return None
    return StoredComparison(
        model=deployment.model,
        a=versions[0],
        b=versions[1],
        deployment_id=deployment.id,
        start=trial.start,
        end=trial.end,
        document=to_json(comparison),
    )

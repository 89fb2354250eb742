"""The collector's sparing job on rows: what counts cannot tell, from a bounded sample of each version's newest traffic.

It reads a version's rows in one short transaction and computes after it. A version that fails is named in the outcome
and stops no other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine

from collector.judging import Subject
from collector.outcome import Outcome
from collector.sample_points import Sample, SamplePolicy, multivariate, quality_points
from collector.settings import CollectorSettings
from collector.statistics.verdict import alpha_for_budget
from collector.traffic import LIVE, Served, load_served
from collector.windows import Window, WindowPlan, due_windows
from storage import metrics, registry, rollups, samples
from storage.constraints import constraints_of
from storage.engine import DatabaseUnavailable, reading
from storage.records import JobRun, MetricPoint, Role, Signature

_logger = logging.getLogger(__name__)

TESTS = 2
"""Multivariate tests of a version in one window: the domain classifier and the reconstruction error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleJob:
    """Data quality and multivariate drift of every version with traffic, once per ``sample_interval``."""

    engine: Engine
    settings: CollectorSettings

    @property
    def name(self) -> str:
        return "samples"

    def gather(self, now: datetime, previous: JobRun | None, keep: Callable[[], None]) -> Outcome | None:
        """After an outage only the newest window is looked at: a sample is for the present, not for the record."""
        plan = WindowPlan(length=self.settings.sample_interval, step=self.settings.sample_interval)
        done_until = previous.done_until if previous else None
        due = due_windows(plan, now, lag=self.settings.window_lag, done_until=done_until, most=1)
        if not due or not self.settings.sample_rows:
            return _still_failing(previous)
        with reading(self.engine) as c:
            active = rollups.active_versions(c, due[0].start, due[0].end)
        points: list[MetricPoint] = []
        problems: list[str] = []
        for model, version in active:
            keep()
            try:
                points += self._version_points(model, version, due[0])
            except DatabaseUnavailable:
                raise
            except Exception as error:
                _logger.exception("the sample of a version failed", extra={"model": model, "version": version})
                problems.append(f"{model} {version}: {type(error).__name__}: {error}")
        return Outcome(write=lambda c: metrics.write_points(c, points), done_until=due[0].end, problems=tuple(problems))

    def _version_points(self, model: str, version: str, window: Window) -> list[MetricPoint]:
        with reading(self.engine) as c:
            read = self._read(c, model, version, window)
        if read is None:
            return []
        subject, sample = read
        found = multivariate(subject, sample, self._policy())
        if found.ids:
            told = {"model": model, "version": version, "predictions": list(found.ids)}
            _logger.info("these predictions look least like the reference", extra=told)
        return quality_points(subject, sample) + found.points

    def _read(self, c: Connection, model: str, version: str, window: Window) -> tuple[Subject, Sample] | None:
        """None without rows, and for a version that has no reference to hold them against."""
        served = load_served(c, model, version)
        registered = registry.get_version(c, model, version)
        role, rows = self._rows(c, model, version, window)
        if not rows or served.profile is None or registered is None:
            return None
        subject = Subject(layout=served.layout, profile=served.profile, version=version, window=window, role=role)
        sample = _sample(served, registered.signature, rows)
        if rows[0].at < window.start:
            return subject, sample
        roles = [role] if role else None
        counts = rollups.read_predictions(c, served.layout, version, window.start, window.end, roles=roles)
        return subject, replace(sample, counts=counts)

    def _rows(self, c: Connection, model: str, version: str, window: Window) -> tuple[str, list[samples.SampledRow]]:
        """Live rows, or where there are none those of the shadow; with few in the window the newest ones before it too."""
        for role, roles in ((LIVE, samples.LIVE_ROLES), (Role.SHADOW.value, (Role.SHADOW.value,))):
            limit, least = self.settings.sample_rows, self.settings.min_samples
            rows = samples.sample_rows(c, model, version, window.start, window.end, limit=limit, roles=roles)
            if rows and len(rows) < min(least, limit):
                since = window.end - max(self.settings.sample_reach, window.end - window.start)
                rows = samples.sample_rows(c, model, version, since, window.end, limit=min(least, limit), roles=roles, slices=1)
            if rows:
                return role, rows
        return LIVE, []

    def _policy(self) -> SamplePolicy:
        settings = self.settings
        steps: list[timedelta] = [settings.sample_interval]
        return SamplePolicy(
            alpha=alpha_for_budget(settings.false_alarm_days, steps, TESTS),
            min_samples=settings.min_samples,
            floor_multivariate=settings.floor_multivariate,
            floor_reconstruction=settings.floor_reconstruction,
        )


def _still_failing(previous: JobRun | None) -> Outcome | None:
    """Keeps what failed in the last window visible until the next one; a run without work would count as a success."""
    if previous is None or previous.error is None:
        return None
    return Outcome(write=lambda _: None, problems=(previous.error,))


def _sample(served: Served, signature: Signature, rows: Sequence[samples.SampledRow]) -> Sample:
    assert served.profile is not None
    reference = samples.reference_columns(served.profile)
    known = list(zip(*(reference[name] for name in signature.names), strict=True)) if reference else []
    constraints = constraints_of(served.profile.constraints, signature, served.layout, served.profile.counts, known)
    return Sample(signature=signature, rows=rows, counts=None, reference=reference, constraints=constraints)

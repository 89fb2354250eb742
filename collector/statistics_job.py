"""Drift, predictions, service and performance of every version, over windows of one length.

It gathers counts from storage, hands them to pure functions, and says what is to be written. One failing version never
stops the others: it is logged, and named in the outcome.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine

from collector.drift_points import REMEMBERED_NAMES, Followed, Memory, remembered_times
from collector.estimation_points import DOUBTED_BY, doubts_of, error_doubts, estimation_points, most_errors
from collector.freshness_points import freshness_point
from collector.further_references import FurtherReferences
from collector.judging import Judging, Subject
from collector.outcome import Outcome
from collector.performance_points import performance_points, waits_for_labels
from collector.points import window_points
from collector.samples import sampled_losses
from collector.sequences import Steps, feature_bets
from collector.settings import CollectorSettings
from collector.statistics.freshness import Rhythm, learn_rhythm
from collector.statistics.health import sample_ratio_p
from collector.statistics.losses import LossModel
from collector.statistics.maturity import is_mature
from collector.statistics.sequence import LOOK_BACK, Bets
from collector.traffic import LIVE, Labelled, Served, Traffic, load_served, step_seconds
from collector.windows import Window, WindowPlan, due_windows, earlier_windows
from storage import deployments, metrics, rollups
from storage.activity import active_buckets
from storage.engine import DatabaseUnavailable, reading
from storage.layouts import is_regression, split_bins
from storage.records import (
    JobRun,
    MetricPoint,
    Mode,
    Profile,
    Role,
    Verdict,
)
from storage.resolution import HOUR, WindowTooFine

_logger = logging.getLogger(__name__)

MOST_RESTATED = 1500
"""Windows of one length that are looked at for late labels, however far back `restate_labels` reaches."""
RECORD_LENGTHS = 30
"""Lengths of a window that the track record of estimates reaches back, if labels may not come later still."""
RHYTHM_REACH = timedelta(days=28)
RHYTHM_LASTS = timedelta(hours=1)
MOST_RECORDED = 5000
"""Points of one version that are read for it."""


@dataclass(slots=True, kw_only=True)
class StatisticsJob:
    """Drift, predictions, service and performance over windows of one length, for every version with traffic or deployed."""

    engine: Engine
    settings: CollectorSettings
    plan: WindowPlan
    judging: Judging
    is_shortest: bool
    doubted: dict[tuple[str, str], tuple[datetime, dict[str, str]]] = field(default_factory=dict)
    """What was found against the estimates of a version, and for which window."""
    losses: dict[tuple[str, str], LossModel | None] = field(default_factory=dict)
    rhythms: dict[tuple[str, str], tuple[datetime, Rhythm | None]] = field(default_factory=dict)
    bets: dict[tuple[str, str], dict[str, Bets]] = field(default_factory=dict)
    """By which the features of a version are followed."""

    @property
    def name(self) -> str:
        return f"statistics_{self.plan.name}"

    def gather(self, now: datetime, previous: JobRun | None, keep: Callable[[], None]) -> Outcome | None:
        done_until = previous.done_until if previous else None
        due = due_windows(self.plan, now, lag=self.settings.window_lag, done_until=done_until, most=self.settings.catch_up_windows)
        if not due:
            return None
        points: list[MetricPoint] = []
        problems: list[str] = []
        for model, version in self._subjects(due):
            keep()
            try:
                with reading(self.engine) as c:
                    points += self._version_points(c, model, version, due)
            except DatabaseUnavailable:
                raise
            except Exception as error:
                _logger.exception("the statistics of a version failed", extra={"model": model, "version": version})
                problems.append(f"{model} {version}: {type(error).__name__}: {error}")
        return Outcome(write=lambda c: metrics.write_points(c, points), done_until=due[-1].end, problems=tuple(problems))

    def _subjects(self, due: Sequence[Window]) -> list[tuple[str, str]]:
        """Versions with predictions since the oldest window that may change, and those that are deployed."""
        with reading(self.engine) as c:
            active = rollups.active_versions(c, self._oldest(due).start, due[-1].end)
            current = deployments.all_current(c)
        deployed = [(d.model, version) for d in current.values() for version in (d.champion, d.challenger) if version]
        return sorted({*active, *deployed})

    def _oldest(self, due: Sequence[Window]) -> Window:
        return self.plan.ending_at(due[0].end - self.settings.restate_windows * self.plan.step)

    def _version_points(self, c: Connection, model: str, version: str, due: Sequence[Window]) -> list[MetricPoint]:
        served = load_served(c, model, version)
        traffic = Traffic.read(c, served, self.plan, self._oldest(due).start, due[-1].end)
        late = self._late(c, served, traffic, due)
        further = FurtherReferences.read(c, model, served.deployment, self.settings.rollup_seconds)
        doubts = self._doubts(c, served, traffic.role, due[-1].end)
        points = []
        memory = self._memory(c, served, traffic.role, [*late, *due])
        followed = self._followed(c, served, traffic.role, [*late, *due])
        for window in (*late, *due):
            counts = traffic.predictions(window)
            if counts.rows or served.is_deployed:
                subject = _subject(served, window, traffic.role)
                found = window_points(subject, counts, self.judging, memory.at(self._remembered(window)), followed)
                memory.keep(window.end, found)
                points += found + further.points(c, subject, counts, self.judging)
                points += estimation_points(subject, counts, self.judging, doubts, self._losses(served))
            points += self._sample_ratio(c, served, window)
        points += self._performance(c, served, traffic, due)
        return points + self._freshness(c, served, due[-1])

    def _remembered(self, window: Window) -> list[datetime]:
        return remembered_times(self.plan, self.judging.persistence, window)

    def _memory(self, c: Connection, served: Served, role: str, windows: Sequence[Window]) -> Memory:
        """The stored points that the verdicts of the windows look at."""
        times = sorted({time for window in windows for time in self._remembered(window)})
        found = metrics.points_at(
            c,
            times,
            names=REMEMBERED_NAMES,
            model=served.layout.model,
            version=served.version,
            role=role,
            window_seconds=self.plan.seconds,
        )
        return Memory(found)

    def _followed(self, c: Connection, served: Served, role: str, windows: Sequence[Window]) -> Followed | None:
        """The bets on a version's features, with what all the windows look back on; None without a reference."""
        if served.profile is None:
            return None
        key = (served.layout.model, served.version)
        if key not in self.bets:
            self.bets[key] = feature_bets(_subject(served, windows[-1], role), self.judging.floors)
        width = step_seconds(self.plan)
        start = max(windows[0].end - LOOK_BACK * self.plan.length, self._kept_since(windows[-1].end, width))
        roles = [Role(role)] if role else None
        try:
            starts, bins = rollups.bin_series(c, served.layout, served.version, start, windows[-1].end, width, roles=roles)
        except WindowTooFine:  # retention has been shorter than it is set now
            return None
        return Followed(bets=self.bets[key], steps=Steps(starts=starts, bins=bins, per_window=self.plan.seconds // width))

    def _kept_since(self, end: datetime, width: int) -> datetime:
        """Since when there are surely counts in steps of so many seconds, a whole number of them before ``end``."""
        kept = self.settings.retention_minutes if width % HOUR else self.settings.retention_hours
        step = timedelta(seconds=width)
        return end - (kept - self.settings.window_lag) // step * step + step

    def _late(self, c: Connection, served: Served, traffic: Traffic, due: Sequence[Window]) -> list[Window]:
        """Earlier windows that were computed with another number of predictions than they have now."""
        earlier = earlier_windows(self.plan, due[0].end, self.settings.restate_windows)
        if not earlier:
            return []
        known = self._stored(c, served, traffic.role, "requests_per_second", earlier[0].end, due[0].end)
        return [w for w in earlier if w.end in known and known[w.end].n_current != traffic.predictions(w).rows]

    def _losses(self, served: Served) -> LossModel | None:
        """What estimates of other than two classes rest on; the sample of a version is decoded once."""
        if served.profile is None or len(served.layout.classes) == 2:
            return None
        key = (served.layout.model, served.version)
        if key not in self.losses:
            self.losses[key] = sampled_losses(served.layout, served.profile)
        return self.losses[key]

    def _doubts(self, c: Connection, served: Served, role: str, end: datetime) -> dict[str, str]:
        """What earlier windows say against estimates of performance; looked up once per length of a window."""
        if served.profile is None:
            return {}
        key = (served.layout.model, served.version)
        at, doubts = self.doubted.get(key, (None, {}))
        if at is None or not at <= end < at + self.plan.length:
            doubts = self._read_doubts(c, served, served.profile, role, end)
            self.doubted[key] = end, doubts
        return doubts

    def _read_doubts(self, c: Connection, served: Served, profile: Profile, role: str, end: datetime) -> dict[str, str]:
        found = metrics.read_points(
            c,
            names=DOUBTED_BY,
            model=served.layout.model,
            version=served.version,
            segment="",
            window_seconds=self.plan.seconds,
            start=end - max(self.settings.restate_labels, RECORD_LENGTHS * self.plan.length),
            end=end,
            limit=MOST_RECORDED,
        )
        errors = most_errors(served.layout, profile, self.judging.tolerances)
        doubts = doubts_of([point for point in found if point.role == role], self.plan.length, errors)
        labelled = Labelled.read(c, served, self.plan, end - self.settings.restate_labels, end, role)
        run_length = timedelta(days=self.judging.false_alarm_days) / timedelta(seconds=step_seconds(self.plan))
        return doubts | error_doubts(labelled.steps, profile, run_length)

    def _stored(
        self, c: Connection, served: Served, role: str, name: str, start: datetime, end: datetime
    ) -> dict[datetime, MetricPoint]:
        found = metrics.read_points(
            c,
            names=[name],
            model=served.layout.model,
            version=served.version,
            segment="",
            window_seconds=self.plan.seconds,
            start=start,
            end=end,
        )
        return {point.at: point for point in found if point.role == role}

    def _performance(self, c: Connection, served: Served, traffic: Traffic, due: Sequence[Window]) -> list[MetricPoint]:
        """The due windows, and those before them, as far back as labels may come late, whose labels changed or became ripe."""
        back = min(math.ceil(self.settings.restate_labels / self.plan.step), MOST_RESTATED)
        earlier = earlier_windows(self.plan, due[0].end, back)
        oldest = earlier[0] if earlier else due[0]
        labelled = Labelled.read(c, served, self.plan, oldest.start, due[-1].end, traffic.role)
        headline = "mae" if is_regression(served.layout) else "accuracy"
        judged, counted = (
            self._stored(c, served, traffic.role, name, oldest.end, due[0].end) for name in (headline, "label_delay_seconds")
        )
        now = due[-1].end
        changed = [
            w
            for w in earlier
            if labelled.rows(w) != (counted[w.end].n_current if w.end in counted else 0)
            or (waits_for_labels(judged.get(w.end)) and is_mature(labelled.arrived(w, now), None))
        ]
        coverage = self._stored(c, served, traffic.role, "label_coverage", oldest.end, due[0].end) if changed else {}
        points = []
        for window in (*changed, *due):
            rows, scored = traffic.served(window), None
            if rows is not None:
                scored = split_bins(served.layout, traffic.predictions(window).bins)[1]
            elif window.end in coverage:
                rows = coverage[window.end].n_current
            subject, arrived = _subject(served, window, traffic.role), labelled.arrived(window, now)
            points += performance_points(subject, labelled.in_window(window), rows, self.judging, arrived=arrived, scored=scored)
        return points

    def _sample_ratio(self, c: Connection, served: Served, window: Window) -> list[MetricPoint]:
        """Whether the split of the window's traffic is the agreed one; a point of the challenger."""
        split = served.deployment
        if split is None or split.mode not in (Mode.AB, Mode.CANARY) or split.challenger != served.version:
            return []
        width = self.settings.rollup_seconds
        start = max(window.start, rollups.bucket_start(split.at, width) + timedelta(seconds=width))
        if start >= window.end or not 0 < split.weight < 1:
            return []
        rows = [
            rollups.read_predictions(c, served.layout, version, start, window.end, roles=[role]).rows
            for version, role in ((split.champion, Role.CHAMPION), (split.challenger, Role.CHALLENGER))
        ]
        p = sample_ratio_p(rows[0], rows[1], split.weight)
        if p is None:
            return []
        alpha, enough = self.judging.policy(served.layout).alpha, sum(rows) >= self.judging.min_samples
        verdict = Verdict.INSUFFICIENT if not enough else Verdict.DRIFT if p < alpha else Verdict.OK
        point = _subject(served, window, LIVE).point("sample_ratio_p", p, p_value=p, n_current=sum(rows), verdict=verdict)
        return [replace(point, threshold=alpha if enough else None)]

    def _freshness(self, c: Connection, served: Served, newest: Window) -> list[MetricPoint]:
        """Seconds from the last bucket with predictions to the end of the newest window, for deployed versions."""
        if not self.is_shortest or not served.is_deployed:
            return []
        span = rollups.extent(c, served.layout.model, served.version)
        if span is None:
            return []
        rhythm = self._rhythm(c, served, newest.end)
        return [freshness_point(_subject(served, newest, LIVE), span, rhythm)]

    def _rhythm(self, c: Connection, served: Served, end: datetime) -> Rhythm | None:
        """When predictions usually come; learned once an hour."""
        key = (served.layout.model, served.version)
        at, rhythm = self.rhythms.get(key, (None, None))
        if at is None or not at <= end < at + RHYTHM_LASTS:
            rhythm = learn_rhythm(*active_buckets(c, *key, end - RHYTHM_REACH))
            self.rhythms[key] = end, rhythm
        return rhythm


def _subject(served: Served, window: Window, role: str) -> Subject:
    return Subject(layout=served.layout, profile=served.profile, version=served.version, window=window, role=role)

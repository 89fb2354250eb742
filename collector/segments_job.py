"""The collector's sparing job on declared segments: service, performance, estimates and drift of each, and where the model does worse.

Only segments with predictions in a window have points. Labels that come late bring up to date the windows that do not
overlap, since those between them tell the same once more.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine

from collector.drift_points import spread_points
from collector.estimation_points import REALISED, doubts_of, estimation_points, most_errors
from collector.further_references import FurtherReferences
from collector.judging import Judging, Subject
from collector.outcome import Outcome
from collector.performance_points import performance_points, waits_for_labels
from collector.points import service_points
from collector.samples import sampled_losses
from collector.segment_points import NAME, gap_points
from collector.settings import CollectorSettings
from collector.statistics.losses import LossModel
from collector.statistics.maturity import is_mature
from collector.traffic import LIVE, Labelled, Served, load_served
from collector.windows import Window, WindowPlan, due_windows, earlier_windows, latest_end
from storage import metrics, rollups
from storage.engine import DatabaseUnavailable, reading
from storage.layouts import split_bins
from storage.records import JobRun, LabelCounts, MetricPoint, PredictionCounts, Role, Verdict
from storage.segments import counted_segments

_logger = logging.getLogger(__name__)

MOST_WINDOWS = 12
"""Windows that are caught up with after an outage: segments are many, and the whole is caught up with by itself."""
RECORD_LENGTHS = 30
"""Lengths of the window that the record of a segment's estimates reaches back, as far as that of all rows."""
MOST_LATE = 60
"""Windows that late labels bring up to date in one run, the newest first; the others have their turn in the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """The counts of one version's segments, of its live traffic or its shadow's; the segment "" is all of them."""

    connection: Connection
    served: Served
    role: str
    segments: Sequence[str]

    def predictions(self, window: Window, segment: str) -> PredictionCounts:
        layout, version, roles = self.served.layout, self.served.version, self._roles
        return rollups.read_predictions(self.connection, layout, version, window.start, window.end, roles=roles, segment=segment)

    def labels(self, window: Window, segment: str) -> LabelCounts:
        layout, version, roles = self.served.layout, self.served.version, self._roles
        return rollups.read_labels(self.connection, layout, version, window.start, window.end, roles=roles, segment=segment)

    def subject(self, window: Window, segment: str) -> Subject:
        layout, profile = self.served.layout, self.served.profile
        return Subject(layout=layout, profile=profile, version=self.served.version, window=window, role=self.role, segment=segment)

    @property
    def _roles(self) -> list[str] | None:
        return [self.role] if self.role else None


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentsJob:
    """What every declared segment of every version with traffic does over windows of one length."""

    engine: Engine
    settings: CollectorSettings
    plan: WindowPlan
    losses: dict[tuple[str, str], LossModel | None] = field(default_factory=dict)
    """What estimates of other than two classes rest on, by version: its sample is decoded once."""

    @property
    def name(self) -> str:
        return f"segments_{self.plan.name}"

    def gather(self, now: datetime, previous: JobRun | None, keep: Callable[[], None]) -> Outcome | None:
        done_until = previous.done_until if previous else None
        most = min(MOST_WINDOWS, self.settings.catch_up_windows)
        due = due_windows(self.plan, now, lag=self.settings.window_lag, done_until=done_until, most=most)
        if not due:
            return None
        with reading(self.engine) as c:
            active = rollups.active_versions(c, self._oldest(due).start, due[-1].end)
        points: list[MetricPoint] = []
        problems: list[str] = []
        for model, version in active:
            keep()
            try:
                with reading(self.engine) as c:
                    points += self._version_points(c, model, version, due)
            except DatabaseUnavailable:
                raise
            except Exception as error:
                _logger.exception("the segments of a version failed", extra={"model": model, "version": version})
                problems.append(f"{model} {version}: {type(error).__name__}: {error}")
        return Outcome(write=lambda c: metrics.write_points(c, points), done_until=due[-1].end, problems=tuple(problems))

    @property
    def _apart(self) -> WindowPlan:
        """Windows of this length each of which begins where the one before it ends."""
        return WindowPlan(length=self.plan.length, step=self.plan.length)

    def _late(self, due: Sequence[Window]) -> list[Window]:
        """The windows before those that are due, apart from each other, whose labels may still come."""
        back = math.ceil(self.settings.restate_labels / self.plan.length)
        next_end = latest_end(self._apart, due[0].end - timedelta.resolution, timedelta(0)) + self.plan.length
        return earlier_windows(self._apart, next_end, back)

    def _oldest(self, due: Sequence[Window]) -> Window:
        return (self._late(due) or due)[0]

    def _version_points(self, c: Connection, model: str, version: str, due: Sequence[Window]) -> list[MetricPoint]:
        segments = counted_segments(c, model, self.settings.segment_fields.names)
        if not segments:
            return []
        start, end = self._oldest(due).start, due[-1].end
        served = load_served(c, model, version)
        reader = Reader(connection=c, served=served, role=_role(c, served, start, end), segments=segments)
        labelled = Labelled.read(c, served, self._apart, start, end, reader.role)
        further = FurtherReferences.read(c, model, served.deployment, self.settings.rollup_seconds)
        doubts = self._doubts(reader, end)
        points: list[MetricPoint] = []
        for window in (*self._changed(reader, labelled, self._late(due), end), *due):
            parts = self._parts(reader, window)
            points += self._qualities(reader, window, parts, labelled.arrived(window, end))
            for segment, counts in parts.items() if window in due else ():
                subject = reader.subject(window, segment)
                points += service_points(subject, counts) + spread_points(subject, counts)
                points += further.points(c, subject, counts, self.settings.judging)
                of_segment = doubts.get(segment, {}) | doubts.get("", {})
                estimates = estimation_points(subject, counts, self.settings.judging, of_segment, self._losses(served))
                points += [point for point in estimates if point.value is not None]  # that there can be none, the whole says
        return points

    def _parts(self, reader: Reader, window: Window) -> dict[str, PredictionCounts]:
        """The segments that have predictions in the window."""
        segments = reader.segments if reader.predictions(window, "").rows else ()
        found = {segment: reader.predictions(window, segment) for segment in segments}
        return {segment: counts for segment, counts in found.items() if counts.rows}

    def _losses(self, served: Served) -> LossModel | None:
        if served.profile is None or len(served.layout.classes) == 2:
            return None
        key = (served.layout.model, served.version)
        if key not in self.losses:
            self.losses[key] = sampled_losses(served.layout, served.profile)
        return self.losses[key]

    def _doubts(self, reader: Reader, now: datetime) -> dict[str, dict[str, str]]:
        """Reasons against estimates, by segment and metric: its own record, and under "" what refused those of all rows."""
        served, length = reader.served, self.plan.length
        if served.profile is None:
            return {}
        newest = latest_end(self._apart, now, timedelta(0))
        points = metrics.points_at(
            reader.connection,
            [newest - number * length for number in range(RECORD_LENGTHS)],
            names=[*REALISED, *REALISED.values()],
            model=served.layout.model,
            version=served.version,
            role=reader.role,
            window_seconds=self.plan.seconds,
            segment=None,
        )
        errors = most_errors(served.layout, served.profile, self.settings.judging.tolerances)
        by_segment: dict[str, list[MetricPoint]] = defaultdict(list)
        for point in points:
            by_segment[point.segment].append(point)
        whole = {point.name: point for point in by_segment.pop("", []) if point.name in REALISED}  # by time: the newest stays
        refused = {name: f"of all rows: {point.basis}" for name, point in whole.items() if point.verdict is Verdict.INSUFFICIENT}
        return {segment: doubts_of(found, length, errors) for segment, found in by_segment.items()} | {"": refused}

    def _changed(self, reader: Reader, labelled: Labelled, late: Sequence[Window], now: datetime) -> list[Window]:
        """Earlier windows that got labels since they were computed, or whose labels are complete by now."""
        found = metrics.points_at(
            reader.connection,
            [window.end for window in late],
            names=[NAME],
            model=reader.served.layout.model,
            version=reader.served.version,
            role=reader.role,
            window_seconds=self.plan.seconds,
        )
        stored = {point.at: point for point in found}
        changed = [
            window
            for window in late
            if labelled.rows(window) != (stored[window.end].n_current if window.end in stored else 0)
            or (waits_for_labels(stored.get(window.end)) and is_mature(labelled.arrived(window, now), None))
        ]
        return changed[-MOST_LATE:]

    def _qualities(
        self, reader: Reader, window: Window, parts: Mapping[str, PredictionCounts], arrived: float | None
    ) -> list[MetricPoint]:
        """What labels say of each segment, and the gaps between them."""
        every, known = reader.predictions(window, ""), reader.labels(window, "")
        labels = {segment: reader.labels(window, segment) if known.rows else known for segment in parts}
        points: list[MetricPoint] = []
        for segment, counts in parts.items():
            points += _quality(reader.subject(window, segment), counts, labels[segment], arrived, self.settings.judging)
        succeeded = _succeeded(every)
        mature = is_mature(arrived, known.rows / succeeded if succeeded else None)
        whole = reader.subject(window, "")
        return points + gap_points(whole, known, labels, self.settings.judging, mature=mature, arrived=arrived)


def _quality(
    subject: Subject, counts: PredictionCounts, known: LabelCounts, arrived: float | None, judging: Judging
) -> list[MetricPoint]:
    """Without the reference: a segment differs from the whole by nature, and what it is held against is the rest."""
    alone = replace(subject, profile=None)
    scored = split_bins(subject.layout, counts.bins)[1]
    return performance_points(alone, known, _succeeded(counts), judging, arrived=arrived, scored=scored)


def _succeeded(counts: PredictionCounts) -> int:
    return counts.rows - counts.errors - counts.timeouts


def _role(c: Connection, served: Served, start: datetime, end: datetime) -> str:
    """Live traffic, or where there is none that of the shadow."""
    if rollups.read_predictions(c, served.layout, served.version, start, end).rows:
        return LIVE
    shadow = rollups.read_predictions(c, served.layout, served.version, start, end, roles=[Role.SHADOW])
    return Role.SHADOW.value if shadow.rows else LIVE

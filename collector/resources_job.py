"""Samples what this host and modelwatch's processes on it use, and how full the spool is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, Engine

from collector import probes
from collector.outcome import Outcome
from collector.settings import CollectorSettings
from storage import metrics, resources, spools
from storage.engine import reading
from storage.records import (
    JobRun,
    MetricPoint,
)


@dataclass(slots=True, kw_only=True)
class ResourcesJob:
    """What this host and modelwatch's processes on it use, and how full the spool on it is."""

    engine: Engine
    probe: probes.Probe
    settings: CollectorSettings
    spool_watch: probes.SpoolWatch = field(default_factory=probes.SpoolWatch)

    @property
    def name(self) -> str:
        return "resources"

    def gather(self, now: datetime, previous: JobRun | None, keep: Callable[[], None]) -> Outcome | None:
        samples = self.probe.sample(now)
        points = probes.host_points(samples) + self._spool_points(now)

        def write(c: Connection) -> None:
            resources.add_samples(c, samples)
            metrics.write_points(c, points)

        return Outcome(write=write)

    def _spool_points(self, now: datetime) -> list[MetricPoint]:
        folders = probes.read_spools(self.settings.spool_folder)
        with reading(self.engine) as c:
            positions = [spools.load_position(c, folder.writer) for folder in folders]
        watched = [self.spool_watch.measure(folder, position, now) for folder, position in zip(folders, positions, strict=True)]
        return probes.spool_points(watched, self.probe.host, now)

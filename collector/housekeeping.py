"""Jobs that keep the database small and quick: counts become coarser with age, old rows go to archives or away.

Unlike other jobs these write while they gather, in transactions that are each whole by themselves: what a collector that
was replaced in between has done is not done twice, because the counts it merged and the rows it removed are gone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine

from collector.outcome import Outcome, now_utc
from collector.settings import CollectorSettings
from storage import archive, archived, compaction, registry, retention, thinning
from storage.engine import DatabaseUnavailable, reading, writing
from storage.records import JobRun
from storage.resolution import HOUR, floor_time
from storage.service import owner_name

_logger = logging.getLogger(__name__)

SETTLED_AFTER = timedelta(minutes=10)
"""How long after its end an hour is merged: most of its predictions have arrived by then; later ones are merged later."""

Keep = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactionJob:
    """Once an hour: merges the counts of hours that are over, and drops what is older than its resolution is kept."""

    engine: Engine
    settings: CollectorSettings

    @property
    def name(self) -> str:
        return "compact"

    def gather(self, now: datetime, previous: JobRun | None, keep: Keep) -> Outcome | None:
        before = floor_time(now - SETTLED_AFTER, HOUR)
        if _is_done(previous, before):
            return None
        problems: list[str] = []
        merged = self._merge(before, keep, problems)
        dropped = self._thin(now, keep)
        _logger.info("counts compacted", extra={"merged": merged, "dropped": dropped})
        return Outcome(write=_nothing, done_until=before, problems=tuple(problems))

    def _merge(self, before: datetime, keep: Keep, problems: list[str]) -> int:
        with reading(self.engine) as c:
            parts = compaction.loose_parts(c, before)
        merged = 0
        for part in parts:
            keep()
            try:
                with writing(self.engine) as c:
                    merged += compaction.compact(c, part, before)
            except DatabaseUnavailable:
                raise
            except Exception as error:
                _logger.exception("the counts of a day were not merged", extra={"model": part.model, "version": part.version})
                problems.append(f"{part.model} {part.version} {part.day:%Y-%m-%d}: {type(error).__name__}: {error}")
        return merged

    def _thin(self, now: datetime, keep: Keep) -> int:
        with reading(self.engine) as c:
            versions = registry.list_versions(c)
        minutes_before, hours_before = now - self.settings.retention_minutes, now - self.settings.retention_hours
        dropped = 0
        for version in versions:
            keep()
            with writing(self.engine) as c:
                dropped += compaction.thin(
                    c, version.model, version.version, minutes_before=minutes_before, hours_before=hours_before
                )
        return dropped


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionJob:
    """Once an hour: archives or prunes predictions where the settings say so, thins old points, and forgets older ones and events."""

    engine: Engine
    settings: CollectorSettings

    @property
    def name(self) -> str:
        return "retention"

    def gather(self, now: datetime, previous: JobRun | None, keep: Keep) -> Outcome | None:
        until = floor_time(now, HOUR)
        if _is_done(previous, until):
            return None
        try:
            with retention.sole_keeper(self.engine, owner_name(), now_utc) as renew:
                problems = self._tidy(now, previous.done_until if previous else None, _both(keep, renew))
        except retention.RetentionBusy as busy:  # by a command: the next tick tries again
            _logger.info("retention waits: %s", busy)
            return None
        return Outcome(write=_nothing, done_until=until, problems=problems)

    def _tidy(self, now: datetime, since: datetime | None, keep: Keep) -> tuple[str, ...]:
        settings = self.settings
        retention.prune_points(self.engine, before=now - settings.retention_points, keep=keep)
        thinning.thin_points(self.engine, settings.point_ages, now=now, since=since, keep=keep)
        retention.prune_events(self.engine, before=now - settings.retention_events, keep=keep)
        try:
            self._remove_rows(now, keep)
        except archived.ArchiveError as error:
            _logger.warning("%s", error)
            return (str(error),)
        return ()

    def _remove_rows(self, now: datetime, keep: Keep) -> None:
        with reading(self.engine) as c:
            unfinished = archived.unfinished(c)
        for left in unfinished:
            archive.remove_archived(self.engine, left, now=now, keep=keep)
        for day in self._days_to_go(now):
            if self.settings.retention_archive:
                archive.archive_day(self.engine, day, self.settings.retention_folder, now=now, keep=keep)
            else:
                retention.prune_day(self.engine, day, now=now, keep=keep)
            _logger.info("predictions removed", extra={"model": day.model, "version": day.version, "day": f"{day.day:%Y-%m-%d}"})

    def _days_to_go(self, now: datetime) -> list[retention.RawDay]:
        age, most = self.settings.retention_raw, self.settings.retention_max_bytes
        if age is None and most is None:
            return []
        with reading(self.engine) as c:
            days = retention.raw_days(c, before=now)
        old = [day for day in days if age is not None and day.day + timedelta(days=1) <= now - age]
        left = days[len(old) :]
        return old if most is None else [*old, *retention.over_budget(left, most)]


def _is_done(previous: JobRun | None, until: datetime) -> bool:
    return previous is not None and previous.done_until is not None and previous.done_until >= until


def _both(keep: Keep, renew: Keep) -> Keep:
    def both() -> None:
        keep()
        renew()

    return both


def _nothing(_: Connection) -> None:
    """Everything has been written by then."""

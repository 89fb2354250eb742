"""Counts labels that nobody counted: their prediction came at the same moment, in another transaction."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from collector.outcome import Outcome
from collector.settings import CollectorSettings
from storage import labels, registry
from storage.records import (
    JobRun,
)

_logger = logging.getLogger(__name__)

SWEEP_LIMIT = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSweep:
    """Counts labels that were left uncounted because their prediction came at the same moment."""

    settings: CollectorSettings

    @property
    def name(self) -> str:
        return "sweep_labels"

    def gather(self, now: datetime, previous: JobRun | None, keep: Callable[[], None]) -> Outcome | None:
        return Outcome(write=self._sweep)

    def _sweep(self, c: Connection) -> None:
        lookup = registry.LayoutLookup(c)
        bucket_seconds, segments = self.settings.rollup_seconds, self.settings.segment_fields
        counted = labels.sweep_labels(
            c, lookup, writer="collector", bucket_seconds=bucket_seconds, limit=SWEEP_LIMIT, segments=segments
        )
        if counted:
            _logger.info("labels counted late", extra={"labels": counted})

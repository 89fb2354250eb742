"""When a version had predictions, from the rollups, for as long as they are kept finer than an hour."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from sqlalchemy import Connection, select

from storage.records import Ints, RollupKind
from storage.resolution import HOUR
from storage.schema import rollups

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def active_buckets(c: Connection, model: str, version: str, since: datetime) -> tuple[Ints, int]:
    """The starts of the buckets that had predictions of any role, seconds since 1970, int64 (n,) ascending, and their greatest width."""
    found = c.execute(
        select(rollups.c.start, rollups.c.seconds)
        .where(
            rollups.c.model == model,
            rollups.c.kind == RollupKind.PREDICTIONS.value,
            rollups.c.version == version,
            rollups.c.start >= since,
            rollups.c.seconds < HOUR,
            rollups.c.segment == "",
            rollups.c.rows > 0,
        )
        .distinct()
    ).all()
    starts = np.array([(row.start - _EPOCH).total_seconds() for row in found], np.float64)
    return np.unique(starts.astype(np.int64)), max((row.seconds for row in found), default=HOUR)

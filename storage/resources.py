"""What the processes used: CPU, memory, disk, network, GPU."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, insert, select

from storage.records import ResourceSample
from storage.rows import columns_of, values_of
from storage.schema import resources


def add_samples(c: Connection, samples: Sequence[ResourceSample]) -> None:
    """Stores samples."""
    if samples:
        c.execute(insert(resources), [values_of(sample) for sample in samples])


def read_samples(c: Connection, start: datetime, end: datetime, *, process: str | None = None) -> list[ResourceSample]:
    """The samples in ``[start, end)`` by time, of one process or of all."""
    query = (
        select(*columns_of(resources, ResourceSample))
        .where(resources.c.at >= start, resources.c.at < end)
        .order_by(resources.c.at, resources.c.id)
    )
    if process is not None:
        query = query.where(resources.c.process == process)
    return [ResourceSample(**row) for row in c.execute(query).mappings()]

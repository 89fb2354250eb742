"""What the processes used: CPU, memory, disk, network, GPU."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, insert

from storage.records import ResourceSample
from storage.rows import values_of
from storage.schema import resources


def add_samples(c: Connection, samples: Sequence[ResourceSample]) -> None:
    """Stores samples."""
    if samples:
        c.execute(insert(resources), [values_of(sample) for sample in samples])

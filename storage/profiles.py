"""The reference of each version, which its traffic is held against."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select, update

from storage.arrays import pack_floats, pack_ints, unpack_floats, unpack_ints
from storage.dialects import upsert
from storage.label_arrays import LabelArrays, arrays_of, counts_of
from storage.layouts import empty_label_counts, empty_prediction_counts
from storage.records import Layout, Profile
from storage.schema import profiles


def save_profile(c: Connection, profile: Profile) -> None:
    """Stores the profile in place of the one that the version had. Latencies and label delays are not kept."""
    known = arrays_of(profile.labels)
    row = {
        "model": profile.model,
        "version": profile.version,
        "layout_id": profile.layout_id,
        "rows": profile.rows,
        "bins": pack_ints(profile.counts.bins),
        "moments": pack_floats(profile.counts.moments),
        "classes": pack_ints(profile.counts.classes),
        "performance": profile.performance,
        "label_rows": profile.labels.rows,
        "label_bins": pack_ints(known.bins),
        "label_moments": pack_floats(known.moments),
        "label_classes": pack_ints(known.classes),
        "thresholds": profile.thresholds,
        "constraints": profile.constraints,
        "sample": profile.sample,
        "created_at": profile.created_at,
    }
    upsert(c, profiles, [row], key=["model", "version"])


def save_constraints(c: Connection, model: str, version: str, constraints: dict[str, Any]) -> None:
    """What data quality holds the version's rows against, in place of what it was."""
    c.execute(update(profiles).where(profiles.c.model == model, profiles.c.version == version).values(constraints=constraints))


def load_profile(c: Connection, model: str, version: str, layout: Layout) -> Profile | None:
    """The profile of a version, whose layout is given. Raises CorruptCounts where it is of another layout."""
    row = c.execute(select(profiles).where(profiles.c.model == model, profiles.c.version == version)).one_or_none()
    if row is None:
        return None
    counts = empty_prediction_counts(layout)
    counts.rows = row.rows
    counts.bins = unpack_ints(row.bins, counts.bins.size)
    counts.moments = unpack_floats(row.moments, counts.moments.size).reshape(counts.moments.shape)
    counts.classes = unpack_ints(row.classes, counts.classes.size)
    empty = empty_label_counts(layout)
    sizes = arrays_of(empty)
    known = LabelArrays(
        bins=unpack_ints(row.label_bins, sizes.bins.size),
        moments=unpack_floats(row.label_moments, sizes.moments.size),
        classes=unpack_ints(row.label_classes, sizes.classes.size),
    )
    return Profile(
        model=model,
        version=version,
        layout_id=row.layout_id,
        rows=row.rows,
        counts=counts,
        labels=counts_of(empty, row.label_rows, known, empty.delay),
        performance=row.performance,
        thresholds=row.thresholds,
        constraints=row.constraints,
        sample=row.sample,
        created_at=row.created_at,
    )

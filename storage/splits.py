"""The split of a model's traffic as a comparison of two versions needs it: who was meant to get what, and since when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection

from storage.predictions import list_predictions
from storage.records import Deployment, Layout, Role
from storage.rollups import bucket_around, narrowed, widened


def share_of(split: Deployment | None, a: str, b: str) -> float | None:
    """The share of the traffic that b was meant to get, where the deployment in force splits between a and b."""
    if split is None or split.challenger is None:
        return None
    if (split.champion, split.challenger) == (a, b):
        return split.weight
    return 1 - split.weight if (split.champion, split.challenger) == (b, a) else None


def since_split(c: Connection, split: Deployment, versions: tuple[str, str]) -> datetime:
    """From when the counts hold what was answered under the split alone.

    Counts are kept by the minute. The minute in which the split began counts where the model had answered nothing in it
    before; else the next one is the first.
    """
    buckets = [bucket_around(c, split.model, version, split.at) for version in versions]
    start = min((bucket for bucket in buckets if bucket is not None), default=split.at)
    return split.at if list_predictions(c, split.model, start=start, end=split.at, limit=1) else start


def comparable(
    c: Connection, layouts: Sequence[Layout], versions: Sequence[str], start: datetime, end: datetime, *, not_before: bool = False
) -> tuple[datetime, datetime]:
    """The time for which counts of all the versions, in any role, can be read: widened to whole hours or days where only those are kept.

    With ``not_before`` it begins no earlier, but later where it must: what was answered before a split is no part of it.
    """
    while True:
        fitted = start, end
        for layout, version in zip(layouts, versions, strict=True):
            first, end = widened(c, layout, version, start, end, roles=list(Role))
            start = narrowed(c, layout, version, start, end, roles=list(Role))[0] if not_before else first
        if (start, end) == fitted:
            return fitted

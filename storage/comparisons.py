"""Comparisons of two versions: the rows and counts that one is computed from, and the last one that the collector computed."""

from __future__ import annotations

import json
from datetime import datetime

from sqlalchemy import Connection, select

from storage.deployments import current
from storage.dialects import upsert
from storage.evidence import Pairs, SplitRows, Trial
from storage.jsontext import dump
from storage.records import Layout, StoredComparison
from storage.rollups import extent
from storage.rows import columns_of, values_of
from storage.schema import comparisons
from storage.splits import comparable, share_of, since_split
from storage.trials import is_shadowed, read_split, shadow_pairs, turned


def save_comparison(c: Connection, comparison: StoredComparison) -> None:
    """Replaces what is known of these two versions, in this order."""
    row = {**values_of(comparison, without=("document",)), "document": dump(comparison.document)}
    upsert(c, comparisons, [row], key=("model", "a", "b"))


def load_comparison(c: Connection, model: str, a: str, b: str) -> StoredComparison | None:
    """The last comparison of two versions, in this order; None where there has been none."""
    query = select(*columns_of(comparisons, StoredComparison))
    query = query.where(comparisons.c.model == model, comparisons.c.a == a, comparisons.c.b == b)
    row = c.execute(query).mappings().one_or_none()
    return None if row is None else StoredComparison(**{**row, "document": json.loads(row["document"])})


def read_trial(
    c: Connection, layouts: tuple[Layout, Layout], versions: tuple[str, str], *, since: datetime | None, end: datetime
) -> Trial:
    """What two versions did in ``[since, end)``; without ``since``, from when both began to share the traffic.

    Where counts are only kept by the hour or the day, the time is fitted to whole ones: ``start`` and ``end`` of the result. A
    version that answered as a shadow is read pair by pair with what it shadowed. Reads rows, as many as ``storage.trials``
    bounds them to: a page does not do this for everybody who opens it.
    """
    model = layouts[0].model
    wanted = _window(c, model, versions, since, end)[0], end
    start, end = comparable(c, layouts, versions, *wanted, not_before=since is None)
    share = _window(c, model, versions, None if since is None else start, end)[1]
    shadows = [is_shadowed(c, layout, name, start, end) for layout, name in zip(layouts, versions, strict=True)]
    if shadows[0] == shadows[1]:
        found: SplitRows | Pairs = read_split(c, layouts, versions, start, end)
    elif shadows[1]:
        found = shadow_pairs(c, model, *versions, start, end)
    else:
        found = turned(shadow_pairs(c, model, versions[1], versions[0], start, end))
    seconds = _seconds(c, model, start, end)
    return Trial(
        versions=versions,
        layouts=layouts,
        start=start,
        end=end,
        share=share,
        seconds=seconds,
        found=found,
        fitted=(start, end) != wanted,
    )


def _window(
    c: Connection, model: str, versions: tuple[str, str], since: datetime | None, end: datetime
) -> tuple[datetime, float | None]:
    """From when on to compare, and the share of the traffic that b was meant to get in all of that time."""
    split = current(c, model)
    share = share_of(split, *versions)
    if since is not None:
        # A window that holds traffic from before the split, which was shared otherwise, has no one share.
        return since, share if split is not None and since >= split.at else None
    if split is not None and share is not None:
        return since_split(c, split, versions), share
    known = extent(c, model)
    return (known[0] if known else end), share


def _seconds(c: Connection, model: str, start: datetime, end: datetime) -> float | None:
    known = extent(c, model)
    if known is None:
        return None
    return max(0.0, (min(end, known[1]) - max(start, known[0])).total_seconds()) or None

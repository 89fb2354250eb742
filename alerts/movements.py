"""Where a feature moved to, in a few words, from the counts of its bins. Pure."""

from __future__ import annotations

import numpy as np

from storage.records import Bins, Floats, Ints

LEAST_MISSING = 0.02
"""A change of the share of missing values is worth a word from two points on."""


def movement(bins: Bins, reference: Ints, current: Ints) -> str:
    """The one change that says most: missing values, a category's share, or the median. "" where a side has no rows.

    >>> import numpy as np
    >>> plan = Bins(name="plan", categories=("basic", "pro"), is_categorical=True)
    >>> movement(plan, np.array([90, 10, 0, 0]), np.array([60, 40, 0, 0]))
    'pro 10 % to 40 %'
    """
    if not reference.sum() or not current.sum():
        return ""
    before, after = reference / reference.sum(), current / current.sum()
    missing = float(after[-1] - before[-1])
    rest = _category(bins, before, after) if bins.is_categorical else _median(bins, reference, current)
    moved = [f"missing {_share(before[-1])} to {_share(after[-1])}"] if abs(missing) >= LEAST_MISSING else []
    return ", ".join([*moved, *([rest] if rest else [])])


def _category(bins: Bins, before: Floats, after: Floats) -> str:
    change = (after - before)[:-1]
    place = int(np.argmax(np.abs(change)))
    if change[place] == 0:
        return ""
    name = bins.categories[place] if place < len(bins.categories) else "new or rare values"
    return f"{name} {_share(before[place])} to {_share(after[place])}"


def _median(bins: Bins, reference: Ints, current: Ints) -> str:
    before, after = (_middle(bins, counts) for counts in (reference, current))
    return "" if before is None or after is None else f"median {before:.4g} to {after:.4g}"


def _middle(bins: Bins, counts: Ints) -> float | None:
    """The median, straight within its bin; the outermost edge where it lies outside of all."""
    present = counts[:-1]
    if not present.sum() or not bins.edges:
        return None
    reached = np.cumsum(present) / present.sum()
    place = int(np.searchsorted(reached, 0.5))
    if place == 0:
        return bins.edges[0]
    if place >= len(bins.edges):
        return bins.edges[-1]
    left, right = bins.edges[place - 1], bins.edges[place]
    share = (0.5 - reached[place - 1]) / (reached[place] - reached[place - 1])
    return float(left + (right - left) * share)


def _share(value: float) -> str:
    return f"{100 * value:.3g} %"

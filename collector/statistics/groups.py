"""Which bins of a column are compared together by the distances of ``collector.statistics.distances``.

Comparing 120 bins would measure noise; about ten groups of equal reference mass measure the column.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from storage.records import Bins, Ints

GROUPS = 10
"""Groups of about equal reference mass that PSI, Jensen-Shannon and the other distances compare."""
RARE_SHARE = 0.01
"""Categories below this share of the reference are compared together with those that have no bin of their own."""
LEAST_GROUP_ROWS = 10
"""Categories with fewer reference rows are compared together, too: by chance some of them are far too frequent in it."""


def psi_groups(bins: Bins, reference: Ints, groups: int = GROUPS) -> Ints:
    """The group of each bin, int64 (bins.size,), numbered from 0 in order; missing is the last group by itself.

    Numeric: neighbouring bins joined to ``groups`` groups of about equal reference mass, fewer where one value holds
    more than a group's share. The outermost groups are open-ended, they take what is below and above the range, because
    a few new extremes are to be expected. Where an outermost group is a single bin (a constant, a flag, a clipped
    column), what is beyond it is a group of its own: else such a column could change altogether and PSI would stay 0.
    Categorical: each category with at least 1 % of the present reference rows and 10 of them, then one group for all others.

    >>> psi_groups(Bins(name="x", edges=(0.0, 1.0, 2.0, 3.0, 4.0)), np.array([0, 25, 25, 25, 25, 0, 0]), groups=2).tolist()
    [0, 0, 0, 1, 1, 1, 2]
    """
    present = reference[:-1]
    inner = _category_groups(present) if bins.is_categorical else _number_groups(present, groups)
    _, inner = np.unique(inner, return_inverse=True)
    return np.append(inner, inner.max(initial=-1) + 1).astype(np.int64)


def _category_groups(present: Ints) -> Ints:
    own = present >= max(RARE_SHARE * present.sum(), LEAST_GROUP_ROWS)
    own[-1] = False  # the bin of categories without one is never a group by itself: it would be empty in the reference
    return np.where(own, np.arange(present.size), present.size)


def _number_groups(present: Ints, groups: int) -> Ints:
    total = int(present.sum())
    if not total:
        return np.zeros(present.size, np.int64)
    middles = (np.cumsum(present) - present / 2) / total
    group = np.minimum((middles * groups).astype(np.int64), groups - 1)
    known = present > 0
    first, last = int(np.argmax(known)), int(present.size - 1 - np.argmax(known[::-1]))
    filled = _filled(group, known)
    if np.count_nonzero(known & (filled == filled[first])) == 1:
        filled[:first] -= 1
    if np.count_nonzero(known & (filled == filled[last])) == 1:
        filled[last + 1 :] += 1
    return filled


def _filled(group: Ints, known: npt.NDArray[np.bool_]) -> Ints:
    """Bins without reference mass join the group before them, the leading ones the first group."""
    positions = np.where(known, np.arange(group.size), -1)
    last_known = np.maximum.accumulate(positions)
    last_known[last_known < 0] = int(np.argmax(known))
    return np.asarray(group[last_known])


def grouped(bins: Bins, reference: Ints, current: Ints, groups: int = GROUPS) -> tuple[Ints, Ints]:
    """Both counts by group of the reference, without the groups that are empty on both sides."""
    group = psi_groups(bins, reference, groups)
    size = int(group[-1]) + 1
    by_group = np.zeros((2, size), np.int64)
    np.add.at(by_group[0], group, reference)
    np.add.at(by_group[1], group, current)
    kept = by_group[:, by_group.sum(axis=0) > 0]
    return kept[0], kept[1]


# ---------------------------------------------------------------------------------------------- many columns at once


def number_groups(present: Ints, groups: int = GROUPS) -> Ints:
    """``psi_groups`` of many numeric columns, without the missing bin: int64 (columns, bins) of counts to groups.

    Bins that a column does not have may stand anywhere before its last one, with a count of 0.

    >>> number_groups(np.array([[0, 25, 25, 25, 25, 0], [0, 60, 0, 0, 40, 0]]), groups=2).tolist()
    [[0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 2, 3]]
    """
    columns, size = present.shape
    rows, positions = np.arange(columns), np.arange(size)
    total = np.maximum(present.sum(axis=1, keepdims=True), 1)
    middles = (np.cumsum(present, axis=1) - present / 2) / total
    group = np.minimum((middles * groups).astype(np.int64), groups - 1)
    known = present > 0
    first, last = known.argmax(axis=1), size - 1 - known[:, ::-1].argmax(axis=1)
    last_known = np.maximum.accumulate(np.where(known, positions, -1), axis=1)
    filled = np.take_along_axis(group, np.where(last_known < 0, first[:, None], last_known), axis=1)
    for end, beyond, step in ((first, positions < first[:, None], -1), (last, positions > last[:, None], 1)):
        alone = (known & (filled == filled[rows, end][:, None])).sum(axis=1) == 1
        filled = filled + np.where(alone[:, None] & beyond, step, 0)
    steps = np.diff(filled, axis=1, prepend=filled[:, :1]) > 0
    return np.asarray(np.cumsum(steps, axis=1))


def category_groups(present: Ints) -> Ints:
    """``psi_groups`` of many categorical columns, without the missing bin; the last bin is that of other categories.

    >>> category_groups(np.array([[600, 396, 4, 0], [50, 0, 0, 0]])).tolist()
    [[0, 1, 2, 2], [0, 1, 1, 1]]
    """
    own = present >= np.maximum(RARE_SHARE * present.sum(axis=1, keepdims=True), LEAST_GROUP_ROWS)
    own[:, -1] = False
    return np.where(own, np.cumsum(own, axis=1) - 1, own.sum(axis=1, keepdims=True))

"""Labels that come late: whether those of a window are nearly all there, and whether those that are there were picked."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc

from collector.statistics.probabilities import equal_groups
from storage.layouts import delay_upper_seconds
from storage.records import Ints

MATURE_SHARE = 0.9
"""Labels are taken as complete once this share of a window's predictions has one, or of the labels to come has usually come."""
LEAST_HISTORY = 30
"""Labels of earlier predictions from which their delay counts as known."""
_MOMENTS = 24


def arrived_share(delay: Ints, youngest_seconds: float, oldest_seconds: float) -> float | None:
    """The share of a window's labels that has usually arrived by now; None where too few delays are known.

    ``delay``: histogram of the delays of labels of earlier predictions, int64 (DELAY_BINS,). The window's predictions are
    taken as evenly spread over ages from ``youngest_seconds`` to ``oldest_seconds``. A delay counts as the upper end of its
    bin, so the share is rather too small. Labels that are still out are not in the histogram: while a model is younger
    than its labels are slow, the share is too large.

    >>> from storage.layouts import count_labels, log_bins, DELAY_MIN_SECONDS, DELAY_GROWTH, DELAY_BINS
    >>> delay = log_bins(np.full(100, 3600.0), DELAY_MIN_SECONDS, DELAY_GROWTH, DELAY_BINS)
    >>> arrived_share(delay, 0, 1800), arrived_share(delay, 7200, 9000)
    (0.0, 1.0)
    """
    total = int(delay.sum())
    if total < LEAST_HISTORY:
        return None
    steps = (np.arange(_MOMENTS) + 0.5) / _MOMENTS
    ages = youngest_seconds + (oldest_seconds - youngest_seconds) * steps
    arrived = np.concatenate([[0], np.cumsum(delay)])
    return float(arrived[np.searchsorted(delay_upper_seconds(), ages, side="right")].mean()) / total


def is_mature(arrived: float | None, coverage: float | None) -> bool:
    """Whether a window's labels can be judged: most rows have one, most of its labels have usually come, or nothing is known.

    >>> is_mature(0.4, 0.3), is_mature(0.4, 0.95), is_mature(0.95, 0.3), is_mature(None, 0.1)
    (False, True, True, True)
    """
    return arrived is None or arrived >= MATURE_SHARE or (coverage is not None and coverage >= MATURE_SHARE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """How the scores of labelled rows differ from the others': Cramér's V of ``freedom + 1`` groups, and its chi-squared p-value."""

    effect: float
    p_value: float
    freedom: int
    labelled: int
    others: int


def label_selection(scored: Ints, labelled: Ints, groups: int = 10) -> Selection | None:
    """Whether labelled rows have other scores than the rest; counts by score bin, int64 (bins,), the ``labelled`` among the ``scored``.

    Where labels come for some scores rather than others (a loan that was refused never fails), performance on them is
    not that of the model. None where either side has too few rows for every group to expect 5.

    >>> found = label_selection(np.array([100, 100]), np.array([10, 40]), 2)
    >>> round(found.effect, 2), found.p_value < 0.001
    (0.35, True)
    """
    others = np.maximum(scored - labelled, 0)
    smaller = int(min(labelled.sum(), others.sum()))
    count = min(groups, smaller // 10)
    if count < 2:
        return None
    place = np.unique(equal_groups(labelled + others, count), return_inverse=True)[1]
    table = np.array([np.bincount(place, weights=side) for side in (labelled, others)])
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2:
        return None
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    statistic, freedom = float((np.square(table - expected) / expected).sum()), table.shape[1] - 1
    return Selection(
        effect=math.sqrt(statistic / float(table.sum())),
        p_value=float(chdtrc(freedom, statistic)),
        freedom=freedom,
        labelled=int(labelled.sum()),
        others=int(others.sum()),
    )

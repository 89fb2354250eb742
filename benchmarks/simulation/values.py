"""The collector's statistics of one column over many windows at once; equal to ``feature_drift`` of each window."""

from __future__ import annotations

import numpy as np

from benchmarks.simulation.streams import Column
from collector.statistics.drift import EMPTY_GROUP_ROWS, psi_groups
from storage.records import Floats, Ints


def group_counts(column: Column, windows: Ints) -> tuple[Ints, Ints]:
    """Reference (groups,) and windows (windows, groups) by group, without the groups that are empty in both."""
    group = psi_groups(column.bins, column.counts)
    sums = np.zeros((column.bins.size, int(group[-1]) + 1), np.int64)
    sums[np.arange(column.bins.size), group] = 1
    reference, current = column.counts @ sums, windows @ sums
    used = (reference > 0) | (current.sum(axis=0) > 0)
    return reference[used], current[:, used]


def psi_values(reference: Ints, current: Ints) -> Floats:
    r = np.maximum(reference, EMPTY_GROUP_ROWS) / reference.sum()
    c = np.maximum(current, EMPTY_GROUP_ROWS) / current.sum(axis=1, keepdims=True)
    terms = np.where((reference > 0) | (current > 0), (c - r) * np.log(c / r), 0.0)
    return np.asarray(terms.sum(axis=1))


def js_values(reference: Ints, current: Ints) -> Floats:
    r, c = reference / reference.sum(), current / current.sum(axis=1, keepdims=True)
    middle = (r + c) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.where(r > 0, r * np.log2(r / middle), 0.0).sum(axis=1)
        right = np.where(c > 0, c * np.log2(c / middle), 0.0).sum(axis=1)
    return np.asarray(np.sqrt(np.maximum(0.0, (left + right) / 2)))


def ks_values(column: Column, windows: Ints) -> Floats:
    reference = np.cumsum(column.counts[:-1]) / column.counts[:-1].sum()
    present = windows[:, :-1]
    with np.errstate(invalid="ignore"):
        shares = np.cumsum(present, axis=1) / present.sum(axis=1, keepdims=True)
    return np.asarray(np.abs(shares - reference).max(axis=1))

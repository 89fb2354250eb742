"""The p-values of one column's statistics over many windows at once: what calibrating and simulating need.

Values and p-values are those that ``collector.statistics.verdict`` judges one window by.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from scipy.special import ndtr

from collector.statistics import nulls
from collector.statistics.dependence import INDEPENDENT_ROWS, Dependence
from collector.statistics.distances import js_rows, psi_rows
from collector.statistics.drift import psi_groups
from collector.statistics.shift import rank_deviation, rank_shift
from storage.records import Bins, Floats, Ints

Score: TypeAlias = tuple[Floats, Floats]
"""Values and p-values, float64 (windows,) each."""

UPPER_PSEUDO_ROWS = 2.0
"""A new extreme on either side of a reference is to be expected, hence two rows that it did not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column's reference counts, int64 (bins,). ``is_known``: the reference is the truth, not a sample of it."""

    bins: Bins
    reference: Ints
    dependence: Dependence = INDEPENDENT_ROWS
    is_known: bool = False


def scores(column: Column, windows: Ints) -> dict[str, Score]:
    """By statistic, for the counts of windows with as many rows each, int64 (windows, bins), in none of which all is missing."""
    found = _distances(column, windows) | {"missing": _missing(column, windows)}
    if column.bins.is_categorical:
        return found | {"unseen": _upper(column, windows[:, -2], int(column.reference[-2]), windows)}
    outside = int(column.reference[0] + column.reference[-2])
    return found | _numeric(column, windows) | {"out_of_range": _upper(column, windows[:, 0] + windows[:, -2], outside, windows)}


def _spread(column: Column, n: Floats | int, m: int) -> Floats:
    return np.asarray(1 / n + (0 if column.is_known else 1 / m), np.float64)


def _distances(column: Column, windows: Ints) -> dict[str, Score]:
    reference, current = _group_counts(column, windows)
    groups = (current > 0).__or__(reference > 0).sum(axis=1)
    psi, js = psi_rows(reference, current), js_rows(reference, current)
    spread, weights = _spread(column, int(windows[0].sum()), int(reference.sum())), column.dependence.groups
    psi_p, js_p = np.ones(len(windows)), np.ones(len(windows))
    for size in np.unique(groups):
        these = groups == size
        psi_p[these] = nulls.psi_p(psi[these], int(size), spread, weights)
        js_p[these] = nulls.js_p(js[these], int(size), spread, weights)
    return {"psi": (psi, psi_p), "js": (js, js_p)}


def _group_counts(column: Column, windows: Ints) -> tuple[Ints, Ints]:
    group = psi_groups(column.bins, column.reference)
    member = (group[:, None] == np.arange(int(group[-1]) + 1)).astype(np.float64)
    return np.rint(column.reference @ member).astype(np.int64), np.rint(windows @ member).astype(np.int64)


def _numeric(column: Column, windows: Ints) -> dict[str, Score]:
    reference, present = column.reference[:-1], windows[:, :-1]
    rows, m = present.sum(axis=1), int(reference.sum())
    if not m or not rows.all():
        return {}
    spread, effects = _spread(column, rows, m), column.dependence
    gaps = np.cumsum(present, axis=1) / rows[:, None] - np.cumsum(reference) / m
    ks, shift = np.abs(gaps).max(axis=1), rank_shift(reference, present)
    return {
        "ks": (ks, np.asarray(nulls.ks_p(ks, spread * effects.ks))),
        "shift": (shift, np.asarray(nulls.shift_p(shift, rank_deviation(reference), spread * effects.shift))),
    }


def _missing(column: Column, windows: Ints) -> Score:
    rows, m = int(windows[0].sum()), int(column.reference.sum())
    before, now = column.reference[-1] / m, windows[:, -1] / rows
    spread = _spread(column, rows, m) * column.dependence.missing
    z = nulls.share_z(now, nulls.expected_share(before, m), spread)
    return np.abs(now - before), np.asarray(2 * ndtr(-np.abs(z)))


def _upper(column: Column, inside: Ints, reference: int, windows: Ints) -> Score:
    rows, m = windows[:, :-1].sum(axis=1), int(column.reference[:-1].sum())
    if not m or not rows.all():
        return np.zeros(len(windows)), np.ones(len(windows))
    share = inside / rows
    effect = column.dependence.outer
    expected = nulls.expected_share(reference / m, m, UPPER_PSEUDO_ROWS * effect)
    return share, np.asarray(ndtr(-np.asarray(nulls.share_z(share, expected, _spread(column, rows, m) * effect))))

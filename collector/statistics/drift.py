"""How far a window's column lies from its reference: Kolmogorov-Smirnov, PSI, Jensen-Shannon, missing, unseen, out of range.

``feature_drift`` works on the bin counts that every prediction was counted into, so that any window costs the same.
``numeric_drift`` and ``categorical_drift`` work on raw samples, with the same definitions. Nothing here judges: see
``collector.statistics.verdict``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import kolmogorov

from storage.layouts import bin_indices, build_layout, numbers
from storage.records import Bins, Feature, FeatureType, Floats, Ints, Scalar, Signature, Task

GROUPS = 10
"""Groups of about equal reference mass that PSI and Jensen-Shannon compare."""
RARE_SHARE = 0.01
"""Categories below this share of the reference are compared together with those that have no bin of their own."""
LEAST_GROUP_ROWS = 10
"""Categories with fewer reference rows are compared together, too: by chance some of them are far too frequent in it."""
EMPTY_GROUP_ROWS = 0.5
"""What an empty group counts as in PSI: half a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureDrift:
    """What one column's window holds against its reference. None: not applicable, or nothing to compute it from.

    ``n_*`` count all rows, ``present_*`` those that are not missing. Shares of missing are of all rows, shares of
    unseen (categories) and out of range (numbers) of the present ones. ``group_shares`` are the reference's shares of
    the groups that PSI and Jensen-Shannon compared.
    """

    n_reference: int
    n_current: int
    present_reference: int
    present_current: int
    is_categorical: bool = False
    ks: float | None = None
    ks_p: float | None = None
    psi: float | None = None
    js: float | None = None
    missing_reference: float | None = None
    missing_current: float | None = None
    unseen_share: float | None = None
    unseen_reference: float | None = None
    out_of_range_share: float | None = None
    out_of_range_reference: float | None = None
    group_shares: tuple[float, ...] = ()


# ---------------------------------------------------------------------------------------------- from counts


def feature_drift(bins: Bins, reference: Ints, current: Ints) -> FeatureDrift:
    """Every statistic of one column from two int64 (bins.size,) counts of the same bins.

    An empty side leaves what needs it None. A column that is all missing on one side has no KS, while PSI and
    Jensen-Shannon see the missing group and are large: an empty column is a result.

    >>> bins = Bins(name="x", edges=(0.0, 1.0, 2.0, 3.0))
    >>> drift = feature_drift(bins, np.array([0, 40, 40, 20, 0, 0]), np.array([0, 10, 40, 45, 0, 5]))
    >>> round(drift.ks, 4), drift.missing_current, drift.out_of_range_share
    (0.2947, 0.05, 0.0)
    """
    n_reference, n_current = int(reference.sum()), int(current.sum())
    present = FeatureDrift(
        n_reference=n_reference,
        n_current=n_current,
        present_reference=n_reference - int(reference[-1]),
        present_current=n_current - int(current[-1]),
        is_categorical=bins.is_categorical,
        missing_reference=_share(int(reference[-1]), n_reference),
        missing_current=_share(int(current[-1]), n_current),
    )
    drift = _with_groups(present, *grouped(bins, reference, current))
    return _with_categories(drift, reference, current) if bins.is_categorical else _with_numbers(drift, reference, current)


def _with_groups(drift: FeatureDrift, reference: Ints, current: Ints) -> FeatureDrift:
    if not drift.n_reference or not drift.n_current:
        return drift
    return replace(
        drift,
        psi=psi(reference, current),
        js=js_distance(reference, current),
        group_shares=tuple((reference / drift.n_reference).tolist()),
    )


def _with_categories(drift: FeatureDrift, reference: Ints, current: Ints) -> FeatureDrift:
    return replace(
        drift,
        unseen_share=_share(int(current[-2]), drift.present_current),
        unseen_reference=_share(int(reference[-2]), drift.present_reference),
    )


def _with_numbers(drift: FeatureDrift, reference: Ints, current: Ints) -> FeatureDrift:
    ks = ks_statistic(reference[:-1], current[:-1])
    return replace(
        drift,
        ks=ks,
        ks_p=None if ks is None else ks_p_value(ks, drift.present_reference, drift.present_current),
        out_of_range_share=_share(int(current[0] + current[-2]), drift.present_current),
        out_of_range_reference=_share(int(reference[0] + reference[-2]), drift.present_reference),
    )


def _share(count: int, total: int) -> float | None:
    return count / total if total else None


# ---------------------------------------------------------------------------------------------- groups


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


def _filled(group: Ints, known: np.typing.NDArray[np.bool_]) -> Ints:
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


# ---------------------------------------------------------------------------------------------- statistics


def psi(reference: Ints, current: Ints) -> float | None:
    """Population stability index ``sum((c - r) ln(c / r))`` over the shares of two counts of the same groups.

    An empty group counts as half a row of its own side; shares are not normalised again. Without drift its mean is
    about ``(groups - 1) (1/n + 1/m)``: it needs a threshold that knows n and m. None where a side is empty.
    Source: Kullback and Leibler's symmetric divergence J; null distribution: Yurdakul and Naranjo (2020),
    https://doi.org/10.1515/jds-2020-0012.

    >>> round(psi(np.array([50, 50]), np.array([60, 40])), 4)
    0.0405
    """
    if not reference.sum() or not current.sum():
        return None
    r = np.maximum(reference, EMPTY_GROUP_ROWS) / reference.sum()
    c = np.maximum(current, EMPTY_GROUP_ROWS) / current.sum()
    used = (reference > 0) | (current > 0)
    return float(np.sum(((c - r) * np.log(c / r))[used]))


def js_distance(reference: Ints, current: Ints) -> float | None:
    """Jensen-Shannon distance: the square root of the divergence in bits, from 0 (same shares) to 1 (no overlap).

    ``sqrt(H((r + c) / 2) - (H(r) + H(c)) / 2)`` with entropies to base 2; empty groups add nothing. None where a
    side is empty. Source: Lin (1991), https://doi.org/10.1109/18.61115; as ``scipy.spatial.distance.jensenshannon``
    with ``base=2``.

    >>> js_distance(np.array([1, 0]), np.array([0, 1]))
    1.0
    """
    if not reference.sum() or not current.sum():
        return None
    r, c = reference / reference.sum(), current / current.sum()
    middle = (r + c) / 2
    return float(np.sqrt(max(0.0, (_relative_entropy(r, middle) + _relative_entropy(c, middle)) / 2)))


def _relative_entropy(p: Floats, q: Floats) -> float:
    held = p > 0
    return float(np.sum(p[held] * np.log2(p[held] / q[held])))


def ks_statistic(reference: Ints, current: Ints) -> float | None:
    """Kolmogorov-Smirnov distance of two counts of the same ordered bins: the largest gap of the cumulative shares.

    It looks at the ends of bins only and is therefore at most the exact distance, and below it by at most
    ``ks_error_bound``. None where a side is empty.

    >>> ks_statistic(np.array([5, 5]), np.array([2, 8]))
    0.3
    """
    if not reference.sum() or not current.sum():
        return None
    return float(np.abs(_gaps(reference, current)).max())


def ks_error_bound(reference: Ints, current: Ints) -> float:
    """How much the exact distance can exceed ``ks_statistic`` of the same bins.

    Within a bin that starts with gap g, ends with gap h and holds shares r and c, the gap can rise to
    ``min(g + r, h + c)`` and fall to ``max(g - c, h - r)``. With 120 quantile bins of a continuous reference this is
    at most 1/120 and mostly far less.

    >>> round(ks_error_bound(np.array([5, 5]), np.array([2, 8])), 2)
    0.5
    """
    statistic = ks_statistic(reference, current)
    if statistic is None:
        return 0.0
    r, c = reference / reference.sum(), current / current.sum()
    ends = _gaps(reference, current)
    starts = np.concatenate(([0.0], ends[:-1]))
    highest = np.minimum(starts + r, ends + c).max()
    lowest = np.maximum(starts - c, ends - r).min()
    return float(max(0.0, highest - statistic, -lowest - statistic))


def _gaps(reference: Ints, current: Ints) -> Floats:
    return np.asarray(np.cumsum(reference) / reference.sum() - np.cumsum(current) / current.sum())


def ks_p_value(statistic: float, n: int, m: int) -> float:
    """Probability of a distance of at least ``statistic`` without drift: Kolmogorov's limit with ``n m / (n + m)``.

    Too large (never too small) where values tie or the statistic comes from bins.

    >>> round(ks_p_value(0.192, 100, 100), 3)
    0.05
    """
    return float(kolmogorov(statistic * np.sqrt(n * m / (n + m))))


# ---------------------------------------------------------------------------------------------- from raw samples


def numeric_drift(reference: Sequence[Scalar] | Floats, current: Sequence[Scalar] | Floats) -> FeatureDrift:
    """``feature_drift`` of two raw samples, with the exact Kolmogorov-Smirnov distance; NaN and None are missing.

    PSI and Jensen-Shannon equal the binned ones where the bins were made from this reference.

    >>> drift = numeric_drift([1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 5.0, None])
    >>> round(drift.ks, 4), drift.missing_current, round(drift.out_of_range_share, 4)
    (0.5, 0.25, 0.3333)
    """
    left, right = numbers(reference), numbers(current)
    drift = _binned(left, right, FeatureType.NUMBER)
    statistic = exact_ks(left[~np.isnan(left)], right[~np.isnan(right)])
    if statistic is None:
        return drift
    return replace(drift, ks=statistic, ks_p=ks_p_value(statistic, drift.present_reference, drift.present_current))


def categorical_drift(reference: Sequence[Scalar], current: Sequence[Scalar]) -> FeatureDrift:
    """``feature_drift`` of two raw samples of categories; None is missing.

    >>> categorical_drift(["a", "b", "a", "b"], ["a", "c", None, "a"]).unseen_share
    0.3333333333333333
    """
    return _binned(reference, current, FeatureType.CATEGORY)


def exact_ks(reference: Floats, current: Floats) -> float | None:
    """The largest gap between the empirical distribution functions of two samples without NaN; None where one is empty."""
    if not reference.size or not current.size:
        return None
    left, right = np.sort(reference), np.sort(current)
    values = np.concatenate((left, right))
    gaps = np.searchsorted(left, values, side="right") / left.size - np.searchsorted(right, values, side="right") / right.size
    return float(np.abs(gaps).max())


def _binned(reference: Sequence[Scalar] | Floats, current: Sequence[Scalar] | Floats, kind: FeatureType) -> FeatureDrift:
    bins = reference_bins(reference, kind)
    counts = [np.bincount(bin_indices(bins, values), minlength=bins.size) for values in (reference, current)]
    return feature_drift(bins, counts[0], counts[1])


def reference_bins(reference: Sequence[Scalar] | Floats, kind: FeatureType = FeatureType.NUMBER) -> Bins:
    """The bins that registration would make for this reference column."""
    feature = Feature(name="", type=kind, missing_allowed=True)
    signature = Signature(task=Task.REGRESSION, features=(feature,))
    return build_layout("", signature, [reference], np.zeros(0)).features[0]  # type: ignore[list-item]

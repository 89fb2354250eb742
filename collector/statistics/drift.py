"""How far a window's column lies from its reference: every statistic of one column in one value, ``FeatureDrift``.

``feature_drift`` works on the bin counts that every prediction was counted into, so that any window costs the same;
``collector.statistics.layout_drift`` does so for all columns of a model at once. ``numeric_drift`` and
``categorical_drift`` work on raw samples, with the same definitions. Nothing here judges: see
``collector.statistics.verdict``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from collector.statistics.distances import (
    EMPTY_GROUP_ROWS,
    hellinger_rows,
    homogeneity,
    js_distance,
    kl_rows,
    number_or_none,
    psi,
    total_variation_rows,
)
from collector.statistics.groups import GROUPS, RARE_SHARE, grouped, psi_groups
from collector.statistics.ordered import ks_error_bound, ks_p_value, ks_statistic, shift, single_values, transport
from collector.statistics.samples import anderson_darling, cramer_von_mises, deviation, exact_ks, exact_wasserstein
from storage.layouts import bin_indices, build_layout, numbers
from storage.records import Bins, Feature, FeatureType, Floats, Ints, Scalar, Signature, Task

__all__ = [
    "EMPTY_GROUP_ROWS",
    "GROUPS",
    "RARE_SHARE",
    "FeatureDrift",
    "categorical_drift",
    "exact_ks",
    "feature_drift",
    "grouped",
    "js_distance",
    "ks_error_bound",
    "ks_p_value",
    "ks_statistic",
    "means_distance",
    "numeric_drift",
    "psi",
    "psi_groups",
    "reference_bins",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureDrift:
    """What one column's window holds against its reference. None: not applicable, or nothing to compute it from.

    ``n_*`` count all rows, ``present_*`` those that are not missing. Shares of missing are of all rows, shares of
    unseen (categories) and out of range (numbers) of the present ones. ``group_shares`` are the reference's shares of
    the groups that PSI and the other distances compared; missing is one of the groups.

    ``psi`` and ``kl`` (of the window from the reference) are in nats, ``js`` is the distance to base 2; ``hellinger``
    and ``total_variation`` are from 0 to 1. ``chi2`` and ``g`` test categories. ``mean_shift`` (with sign) and
    ``wasserstein`` are in standard deviations of the reference, of finite numbers. ``anderson_darling`` and
    ``cramer_von_mises`` come from raw samples only.
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
    kl: float | None = None
    hellinger: float | None = None
    total_variation: float | None = None
    chi2: float | None = None
    chi2_p: float | None = None
    g: float | None = None
    g_p: float | None = None
    mean_shift: float | None = None
    wasserstein: float | None = None
    anderson_darling: float | None = None
    anderson_darling_p: float | None = None
    cramer_von_mises: float | None = None
    cramer_von_mises_p: float | None = None
    missing_reference: float | None = None
    missing_current: float | None = None
    unseen_share: float | None = None
    unseen_reference: float | None = None
    out_of_range_share: float | None = None
    out_of_range_reference: float | None = None
    group_shares: tuple[float, ...] = ()


# ---------------------------------------------------------------------------------------------- from counts


def feature_drift(
    bins: Bins,
    reference: Ints,
    current: Ints,
    reference_moments: Floats | None = None,
    current_moments: Floats | None = None,
) -> FeatureDrift:
    """Every statistic of one column from two int64 (bins.size,) counts of the same bins.

    ``mean_shift`` and ``wasserstein`` also need the moments (n, sum, sum of squares) of both sides, float64 (3,) each.
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
    if bins.is_categorical:
        return _with_unseen(drift, reference, current)
    drift = _with_numbers(drift, bins, reference, current)
    if reference_moments is None or current_moments is None:
        return drift
    return _with_moments(drift, bins, reference[:-1], current[:-1], reference_moments, current_moments)


def _with_groups(drift: FeatureDrift, reference: Ints, current: Ints) -> FeatureDrift:
    if not drift.n_reference or not drift.n_current:
        return drift
    distances = replace(
        drift,
        psi=psi(reference, current),
        js=js_distance(reference, current),
        kl=number_or_none(kl_rows(reference, current)),
        hellinger=number_or_none(hellinger_rows(reference, current)),
        total_variation=number_or_none(total_variation_rows(reference, current)),
        group_shares=tuple((reference / drift.n_reference).tolist()),
    )
    return _with_tests(distances, reference, current) if drift.is_categorical else distances


def _with_tests(drift: FeatureDrift, reference: Ints, current: Ints) -> FeatureDrift:
    found = homogeneity(reference, current)
    return replace(
        drift,
        chi2=number_or_none(found.chi2),
        chi2_p=number_or_none(found.chi2_p),
        g=number_or_none(found.g),
        g_p=number_or_none(found.g_p),
    )


def _with_unseen(drift: FeatureDrift, reference: Ints, current: Ints) -> FeatureDrift:
    return replace(
        drift,
        unseen_share=_share(int(current[-2]), drift.present_current),
        unseen_reference=_share(int(reference[-2]), drift.present_reference),
    )


def _with_numbers(drift: FeatureDrift, bins: Bins, reference: Ints, current: Ints) -> FeatureDrift:
    ks = ks_statistic(reference[:-1], current[:-1])
    outside = [0, -2] if bins.edges else [0]  # without edges the one bin is below and above at once
    return replace(
        drift,
        ks=ks,
        ks_p=None if ks is None else ks_p_value(ks, drift.present_reference, drift.present_current),
        out_of_range_share=_share(int(current[outside].sum()), drift.present_current),
        out_of_range_reference=_share(int(reference[outside].sum()), drift.present_reference),
    )


def _with_moments(
    drift: FeatureDrift, bins: Bins, reference: Ints, current: Ints, reference_moments: Floats, current_moments: Floats
) -> FeatureDrift:
    drift = replace(drift, mean_shift=number_or_none(shift(reference_moments, current_moments).mean))
    if not bins.edges:
        return drift
    edges, single = np.asarray(bins.edges), single_values(bins)
    moved = transport(edges, single, reference, current, reference_moments, current_moments)
    return replace(drift, wasserstein=number_or_none(moved.estimate))


def _share(count: int, total: int) -> float | None:
    return count / total if total else None


def means_distance(drifts: Iterable[FeatureDrift]) -> float | None:
    """Euclidean distance of the means of all numeric columns, each in deviations of its reference; None without any.

    ``sqrt(sum(mean_shift^2))``, exact from rollups but for rounding. Without drift its square is about
    ``columns (1/n + 1/m)``.

    >>> shifts = [FeatureDrift(n_reference=9, n_current=9, present_reference=9, present_current=9, mean_shift=x) for x in (3.0, -4.0)]
    >>> means_distance(shifts)
    5.0
    """
    shifts = [drift.mean_shift for drift in drifts if drift.mean_shift is not None]
    return math.hypot(*shifts) if shifts else None


# ---------------------------------------------------------------------------------------------- from raw samples


def numeric_drift(reference: Sequence[Scalar] | Floats, current: Sequence[Scalar] | Floats) -> FeatureDrift:
    """``feature_drift`` of two raw samples, with the exact statistics of ``samples``; NaN and None are missing.

    PSI and the other distances equal the binned ones where the bins were made from this reference.

    >>> drift = numeric_drift([1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 5.0, None])
    >>> round(drift.ks, 4), drift.missing_current, round(drift.out_of_range_share, 4)
    (0.5, 0.25, 0.3333)
    """
    left, right = numbers(reference), numbers(current)
    drift = _binned(left, right, FeatureType.NUMBER)
    left, right = left[~np.isnan(left)], right[~np.isnan(right)]
    statistic = exact_ks(left, right)
    if statistic is None:
        return drift
    mises, anderson = cramer_von_mises(left, right), anderson_darling(left, right)
    return replace(
        drift,
        ks=statistic,
        ks_p=ks_p_value(statistic, drift.present_reference, drift.present_current),
        mean_shift=_mean_shift(left[np.isfinite(left)], right[np.isfinite(right)]),
        wasserstein=exact_wasserstein(left, right),
        anderson_darling=anderson and anderson[0],
        anderson_darling_p=anderson and anderson[1],
        cramer_von_mises=mises and mises[0],
        cramer_von_mises_p=mises and mises[1],
    )


def _mean_shift(reference: Floats, current: Floats) -> float | None:
    if not reference.size or not current.size:
        return None
    with np.errstate(all="ignore"):
        return number_or_none((current.mean() - reference.mean()) / deviation(reference))


def categorical_drift(reference: Sequence[Scalar], current: Sequence[Scalar]) -> FeatureDrift:
    """``feature_drift`` of two raw samples of categories; None is missing.

    >>> categorical_drift(["a", "b", "a", "b"], ["a", "c", None, "a"]).unseen_share
    0.3333333333333333
    """
    return _binned(reference, current, FeatureType.CATEGORY)


def _binned(reference: Sequence[Scalar] | Floats, current: Sequence[Scalar] | Floats, kind: FeatureType) -> FeatureDrift:
    bins = reference_bins(reference, kind)
    counts = [np.bincount(bin_indices(bins, values), minlength=bins.size) for values in (reference, current)]
    return feature_drift(bins, counts[0], counts[1])


def reference_bins(reference: Sequence[Scalar] | Floats, kind: FeatureType = FeatureType.NUMBER) -> Bins:
    """The bins that registration would make for this reference column."""
    feature = Feature(name="", type=kind, missing_allowed=True)
    signature = Signature(task=Task.REGRESSION, features=(feature,))
    return build_layout("", signature, [reference], np.zeros(0)).features[0]  # type: ignore[list-item]

"""``feature_drift`` for all columns of a model at once: the same numbers, in a few milliseconds for hundreds of columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import kolmogorov

from collector.statistics.distances import hellinger_rows, homogeneity, js_rows, kl_rows, psi_rows, total_variation_rows
from collector.statistics.drift import FeatureDrift
from collector.statistics.groups import category_groups, number_groups
from collector.statistics.ordered import ks_rows, shift, single_values, transport
from storage.records import Bins, Floats, Ints, Layout


def layout_drift(
    layout: Layout,
    reference: Ints,
    current: Ints,
    reference_moments: Floats | None = None,
    current_moments: Floats | None = None,
) -> list[FeatureDrift]:
    """One ``FeatureDrift`` per feature of the layout, in its order, equal to those of ``feature_drift``.

    ``reference`` and ``current`` are the ``bins`` of two ``PredictionCounts`` of this layout, int64 (layout_size,), the
    moments their ``moments``, float64 (numeric features + 1, 3); what stands after the features (the score) is ignored.

    >>> bins = Bins(name="x", edges=(0.0, 1.0, 2.0, 3.0))
    >>> layout = Layout(model="m", features=(bins,), score=Bins(name=""), classes=())
    >>> [found] = layout_drift(layout, np.array([0, 40, 40, 20, 0, 0]), np.array([0, 10, 40, 45, 0, 5]))
    >>> round(found.ks, 4), found.missing_current
    (0.2947, 0.05)
    """
    starts = np.cumsum([0, *(bins.size for bins in layout.features)])
    found: list[FeatureDrift | None] = [None] * len(layout.features)
    for is_categorical in (False, True):
        chosen = [index for index, bins in enumerate(layout.features) if bins.is_categorical is is_categorical]
        if not chosen:
            continue
        table = _table([layout.features[index] for index in chosen], starts[chosen], reference, current)
        columns = _shared_columns(table)
        if is_categorical:
            columns |= _category_columns(table)
        else:
            columns |= _number_columns(table)
            if reference_moments is not None and current_moments is not None:
                moments = reference_moments[: len(chosen)], current_moments[: len(chosen)]
                columns |= _moment_columns(table, *moments)
        for index, drift in zip(chosen, _drifts(columns, is_categorical), strict=True):
            found[index] = drift
    return [drift for drift in found if drift is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """Columns of one kind, one row each: the present bins as (columns, most bins), the last bin of each column last.

    In between, where a column has fewer bins than the widest, counts are 0. ``groups`` has the missing group last.
    """

    bins: list[Bins]
    reference: Ints
    current: Ints
    missing_reference: Ints
    missing_current: Ints
    grouped_reference: Ints
    grouped_current: Ints


def _table(bins: list[Bins], starts: Ints, reference: Ints, current: Ints) -> _Table:
    sizes = np.array([column.size for column in bins])
    positions, last = np.arange(sizes.max() - 1), starts + sizes - 2
    inside = positions < (sizes - 2)[:, None]
    taken = np.where(inside, starts[:, None] + positions, 0)
    taken[:, -1] = last
    inside[:, -1] = True
    left, right = np.where(inside, reference[taken], 0), np.where(inside, current[taken], 0)
    groups = category_groups(left) if bins[0].is_categorical else number_groups(left)
    return _Table(
        bins=bins,
        reference=left,
        current=right,
        missing_reference=reference[last + 1],
        missing_current=current[last + 1],
        grouped_reference=_by_group(groups, left, reference[last + 1]),
        grouped_current=_by_group(groups, right, current[last + 1]),
    )


def _by_group(groups: Ints, present: Ints, missing: Ints) -> Ints:
    rows, width = groups.shape[0], int(groups.max()) + 1
    flat = (groups + np.arange(rows)[:, None] * width).ravel()
    summed = np.bincount(flat, weights=present.ravel(), minlength=rows * width).reshape(rows, width)
    return np.column_stack((summed.astype(np.int64), missing))


def _shared_columns(table: _Table) -> dict[str, Any]:
    left, right = table.grouped_reference, table.grouped_current
    n_reference, n_current = left.sum(axis=1), right.sum(axis=1)
    empty = (n_reference == 0) | (n_current == 0)
    return {
        "n_reference": n_reference.tolist(),
        "n_current": n_current.tolist(),
        "present_reference": (n_reference - table.missing_reference).tolist(),
        "present_current": (n_current - table.missing_current).tolist(),
        "missing_reference": _optional(table.missing_reference / np.where(n_reference, n_reference, np.nan)),
        "missing_current": _optional(table.missing_current / np.where(n_current, n_current, np.nan)),
        "psi": _optional(psi_rows(left, right)),
        "js": _optional(js_rows(left, right)),
        "kl": _optional(kl_rows(left, right)),
        "hellinger": _optional(hellinger_rows(left, right)),
        "total_variation": _optional(total_variation_rows(left, right)),
        "group_shares": _group_shares(left, right, empty),
    }


def _group_shares(left: Ints, right: Ints, empty: np.typing.NDArray[np.bool_]) -> list[tuple[float, ...]]:
    held = left / np.maximum(left.sum(axis=1, keepdims=True), 1)
    used = (left + right > 0) & ~empty[:, None]
    return [tuple(row[kept].tolist()) for row, kept in zip(held, used, strict=True)]


def _category_columns(table: _Table) -> dict[str, Any]:
    tested = homogeneity(table.grouped_reference, table.grouped_current)
    return {
        "chi2": _optional(tested.chi2),
        "chi2_p": _optional(tested.chi2_p),
        "g": _optional(tested.g),
        "g_p": _optional(tested.g_p),
        "unseen_share": _optional(table.current[:, -1] / _present(table.current)),
        "unseen_reference": _optional(table.reference[:, -1] / _present(table.reference)),
    }


def _number_columns(table: _Table) -> dict[str, Any]:
    ks = ks_rows(table.reference, table.current)
    n, m = _present(table.reference), _present(table.current)
    outside = [0, -1] if table.reference.shape[1] > 1 else [0]
    return {
        "ks": _optional(ks),
        "ks_p": _optional(kolmogorov(ks * np.sqrt(n * m / (n + m)))),
        "out_of_range_share": _optional(table.current[:, outside].sum(axis=1) / m),
        "out_of_range_reference": _optional(table.reference[:, outside].sum(axis=1) / n),
    }


def _moment_columns(table: _Table, reference: Floats, current: Floats) -> dict[str, Any]:
    columns = {"mean_shift": _optional(shift(reference, current).mean)}
    width = table.reference.shape[1] - 1
    if not width:
        return columns
    edges = np.full((len(table.bins), width), np.nan)
    for row, bins in zip(edges, table.bins, strict=True):
        if bins.edges:
            row[: len(bins.edges)] = bins.edges
            row[len(bins.edges) :] = bins.edges[-1]
    single = np.array([single_values(bins) for bins in table.bins])
    moved = transport(edges, single, table.reference, table.current, reference, current)
    return columns | {"wasserstein": _optional(moved.estimate)}


def _present(counts: Ints) -> Floats:
    total = counts.sum(axis=1)
    return np.where(total > 0, total, np.nan)


def _optional(values: Floats) -> list[float | None]:
    """NaN and infinities as None."""
    return [value if kept else None for value, kept in zip(values.tolist(), np.isfinite(values).tolist(), strict=True)]


def _drifts(columns: dict[str, Any], is_categorical: bool) -> list[FeatureDrift]:
    names = list(columns)
    return [
        FeatureDrift(is_categorical=is_categorical, **dict(zip(names, row, strict=True)))
        for row in zip(*columns.values(), strict=True)
    ]

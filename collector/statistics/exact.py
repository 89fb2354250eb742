"""Drift from raw rows: one reference, prepared once, against any number of current tables, exact and without sorting them.

The reference of a registered version changes rarely and windows come often, so everything that depends on the reference
alone (its sorted columns, bins, buckets) is done once. The bins are those that registration would make, so that PSI and the
other distances are the same numbers as from rollups; Kolmogorov-Smirnov is exact, not binned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from collector.statistics.buckets import Scratch, SortedColumn, rank, sorted_column
from collector.statistics.distances import number_or_none
from collector.statistics.drift import FeatureDrift, ks_p_value
from collector.statistics.layout_drift import layout_drift
from collector.statistics.samples import anderson_darling, cramer_von_mises, deviation, exact_wasserstein
from storage.layouts import CATEGORIES, NUMERIC_BINS, category_text
from storage.records import Bins, Floats, Ints, Layout

Columns: TypeAlias = Mapping[str, Any] | pd.DataFrame
"""A table: a data frame, or one array or sequence of equal length per column."""
_Column: TypeAlias = "tuple[Bins, pd.Series | None]"


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedReference:
    """A reference ready to be compared with, see ``prepare_reference``. It does not need the table
    any more and can be pickled.

    ``counts``: int64, the reference's counts in ``layout``, column after column. ``numbers`` and ``known`` (the bin of each
    category) per numeric and categorical column, by name.
    """

    layout: Layout
    counts: Ints
    numbers: dict[str, PreparedNumber]
    known: dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedNumber:
    """A numeric column: sorted, with mean and standard deviation of its finite values (NaN without any, or any spread)."""

    column: SortedColumn
    mean: float
    deviation: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counted:
    """One current column: its counts in the reference's bins, and for numbers the exact statistics."""

    counts: Ints
    ks: float | None = None
    mean_shift: float | None = None
    further: dict[str, float | None]


# ---------------------------------------------------------------------------------------------- preparing


def prepare_reference(table: Columns, categorical: Collection[str] = ()) -> PreparedReference:
    """Sort and bin a reference; columns of numbers are numeric unless named in ``categorical``, all others categorical.

    NaN, None and what pandas calls missing are missing; truth values are categories. Integers beyond 2^53 are rounded.
    Raises ``ValueError`` if columns differ in length or share a name.
    """
    series = _series(table)
    numbers: dict[str, PreparedNumber] = {}
    known: dict[str, dict[str, int]] = {}
    bins: list[Bins] = []
    counts: list[Ints] = []
    for name, column in series.items():
        if name not in categorical and _is_numeric(column):
            own, held, numbers[name] = _prepared_number(name, column)
        else:
            own, held = _prepared_category(name, column)
            known[name] = {category: index for index, category in enumerate(own.categories)}
        bins.append(own)
        counts.append(held)
    layout = Layout(model="", features=tuple(bins), score=Bins(name=""), classes=())
    return PreparedReference(layout=layout, counts=np.concatenate([np.zeros(0, np.int64), *counts]), numbers=numbers, known=known)


def _series(table: Columns) -> dict[str, pd.Series]:
    names = [str(name) for name in table]
    columns = [table.iloc[:, index] for index in range(len(names))] if isinstance(table, pd.DataFrame) else table.values()
    found = {name: _as_series(column) for name, column in zip(names, columns, strict=True)}
    if len(found) < len(names) or len({len(column) for column in found.values()}) > 1:
        raise ValueError("the columns of a table must have different names and the same length")
    return found


def _as_series(column: Any) -> pd.Series:
    return column if isinstance(column, pd.Series) else pd.Series(column, copy=False)


def _is_numeric(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype)


def _prepared_number(name: str, column: pd.Series) -> tuple[Bins, Ints, PreparedNumber]:
    ordered = np.sort(_floats(column))  # NaN goes to the end
    ordered = ordered[: ordered.size - np.count_nonzero(np.isnan(ordered))]
    edges = quantile_edges(ordered)
    held = np.diff(np.searchsorted(ordered, edges), prepend=0, append=ordered.size)
    finite = ordered[np.isfinite(ordered)]
    with np.errstate(all="ignore"):
        mean = float(finite.mean()) if finite.size else np.nan
        spread = deviation(finite) if finite.size else np.nan
    prepared = PreparedNumber(column=sorted_column(ordered, edges), mean=mean, deviation=spread)
    return Bins(name=name, edges=tuple(edges.tolist())), np.append(held, len(column) - ordered.size), prepared


def quantile_edges(ordered: Floats) -> Floats:
    """The edges that registration would make of an ascending column without NaN, float64 (k,), by looking up its ranks.

    >>> quantile_edges(np.array([1.0, 1.0, 2.0]))[:2].tolist()
    [1.0, 2.0]
    """
    finite = ordered[np.isfinite(ordered)]
    if not finite.size:
        return finite
    starts = np.append(True, finite[1:] != finite[:-1])
    edges = finite[starts]
    if edges.size > NUMERIC_BINS:
        positions = np.linspace(0, 1, NUMERIC_BINS + 1) * finite.size - 1
        edges = np.unique(finite[np.clip(np.ceil(positions), 0, None).astype(np.int64)])
        edges = edges[:-1] if edges.size > 1 else edges
    with np.errstate(over="ignore"):
        end = np.nextafter(finite[-1], np.inf)
    return np.append(edges, end) if np.isfinite(end) else edges


def _prepared_category(name: str, column: pd.Series) -> tuple[Bins, Ints]:
    counted, missing = _categories(column)
    frequent = sorted(counted, key=lambda category: (-counted[category], category))[:CATEGORIES]
    held = [counted[category] for category in frequent]
    bins = Bins(name=name, categories=tuple(frequent), is_categorical=True)
    return bins, np.array([*held, counted.total() - sum(held), missing], np.int64)


# ---------------------------------------------------------------------------------------------- comparing


def compare(reference: PreparedReference, table: Columns, *, threads: int = 1, further: bool = False) -> dict[str, FeatureDrift]:
    """What ``numeric_drift`` and ``categorical_drift`` give for each column of the reference, by name.

    ``further`` adds what needs the current column sorted: Wasserstein, Cramér-von Mises and Anderson-Darling, which
    are None otherwise. A column that the table lacks is missing in every row, and so is a value of a numeric column that is
    no number; columns that the reference lacks are left out. Raises ``ValueError`` if columns differ in length.

    >>> reference = prepare_reference({"x": np.arange(100.0), "c": ["a", "b"] * 50})
    >>> found = compare(reference, {"x": np.arange(50.0, 150.0), "c": ["a"] * 99 + ["new"]})
    >>> found["x"].ks, found["x"].out_of_range_share, found["c"].unseen_share
    (0.5, 0.5, 0.01)
    """
    series = _series(table)
    rows = len(next(iter(series.values()), ()))
    columns = [(bins, series.get(bins.name)) for bins in reference.layout.features]

    def count(part: Sequence[_Column]) -> list[_Counted]:
        scratch = Scratch.of(rows)
        return [_count_column(reference, bins, column, rows, scratch, further) for bins, column in part]

    counted = _in_threads(count, columns, threads)
    current = np.concatenate([np.zeros(0, np.int64), *(found.counts for found in counted)])
    drifts = layout_drift(reference.layout, reference.counts, current)
    names = [bins.name for bins in reference.layout.features]
    return {name: _exact(drift, found) for name, drift, found in zip(names, drifts, counted, strict=True)}


def _in_threads(count: Callable[[Sequence[_Column]], list[_Counted]], columns: Sequence[_Column], threads: int) -> list[_Counted]:
    """numpy lets go of the interpreter while it works on a column, so that threads can share the columns."""
    if threads < 2:
        return count(columns)
    found: dict[int, _Counted] = {}
    with ThreadPoolExecutor(threads) as pool:
        for first, part in enumerate(pool.map(count, [columns[first::threads] for first in range(threads)])):
            found |= {first + threads * index: one for index, one in enumerate(part)}
    return [found[index] for index in range(len(columns))]


def _count_column(
    reference: PreparedReference, bins: Bins, column: pd.Series | None, rows: int, scratch: Scratch, further: bool
) -> _Counted:
    if column is None:
        return _all_missing(bins, rows)
    if bins.is_categorical:
        return _counted_category(bins, reference.known[bins.name], column)
    return _counted_number(reference.numbers[bins.name], column, scratch, further)


def _exact(drift: FeatureDrift, found: _Counted) -> FeatureDrift:
    if drift.is_categorical:
        return drift
    p = None if found.ks is None else ks_p_value(found.ks, drift.present_reference, drift.present_current)
    further: dict[str, Any] = dict(found.further)
    return replace(drift, ks=found.ks, ks_p=p, mean_shift=found.mean_shift, **further)


def _all_missing(bins: Bins, rows: int) -> _Counted:
    counts = np.zeros(bins.size, np.int64)
    counts[-1] = rows
    return _Counted(counts=counts, further={})


def _counted_number(reference: PreparedNumber, column: pd.Series, scratch: Scratch, further: bool) -> _Counted:
    values = _floats(column)
    with np.errstate(all="ignore"):
        total, finite = values.sum(), values.size
        if not np.isfinite(total):  # NaN, infinities, or numbers so large that their sum is none
            values = values[~np.isnan(values)]
            total, finite = values[np.isfinite(values)].sum(), int(np.count_nonzero(np.isfinite(values)))
        shift = (total / finite - reference.mean) / reference.deviation if finite else np.nan
    ranked = rank(reference.column, values, scratch)
    held = np.diff(ranked.below_edges, prepend=0, append=values.size)
    return _Counted(
        counts=np.append(held, len(column) - values.size),
        ks=ranked.ks,
        mean_shift=number_or_none(shift),
        further=_further(reference.column.ordered, values) if further else {},
    )


def _further(ordered: Floats, values: Floats) -> dict[str, float | None]:
    mises = cramer_von_mises(ordered, values) or (None, None)
    anderson = anderson_darling(ordered, values) or (None, None)
    return {
        "wasserstein": exact_wasserstein(ordered, values),
        "cramer_von_mises": mises[0],
        "cramer_von_mises_p": mises[1],
        "anderson_darling": anderson[0],
        "anderson_darling_p": anderson[1],
    }


def _counted_category(bins: Bins, known: Mapping[str, int], column: pd.Series) -> _Counted:
    counted, missing = _categories(column)
    counts = np.zeros(bins.size, np.int64)
    counts[-1] = missing
    for category, held in counted.items():
        counts[known.get(category, len(known))] += held
    return _Counted(counts=counts, further={})


# ---------------------------------------------------------------------------------------------- columns


def _floats(column: pd.Series) -> Floats:
    """A column as contiguous float64, missing values and what is no number as NaN."""
    if column.dtype == np.float64:
        return np.ascontiguousarray(column.to_numpy())
    if not _is_numeric(column):
        column = pd.to_numeric(column, errors="coerce")
    return np.ascontiguousarray(column.to_numpy(dtype=np.float64, na_value=np.nan))


def _categories(column: pd.Series) -> tuple[Counter[str], int]:
    """Rows by category text, and missing rows."""
    if column.dtype == object and pd.api.types.infer_dtype(column, skipna=True).startswith("mixed"):
        # Hash tables take True and 1 for one value; as texts they are two.
        present = column[column.notna()]
        return Counter(category_text(value) for value in present), len(column) - len(present)
    held = column.value_counts(sort=False)
    counted: Counter[str] = Counter()
    for value, rows in _pairs(held):
        counted[category_text(value)] += rows
    return counted, len(column) - counted.total()


def _pairs(held: pd.Series) -> Iterable[tuple[Any, int]]:
    """Categories that occur, as pandas also lists those that do not."""
    return ((value, rows) for value, rows in zip(held.index.tolist(), held.tolist(), strict=True) if rows)

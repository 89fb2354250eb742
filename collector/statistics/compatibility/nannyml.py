"""Univariate drift as NannyML 0.13.1 defines it: a distance per chunk of the current data, and an alert above what the
reference's own chunks show.

The reference's chunks are compared with the whole reference, themselves included, which makes the thresholds too low; this
is reproduced. NannyML has no verdict on a column or on a dataset, only alerts on chunks. Read from its source
(``nannyml.drift.univariate``) and checked against its output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from pandas.api import types
from scipy.stats import chi2_contingency, ks_2samp, wasserstein_distance

from collector.statistics.compatibility.columns import NotComparable, as_codes, as_numbers, bin_edges, jensen_shannon
from storage.records import Floats, Ints

DEFAULT_METHOD = "jensen_shannon"
CHUNKS = 10
DEVIATIONS = 3
ESTIMATED_FROM = 10_000
"""Reference rows from which Kolmogorov-Smirnov and Wasserstein are estimated on bins."""
ESTIMATE_BINS = 10_000
CHI2_LEVEL = 0.05

Rows: TypeAlias = np.typing.NDArray[Any]
"""Rows of one column: float64 with NaN for missing, or int64 codes of categories with -1 for missing."""
Method: TypeAlias = Callable[[Rows], tuple[float, bool | None]]
"""From present rows, at least one, to the score, and to the alert where the method has no threshold for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodDrift:
    """One method on one column.

    ``score`` is of all current rows taken as one chunk. ``chunk_scores`` and ``alerts`` are of the chunks, in the order of
    the rows; a chunk that is all missing has no score. ``threshold`` is for the scores of chunks (for ``chi2``: the level of
    their p-values); None where a chunk of the reference has no score: NannyML gives no alert then.
    """

    method: str
    score: float
    threshold: float | None
    chunk_scores: tuple[float | None, ...]
    alerts: tuple[bool, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnDrift:
    """A column by NannyML's default method, and by every method that it allows for the column's type."""

    is_categorical: bool
    result: MethodDrift
    methods: tuple[MethodDrift, ...]


def is_categorical(column: pd.Series[Any]) -> bool:
    """NannyML goes by the dtype of the reference alone: texts, categories and booleans are categorical, all numbers continuous.

    >>> is_categorical(pd.Series(["a"])), is_categorical(pd.Series([True])), is_categorical(pd.Series([1, 2]))
    (True, True, False)
    """
    return not types.is_numeric_dtype(column.dtype) or types.is_bool_dtype(column.dtype)


def column_drift(reference: pd.Series[Any], current: pd.Series[Any], chunk_number: int = CHUNKS) -> ColumnDrift:
    """Every method of one column, its rows in the order of time. Missing values are dropped within each chunk.

    Raises NotComparable where NannyML fails or gives nothing: a side without values, infinities in the reference, text where
    numbers were.

    >>> drift = column_drift(pd.Series(np.arange(1000.0) % 97), pd.Series(np.arange(1000.0) % 97 + 40))
    >>> drift.result.method, all(drift.result.alerts)
    ('jensen_shannon', True)
    """
    if types.is_datetime64_any_dtype(reference.dtype):
        raise NotComparable("Columns of times are not compared in this mode.")
    categorical = is_categorical(reference)
    left, right, levels = as_codes(reference, current) if categorical else (as_numbers(reference), as_numbers(current), 0)
    for rows, side in ((left, "reference"), (right, "current")):
        if not _present(rows).size:
            raise NotComparable(f"It is empty in the {side} data, for which NannyML has no score.")
    methods = _categorical_methods(_present(left), levels) if categorical else _continuous_methods(_present(left))
    tried = (_by_chunks(name, method, left, right, chunk_number) for name, method in methods.items())
    found = tuple(drift for drift in tried if np.isfinite(drift.score))
    result = next((drift for drift in found if drift.method == DEFAULT_METHOD), None)
    if result is None:
        raise NotComparable("Its numbers are too large for a distance.")
    return ColumnDrift(is_categorical=categorical, result=result, methods=found)


def _present(rows: Rows) -> Rows:
    return rows[rows >= 0] if rows.dtype == np.int64 else rows[~np.isnan(rows)]


def _by_chunks(name: str, method: Method, reference: Rows, current: Rows, number: int) -> MethodDrift:
    upper = upper_threshold([_score(method, chunk)[0] for chunk in chunks(reference, number)])
    found = [_score(method, chunk) for chunk in chunks(current, number)]
    return MethodDrift(
        method=name,
        score=method(_present(current))[0],
        threshold=CHI2_LEVEL if name == "chi2" else upper if np.isfinite(upper) else None,
        chunk_scores=tuple(score if np.isfinite(score) else None for score, _ in found),
        alerts=tuple(bool(score > upper) if decided is None else decided for score, decided in found),
    )


def _score(method: Method, chunk: Rows) -> tuple[float, bool | None]:
    present = _present(chunk)
    return method(present) if present.size else (float("nan"), None)


def chunks(rows: Rows, number: int = CHUNKS) -> list[Rows]:
    """Consecutive chunks of ``n // number`` rows; the rest is one more, smaller chunk. Fewer rows than chunks: one row each.

    >>> [len(chunk) for chunk in chunks(np.arange(23), 10)]
    [2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1]
    """
    size = max(1, len(rows) // number)
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def upper_threshold(scores: Sequence[float]) -> float:
    """Mean of the reference's chunks plus 3 population deviations; NaN where one of them has no score.

    >>> round(upper_threshold([1.0, 2.0, 3.0]), 4)
    4.4495
    """
    return float(np.mean(scores) + DEVIATIONS * np.std(scores))


# ---------------------------------------------------------------------------------------------- numbers


def _continuous_methods(reference: Floats) -> dict[str, Method]:
    if not np.isfinite(reference).all():
        raise NotComparable("It holds infinite values in the reference data, for which NannyML fails.")
    edges = bin_edges(reference, "doane")
    shares = np.histogram(reference, edges)[0] / reference.size

    def binned(chunk: Floats) -> tuple[Floats, Floats]:
        return with_leftover(shares, np.histogram(chunk, edges)[0] / chunk.size)

    estimated = reference.size >= ESTIMATED_FROM
    ks = _estimated_ks(reference) if estimated else lambda chunk: ks_2samp(reference, chunk, method="asymp").statistic
    wasserstein = _estimated_wasserstein(reference) if estimated else lambda chunk: wasserstein_distance(reference, chunk)
    return {
        "jensen_shannon": lambda chunk: (_jensen_shannon(*binned(chunk)), None),
        "kolmogorov_smirnov": lambda chunk: (float(ks(chunk)), None),
        "wasserstein": lambda chunk: (float(wasserstein(chunk)), None),
        "hellinger": lambda chunk: (_hellinger(*binned(chunk)), None),
    }


def _estimated_ks(reference: Floats) -> Callable[[Floats], float]:
    """On 10,000 bins of equal width over the reference's range: slightly below the exact statistic."""
    edges = np.linspace(reference.min(), reference.max(), ESTIMATE_BINS + 1)
    expected = np.cumsum(np.histogram(reference, edges)[0] / reference.size)

    def estimate(chunk: Floats) -> float:
        below = np.count_nonzero(chunk < edges[0]) / chunk.size
        return float(np.abs(expected - below - np.cumsum(np.histogram(chunk, edges)[0] / chunk.size)).max())

    return estimate


def _estimated_wasserstein(reference: Floats) -> Callable[[Floats], float]:
    """On the column's own scale, on 10,000 bins of equal width over the reference's range, exact beyond it.

    Where rows lie below the range NannyML counts one more than there are, which shifts the current distribution within the
    range by one row. It is reproduced.
    """
    counts, edges = np.histogram(reference, ESTIMATE_BINS)
    expected, width = np.cumsum(counts / reference.size), edges[1] - edges[0]

    def estimate(chunk: Floats) -> float:
        below, above = chunk[chunk < edges[0]], chunk[chunk > edges[-1]]
        shift = (below.size + 1) / chunk.size if below.size else 0.0
        within = np.abs(expected - np.cumsum(np.histogram(chunk, edges)[0] / chunk.size) - shift).sum() * width
        return float(within + (np.sum(edges[0] - below) + np.sum(above - edges[-1])) / chunk.size)

    return estimate


# ---------------------------------------------------------------------------------------------- categories


def _categorical_methods(reference: Ints, levels: int) -> dict[str, Method]:
    expected = np.bincount(reference, minlength=levels)
    known = expected > 0

    def counted(chunk: Ints) -> Ints:
        return np.bincount(chunk, minlength=levels)

    def shares(chunk: Ints) -> tuple[Floats, Floats]:
        return with_leftover(expected[known] / reference.size, counted(chunk)[known] / chunk.size)

    return {
        "jensen_shannon": lambda chunk: (_jensen_shannon(*shares(chunk)), None),
        "hellinger": lambda chunk: (_hellinger(*shares(chunk)), None),
        "l_infinity": lambda chunk: (float(np.abs(expected / reference.size - counted(chunk) / chunk.size).max()), None),
        "chi2": lambda chunk: _chi2(expected, counted(chunk)),
    }


def _chi2(reference: Ints, current: Ints) -> tuple[float, bool | None]:
    """The two-sample statistic (with Yates' correction for two values); the alert goes by its p-value below 0.05."""
    used = (reference + current) > 0
    found = chi2_contingency(np.array([reference[used], current[used]]))
    return float(found.statistic), bool(found.pvalue < CHI2_LEVEL)


# ---------------------------------------------------------------------------------------------- distances


def with_leftover(reference: Floats, current: Floats) -> tuple[Floats, Floats]:
    """Current shares that fall into no bin of the reference become one bin more, which the reference has nothing in.

    >>> [shares.tolist() for shares in with_leftover(np.array([0.5, 0.5]), np.array([0.5, 0.25]))]
    [[0.5, 0.5, 0.0], [0.5, 0.25, 0.25]]
    """
    leftover = 1 - current.sum()
    return (np.append(reference, 0.0), np.append(current, leftover)) if leftover > 0 else (reference, current)


def _jensen_shannon(reference: Floats, current: Floats) -> float:
    """The distance in bits, 0 to 1."""
    return jensen_shannon(reference, current) / float(np.sqrt(np.log(2)))


def _hellinger(reference: Floats, current: Floats) -> float:
    return float(np.sqrt(np.square(np.sqrt(reference) - np.sqrt(current)).sum() / 2))

"""Drift as Evidently 0.7.23 defines it: which test it chooses for a column, how it bins, fills zeros and decides.

The choice depends on the column's type, its distinct values and the size of the *reference*; the size of the current data
is never looked at. Read from its source (``evidently.legacy.calculations.stattests``) and checked against its output.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types
from scipy import special
from scipy.stats import chisquare, entropy, ks_2samp, wasserstein_distance

from collector.statistics.compatibility.columns import NotComparable, as_codes, as_numbers, bin_edges, jensen_shannon
from storage.records import Floats, Ints

P_VALUE_LEVEL = 0.05
DISTANCE_LIMIT = 0.1
DRIFT_SHARE = 0.5
"""The share of drifted columns from which on the dataset has drifted."""
LARGE_REFERENCE = 1000
"""Rows of the reference above which distances are the default instead of p-values."""
FEW_INTEGERS = 10
"""Whole numbers with at most this many distinct values are categories."""
FEW_VALUES = 5
"""Numbers with at most this many distinct values get a test for categories by default."""
BINNED_FROM = 20
"""Numbers with more distinct reference values than this are binned; others have a bin per value."""
LEAST_SHARE = 1e-4
LEAST_DEVIATION = 1e-3


class ColumnType(StrEnum):
    """Evidently's types of columns."""

    NUMERICAL = "num"
    CATEGORICAL = "cat"
    TEXT = "text"
    DATETIME = "datetime"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One test of one column: its score (a distance or a p-value), the threshold, and what Evidently concludes."""

    test: str
    score: float
    threshold: float
    drifted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnDrift:
    """The verdict on a column by the default test, and the scores of every test that Evidently allows for its type."""

    type: ColumnType
    result: Score
    tests: tuple[Score, ...]


def column_type(column: pd.Series[Any]) -> ColumnType:
    """The type that Evidently gives a column of the *current* data, from its dtype and its distinct values.

    >>> column_type(pd.Series([1, 2, 3])).value, column_type(pd.Series(range(11))).value, column_type(pd.Series([0.5])).value
    ('cat', 'num', 'num')
    """
    dtype = column.dtype
    if types.is_bool_dtype(dtype) or isinstance(dtype, pd.CategoricalDtype):
        return ColumnType.CATEGORICAL
    if types.is_float_dtype(dtype):
        return ColumnType.NUMERICAL
    if types.is_integer_dtype(dtype):
        return ColumnType.CATEGORICAL if column.nunique() <= FEW_INTEGERS else ColumnType.NUMERICAL
    if types.is_datetime64_any_dtype(dtype):
        return ColumnType.DATETIME
    return _type_of_texts(column.dropna())


def _type_of_texts(present: pd.Series[Any]) -> ColumnType:
    if present.empty or not (isinstance(present.iloc[0], str) and isinstance(present.iloc[-1], str)):
        return ColumnType.UNKNOWN
    return ColumnType.TEXT if present.nunique() > present.size / 2 else ColumnType.CATEGORICAL


def column_drift(reference: pd.Series[Any], current: pd.Series[Any]) -> ColumnDrift:
    """Default test, score, threshold and decision for one column, and all other tests of its type.

    Infinities count as missing and missing values are dropped. Raises NotComparable where Evidently raises (a side is
    empty, a number column holds text) and for texts, whose drift it measures by a classifier that is not reproduced.

    >>> column_drift(pd.Series(np.arange(2000.0)), pd.Series(np.arange(2000.0) + 100)).result.test
    'wasserstein'
    """
    kind = column_type(current)
    if kind not in (ColumnType.NUMERICAL, ColumnType.CATEGORICAL):
        raise NotComparable(f"Columns of type {kind} are not compared in this mode.")
    left, right = _cleaned(reference, "reference", kind), _cleaned(current, "current", kind)
    default = default_test(left, right, kind)
    result = score(default, left, right, kind)
    others = (_score_if_any(name, left, right, kind) for name in ALLOWED[kind] if name != default)
    return ColumnDrift(type=kind, result=result, tests=(result, *(other for other in others if other is not None)))


def _score_if_any(test: str, reference: pd.Series[Any], current: pd.Series[Any], kind: ColumnType) -> Score | None:
    """One test that fails takes nothing away from the others."""
    try:
        return score(test, reference, current, kind)
    except NotComparable:
        return None


def _cleaned(column: pd.Series[Any], side: str, kind: ColumnType) -> pd.Series[Any]:
    present = column.dropna()
    if kind is ColumnType.NUMERICAL:
        values = as_numbers(present)
        present = pd.Series(values[np.isfinite(values)])
    if present.empty:
        raise NotComparable(f"It is empty in the {side} data, for which Evidently fails.")
    return present


def default_test(reference: pd.Series[Any], current: pd.Series[Any], kind: ColumnType) -> str:
    """The test that Evidently chooses where none is named; both columns without missing values.

    >>> few, many = pd.Series([0, 1] * 10), pd.Series(np.arange(20.0))
    >>> default_test(few, few, ColumnType.CATEGORICAL), default_test(many, many, ColumnType.NUMERICAL)
    ('z', 'ks')
    """
    distinct = _distinct(reference, current)
    is_spread = kind is ColumnType.NUMERICAL and distinct > FEW_VALUES
    if len(reference) > LARGE_REFERENCE:
        return "wasserstein" if is_spread else "jensenshannon"
    if is_spread:
        return "ks"
    return "chisquare" if distinct > 2 else "z"


def _distinct(reference: pd.Series[Any], current: pd.Series[Any]) -> int:
    """How many distinct values there are; of the first rows only, where these have enough to decide."""
    first = as_codes(reference.head(1000), current.head(1000))[2]
    return first if first > FEW_VALUES else as_codes(reference, current)[2]


def score(test: str, reference: pd.Series[Any], current: pd.Series[Any], kind: ColumnType) -> Score:
    """One named test of two columns without missing values.

    Score and threshold are p-values (drift at or below 0.05 for ``ks``, below it for ``chisquare`` and ``z``) or distances
    (drift from 0.1 on). Raises NotComparable where the value is no number.
    """
    value = _TESTS[test](reference, current, kind)
    if not np.isfinite(value):
        raise NotComparable(f"Its numbers are too large for the test {test}.")
    if test in _LEVELS:
        drifted = value <= P_VALUE_LEVEL if test == "ks" else value < P_VALUE_LEVEL
        return Score(test=test, score=value, threshold=P_VALUE_LEVEL, drifted=drifted)
    return Score(test=test, score=value, threshold=DISTANCE_LIMIT, drifted=value >= DISTANCE_LIMIT)


def dataset_drift(drifted: Sequence[bool]) -> bool:
    """Whether at least half of the columns have drifted.

    >>> dataset_drift([True, False]), dataset_drift([True, False, False])
    (True, False)
    """
    return bool(drifted) and sum(drifted) / len(drifted) >= DRIFT_SHARE


# ---------------------------------------------------------------------------------------------- p-values


def _ks(reference: pd.Series[Any], current: pd.Series[Any], kind: ColumnType) -> float:
    """Two-sample Kolmogorov-Smirnov: exact up to 10,000 rows, the limit above; the p-value alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # where the exact method overflows, scipy says so and takes the limit
        return float(ks_2samp(reference, current).pvalue)


def _chisquare(reference: pd.Series[Any], current: pd.Series[Any], kind: ColumnType) -> float:
    """One-sample chi-squared: the reference's shares are taken for the truth. An unseen category makes it 0."""
    expected, observed = _counts(reference, current)
    with np.errstate(divide="ignore"):
        return float(chisquare(observed, expected * (len(current) / len(reference))).pvalue)


def _z(reference: pd.Series[Any], current: pd.Series[Any], kind: ColumnType) -> float:
    """Two-proportion z with pooled variance, for the share that is not the first of the sorted values."""
    left, right = _counts(reference, current)
    if left.size == 1:
        return 1.0
    n, m = int(left.sum()), int(right.sum())
    share, other = 1 - left[0] / n, 1 - right[0] / m
    pooled = (share * n + other * m) / (n + m)
    z = (share - other) / np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    return float(2 * (1 - special.ndtr(abs(z))))


def _counts(reference: pd.Series[Any], current: pd.Series[Any]) -> tuple[Ints, Ints]:
    """How often each distinct value of either side occurs."""
    left, right, levels = as_codes(reference, current)
    return np.bincount(left, minlength=levels), np.bincount(right, minlength=levels)


# ---------------------------------------------------------------------------------------------- distances


def binned_shares(reference: pd.Series[Any], current: pd.Series[Any], kind: ColumnType) -> tuple[Floats, Floats]:
    """Shares of the same bins: equal widths over the pooled range (Sturges' rule), or one bin per distinct value."""
    if kind is ColumnType.NUMERICAL and reference.nunique() > BINNED_FROM:
        edges = bin_edges(np.concatenate([reference, current]), "sturges")
        left, right = np.histogram(reference, edges)[0], np.histogram(current, edges)[0]
    else:
        left, right = _counts(reference, current)
    return left / len(reference), right / len(current)


def without_zeros(shares: Floats) -> Floats:
    """Zeros become 0.0001, or a millionth of the least other share where that is no larger; nothing is normalised again.

    >>> without_zeros(np.array([0.0, 0.5, 0.5])).tolist(), without_zeros(np.array([0.0, 0.0001])).tolist()
    ([0.0001, 0.5, 0.5], [1e-10, 0.0001])
    """
    least = shares[shares > 0].min()
    return np.where(shares == 0, least / 1e6 if least <= LEAST_SHARE else LEAST_SHARE, shares)


def _psi(reference: pd.Series[Any], current: pd.Series[Any], kind: ColumnType) -> float:
    r, c = map(without_zeros, binned_shares(reference, current, kind))
    return float(np.sum((r - c) * np.log(r / c)))


def _kl_div(reference: pd.Series[Any], current: pd.Series[Any], kind: ColumnType) -> float:
    """``KL(reference || current)`` in nats, normalised after the zeros are filled."""
    r, c = map(without_zeros, binned_shares(reference, current, kind))
    return float(entropy(r, c))


def _jensenshannon(reference: pd.Series[Any], current: pd.Series[Any], kind: ColumnType) -> float:
    """The distance, that is the root of the divergence, in nats: at most 0.8326. Ours, in bits, is 1.2011 times as large."""
    return jensen_shannon(*binned_shares(reference, current, kind))


def _hellinger(reference: pd.Series[Any], current: pd.Series[Any], kind: ColumnType) -> float:
    """Categories: ``sqrt(1 - sum sqrt(r c))``. Numbers: the same of densities over Sturges bins of the *distinct* values."""
    if kind is ColumnType.CATEGORICAL:
        r, c = binned_shares(reference, current, kind)
    else:
        edges = bin_edges(np.union1d(reference, current), "sturges")
        r, c = (
            np.histogram(side, edges, density=True)[0] * (edges[-1] - edges[0]) / (edges.size - 1) for side in (reference, current)
        )
    return float(np.sqrt(1 - np.clip(np.sum(np.sqrt(r * c)), 0, 1)))


def _wasserstein(reference: pd.Series[Any], current: pd.Series[Any], kind: ColumnType) -> float:
    """The distance divided by the reference's deviation (population), which counts as at least 0.001."""
    return float(wasserstein_distance(reference, current) / max(float(np.std(reference.to_numpy())), LEAST_DEVIATION))


_TESTS: dict[str, Callable[[pd.Series[Any], pd.Series[Any], ColumnType], float]] = {
    "ks": _ks,
    "chisquare": _chisquare,
    "z": _z,
    "wasserstein": _wasserstein,
    "jensenshannon": _jensenshannon,
    "psi": _psi,
    "kl_div": _kl_div,
    "hellinger": _hellinger,
}
_LEVELS = {"ks", "chisquare", "z"}
ALLOWED: dict[ColumnType, tuple[str, ...]] = {
    ColumnType.NUMERICAL: ("ks", "wasserstein", "jensenshannon", "psi", "kl_div", "hellinger"),
    ColumnType.CATEGORICAL: ("chisquare", "jensenshannon", "psi", "kl_div", "hellinger"),
}

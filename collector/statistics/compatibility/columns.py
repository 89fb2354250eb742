"""What both compatibility modes share: columns as plain arrays, the Jensen-Shannon distance, and why a column has no result."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from storage.records import Floats, Ints


class NotComparable(Exception):
    """A column for which the library has no result either; the message says why in one sentence."""


def as_numbers(column: pd.Series[Any]) -> Floats:
    """The column as float64 (n,), NaN where missing. Raises NotComparable where a value is no number.

    >>> as_numbers(pd.Series([1, None, 3])).tolist()
    [1.0, nan, 3.0]
    """
    try:
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError, OverflowError):
        raise NotComparable("It holds values that are not numbers.") from None


def as_codes(reference: pd.Series[Any], current: pd.Series[Any]) -> tuple[Ints, Ints, int]:
    """Both columns as positions in their distinct values, int64 (n,) and (m,), -1 where missing, and how many values there are.

    Raises NotComparable for values that cannot be told apart, such as lists.

    >>> [part.tolist() for part in as_codes(pd.Series(["a", "b", "a"]), pd.Series(["b", "c", None]))[:2]]
    [[0, 1, 0], [1, 2, -1]]
    """
    try:
        codes, values = pd.factorize(pd.concat([reference.astype(object), current.astype(object)]))
    except TypeError:
        raise NotComparable("It holds lists or other values that cannot be counted.") from None
    codes = codes.astype(np.int64)
    return codes[: len(reference)], codes[len(reference) :], len(values)


def bin_edges(values: Floats, rule: str) -> Floats:
    """numpy's bin edges by a named rule. Raises NotComparable where numpy fails, as it does on the largest and the least floats.

    >>> bin_edges(np.array([0.0, 1.0, 2.0, 3.0]), "sturges").tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    try:
        return np.histogram_bin_edges(values, bins=rule)
    except ValueError:
        raise NotComparable("Its numbers are so large or so close together that numpy finds no bins for them.") from None


def jensen_shannon(reference: Floats, current: Floats) -> float:
    """The Jensen-Shannon distance in nats: the root of the divergence of two rows of shares or counts, at most 0.8326.

    Where both are the same, rounding may make the divergence slightly negative, of which scipy (and so the libraries) takes
    a root that is NaN; here it is 0.

    >>> round(jensen_shannon(np.array([1.0, 0.0]), np.array([0.5, 0.5])), 4)
    0.4645
    """
    r, c = reference / reference.sum(), current / current.sum()
    middle = (r + c) / 2
    return float(np.sqrt(max(0.0, (_relative_entropy(r, middle) + _relative_entropy(c, middle)) / 2)))


def _relative_entropy(p: Floats, q: Floats) -> float:
    held = p > 0
    return float(np.sum(p[held] * np.log(p[held] / q[held])))

"""Rows of mixed columns as two float matrices, reference and current, that multivariate statistics can work on.

Everything is encoded by the reference alone, so that the same row has the same code in every window.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from storage.layouts import category_text
from storage.records import Feature, FeatureType, Floats, Scalar

Column: TypeAlias = Sequence[Scalar] | Floats
"""The values of one feature, None or NaN where missing."""

UNSEEN = -1.0
"""The code of a category that the reference does not have."""
LARGEST = 1e100
"""What infinities become: beyond any real value, and finite, as classifiers want it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Encoded:
    """``reference`` (m, k) and ``current`` (n, k), float64, NaN where missing; ``categorical`` says which columns are codes."""

    names: tuple[str, ...]
    categorical: tuple[bool, ...]
    reference: Floats
    current: Floats


def encode(features: Sequence[Feature], reference: Sequence[Column], current: Sequence[Column]) -> Encoded:
    """Columns of both sides, one per feature and in their order, as matrices.

    Numbers and booleans stay numbers, infinities become +-1e100, and text in a numeric column counts as missing.
    Categories become 0 for the reference's most frequent, 1 for the next and so on, -1 for unseen ones.

    >>> from storage.records import FeatureType
    >>> plan = Feature(name="plan", type=FeatureType.CATEGORY, missing_allowed=True)
    >>> encode([plan], [["a", "b", "b"]], [["a", None, "new"]]).current.ravel().tolist()
    [1.0, nan, -1.0]
    """
    pairs = [_pair(feature, *columns) for feature, *columns in zip(features, reference, current, strict=True)]
    return Encoded(
        names=tuple(feature.name for feature in features),
        categorical=tuple(feature.type is FeatureType.CATEGORY for feature in features),
        reference=_matrix([pair[0] for pair in pairs]),
        current=_matrix([pair[1] for pair in pairs]),
    )


def _pair(feature: Feature, reference: Column, current: Column) -> tuple[Floats, Floats]:
    if feature.type is not FeatureType.CATEGORY:
        return numeric(reference), numeric(current)
    texts = [_text(value) for value in reference]
    counts = Counter(text for text in texts if text is not None)
    ranked = sorted(counts, key=lambda text: (-counts[text], text))
    codes = {text: float(rank) for rank, text in enumerate(ranked)}
    return _codes(texts, codes), _codes([_text(value) for value in current], codes)


def numeric(column: Column) -> Floats:
    """A column as float64: NaN where missing or text, infinities as +-1e100."""
    try:
        values = np.asarray(column, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        values = np.array([_number(value) for value in column])
    return np.clip(values, -LARGEST, LARGEST)


def _number(value: Scalar) -> float:
    try:
        return float("nan") if value is None or isinstance(value, str) else float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return -LARGEST if str(value).startswith("-") else LARGEST


def _text(value: Scalar) -> str | None:
    return None if value is None or value != value else category_text(value)


def _codes(texts: Sequence[str | None], codes: dict[str, float]) -> Floats:
    return np.array([np.nan if text is None else codes.get(text, UNSEEN) for text in texts], dtype=np.float64)


def _matrix(columns: Sequence[Floats]) -> Floats:
    return np.column_stack(columns) if columns else np.zeros((0, 0))

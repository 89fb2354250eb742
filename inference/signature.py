"""What a model takes, learned from its reference table. Pure: a frame in, values out."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types

from inference.rows import MAX_CATEGORIES
from storage.layouts import category_text
from storage.records import Feature, FeatureType, Scalar


class SignatureError(Exception):
    """The reference does not fit the model; the message names the columns and says what to do."""


def feature_columns(columns: Sequence[str], target: str | None, names: tuple[str, ...] | None, width: int | None) -> list[str]:
    """The reference's columns that the model is fed, in the model's order.

    ``names`` are the model's own feature names, which decide where it has them; else all columns but the target, whose
    number must be the model's ``width``. Raises SignatureError.
    """
    if target is not None and target not in columns:
        raise SignatureError(f"The reference has no column {target}, the target; its columns are {_listed(columns)}.")
    others = [column for column in columns if column != target]
    if names is None:
        if width is not None and width != len(others):
            raise SignatureError(
                f"The model takes {width} features, but the reference has {len(others)} columns besides the target "
                f"({_listed(others)}); leave in exactly the model's features, in its order, and name the target with --target."
            )
        return others
    exact = {column: column for column in others}
    loose = {_loose(column): column for column in others}
    found = [exact.get(name) or loose.get(_loose(name)) for name in names]
    missing = [name for name, column in zip(names, found, strict=True) if column is None]
    if missing:
        raise SignatureError(
            f"The reference lacks {_listed(missing)}, which the model was trained on; its columns are {_listed(columns)}."
        )
    return [column for column in found if column is not None]


def learn_features(frame: pd.DataFrame, columns: Sequence[str]) -> tuple[Feature, ...]:
    """Type, range, values and whether values are missing, of each column. Raises SignatureError."""
    return tuple(_feature(column, frame[column]) for column in columns)


def column_type(name: str, column: pd.Series[Any]) -> FeatureType:
    """The type that registration gives a column; numbers where nothing but its dtype is known. Raises SignatureError."""
    return _kind(name, column)


def table_rows(frame: pd.DataFrame, features: Sequence[Feature]) -> list[tuple[Scalar, ...]]:
    """The rows as a request would carry them, in the order of ``features``, None where missing."""
    columns = [column_values(frame[feature.name], feature.type) for feature in features]
    return list(zip(*columns, strict=True))


def column_values(column: pd.Series[Any], kind: FeatureType) -> list[Scalar]:
    """A column as plain Python values of its type, None where missing."""
    missing = column.isna().to_numpy()
    convert = _CONVERT[kind]
    return [None if absent else convert(value) for value, absent in zip(column.tolist(), missing, strict=True)]


def column_texts(column: pd.Series[Any]) -> list[str | None]:
    """A column of classes as their canonical text, None where missing."""
    missing = column.isna().to_numpy()
    return [None if absent else category_text(value) for value, absent in zip(column.tolist(), missing, strict=True)]


_CONVERT: dict[FeatureType, Any] = {
    FeatureType.NUMBER: float,
    FeatureType.INTEGER: int,
    FeatureType.BOOLEAN: bool,
    FeatureType.CATEGORY: category_text,
}


def _feature(name: str, column: pd.Series[Any]) -> Feature:
    kind = _kind(name, column)
    missing_allowed = bool(column.isna().any())
    values = [value for value in column_values(column, kind) if value is not None]
    if kind is FeatureType.CATEGORY:
        frequent = Counter(values).most_common(MAX_CATEGORIES)
        return Feature(name=name, type=kind, missing_allowed=missing_allowed, categories=tuple(str(value) for value, _ in frequent))
    if kind is FeatureType.BOOLEAN or not values:
        return Feature(name=name, type=kind, missing_allowed=missing_allowed)
    try:
        numbers = [float(value) for value in values]
    except OverflowError:
        raise SignatureError(
            f"The column {name} of the reference holds whole numbers of hundreds of digits; replace them, or leave them empty for missing."
        ) from None
    low, high = min(numbers), max(numbers)
    if math.isinf(low) or math.isinf(high):
        raise SignatureError(
            f"The column {name} of the reference holds infinite values; replace them, or leave them empty for missing."
        )
    return Feature(name=name, type=kind, missing_allowed=missing_allowed, minimum=low, maximum=high)


def _kind(name: str, column: pd.Series[Any]) -> FeatureType:
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return _kind(name, pd.Series(dtype.categories))
    if types.is_bool_dtype(dtype):
        return FeatureType.BOOLEAN
    if types.is_integer_dtype(dtype):
        return FeatureType.INTEGER
    if types.is_float_dtype(dtype):
        return FeatureType.NUMBER
    if types.is_object_dtype(dtype) or types.is_string_dtype(dtype):
        return _kind_of_objects(column.dropna().tolist())
    raise SignatureError(
        f"The column {name} of the reference is of type {dtype}; modelwatch takes numbers, booleans and text, so turn it into one "
        "of these or leave it out."
    )


def _kind_of_objects(values: Iterable[Any]) -> FeatureType:
    kinds = {type(value) for value in values}
    if kinds and kinds <= {bool, np.bool_}:
        return FeatureType.BOOLEAN
    if kinds and all(issubclass(kind, int | np.integer) and kind is not bool for kind in kinds):
        return FeatureType.INTEGER
    if kinds and all(issubclass(kind, int | float | np.number) and kind is not bool for kind in kinds):
        return FeatureType.NUMBER
    return FeatureType.CATEGORY


def _loose(name: str) -> str:
    """Converters to ONNX replace what is not a letter, a digit or an underscore in the names of inputs."""
    return re.sub(r"[^0-9A-Za-z_]", "_", name)


def _listed(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown or "none"

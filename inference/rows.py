"""Rows of a request against the signature of a version.

Two ways through: the fast one lets msgspec parse and check types in C, from types built for the signature; only when it
says no does the careful one go through the same JSON in Python, to forgive what is harmless (3.0 for a whole number) and
to name row, field and reason of what is not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from operator import gt, lt
from typing import Annotated, Any, TypeAlias, cast

import msgspec
import numpy as np

from inference.problems import MAX_DETAILS, Detail, Problem
from storage.records import Feature, FeatureType, Scalar, Signature

Row: TypeAlias = tuple[Scalar, ...]
Json: TypeAlias = bytes | bytearray | memoryview | msgspec.Raw

MAX_NUMBER = 3.4028234e38
"""The largest float32: beyond it most models see infinity."""
MAX_INTEGER = 2**53
MAX_TEXT = 10_000
MAX_CATEGORIES = 1000
"""Most frequent values that a signature lists; where a column has more, an unlisted value is not called unseen."""
MANY_ROWS = 16

_TYPES: dict[FeatureType, Any] = {
    FeatureType.NUMBER: Annotated[float, msgspec.Meta(ge=-MAX_NUMBER, le=MAX_NUMBER)],
    FeatureType.INTEGER: Annotated[int, msgspec.Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)],
    FeatureType.BOOLEAN: bool,
    FeatureType.CATEGORY: Annotated[str, msgspec.Meta(max_length=MAX_TEXT)],
}
_EXPECTED = {
    FeatureType.NUMBER: "must be a number",
    FeatureType.INTEGER: "must be a whole number",
    FeatureType.BOOLEAN: "must be true or false",
    FeatureType.CATEGORY: "must be a text",
}


class RowReader:
    """Reads rows, given as objects or as arrays in the signature's order, into tuples in that order."""

    def __init__(self, signature: Signature) -> None:
        self.features = signature.features
        self._names = signature.names
        self._positions = {name: index for index, name in enumerate(self._names)}
        fields = [
            (f"f{index}", _TYPES[feature.type] | None if feature.missing_allowed else _TYPES[feature.type])
            for index, feature in enumerate(self.features)
        ]
        self._struct = msgspec.defstruct(
            "Row",
            fields,
            rename={f"f{index}": name for index, name in enumerate(self._names)},
            forbid_unknown_fields=True,
            gc=False,
        )
        row = self._struct | tuple[tuple(kind for _, kind in fields)]  # type: ignore[misc]
        self._many = msgspec.json.Decoder(list[row])  # type: ignore[valid-type]
        self._one: msgspec.json.Decoder[Any] = msgspec.json.Decoder(row)

    def read(self, content: Json) -> list[Row]:
        """The rows of a JSON array. Raises Problem (422) with row and field of what is wrong."""
        try:
            rows = self._many.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            rows = parse_json(content)
            if not isinstance(rows, list):
                raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "instances must be an array of rows.") from None
            return self._careful(rows)
        struct = self._struct
        if len(rows) == 1:
            row = rows[0]
            return [msgspec.structs.astuple(row)] if type(row) is struct else rows
        astuple = msgspec.structs.astuple
        return [astuple(row) if type(row) is struct else row for row in rows]

    def read_one(self, content: Json) -> list[Row]:
        """As ``read``, for a single row."""
        try:
            row = self._one.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._careful([parse_json(content)])
        return [msgspec.structs.astuple(row)] if type(row) is self._struct else [row]

    def _careful(self, rows: list[Any]) -> list[Row]:
        found: list[Row] = []
        details: list[Detail] = []
        for index, row in enumerate(rows):
            values, reasons = self._row(row)
            found.append(values)
            details += [Detail(row=index, field=field, reason=reason) for field, reason in reasons]
            if len(details) >= MAX_DETAILS:
                break
        if details:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, _summary(details), details)
        return found

    def _row(self, row: Any) -> tuple[Row, list[tuple[str | None, str]]]:
        if isinstance(row, dict):
            wrong: list[tuple[str | None, str]] = [(name, "is missing") for name in self._names if name not in row]
            wrong += [(_shortened(name), "is not a feature of this model") for name in row if name not in self._positions]
            values = [row.get(name) for name in self._names]
            checked = [feature for feature in self.features if feature.name in row]
        elif isinstance(row, list):
            wrong = []
            if len(row) != len(self._names):
                return (), [(None, f"has {len(row)} values, the model takes {len(self._names)}")]
            values, checked = row, list(self.features)
        else:
            return (), [(None, "must be an object of features or an array of their values")]
        for feature in checked:
            position = self._positions[feature.name]
            try:
                values[position] = checked_value(feature, values[position])
            except ValueError as error:
                wrong.append((feature.name, str(error)))
        return tuple(values), wrong


def checked_value(feature: Feature, value: Any) -> Scalar:
    """The value as the model takes it. Raises ValueError with the reason, which does not hold the value."""
    if value is None:
        if feature.missing_allowed:
            return None
        raise ValueError("must not be missing: the reference has no missing values here")
    kind = feature.type
    if kind is FeatureType.BOOLEAN and isinstance(value, bool):
        return value
    if kind is FeatureType.CATEGORY and isinstance(value, str):
        if len(value) > MAX_TEXT:
            raise ValueError(f"is longer than {MAX_TEXT} characters")
        return value
    if kind in (FeatureType.NUMBER, FeatureType.INTEGER) and isinstance(value, int | float) and not isinstance(value, bool):
        return _checked_number(kind, value)
    raise ValueError(_EXPECTED[kind])


def _checked_number(kind: FeatureType, value: int | float) -> int | float:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must be a finite number; NaN and Infinity are not JSON, send null for a missing value")
    if abs(value) > (MAX_NUMBER if kind is FeatureType.NUMBER else MAX_INTEGER):
        raise ValueError("is too large")
    if kind is FeatureType.NUMBER:
        return float(value)
    if value != int(value):
        raise ValueError(_EXPECTED[kind])
    return int(value)


def parse_json(content: Json) -> Any:
    """JSON as Python reads it, which takes NaN and Infinity too. Raises Problem (400) for what is no JSON at all."""
    try:
        return json.loads(bytes(content))
    except (ValueError, RecursionError) as error:
        reason = (
            error.msg
            if isinstance(error, json.JSONDecodeError)
            else "it is not UTF-8 text, nests too deeply or holds a number of thousands of digits"
        )
        raise Problem(HTTPStatus.BAD_REQUEST, f"The body is not readable as JSON: {reason}.") from error


def _summary(details: Sequence[Detail]) -> str:
    first = details[0]
    where = f"row {first['row']}" + (f", {first['field']}" if first["field"] else "")
    more = f" ({len(details)} problems or more)" if len(details) >= MAX_DETAILS else f" ({len(details)} problems)"
    return f"The rows do not fit the model: {where} {first['reason']}{more if len(details) > 1 else ''}."


def _shortened(name: str) -> str:
    return name if len(name) <= 64 else f"{name[:63]}…"


# ---------------------------------------------------------------------------------------------- what is odd but accepted

Warnings: TypeAlias = dict[int, list[Any]]


class RowWatch:
    """Finds values that the reference did not show: numbers out of its range and categories it does not have."""

    def __init__(self, signature: Signature) -> None:
        self._ranges = [
            (index, feature.name, feature.minimum, feature.maximum)
            for index, feature in enumerate(signature.features)
            if feature.minimum is not None and feature.maximum is not None
        ]
        self._categories = [
            (index, feature.name, frozenset(feature.categories))
            for index, feature in enumerate(signature.features)
            if 0 < len(feature.categories) < MAX_CATEGORIES
        ]
        is_plain = len(self._ranges) == len(signature.features) and not any(f.missing_allowed for f in signature.features)
        self._low = tuple(low for _, _, low, _ in self._ranges)
        self._high = tuple(high for _, _, _, high in self._ranges)
        self._suspects: Callable[[Sequence[Row]], Iterator[int]] = self._plain_suspects if is_plain else self._all

    def odd(self, rows: Sequence[Row]) -> Warnings | None:
        """What is odd, by the position of the row; None where nothing is."""
        found: Warnings | None = None
        for index in self._suspects(rows):
            warnings = self._row(rows[index])
            if warnings:
                found = found or {}
                found[index] = warnings
        return found

    def _row(self, row: Row) -> list[Any]:
        warnings: list[Any] = []
        for index, name, low, high in self._ranges:
            value = row[index]
            if value is not None and not low <= value <= high:  # type: ignore[operator]
                warnings.append({"field": name, "reason": "out of range"})
        for index, name, categories in self._categories:
            value = row[index]
            if value is not None and value not in categories:
                warnings.append({"field": name, "reason": "unseen category"})
        return warnings

    def _plain_suspects(self, rows: Sequence[Row]) -> Iterator[int]:
        """Only numbers and none missing: C loops find the few rows that need a look."""
        if len(rows) > MANY_ROWS:
            matrix = np.array(rows, np.float64)
            yield from np.flatnonzero(((matrix < self._low) | (matrix > self._high)).any(axis=1)).tolist()
            return
        low, high = self._low, self._high
        for index, row in enumerate(rows):
            numbers = cast("tuple[float, ...]", row)
            if True in map(lt, numbers, low) or True in map(gt, numbers, high):
                yield index

    @staticmethod
    def _all(rows: Sequence[Row]) -> Iterator[int]:
        yield from range(len(rows))

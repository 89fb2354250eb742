"""From two tables to pairs of columns that can be compared, and what stands in the way.

Pure. Types are those that registration would infer, so that a report and a registered model speak of the same things.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd

from inference.signature import SignatureError, column_texts, column_type
from storage.records import FeatureType, Floats

_NONE = np.zeros(0)


class SchemaChange(StrEnum):
    """How the columns of the current table differ from the reference's."""

    VANISHED = "vanished"
    NEW = "new"
    TYPE = "type"
    SKIPPED = "not compared"


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaFinding:
    """One difference, as a sentence; ``is_break`` where a model that expects the reference's columns would stumble."""

    column: str
    change: SchemaChange
    sentence: str
    is_break: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnPair:
    """One column of both tables: ``numbers`` with NaN for missing, or ``texts`` with None for missing, the other empty."""

    name: str
    type: FeatureType
    current_type: FeatureType
    numbers: tuple[Floats, Floats] = (_NONE, _NONE)
    texts: tuple[Sequence[str | None], Sequence[str | None]] = ((), ())

    @property
    def is_number(self) -> bool:
        return self.type is not FeatureType.CATEGORY


def common_columns(
    reference: pd.DataFrame, current: pd.DataFrame, wanted: Sequence[str] | None
) -> tuple[list[str], list[SchemaFinding]]:
    """Names that both tables have (only the ``wanted`` ones, if given), in the reference's order, and those of one side only."""
    common, findings = [], []
    for name in [*reference.columns, *(name for name in current.columns if name not in reference.columns)]:
        if wanted is not None and name not in wanted:
            continue
        if name not in current.columns:
            findings.append(
                _finding(name, SchemaChange.VANISHED, "is in the reference but not in the current table", is_break=True)
            )
        elif name not in reference.columns:
            findings.append(_finding(name, SchemaChange.NEW, "is in the current table but not in the reference"))
        else:
            common.append(name)
    return common, findings


def _finding(name: str, change: SchemaChange, what: str, *, is_break: bool = False) -> SchemaFinding:
    return SchemaFinding(column=name, change=change, sentence=f"{name} {what}.", is_break=is_break)


def pair_column(name: str, reference: pd.Series[Any], current: pd.Series[Any]) -> tuple[ColumnPair | None, SchemaFinding | None]:
    """One column of both tables as its reference's type, and what is odd about it; no pair where it cannot be compared.

    That is a break of the schema where only the current column cannot.
    """
    kinds = []
    for column, other, side in ((reference, current, "reference"), (current, reference, "current table")):
        try:
            # A column without a value has any type: that of the other side.
            kinds.append(column_type(name, other if column.isna().all() else column))
        except SignatureError:
            what = f"holds values of type {column.dtype} in the {side}, which cannot be compared: only numbers, booleans and text"
            return None, _finding(name, SchemaChange.SKIPPED, what, is_break=len(kinds) == 1)
    if kinds[0] is FeatureType.CATEGORY:
        pair = ColumnPair(name=name, type=kinds[0], current_type=kinds[1], texts=(column_texts(reference), column_texts(current)))
        return pair, None if kinds[1] is kinds[0] else _retyped(pair, "the values are compared as text")
    (left, _), (right, unreadable) = read_numbers(reference), read_numbers(current)
    pair = ColumnPair(name=name, type=kinds[0], current_type=kinds[1], numbers=(left, right))
    if not unreadable:
        return pair, None
    quoted = ", ".join(repr(value) for value in dict.fromkeys(unreadable[:1000]))
    shown = quoted if len(quoted) < 60 else f"{quoted[:57]}…"
    what = f"{len(unreadable)} of {len(current)} values are no numbers ({shown}) and count as missing"
    return pair, _retyped(pair, what, is_break=True)


def _retyped(pair: ColumnPair, what: str, *, is_break: bool = False) -> SchemaFinding:
    sentence = f"is {pair.type} in the reference and {pair.current_type} in the current table: {what}"
    return _finding(pair.name, SchemaChange.TYPE, sentence, is_break=is_break)


def read_numbers(column: pd.Series[Any]) -> tuple[Floats, list[str]]:
    """The column as float64 (n,), NaN where missing or no number, and the texts that are no numbers.

    >>> read_numbers(pd.Series(["1", "x", None]))
    (array([ 1., nan, nan]), ['x'])
    """
    try:
        return column.to_numpy(dtype=np.float64, na_value=np.nan), []
    except (TypeError, ValueError, OverflowError):
        numbers = pd.to_numeric(column.map(_plain), errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    unread = np.isnan(numbers) & column.notna().to_numpy()
    return numbers, [str(value) for value in column[unread]]


def _plain(value: object) -> object:
    """Whole numbers beyond any float have no meaning as a measurement: they are texts."""
    return str(value) if isinstance(value, int) and abs(value) > 1e300 else value

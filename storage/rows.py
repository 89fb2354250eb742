"""Between the records of ``storage.records`` and the rows of ``storage.schema``, which share their names."""

from __future__ import annotations

from dataclasses import fields
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from sqlalchemy import Column, Row, Table

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

AnyRow: TypeAlias = Row[*tuple[Any, ...]]


def columns_of(table: Table, record: type[DataclassInstance]) -> list[Column[Any]]:
    """The columns that hold the fields of a record, in the order of its fields."""
    return [table.c[field.name] for field in fields(record)]


def values_of(record: DataclassInstance, *, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The fields of a record as values that both drivers take: enums as text, numpy's scalars as Python's."""
    return {field.name: _plain(getattr(record, field.name)) for field in fields(record) if field.name not in without}


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return value.item() if isinstance(value, np.generic) else value

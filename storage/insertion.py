"""Predictions into their table, each id once. The statements of the one table that grows by the thousand a second.

Nearly always all ids are new. So a batch is inserted in the fastest way that its database knows, and only where that is
refused is it rolled back to a savepoint and inserted in the way that tells which ids were there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import lru_cache
from itertools import chain
from typing import Any

import msgspec
from sqlalchemy import Connection, select, text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from storage.batches import NAMES, PredictionBatch, as_batch, first_of_each_id, in_order_of_ids, time_texts
from storage.dialects import among, is_postgresql
from storage.jsontext import dump, storable_text
from storage.records import PredictionRow
from storage.schema import predictions


def insert_new(c: Connection, batch: PredictionBatch) -> PredictionBatch:
    """Inserts the predictions whose ids are not in the database; returns these, as they were stored.

    Of several predictions with one id the first counts. Raises what the database raises where a row does not fit.
    """
    batch = first_of_each_id(batch)
    if not len(batch):
        return batch
    return _insert_postgresql(c, batch) if is_postgresql(c) else _insert_sqlite(c, batch)


@contextmanager
def _raising_as_sqlalchemy(c: Connection, statement: str) -> Iterator[None]:
    """Errors of the driver, where it is used directly, become those that SQLAlchemy raises."""
    try:
        yield
    except c.dialect.loaded_dbapi.Error as error:
        is_gone = c.dialect.is_disconnect(error, c.connection, None)
        if is_gone:
            c.invalidate(error)
        raise DBAPIError.instance(
            statement,
            None,
            error,
            c.dialect.loaded_dbapi.Error,
            hide_parameters=True,
            connection_invalidated=is_gone,
            dialect=c.dialect,
        ) from error


# ---------------------------------------------------------------------------------------------- SQLite

ROWS_PER_STATEMENT = 100


def _insert_sqlite(c: Connection, batch: PredictionBatch) -> PredictionBatch:
    """The transaction holds SQLite's only write lock, so what is absent now is absent until its end.

    Plain statements are several times faster than RETURNING; a savepoint costs nothing that can be measured.
    """
    try:
        with c.begin_nested():
            _insert_values(c, batch)
    except IntegrityError:
        known = set(c.scalars(select(predictions.c.id).where(among(c, predictions.c.id, batch.ids))))
        batch = batch.take([index for index, prediction_id in enumerate(batch.ids) if prediction_id not in known])
        if len(batch):
            _insert_values(c, batch)
    return batch


def _insert_values(c: Connection, batch: PredictionBatch) -> None:
    """Many rows in each statement, as the driver takes up and lays down the interpreter's lock for each statement.

    A parameter costs it 0.1 µs, and a None 0.4 µs; so what is the same in all rows (names, no error, no warnings) is
    one parameter of the whole statement.
    """
    columns = {**batch.columns, "at": time_texts(batch.at_us)}
    same = tuple(name for name in NAMES if _is_one_value(columns[name]))
    names = same + tuple(name for name in NAMES if name not in same)
    constants = [columns[name][0] for name in same]
    values = list(chain.from_iterable(zip(*(columns[name] for name in names[len(same) :]), strict=True)))
    width = len(names) - len(same)
    driver: Any = c.connection
    with _raising_as_sqlalchemy(c, "INSERT INTO predictions"), closing(driver.cursor()) as cursor:
        for start in range(0, len(batch), ROWS_PER_STATEMENT):
            rows = min(ROWS_PER_STATEMENT, len(batch) - start)
            cursor.execute(_insert(names, len(same), rows), constants + values[start * width : (start + rows) * width])


def _is_one_value(column: Sequence[Any]) -> bool:
    return column[0] == column[-1] and column.count(column[0]) == len(column)


@lru_cache(maxsize=64)
def _insert(names: tuple[str, ...], constants: int, rows: int) -> str:
    """The statement for so many rows; its first parameters are the values that all of them share."""
    row = ", ".join([*(f"?{number + 1}" for number in range(constants)), *"?" * (len(names) - constants)])
    return f"INSERT INTO predictions ({', '.join(names)}) VALUES {', '.join([f'({row})'] * rows)}"  # noqa: S608 - fixed names


# ---------------------------------------------------------------------------------------------- PostgreSQL

_NULLABLE = frozenset(column.name for column in predictions.c if column.nullable)
_TEXT = "text"
_TYPES = {"at": "timestamptz", "score": "float8", "latency_ms": "float8"}
_JSON = ("features", "probabilities")
_NUMBERS = ("score", "latency_ms")
_CAREFULLY = text(
    f"INSERT INTO predictions ({', '.join(NAMES)}) "  # noqa: S608 - fixed names
    f"SELECT {', '.join(f'CAST({name} AS jsonb)' if name in _JSON else name for name in NAMES)} "
    f"FROM json_to_recordset(CAST(:rows AS json)) AS new({', '.join(f'{name} {_TYPES.get(name, _TEXT)}' for name in NAMES)}) "
    'ORDER BY id COLLATE "C" '  # the order of ``in_order_of_ids``
    "ON CONFLICT (id) DO NOTHING RETURNING id"
)


def _insert_postgresql(c: Connection, batch: PredictionBatch) -> PredictionBatch:
    """COPY straight into the table, which takes about twice the rows of an INSERT."""
    try:
        with c.begin_nested():
            _copy(c, batch)
    except (IntegrityError, DataError):
        return as_batch(_insert_carefully(c, batch))
    return batch


def _copy(c: Connection, batch: PredictionBatch) -> None:
    batch = in_order_of_ids(batch)  # so that two writers with rows in common wait for each other instead of locking up
    names, rows = _tuples(_with_finite_numbers(batch))
    statement = f"COPY predictions ({', '.join(names)}) FROM STDIN"
    driver: Any = c.connection
    with _raising_as_sqlalchemy(c, statement), driver.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)


def _tuples(batch: PredictionBatch) -> tuple[list[str], list[tuple[object, ...]]]:
    """The columns that are not wholly empty, and the rows of these."""
    columns = {**batch.columns, "at": time_texts(batch.at_us)}
    names = [name for name in NAMES if name not in _NULLABLE or columns[name].count(None) < len(batch)]
    return names, list(zip(*(columns[name] for name in names), strict=True))


def _with_finite_numbers(batch: PredictionBatch) -> PredictionBatch:
    """As JSON has them: null for what is not finite."""
    columns = {
        name: [None if value is None or not math.isfinite(value) else value for value in batch.columns[name]] for name in _NUMBERS
    }
    return replace(batch, columns=batch.columns | columns)


def _insert_carefully(c: Connection, batch: PredictionBatch) -> list[PredictionRow]:
    """One parameter, a JSON array of all rows: cheaper to make and to send than a parameter per value."""
    unique = {row.id: row for row in batch.rows()}
    payload = _encode(unique.values())
    if "\\u0000" in payload or "\\ud" in payload:
        cleaned = (_without_what_postgresql_refuses(row) for row in unique.values())
        unique = {row.id: row for row in cleaned}
        payload = _encode(unique.values())
    return [unique[row_id] for row_id in c.scalars(_CAREFULLY, {"rows": payload}).all()]


def _encode(rows: Iterable[PredictionRow]) -> str:
    return msgspec.json.encode(list(rows)).decode()


def _without_what_postgresql_refuses(row: PredictionRow) -> PredictionRow:
    values = {name: storable_text(value) for name in NAMES if isinstance(value := getattr(row, name), str)}
    return msgspec.structs.replace(row, **values | {name: dump(json.loads(values[name])) for name in _JSON if name in values})

"""The few statements that SQLite and PostgreSQL write differently."""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Float,
    Table,
    Text,
    and_,
    any_,
    case,
    cast,
    column,
    extract,
    func,
    literal,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite


def is_postgresql(c: Connection) -> bool:
    return c.dialect.name == "postgresql"


def insert(c: Connection, table: Table) -> postgresql.Insert:
    """An INSERT that has ``on_conflict_do_nothing`` and ``on_conflict_do_update``, spelled alike in both dialects."""
    return postgresql.insert(table) if is_postgresql(c) else sqlite.insert(table)  # type: ignore[return-value]


def insert_new(c: Connection, table: Table, row: dict[str, Any], *, key: Collection[str]) -> bool:
    """Inserts the row unless there is one with the same ``key``; returns whether it did."""
    statement = insert(c, table).values(row).on_conflict_do_nothing(index_elements=list(key))
    return c.execute(statement.returning(*(table.c[name] for name in key))).one_or_none() is not None


def upsert(c: Connection, table: Table, rows: list[dict[str, Any]], *, key: Collection[str]) -> None:
    """Inserts the rows; where a row with the same ``key`` exists, its other columns are overwritten."""
    if not rows:
        return
    statement = insert(c, table)
    changes = {name: statement.excluded[name] for name in rows[0] if name not in key}
    c.execute(statement.on_conflict_do_update(index_elements=list(key), set_=changes), rows)


def among(c: Connection, left: ColumnElement[str], texts: Collection[str]) -> ColumnElement[bool]:
    """``left IN texts`` with one parameter, however many texts there are."""
    if is_postgresql(c):
        return left == any_(literal(list(texts), postgresql.ARRAY(Text)))
    each = func.json_each(json.dumps(list(texts))).table_valued(column("value", Text))
    return left.in_(select(each.c.value))


def as_number(c: Connection, text: ColumnElement[str]) -> ColumnElement[float | None]:
    """The number that a text is; NULL for any other text, and for numbers of more than thirty digits or exponents above 99."""
    if is_postgresql(c):
        return case((text.regexp_match(r"^-?[0-9]{1,30}(\.[0-9]{1,30})?([eE][-+]?[0-9]{1,2})?$"), cast(text, Float)))
    kind = case((func.json_valid(text) == 1, func.json_type(text)))
    return case((and_(kind.in_(["integer", "real"]), func.length(text) <= 64), cast(text, Float)))


def epoch_seconds(c: Connection, at: ColumnElement[datetime]) -> ColumnElement[int]:
    """The whole seconds from 1970 to a time."""
    seconds = extract("epoch", at)
    return cast(func.floor(seconds), BigInteger) if is_postgresql(c) else seconds


def one_at_a_time(c: Connection, name: str) -> None:
    """Until the transaction ends, no other one passes here with this name. SQLite's writers are queued anyway."""
    if is_postgresql(c):
        c.execute(select(func.pg_advisory_xact_lock(zlib.crc32(f"modelwatch {name}".encode()))))

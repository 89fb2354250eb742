"""What the database alone takes: the same rows, ready as parameters, without counts, position or looking for duplicates."""

from __future__ import annotations

from datetime import UTC

import msgspec
from sqlalchemy import Connection, Engine

from storage.engine import writing
from storage.records import PredictionRow

AT_ONCE = 5000
_NAMES = PredictionRow.__struct_fields__
_INSERT = f"INSERT INTO predictions ({', '.join(_NAMES)}) VALUES ({', '.join('?' * len(_NAMES))})"
_COPY = f"COPY predictions ({', '.join(_NAMES)}) FROM STDIN"


def prepared(rows: list[PredictionRow]) -> list[tuple[object, ...]]:
    """The rows as the drivers take them."""
    texts = [row.at.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds") for row in rows]
    return [(row.id, text, *msgspec.structs.astuple(row)[2:]) for row, text in zip(rows, texts, strict=True)]


def insert(engine: Engine, rows: list[tuple[object, ...]]) -> None:
    """``executemany`` for SQLite and COPY for PostgreSQL, 5,000 rows in each transaction."""
    for start in range(0, len(rows), AT_ONCE):
        with writing(engine) as c:
            if engine.dialect.name == "postgresql":
                _copy(c, rows[start : start + AT_ONCE])
            else:
                c.exec_driver_sql(_INSERT, rows[start : start + AT_ONCE])


def _copy(c: Connection, rows: list[tuple[object, ...]]) -> None:
    with c.connection.cursor() as cursor, cursor.copy(_COPY) as copy:  # type: ignore[attr-defined]
        for row in rows:
            copy.write_row(row)

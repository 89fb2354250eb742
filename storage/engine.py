"""From a database URL to connections that read or write.

On SQLite one writer at a time holds a lock file beside the database from BEGIN IMMEDIATE to the end of COMMIT. That
queues the writers of several processes fairly, and keeps clear of the WAL-reset bug of SQLite before 3.51.3, which
needs two connections that write or checkpoint at once (https://sqlite.org/wal.html).
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, Engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import StaticPool

from storage.jsontext import dump

WRITER_WAIT_SECONDS = 30.0
_in_memory_writer = threading.RLock()

# PostgreSQL: connection, resources, rollback to end a deadlock; shutdown, read-only standby, lock not to be had.
_UNAVAILABLE_CLASSES = frozenset({"08", "53", "40"})
_UNAVAILABLE_STATES = frozenset({"57P01", "57P02", "57P03", "25006", "55P03"})


class DatabaseUnavailable(Exception):
    """The database cannot be reached or is locked; the message says which and what to do."""


def create_engine(url: str) -> Engine:
    """An engine for ``sqlite://…`` or ``postgresql+psycopg://…``. Raises DatabaseUnavailable for any other URL."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise DatabaseUnavailable(
            "MODELWATCH_DATABASE_URL is not a database URL; write sqlite:////path/to/file.db or postgresql+psycopg://user:password@host/name."
        ) from error
    if parsed.get_backend_name() == "sqlite":
        return _sqlite_engine(parsed)
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() != "postgresql":
        raise DatabaseUnavailable(
            f"MODELWATCH_DATABASE_URL names {parsed.drivername}; modelwatch works with SQLite and PostgreSQL."
        )
    try:
        return sqlalchemy.create_engine(
            parsed,
            json_serializer=dump,
            hide_parameters=True,  # they may hold people's data, and exceptions end up in logs
            pool_pre_ping=True,
            pool_size=5,
            connect_args={
                "connect_timeout": 5,
                "options": "-c timezone=utc -c synchronous_commit=on",
                "application_name": "modelwatch",
            },
        )
    except NoSuchModuleError as error:
        raise DatabaseUnavailable(f"MODELWATCH_DATABASE_URL names a driver that is not installed: {parsed.drivername}.") from error


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection in a transaction that is rolled back. Raises DatabaseUnavailable when there is none to be had."""
    with translated(engine), engine.connect() as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A connection in a transaction that commits at the end of the block, or rolls back on an exception."""
    with translated(engine), _single_writer(engine), engine.connect() as connection:
        connection = connection.execution_options(modelwatch_write=True)
        with connection.begin():
            yield connection


@contextmanager
def translated(engine: Engine) -> Iterator[None]:
    """Turns "the database is not there" in all its forms into DatabaseUnavailable; other errors pass."""
    try:
        yield
    except (DBAPIError, PoolTimeoutError) as error:
        if not is_unavailable(error):
            raise
        raise DatabaseUnavailable(
            f"The database {engine.url.render_as_string(hide_password=True)} cannot be used ({first_line(error)}). "
            "Check that it runs and that MODELWATCH_DATABASE_URL is right."
        ) from error


def is_unavailable(error: Exception) -> bool:
    """Whether the fault lies in reaching the database, so that the same work may succeed later."""
    if isinstance(error, PoolTimeoutError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return state in _UNAVAILABLE_STATES or state[:2] in _UNAVAILABLE_CLASSES
    names, message = {kind.__name__ for kind in type(error.orig).__mro__}, str(error.orig)
    if "OperationalError" in names:  # or one of its kinds: a server that hangs is psycopg's ConnectionTimeout
        return "no such" not in message  # a missing SQLite table is a fault of ours, not of the connection
    return "InterfaceError" in names or "not a database" in message or "malformed" in message


def first_line(error: DBAPIError | PoolTimeoutError) -> str:
    """What the driver said, without SQLAlchemy's statement and parameters (which may hold people's data)."""
    text = str(error.orig if isinstance(error, DBAPIError) else error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__


def _sqlite_engine(url: sqlalchemy.URL) -> Engine:
    options: dict[str, Any] = {
        "json_serializer": dump,
        "connect_args": {"timeout": WRITER_WAIT_SECONDS, "check_same_thread": False},
    }
    if url.database in (None, "", ":memory:"):
        options["poolclass"] = StaticPool
    engine = sqlalchemy.create_engine(url, **options)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver begins no transactions of its own; _begin_sqlite does
    cursor = connection.cursor()
    # Twice the usual page, for a new file: it holds some ten predictions and not five, which makes adding them a sixth cheaper.
    # FULL, because the uploader unlinks a spool segment right after the commit that holds its rows.
    # 16 MB of cache, because a transaction that changes more pages than fit writes some of them twice.
    pragmas = (
        f"busy_timeout={int(WRITER_WAIT_SECONDS * 1000)}",
        "page_size=8192",
        "synchronous=FULL",
        "foreign_keys=ON",
        "cache_size=-16384",
    )
    for pragma in pragmas:
        cursor.execute(f"PRAGMA {pragma}")
    _use_write_ahead_log(cursor)
    cursor.close()


def _use_write_ahead_log(cursor: Any) -> None:
    """Turns the log on for a new database. SQLite does not wait when another process is about to do the same."""
    deadline = time.monotonic() + WRITER_WAIT_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("modelwatch_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


@contextmanager
def _single_writer(engine: Engine) -> Iterator[None]:
    if engine.dialect.name != "sqlite":
        yield
        return
    path = engine.url.database
    if path in (None, "", ":memory:"):
        with _in_memory_writer:
            yield
        return
    try:
        descriptor = os.open(f"{path}.writer", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise DatabaseUnavailable(f"The folder of the database {path} cannot be written ({error.strerror}).") from error
    try:
        _wait_for_lock(descriptor, f"{path}.writer")
        yield
    finally:
        os.close(descriptor)


def _wait_for_lock(descriptor: int, path: str) -> None:
    deadline = time.monotonic() + WRITER_WAIT_SECONDS
    pause = 0.0005
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise DatabaseUnavailable(
                    f"Another process has held the write lock {path} for {WRITER_WAIT_SECONDS:.0f} seconds."
                ) from None
            time.sleep(pause)
            pause = min(pause * 1.5, 0.02)

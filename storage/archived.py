"""What the Parquet files of ``archives`` hold: which there are, whether they are as they were written, and their rows.

The rows are read by DuckDB in a process-local database without a file: some thousand at a time, in bounded memory, with
access to nothing but the files that were named. Nothing is downloaded: what reads Parquet is built in.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa
from sqlalchemy import Connection, select

from storage.resolution import DAY
from storage.rows import columns_of
from storage.schema import archives

AT_ONCE = 5000
"""Rows per batch of a file, and per transaction that deletes: other writers get their turn in between."""
MEMORY = "256MB"
"""What DuckDB may use; what does not fit goes into its scratch folder."""
START, END = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)


class ArchiveError(Exception):
    """An archive cannot be written or read; the message says which and what to do. No row was deleted that it does not hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A file of ``archives``; an empty ``path`` says that rows of the day were deleted without being kept."""

    id: int
    model: str
    version: str
    day: datetime
    path: str
    digest: str
    rows: int
    labels: int
    size_bytes: int
    created_at: datetime
    removed_at: datetime | None


def list_archives(c: Connection, *, model: str | None = None, version: str | None = None) -> list[Archive]:
    """The archives by day, of one model or version or of all."""
    query = select(*columns_of(archives, Archive)).order_by(archives.c.day, archives.c.id)
    for column, value in ((archives.c.model, model), (archives.c.version, version)):
        query = query if value is None else query.where(column == value)
    return [Archive(**row) for row in c.execute(query).mappings()]


def unfinished(c: Connection) -> list[Archive]:
    """Archives whose rows may be in the database still, because a process died."""
    return [archive for archive in list_archives(c) if archive.removed_at is None]


def check(archive: Archive) -> None:
    """Raises ArchiveError unless the file is there, byte for byte."""
    try:
        found = digest_of(Path(archive.path))
    except OSError as error:
        raise ArchiveError(f"The archive {archive.path} cannot be read ({error.strerror}); put it back to where it was.") from error
    if found != archive.digest:
        raise ArchiveError(f"The archive {archive.path} was changed or damaged: its digest is wrong. Restore it from a copy.")


def digest_of(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---------------------------------------------------------------------------------------------- rows


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveReader:
    """Reads each prediction of some archives once, whichever of them it is in; made by ``open_archives``."""

    database: duckdb.DuckDBPyConnection
    paths: Sequence[str]

    def batches(self, columns: Sequence[str], start: datetime = START, end: datetime = END) -> Iterator[pa.RecordBatch]:
        """The rows with ``start <= at < end``: file after file, the oldest first, in each by time. Raises ArchiveError.

        A prediction is in several files where it came back, or was left in the database because its label came: it is read
        from the first that has a label for it, else from the first of all.
        """
        for place, path in enumerate(self.paths):
            newer = self.paths[place + 1 :]
            with _explained(path):
                # A relation is read while it is computed; what execute() finds would be kept whole.
                found = self.database.sql(_rows_of(columns, bool(newer)), params=[_literal([path]), start, end, *_each(newer)])
                yield from found.to_arrow_reader(AT_ONCE)
                if newer:
                    read = _rows_of(["id"], True)
                    self.database.execute(f"INSERT INTO given {read}", [_literal([path]), START, END, *_each(newer)])

    def labels(self, ids: Collection[str]) -> dict[str, tuple[str, datetime]]:
        """The label that came first to each of these predictions, and when, where a file has one. Raises ArchiveError."""
        first = """
            SELECT id, arg_min(label, label_received_at), min(label_received_at)
            FROM read_parquet(?) SEMI JOIN these USING (id) WHERE label IS NOT NULL GROUP BY id
        """
        with _explained(", ".join(self.paths)), self._these(ids):
            found = self.database.sql(first, params=[_literal(self.paths)]).to_arrow_table()
        return {row_id: (label, at) for row_id, label, at in zip(*(column.to_pylist() for column in found.columns), strict=True)}

    def leave_out(self, ids: Collection[str]) -> None:
        """Predictions that are not to be read, because the database has them."""
        with _explained(", ".join(self.paths)), self._these(ids):
            self.database.execute("INSERT INTO given SELECT id FROM these")

    @contextmanager
    def _these(self, ids: Collection[str]) -> Iterator[None]:
        self.database.register("these", pa.table({"id": pa.array(ids, pa.string())}))
        try:
            yield
        finally:
            self.database.unregister("these")


@contextmanager
def open_archives(found: Sequence[Archive], scratch: Path | None = None) -> Iterator[ArchiveReader]:
    """A reader of these archives, each of which must be as it was written. Raises ArchiveError.

    What needs more than ``MEMORY`` goes into a folder of its own in ``scratch``; without one there is no room beyond it.
    """
    for archive in found:
        check(archive)
    paths = [archive.path for archive in sorted(found, key=attrgetter("id"))]
    with _room(scratch) as room, duckdb.connect(":memory:", config={**OFFLINE, "temp_directory": room}) as database:
        _restrict(database, paths)
        yield ArchiveReader(database=database, paths=paths)


@contextmanager
def _room(scratch: Path | None) -> Iterator[str]:
    """A new folder that is gone afterwards, with what processes that died left there for a day."""
    if scratch is None:
        yield ""
        return
    scratch.mkdir(parents=True, exist_ok=True)
    for left in scratch.iterdir():
        if left.stat().st_mtime < time.time() - DAY:
            shutil.rmtree(left, ignore_errors=True)
    with TemporaryDirectory(dir=scratch, ignore_cleanup_errors=True) as room:
        yield room


OFFLINE = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "memory_limit": MEMORY,
    "threads": "1",  # decompressing is a tenth of the work, and more threads hold more rows at once
}


def _restrict(database: duckdb.DuckDBPyConnection, paths: Sequence[str]) -> None:
    """Nothing but these files can be read from now on, and none of it can be changed."""
    built_in = "SELECT loaded FROM duckdb_extensions() WHERE extension_name = 'parquet'"
    if database.execute(built_in).fetchone() != (True,):
        raise ArchiveError("This build of DuckDB does not read Parquet by itself; install the one that requirements.lock names.")
    database.execute("CREATE TEMP TABLE given (id VARCHAR NOT NULL)")
    both = {*paths, *_literal(paths)}  # DuckDB looks at the name as it is given, and at what that names
    quoted = ", ".join("'" + path.replace("'", "''") + "'" for path in both)
    for setting in (
        "TimeZone = 'UTC'",
        f"allowed_paths = [{quoted}]",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        database.execute(f"SET {setting}")


def _rows_of(columns: Sequence[str], is_followed: bool) -> str:
    """The query of a file's rows: of a time, not given before, and without those that a newer file has with a label."""
    named = ", ".join(f'"{name}"' for name in columns)
    newer = "AND (label IS NOT NULL OR id NOT IN (SELECT id FROM read_parquet(?) WHERE label IS NOT NULL))" if is_followed else ""
    return f'SELECT {named} FROM read_parquet(?) ANTI JOIN given USING (id) WHERE "at" >= ? AND "at" < ? {newer}'  # noqa: S608


def _each(paths: Sequence[str]) -> list[list[str]]:
    return [_literal(paths)] if paths else []


def _literal(paths: Sequence[str]) -> list[str]:
    """The paths so that DuckDB takes none of their signs for a pattern."""
    return [re.sub(r"([*?\[])", r"[\1]", path) for path in paths]


@contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        raise ArchiveError(f"The archive {name} cannot be read ({str(error).splitlines()[0].rstrip('.')}).") from error

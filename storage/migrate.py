"""Bringing a database to the tables of ``storage.schema``, and saying which state it is in.

``storage/migrations`` holds one script per change, named ``<revision>_<words>.py`` in ascending order; the table
``alembic_version`` of a database names the last one that ran. Alembic itself is imported only to upgrade: every process
asks for the state when it starts, and the import takes a third of a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlalchemy import Connection, Engine, String, column, inspect, select, table

from storage.dialects import one_at_a_time
from storage.engine import DatabaseUnavailable, create_engine, reading, writing

SCRIPTS = Path(__file__).parent / "migrations"


class SchemaMismatch(Exception):
    """The tables of the database are not those of this modelwatch; the message says which to upgrade, and how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaStatus:
    """``found`` is the revision of the database (None: it has none), ``expected`` the one of this program."""

    state: Literal["empty", "older", "current", "newer"]
    found: str | None
    expected: str


def upgrade(engine: Engine) -> None:
    """Runs the migrations that the database lacks, in one transaction. Safe from several processes at once.

    Makes the folder of a SQLite file. Raises SchemaMismatch for a database that a newer modelwatch made, and
    DatabaseUnavailable.
    """
    _make_folder(engine)
    with writing(engine) as c:
        one_at_a_time(c, "migrations")
        status = _status(c)
        if status.state == "newer":
            raise SchemaMismatch(_sentence(engine, status))
        if status.state != "current":
            _run_scripts(c)


def schema_status(engine: Engine) -> SchemaStatus:
    """How the tables of the database stand to those of this program. Raises DatabaseUnavailable."""
    path = _sqlite_file(engine)
    if path is not None and not path.exists():  # to look must not make it
        return SchemaStatus(state="empty", found=None, expected=revisions()[-1])
    with reading(engine) as c:
        return _status(c)


def require_current(engine: Engine) -> None:
    """Raises SchemaMismatch, with one sentence that says what to run, unless the database is current."""
    status = schema_status(engine)
    if status.state != "current":
        raise SchemaMismatch(_sentence(engine, status))


def open_database(url: str) -> Engine:
    """An engine on a database that is current. Raises DatabaseUnavailable or SchemaMismatch."""
    engine = create_engine(url)
    try:
        require_current(engine)
    except (DatabaseUnavailable, SchemaMismatch):
        engine.dispose()
        raise
    return engine


def revisions() -> list[str]:
    """The revisions that this program knows, oldest first."""
    return sorted(script.name.partition("_")[0] for script in (SCRIPTS / "versions").glob("[0-9]*_*.py"))


def _status(c: Connection) -> SchemaStatus:
    known = revisions()
    found = _found(c)
    if found is None:
        return SchemaStatus(state="empty", found=None, expected=known[-1])
    if found == known[-1]:
        return SchemaStatus(state="current", found=found, expected=known[-1])
    return SchemaStatus(state="older" if found in known else "newer", found=found, expected=known[-1])


def _found(c: Connection) -> str | None:
    if not inspect(c).has_table("alembic_version"):
        return None
    return c.scalar(select(table("alembic_version", column("version_num", String)).c.version_num))


def _sentence(engine: Engine, status: SchemaStatus) -> str:
    name = f"The database {engine.url.render_as_string(hide_password=True)}"
    if status.state == "empty":
        return f"{name} has no modelwatch tables yet; run `modelwatch db upgrade`, or set MODELWATCH_HOME to the folder of the stack that runs."
    if status.state == "older":
        return f"{name} has the tables of an older modelwatch ({status.found} instead of {status.expected}); run `modelwatch db upgrade`."
    return f"{name} was made by a newer modelwatch (its tables are {status.found}, this program knows {status.expected}); upgrade the program."


def _run_scripts(c: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": c})
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    command.upgrade(config, "head")


def _sqlite_file(engine: Engine) -> Path | None:
    path = engine.url.database
    return Path(path) if engine.dialect.name == "sqlite" and path and path != ":memory:" else None


def _make_folder(engine: Engine) -> None:
    path = _sqlite_file(engine)
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseUnavailable(f"The folder {path.parent} of the database cannot be made ({error.strerror}).") from error

"""What every command needs before its own work: settings (with a word on misspelt ones), the database, who is asking."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from cli.output import say

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from storage.settings import Settings

S = TypeVar("S", bound="Settings")


def load_settings(kind: type[S], **overrides: Any) -> S:
    """The settings of one process, after warning about names that no process reads. Raises SettingsError."""
    from cli import setting_names

    for warning in setting_names.warnings():
        say(f"Warning: {warning}")
    return kind.load(**overrides)


def plain_settings() -> Settings:
    """Home folder and database only."""
    from storage.settings import Settings

    return load_settings(Settings)


@contextmanager
def engine_of(settings: Settings, *, check_schema: bool = True) -> Iterator[Engine]:
    """The database of the settings, its connections closed at the end.

    Raises DatabaseUnavailable, or SchemaMismatch unless ``check_schema`` is off.
    """
    from storage.engine import create_engine
    from storage.migrate import require_current

    engine = create_engine(settings.database)
    try:
        if check_schema:
            require_current(engine)
        yield engine
    finally:
        engine.dispose()


@contextmanager
def read_database() -> Iterator[Connection]:
    from storage.engine import reading

    with engine_of(plain_settings()) as engine, reading(engine) as connection:
        yield connection


@contextmanager
def write_database() -> Iterator[Connection]:
    from storage.engine import writing

    with engine_of(plain_settings()) as engine, writing(engine) as connection:
        yield connection


def actor() -> str:
    """The user of the operating system, as recorded with every change."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def now() -> datetime:
    return datetime.now(UTC)

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


def open_engine() -> Engine:
    """The database of the settings, at the schema of this code. Raises DatabaseUnavailable or SchemaMismatch."""
    from storage.migrate import open_database

    return open_database(plain_settings().database)


@contextmanager
def read_database() -> Iterator[Connection]:
    from storage.engine import reading

    with reading(open_engine()) as connection:
        yield connection


@contextmanager
def write_database() -> Iterator[Connection]:
    from storage.engine import writing

    with writing(open_engine()) as connection:
        yield connection


def actor() -> str:
    """The user of the operating system, as recorded with every change."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def now() -> datetime:
    return datetime.now(UTC)

"""Fixtures of all tests: a home folder, and fresh databases of both kinds."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url

from storage.engine import create_engine
from storage.migrate import upgrade
from tests.postgresql import running_postgresql


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty home folder."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of the database ``postgres`` of a real server that lives as long as the session."""
    with running_postgresql() as url:
        yield url


@pytest.fixture(scope="session")
def postgresql_template(postgresql_server: str) -> str:
    """The name of a database that has all tables, for ``CREATE DATABASE … TEMPLATE``."""
    with_statement(postgresql_server, "CREATE DATABASE template_modelwatch")
    engine = create_engine(_at(postgresql_server, "template_modelwatch"))
    upgrade(engine)
    engine.dispose()
    return "template_modelwatch"


@pytest.fixture
def empty_postgresql_url(postgresql_server: str) -> Iterator[str]:
    """The URL of a database without any tables."""
    yield from _database(postgresql_server, "template0")


@pytest.fixture
def postgresql_url(postgresql_server: str, postgresql_template: str) -> Iterator[str]:
    """The URL of a fresh database that has all tables."""
    yield from _database(postgresql_server, postgresql_template)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a SQLite database that has all tables."""
    path = tmp_path_factory.mktemp("template") / "modelwatch.db"
    engine = create_engine(f"sqlite:///{path}")
    upgrade(engine)
    engine.dispose()
    return path.read_bytes()


@pytest.fixture
def sqlite_url(home: Path, sqlite_template: bytes) -> str:
    """The URL of a fresh database in the home folder, where the settings look for it, that has all tables."""
    path = home / "modelwatch.db"
    path.write_bytes(sqlite_template)
    return f"sqlite:///{path}"


@pytest.fixture
def sqlite_engine(sqlite_url: str) -> Iterator[Engine]:
    """An engine on a fresh SQLite database that has all tables."""
    yield from _engine(sqlite_url)


@pytest.fixture
def postgresql_engine(postgresql_url: str) -> Iterator[Engine]:
    """An engine on a fresh PostgreSQL database that has all tables."""
    yield from _engine(postgresql_url)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a fresh database that has all tables: each test runs on both kinds."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on a fresh database that has all tables: each test runs on both kinds."""
    yield from _engine(database_url)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, home: Path) -> str:
    """The URL of a database without tables: each test runs on both kinds."""
    if request.param == "sqlite":
        return f"sqlite:///{home / 'modelwatch.db'}"
    return str(request.getfixturevalue("empty_postgresql_url"))


def with_statement(url: str, statement: str) -> None:
    """Runs one statement outside a transaction, as CREATE DATABASE wants it."""
    engine = create_engine(url)
    with engine.connect() as c:
        c.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql(statement)
    engine.dispose()


def _database(server: str, template: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    with_statement(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield _at(server, name)
    with_statement(server, f"DROP DATABASE {name} WITH (FORCE)")


def _at(server: str, name: str) -> str:
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def _engine(url: str) -> Iterator[Engine]:
    engine = create_engine(url)
    yield engine
    engine.dispose()

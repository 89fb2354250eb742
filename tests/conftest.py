"""How a run is divided, and fixtures of all tests: a home folder, and fresh databases of both kinds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from sqlalchemy import Engine

from storage.engine import create_engine
from storage.migrate import upgrade
from tests.databases import Databases, at, execute, new_name
from tests.postgresql import running_postgresql
from tests.workers import FilesInTurn, worker_count

if TYPE_CHECKING:
    from xdist.remote import Producer

# A busy machine is no fault of the code, so nothing has a deadline; what fails fails again, so the examples stay the same.
hypothesis.settings.register_profile(
    "repeatable", deadline=None, derandomize=True, database=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("repeatable")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """What `make test` (--numprocesses=auto) means by auto."""
    return worker_count()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FilesInTurn | None:
    """What `make test` means by --dist=loadfile."""
    if config.getvalue("dist") != "loadfile":
        return None
    config.option.loadscopereorder = False  # the slow files come first as they are
    return FilesInTurn(config, log)


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
def postgresql_databases(postgresql_server: str) -> Iterator[Databases]:
    """Databases that have all tables, each as good as new when it is lent."""
    template = "template_modelwatch"
    execute(postgresql_server, f"CREATE DATABASE {template}")
    engine = create_engine(at(postgresql_server, template))
    upgrade(engine)
    engine.dispose()
    databases = Databases(postgresql_server, template)
    yield databases
    databases.close()


@pytest.fixture
def empty_postgresql_url(postgresql_server: str) -> Iterator[str]:
    """The URL of a database without any tables."""
    name = new_name()
    execute(postgresql_server, f"CREATE DATABASE {name} TEMPLATE template0")
    yield at(postgresql_server, name)
    execute(postgresql_server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def postgresql_url(postgresql_databases: Databases) -> Iterator[str]:
    """The URL of a database that has all tables and no rows."""
    with postgresql_databases.one() as url:
        yield url


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
    """Runs one statement outside a transaction, as ALTER DATABASE wants it."""
    execute(url, statement)


def _engine(url: str) -> Iterator[Engine]:
    engine = create_engine(url)
    yield engine
    engine.dispose()

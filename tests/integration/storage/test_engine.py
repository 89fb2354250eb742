"""Connections that read or write, and databases that cannot be used."""

from __future__ import annotations

import fcntl
import threading
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine, event, insert, select, text
from sqlalchemy.exc import IntegrityError, OperationalError

from storage.engine import DatabaseUnavailable, create_engine, is_unavailable, reading, translated, writing
from storage.schema import models
from tests.factories import NOW


def add_model(engine: Engine, name: str) -> None:
    with writing(engine) as c:
        c.execute(insert(models).values(name=name, task="regression", created_at=NOW))


def names(engine: Engine) -> list[str]:
    with reading(engine) as c:
        return sorted(c.scalars(select(models.c.name)))


def test_writing_commits_and_an_exception_rolls_back(engine: Engine) -> None:
    add_model(engine, "kept")

    def fail() -> None:
        with writing(engine) as c:
            c.execute(insert(models).values(name="lost", task="regression", created_at=NOW))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert names(engine) == ["kept"]


def test_times_come_back_aware_and_to_the_microsecond(engine: Engine) -> None:
    at = NOW.replace(microsecond=123456)
    with writing(engine) as c:
        c.execute(insert(models).values(name="m", task="regression", created_at=at))

    with reading(engine) as c:
        back = c.scalar(select(models.c.created_at))

    assert back == at
    assert back is not None
    assert back.utcoffset() is not None


def test_many_threads_write_one_after_the_other(engine: Engine) -> None:
    threads = [threading.Thread(target=add_model, args=(engine, f"m{number}")) for number in range(16)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(names(engine)) == 16


def test_the_lock_beside_a_sqlite_file_is_held_to_the_end_of_the_commit(sqlite_engine: Engine) -> None:
    def is_free() -> bool:
        with Path(f"{sqlite_engine.url.database}.writer").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    at_commit: list[bool] = []
    event.listen(sqlite_engine, "commit", lambda _: at_commit.append(is_free()))

    add_model(sqlite_engine, "m")

    assert at_commit == [False]
    assert is_free()


def test_sqlite_readers_do_not_wait_for_the_writer(sqlite_engine: Engine) -> None:
    with writing(sqlite_engine) as c:
        c.execute(insert(models).values(name="m", task="regression", created_at=NOW))

        assert names(sqlite_engine) == []


def test_an_in_memory_database_works() -> None:
    engine = create_engine("sqlite://")
    with writing(engine) as c:
        c.execute(text("CREATE TABLE t (x integer)"))
    with reading(engine) as c:
        assert c.scalar(text("SELECT count(*) FROM t")) == 0
    engine.dispose()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql+psycopg://someone:secret@127.0.0.1:1/none", "127.0.0.1"),
        ("postgres://someone:secret@127.0.0.1:1/none", "127.0.0.1"),
        ("sqlite:////nowhere/at/all/modelwatch.db", "/nowhere/at/all"),
    ],
)
def test_a_database_that_cannot_be_reached_is_one_sentence_without_the_password(url: str, says: str) -> None:
    with pytest.raises(DatabaseUnavailable) as caught, reading(create_engine(url)) as c:
        c.execute(text("SELECT 1"))

    assert says in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "modelwatch.db", "mysql://localhost/x", "oracle://x"])
def test_other_urls_are_refused_with_the_name_of_the_setting(url: str) -> None:
    with pytest.raises(DatabaseUnavailable, match="MODELWATCH_DATABASE_URL"):
        create_engine(url)


def test_a_file_that_is_no_database_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "modelwatch.db").write_bytes(b"name,age\n" * 1000)

    with pytest.raises(DatabaseUnavailable, match="not a database"), reading(create_engine(f"sqlite:///{tmp_path}/modelwatch.db")):
        pass


def test_a_fault_of_the_statement_is_not_taken_for_an_outage(engine: Engine) -> None:
    add_model(engine, "m")

    with pytest.raises(IntegrityError):
        add_model(engine, "m")
    with pytest.raises(Exception, match="nothing_here") as caught, translated(engine), reading(engine) as c:
        c.execute(text("SELECT * FROM nothing_here"))
    assert not isinstance(caught.value, DatabaseUnavailable)


def test_a_server_that_accepts_and_never_answers_is_an_outage() -> None:
    hangs = OperationalError("connect", {}, psycopg.errors.ConnectionTimeout("connection timeout expired"))

    assert is_unavailable(hangs)


def test_a_connection_that_the_server_ended_is_an_outage_and_the_next_one_works(postgresql_engine: Engine) -> None:
    with pytest.raises(DatabaseUnavailable), writing(postgresql_engine) as c:
        c.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    add_model(postgresql_engine, "m")
    assert names(postgresql_engine) == ["m"]


def test_a_deadlock_on_postgresql_is_an_outage_that_passes(postgresql_engine: Engine) -> None:
    for name in ("a", "b"):
        add_model(postgresql_engine, name)
    both_hold_one, failures = threading.Barrier(2), []

    def lock(first: str, second: str) -> None:
        try:
            with writing(postgresql_engine) as c:
                c.execute(select(models).where(models.c.name == first).with_for_update())
                both_hold_one.wait(60)
                c.execute(select(models).where(models.c.name == second).with_for_update())
        except DatabaseUnavailable as error:
            failures.append(error)

    threads = [threading.Thread(target=lock, args=pair) for pair in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(failures) == 1

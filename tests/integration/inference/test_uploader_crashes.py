"""kill -9 at every step of the logging path, at random moments, and of the database: nothing lost, nothing twice."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine

from inference import spool_folder
from inference.spool import open_worker_spool
from inference.upload_status import read_status
from storage.engine import create_engine, writing
from storage.migrate import upgrade
from tests.factories import register_model
from tests.integration.inference.spooled import assert_exactly_once, make_uploader, payload, stored_ids, upload_all
from tests.postgresql import running_postgresql

if not Path("/proc/self/status").exists():
    pytest.skip("these tests look into /proc", allow_module_level=True)

_UPLOAD = "import sys; from inference.settings import InferenceSettings; from inference.uploader import run; sys.exit(run(InferenceSettings.load()))"


@pytest.fixture
def root(home: Path) -> Path:
    return home / "spool"


@pytest.fixture
def registered(engine: Engine) -> Engine:
    """A database that knows version 1 of churn."""
    with writing(engine) as c:
        register_model(c)
    return engine


def environment(url: str, root: Path, failpoint: str = "") -> dict[str, str]:
    return {
        **os.environ,
        "MODELWATCH_DATABASE_URL": url,
        "MODELWATCH_SPOOL_FOLDER": str(root),
        "MODELWATCH_FAILPOINT": failpoint,
    }


@contextmanager
def uploading(url: str, root: Path, failpoint: str = "") -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", _UPLOAD], env=environment(url, root, failpoint), stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class Writer:
    """The process of ``crashing_writer``; it goes on writing, whoever reads what it accepted, until it is killed."""

    def __init__(
        self, root: Path, prefix: str, *, durability: str = "process", count: int = 1_000_000, failpoint: str = ""
    ) -> None:
        self._output = root.parent / f"{prefix}.accepted"
        module = "tests.integration.inference.crashing_writer"
        command = [sys.executable, "-m", module, str(root), durability, prefix, str(count)]
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(command, stdout=output, env=environment("", root, failpoint))

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def accepted(self) -> list[str]:
        """Wait for the end; the ids that were accepted before it."""
        self.process.wait()
        return self._output.read_text().split()

    def wait_for_first(self) -> None:
        wait_until(lambda: self._output.stat().st_size > 0)

    def kill(self) -> list[str]:
        self.process.kill()
        return self.accepted()


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


@pytest.mark.parametrize("failpoint", ["in_rotation:kill:2", "before_sync:kill", "before_sync:kill:2", "after_sync:kill"])
@pytest.mark.parametrize("durability", ["process", "power"])
def test_writer_dies_at_each_step(sqlite_engine: Engine, root: Path, durability: str, failpoint: str) -> None:
    with writing(sqlite_engine) as c:
        register_model(c)

    with Writer(root, "w", durability=durability, count=20_000, failpoint=failpoint) as writer:
        accepted = writer.accepted()
    assert writer.process.returncode == -signal.SIGKILL

    upload_all(make_uploader(sqlite_engine, root))
    assert_exactly_once(sqlite_engine, accepted, in_flight=1)
    assert spool_folder.segment_names(root / "0") == []


@pytest.mark.parametrize(
    "failpoint", ["after_insert:kill", "after_insert:kill:3", "after_commit:kill", "after_commit:kill:2", "before_unlink:kill"]
)
def test_uploader_dies_at_each_step(registered: Engine, database_url: str, root: Path, failpoint: str) -> None:
    with Writer(root, "w", count=400) as writer:
        accepted = writer.accepted()
    assert len(accepted) == 400

    with uploading(database_url, root, failpoint) as process:
        assert process.wait(30) == -signal.SIGKILL

    upload_all(make_uploader(registered, root))
    assert_exactly_once(registered, accepted)
    assert spool_folder.segment_names(root / "0") == []


def test_writers_and_uploaders_die_at_random_moments(registered: Engine, database_url: str, root: Path) -> None:
    dice = random.Random(11)
    accepted: list[str] = []

    for generation in range(3):
        with uploading(database_url, root) as uploader:
            for number in range(3):
                with Writer(root, f"w{generation}{number}", durability=dice.choice(["process", "power"])) as writer:
                    writer.wait_for_first()
                    if number == 2:
                        wait_until_it_uploads(uploader, root)
                        uploader.kill()
                    time.sleep(dice.uniform(0, 0.2))  # the moment is the point of this test
                accepted += writer.accepted()

    upload_all(make_uploader(registered, root))
    assert len(accepted) > 100
    assert_exactly_once(registered, accepted, in_flight=9)


def wait_until_it_uploads(uploader: subprocess.Popen[bytes], root: Path) -> None:
    wait_until(lambda: (status := read_status(root)).pid == uploader.pid and status.last_commit_at is not None)


def test_uploader_ends_on_sigterm_with_an_empty_spool(registered: Engine, database_url: str, root: Path) -> None:
    spool = open_worker_spool(root, free_floor=0)
    with uploading(database_url, root) as process:
        wait_until(lambda: read_status(root).database == "ok")
        for number in range(3000):
            spool.append(payload(f"p{number}"))

        process.terminate()
        assert process.wait(20) == 0

    spool.close()
    assert_exactly_once(registered, [f"p{number}" for number in range(3000)])
    assert read_status(root).uploaded_total == 3000


def test_rows_are_in_sql_soon_after_they_were_appended(registered: Engine, database_url: str, root: Path) -> None:
    spool = open_worker_spool(root, free_floor=0)
    with uploading(database_url, root):
        wait_until(lambda: read_status(root).database == "ok")
        delays = []
        for number in range(10):
            began = time.monotonic()
            spool.append(payload(f"p{number}"))
            wait_until(lambda count=number + 1: len(stored_ids(registered)) == count)  # type: ignore[misc]
            delays.append(time.monotonic() - began)

    spool.close()
    assert sorted(delays)[5] < 1.0  # 0.1 to 0.3 seconds where nothing else runs


def test_second_uploader_waits_until_the_first_is_gone(registered: Engine, database_url: str, root: Path) -> None:
    spool = open_worker_spool(root, free_floor=0)
    with uploading(database_url, root) as first:
        wait_until(lambda: read_status(root).pid == first.pid)
        with uploading(database_url, root) as second:
            wait_until(lambda: catches_sigterm(second.pid))
            spool.append(payload("a"))
            wait_until(lambda: stored_ids(registered) == ["a"])
            waits_from = time.time()
            wait_until(lambda: read_status(root).pid != first.pid or read_status(root).at > waits_from + 3)
            assert read_status(root).pid == first.pid

            first.kill()
            spool.append(payload("b"))
            wait_until(lambda: stored_ids(registered) == ["a", "b"])

            wait_until(lambda: read_status(root).pid == second.pid)
    spool.close()
    assert_exactly_once(registered, ["a", "b"])


def test_waiting_uploader_ends_on_sigterm(registered: Engine, database_url: str, root: Path) -> None:
    with uploading(database_url, root) as first:
        wait_until(lambda: (root / "uploader.lock").exists())
        with uploading(database_url, root) as second:
            wait_until(lambda: catches_sigterm(second.pid))
            second.terminate()
            assert second.wait(10) == 0
        assert first.poll() is None


def catches_sigterm(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


_PARENT = (
    "import subprocess, sys, time; print(subprocess.Popen([sys.executable, '-c', sys.argv[1]]).pid, flush=True); time.sleep(60)"
)


def test_uploader_drains_and_ends_when_its_parent_was_killed(registered: Engine, database_url: str, root: Path) -> None:
    spool = open_worker_spool(root, free_floor=0)
    command = [sys.executable, "-c", _PARENT, _UPLOAD]
    parent = subprocess.Popen(command, env=environment(database_url, root), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.stdout.close()
    wait_until(lambda: read_status(root).pid == child)

    spool.append(payload("last"))
    parent.kill()
    parent.wait()

    wait_until(lambda: not Path(f"/proc/{child}").exists() or "zombie" in Path(f"/proc/{child}/status").read_text())
    spool.close()
    assert_exactly_once(registered, ["last"])


def test_crash_of_postgresql_under_load_loses_nothing(root: Path) -> None:
    with running_postgresql() as url:
        engine = create_engine(url)
        upgrade(engine)
        with writing(engine) as c:
            register_model(c)
        engine.dispose()

        with uploading(url, root) as process:
            with Writer(root, "w") as writer:
                wait_until(lambda: read_status(root).uploaded_total > 0)
                start_again = crash_postgresql(Path(str(engine.url.query["host"])))
                wait_until(lambda: read_status(root).database == "unavailable")
            accepted = writer.accepted()
            server = start_again()
            wait_until(lambda: read_status(root).database == "ok")

            process.terminate()
            assert process.wait(30) == 0

        upload_all(make_uploader(engine, root))
        assert_exactly_once(engine, accepted, in_flight=1)
        engine.dispose()
        server.send_signal(signal.SIGQUIT)
        server.wait()


def crash_postgresql(folder: Path) -> Callable[[], subprocess.Popen[bytes]]:
    """Ends the server at once, as a crash does; the result starts it again with the same command."""
    postmaster = int((folder / "data" / "postmaster.pid").read_text().split()[0])
    command = Path(f"/proc/{postmaster}/cmdline").read_bytes().rstrip(b"\0").decode().split("\0")
    os.kill(postmaster, signal.SIGQUIT)
    wait_until(lambda: not (folder / "data" / "postmaster.pid").exists())
    if os.geteuid() == 0:
        command = [str(shutil.which("setpriv")), "--reuid=postgres", "--regid=postgres", "--init-groups", *command]
    return lambda: subprocess.Popen(command, cwd="/tmp", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

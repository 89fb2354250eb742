"""`modelwatch up`: the stack starts, survives the death of any of its processes, and leaves nothing behind."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from storage import metrics
from storage.engine import create_engine, reading
from tests.acceptance.stacks import answers, await_that, descendants, environment_for, run_command, running, url

pytestmark = pytest.mark.acceptance

SERVICES = ("serve", "collect", "alert", "dashboard")
START_SECONDS = 60.0
"""Far more than an idle machine takes: the tests share theirs."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder whose files bear the names of our packages and of the standard library's modules."""
    folder = tmp_path_factory.mktemp("up")
    for name in ("cli", "storage"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise SystemExit('a stranger was imported')")
    (folder / "random.py").write_text("raise SystemExit('a stranger was imported')")
    return folder


@pytest.fixture(scope="module")
def environment(folder: Path) -> dict[str, str]:
    return environment_for(folder)


@pytest.fixture(scope="module")
def stack(folder: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    with running(folder, environment, "up") as process:
        await_that(lambda: all_answer(environment), START_SECONDS, "every service answers")
        yield process


def all_answer(environment: dict[str, str]) -> bool:
    return (
        answers(f"{url(environment)}/ready", "ready")
        and answers(f"{url(environment, 'DASHBOARD_PORT')}/_stcore/health", "ok")
        and answers(f"{url(environment, 'COLLECTOR_PORT')}/metrics", "modelwatch_collector_up 1")
        and answers(f"{url(environment, 'ALERTS_PORT')}/metrics", "modelwatch_alerts_up 1")
    )


def pid_of(folder: Path, service: str) -> int:
    """The process id in a service's pid file, 0 while there is none."""
    try:
        return int((folder / "home" / "run" / f"{service}.pid").read_text() or 0)
    except FileNotFoundError:
        return 0


def test_addresses_are_printed_once_the_stack_is_ready(
    stack: subprocess.Popen[str], folder: Path, environment: dict[str, str]
) -> None:
    await_that(lambda: "alerts metrics" in (folder / "out.txt").read_text(), 60, "the addresses are printed")

    printed = (folder / "out.txt").read_text()
    assert all(environment[name] in printed for name in environment if name.endswith("_PORT"))


def test_collector_asks_the_sidecar_of_its_own_stack_whether_it_is_up(
    stack: subprocess.Popen[str], folder: Path, environment: dict[str, str]
) -> None:
    engine = create_engine(f"sqlite:///{folder / 'home' / 'modelwatch.db'}")

    def answered() -> bool:
        with reading(engine) as c:
            found = metrics.latest_points(c, "uptime", window_seconds=0, since=datetime.now(UTC) - timedelta(hours=1))
        return [(p.segment, p.value) for p in found] == [(f"endpoint=127.0.0.1:{environment['MODELWATCH_INFERENCE_PORT']}", 1.0)]

    await_that(answered, 90, "the sidecar's uptime is in the metrics")
    engine.dispose()


def test_idle_stack_needs_less_than_a_gibibyte(stack: subprocess.Popen[str]) -> None:
    family = [psutil.Process(stack.pid), *descendants(stack.pid)]

    shares = [process.memory_full_info().pss for process in family]

    assert len(family) >= 6  # the supervisor, four services and the uploader
    assert sum(shares) < 1024**3


def test_second_stack_on_the_same_home_is_refused(stack: subprocess.Popen[str], folder: Path) -> None:
    other = environment_for(folder)  # other ports, same home

    result = run_command(folder, other, "up")

    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert f"Another stack (process {stack.pid}) runs on {folder / 'home'}" in result.stderr


def test_doctor_finds_nothing_wrong_beside_the_running_stack(
    stack: subprocess.Popen[str], folder: Path, environment: dict[str, str]
) -> None:
    result = run_command(folder, environment, "doctor")

    assert result.returncode == 0, result.stdout
    assert "is in use; a stack runs on this home" in result.stdout


@pytest.mark.parametrize("service", SERVICES)
def test_killed_service_is_started_again(
    stack: subprocess.Popen[str], folder: Path, environment: dict[str, str], service: str
) -> None:
    before = pid_of(folder, service)

    psutil.Process(before).kill()

    await_that(lambda: pid_of(folder, service) not in (0, before), START_SECONDS, f"{service} runs again")
    await_that(lambda: all_answer(environment), START_SECONDS, "every service answers again")
    assert f"{service} ended by SIGKILL" in (folder / "err.txt").read_text()
    assert stack.poll() is None


def test_logs_of_every_service_are_kept(stack: subprocess.Popen[str], folder: Path) -> None:
    assert {path.stem for path in (folder / "home" / "logs").glob("*.log")} == set(SERVICES)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_everything(tmp_path: Path, number: signal.Signals) -> None:
    environment = environment_for(tmp_path)
    with running(tmp_path, environment, "up", "--no-dashboard") as process:
        await_that(lambda: pid_of(tmp_path, "alert") > 0, START_SECONDS, "the services start")
        family = descendants(process.pid)

        process.send_signal(number)

        assert process.wait(60) == 0
        assert [member for member in family if member.is_running()] == []
        assert [service for service in SERVICES if pid_of(tmp_path, service)] == []


def test_nothing_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    environment = environment_for(tmp_path)
    with running(tmp_path, environment, "up", "--no-dashboard") as process:
        await_that(lambda: answers(f"{url(environment)}/ready"), START_SECONDS, "the sidecar is ready")
        await_that(lambda: pid_of(tmp_path, "alert") > 0, START_SECONDS, "the services start")
        family = descendants(process.pid)
        assert len(family) >= 4

        process.kill()
        process.wait()

        await_that(lambda: not any(member.is_running() for member in family), 30, "every child ends")
    with running(tmp_path, environment, "up", "--no-dashboard"):
        await_that(lambda: answers(f"{url(environment)}/ready"), START_SECONDS, "the stack starts again on the same home")


@pytest.mark.parametrize("port", ["INFERENCE_PORT", "ALERTS_PORT"])
def test_taken_port_is_told_with_its_variable(tmp_path: Path, port: str) -> None:
    environment = environment_for(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(environment[f"MODELWATCH_{port}"])))
        taken.listen()

        result = run_command(tmp_path, environment, "up")

    number = environment[f"MODELWATCH_{port}"]
    assert result.returncode == 2
    last = result.stderr.splitlines()[-1]
    assert last == f"Port {number} of 127.0.0.1 is taken by another program; free it, or set MODELWATCH_{port} to another one."


def test_bad_rules_stop_the_start_with_their_sentence(tmp_path: Path) -> None:
    environment = environment_for(tmp_path)
    (tmp_path / "rules.yml").write_text("groups: [{name: g, rules: [{alert: A, metric: drift_psi}]}]")

    result = run_command(tmp_path, environment, "up", "--no-dashboard", "--quiet")

    assert result.returncode == 2
    assert "alert cannot start: rules.yml" in result.stderr.splitlines()[-1]


def test_wrong_setting_of_any_service_stops_the_start(tmp_path: Path) -> None:
    environment = environment_for(tmp_path) | {"MODELWATCH_WINDOWS": "7s"}

    result = run_command(tmp_path, environment, "up", "--quiet")

    assert result.returncode == 2
    assert "MODELWATCH_WINDOWS" in result.stderr.splitlines()[-1]

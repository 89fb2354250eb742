"""`modelwatch up`: every service as a child process of one supervisor that holds the home folder, collects their logs,
starts again what dies, and stops all of them when it is told to stop.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from cli.errors import EXIT_USAGE, CommandError
from cli.processes import environment_of_child

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
STEADY_SECONDS = 60.0
"""A child that ran this long has recovered: its next death is answered with the first pause again."""
GRACE_SECONDS = 10.0
LOG_BYTES = 10_000_000

ENVIRONMENT = {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""What children get unless it is set: several processes share the cores, so the threads of a library would only wait for each other."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One child: its name in logs and pid files, and the arguments of the `modelwatch` command."""

    name: str
    arguments: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Child:
    """A service and, while it runs, its process."""

    service: Service
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    deaths: int = 0
    pump: threading.Thread | None = None


class HomeInUse(CommandError):
    """Another stack runs on the same home folder; the message names its process."""


class PortTaken(CommandError):
    """A port is not free; the message names the variable that changes it."""

    exit_code = EXIT_USAGE


class ServiceFailed(CommandError):
    """A service refused to start because of its settings; its own sentence is the message."""

    exit_code = EXIT_USAGE


# ---------------------------------------------------------------------------------------------- what is decided


def pause_before_restart(deaths: int) -> float:
    """Seconds to wait after the n-th death in a row: 1, 2, 4 … up to 30.

    >>> [pause_before_restart(n) for n in (1, 2, 3, 9)]
    [1.0, 2.0, 4.0, 30.0]
    """
    return min(FIRST_PAUSE_SECONDS * 2.0 ** (deaths - 1), LONGEST_PAUSE_SECONDS)


def check_ports(host: str, ports: Mapping[str, int], *, taken_by_us: str = "") -> None:
    """Raise PortTaken for the first port, by variable name, that cannot be listened on, or that two services share."""
    seen: dict[int, str] = {}
    for variable, port in ports.items():
        if port in seen:
            raise PortTaken(f"{variable} and {seen[port]} are both {port}; give each its own port.")
        seen[port] = variable
        if variable != taken_by_us and (problem := port_problem(host, port)) is not None:
            raise PortTaken(f"Port {port} of {host} {problem}; free it, or set {variable} to another one.")


def port_problem(host: str, port: int) -> str | None:
    """Why nothing can listen on the port, or None where it is free."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise PortTaken(f"MODELWATCH_HOST={host} is not an address of this machine ({error.strerror}).") from error
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen(1)
        except PermissionError:
            return "needs more rights than this user has"
        except OSError as error:
            return "is taken by another program" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
    return None


# ---------------------------------------------------------------------------------------------- the home folder


@contextmanager
def hold_home(home: Path) -> Iterator[None]:
    """Hold the home folder for one stack. Raises HomeInUse with the process id of the stack that has it."""
    run = home / "run"
    descriptor = -1
    try:
        run.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(run / "up.pid", os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
    except BlockingIOError:
        owner = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise HomeInUse(
            f"Another stack (process {owner}) runs on {home}; stop it, or set MODELWATCH_HOME to a folder of its own."
        ) from None
    except OSError as error:
        if descriptor >= 0:
            os.close(descriptor)
        advice = "make space" if error.errno == errno.ENOSPC else "set MODELWATCH_HOME to another one"
        raise CommandError(f"The home folder {home} cannot be written ({error.strerror}); {advice}.") from error
    try:
        yield
    finally:
        os.ftruncate(descriptor, 0)
        os.close(descriptor)


def pid_file(home: Path, name: str) -> Path:
    return home / "run" / f"{name}.pid"


# ---------------------------------------------------------------------------------------------- children


@dataclass(slots=True, kw_only=True)
class Supervisor:
    """Runs the children; ``say`` is told of starts and deaths, ``echo`` also gets every line that a child writes."""

    home: Path
    say: Say
    echo: Say | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    children: dict[str, Child] = field(default_factory=dict)
    stopping: threading.Event = field(default_factory=threading.Event)

    def start(self, service: Service) -> None:
        """Start a service, or start it again."""
        child = self.children.setdefault(service.name, Child(service=service))
        child.process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-P", "-m", "cli.main", *service.arguments],  # -P: not what the working folder calls `cli`
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment_of_child({**ENVIRONMENT, **self.environment}),
            process_group=0,  # Ctrl-C reaches the supervisor alone, which then stops the children in order
        )
        child.started_at = time.monotonic()
        assert child.process.stdout is not None
        child.pump = threading.Thread(target=self._pump, args=(service.name, child.process.stdout), daemon=True)
        child.pump.start()
        with suppress(OSError):  # a disk that is full or read-only must not end the stack; the file is for people
            pid_file(self.home, service.name).write_text(str(child.process.pid), encoding="ascii")

    def watch(self, now: float) -> None:
        """Notice deaths and start again whose pause is over. Raises ServiceFailed where the settings are at fault."""
        for child in self.children.values():
            if child.process is None:
                if now >= child.start_at:
                    self.start(child.service)
            elif (status := child.process.poll()) is not None:
                self._bury(child, status, now)

    def stop(self) -> None:
        """SIGTERM to all, SIGKILL to whoever is left after the grace period; returns when all are gone."""
        self.stopping.set()
        running = [child for child in self.children.values() if child.process is not None]
        for child in running:
            assert child.process is not None
            child.process.terminate()  # the child alone: it stops its own children in its own order
        deadline = time.monotonic() + GRACE_SECONDS
        for child in running:
            self._wait(child, deadline)

    def _wait(self, child: Child, deadline: float) -> None:
        assert child.process is not None
        try:
            child.process.wait(max(deadline - time.monotonic(), 0.0))
        except subprocess.TimeoutExpired:
            self.say(f"{child.service.name} did not stop within {GRACE_SECONDS:.0f} seconds and is killed.")
        _signal_group(child.process, signal.SIGKILL)  # the group may hold grandchildren still
        child.process.wait()
        with suppress(OSError):
            pid_file(self.home, child.service.name).unlink()
        if child.pump is not None:
            child.pump.join(timeout=1)

    def _bury(self, child: Child, status: int, now: float) -> None:
        assert child.process is not None
        _signal_group(child.process, signal.SIGKILL)
        if child.pump is not None:
            child.pump.join(timeout=1)
        child.process = None
        with suppress(OSError):
            pid_file(self.home, child.service.name).unlink()
        if status == EXIT_USAGE and child.deaths == 0 and now - child.started_at < STEADY_SECONDS:
            raise ServiceFailed(f"{child.service.name} cannot start: {last_line(self.log_path(child.service.name))}")
        child.deaths = 1 if now - child.started_at >= STEADY_SECONDS else child.deaths + 1
        pause = pause_before_restart(child.deaths)
        child.start_at = now + pause
        if child.deaths <= 2:
            again = "" if child.deaths == 1 else " again; from now on this is told no more"
            self.say(
                f"{child.service.name} ended {_cause(status)}{again}; it starts again in {pause:.0f} s (log: {self.log_path(child.service.name)})."
            )

    def log_path(self, name: str) -> Path:
        return self.home / "logs" / f"{name}.log"

    def _pump(self, name: str, stream: IO[bytes]) -> None:
        """Copy a child's output into its log file, line by line; the file is put aside when it has grown too long."""
        path = self.log_path(name)
        log: IO[bytes] | None = None
        with suppress(OSError):
            log = _open_log(path)  # also for a service that has nothing to say: its log is where people look first
        with stream:
            for line in stream:
                try:
                    log = log or _open_log(path)
                    if log.tell() + len(line) > LOG_BYTES:
                        log.close()
                        log = None
                        path.replace(path.with_suffix(".log.1"))
                        log = _open_log(path)
                    log.write(line)
                except OSError:
                    pass  # a full disk must not block the child, which waits for us to read
                if self.echo is not None:
                    self.echo(f"{name:<9} | {line.decode('utf-8', 'replace').rstrip()}")
        if log is not None:
            log.close()


def _open_log(path: Path) -> IO[bytes]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("ab", buffering=0)  # a buffer would hold on to what a full disk refused


def _signal_group(process: subprocess.Popen[bytes] | None, number: signal.Signals) -> None:
    if process is None:
        return
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _cause(status: int) -> str:
    return f"with status {status}" if status >= 0 else f"by {signal.Signals(-status).name}"


def last_line(path: Path) -> str:
    """The last line of a log that is not empty; where it is an ordinary sentence, what the service said last."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return f"see {path}"
    return next((line for line in reversed(lines) if line.strip()), f"see {path}")

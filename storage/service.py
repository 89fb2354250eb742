"""What the services that only work in the background do alike: they wait for the database, tell Prometheus how they are
on a port of their own, and stop on a signal.
"""

from __future__ import annotations

import errno
import logging
import os
import platform
import signal
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from prometheus_client import CollectorRegistry, start_http_server
from sqlalchemy import Engine

from storage.engine import DatabaseUnavailable
from storage.migrate import require_current
from storage.settings import PREFIX, SettingsError, is_loopback

RETRY_SECONDS = 2.0

_logger = logging.getLogger(__name__)


def owner_name() -> str:
    """A name for leases and claims that no other process has or will have."""
    return f"{platform.node()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """An event that SIGTERM or SIGINT sets, while the block runs in the main thread."""
    stop = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def wait_for_database(engine: Engine, stop: threading.Event) -> bool:
    """Whether there is a database with the right tables; False when told to stop while it was away. Raises SchemaMismatch."""
    waiting = False
    while not stop.is_set():
        try:
            require_current(engine)
        except DatabaseUnavailable as error:
            if not waiting:
                _logger.warning("%s Waiting for it.", error)
            waiting = True
            stop.wait(RETRY_SECONDS)
        else:
            return True
    return False


@contextmanager
def exporting(registry: CollectorRegistry, host: str, port: int, *, trusted: bool, variable: str) -> Iterator[None]:
    """Serves the metrics while the block runs. Raises SettingsError, with the ``variable`` of the port, where it cannot be had."""
    address = export_address(host, trusted=trusted)
    try:
        server, thread = start_http_server(port, addr=address, registry=registry)
    except OSError as error:
        raise SettingsError(_port_problem(error, address, port, variable)) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def bound_socket(address: str, port: int, variable: str) -> socket.socket:
    """A socket that listens there. Raises SettingsError, with the ``variable`` of the port, where it cannot be had."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((address, port))
        made.listen(128)
    except OSError as error:
        made.close()
        raise SettingsError(_port_problem(error, address, port, variable)) from error
    return made


def export_address(host: str, *, trusted: bool) -> str:
    """An exporter knows no keys: open to others only where the network is trusted, else on loopback.

    >>> export_address("0.0.0.0", trusted=False)
    '127.0.0.1'
    """
    return host if trusted or is_loopback(host) else "127.0.0.1"


def _port_problem(error: OSError, address: str, port: int, variable: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} of {address} is taken by another program; free it, or set {variable} to another one."
    return f"Port {port} of {address} cannot be used ({error.strerror}); set {variable} or {PREFIX}HOST."

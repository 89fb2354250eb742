"""Ports for servers of the tests.

Below 32768, where systems begin to hand out ports for outgoing connections: one of those may take a port between the
moment a test chose it and the moment its server listens. A port that was given out belongs to this process until it
ends: it locks the byte of that number in a file that every process of tests on this machine shares, so that tests that
run side by side never choose the same one.
"""

from __future__ import annotations

import fcntl
import functools
import itertools
import os
import socket
import tempfile
from pathlib import Path

FIRST, COUNT = 20_000, 12_000
_candidates = itertools.count(os.getpid() * 10)


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on and that was given to nobody else."""
    for number in itertools.islice(_candidates, COUNT):
        port = FIRST + number % COUNT
        if _claim(port) and _is_free(port):
            return port
    raise AssertionError(f"none of the ports from {FIRST} to {FIRST + COUNT - 1} is free")


def free_ports(number: int) -> list[int]:
    """Ports that nothing listens on, all different."""
    return [free_port() for _ in range(number)]


def _claim(port: int) -> bool:
    try:
        fcntl.lockf(_claims(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


@functools.cache
def _claims() -> int:
    """The file of all claims, never closed: closing it would give up those of this process."""
    path = Path(tempfile.gettempdir()) / f"modelwatch-test-ports-{os.getuid()}"
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True

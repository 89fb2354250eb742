"""Ports for servers of the tests.

Below 32768, where systems begin to hand out ports for outgoing connections: one of those may take a port between the
moment a test chose it and the moment its server listens. No port is given twice in one run.
"""

from __future__ import annotations

import itertools
import os
import socket

_candidates = itertools.count(20_000 + os.getpid() % 1000 * 10)


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on."""
    for number in _candidates:
        port = 20_000 + (number - 20_000) % 12_000
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("there is always another candidate")


def free_ports(number: int) -> list[int]:
    """Ports that nothing listens on, all different."""
    return [free_port() for _ in range(number)]

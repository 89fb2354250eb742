"""How long the supervisor waits, and what it takes for a child's last word."""

from __future__ import annotations

import pytest

from cli.supervise import LONGEST_PAUSE_SECONDS, pause_before_restart
from cli.up import reachable


@pytest.mark.parametrize(("deaths", "seconds"), [(1, 1.0), (2, 2.0), (3, 4.0), (5, 16.0)])
def test_pause_doubles_with_every_death(deaths: int, seconds: float) -> None:
    assert pause_before_restart(deaths) == seconds


def test_pause_is_bounded() -> None:
    assert pause_before_restart(50) == LONGEST_PAUSE_SECONDS


@pytest.mark.parametrize(
    ("host", "address"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("10.0.0.5", "10.0.0.5")]
)
def test_listening_on_all_addresses_is_reached_on_loopback(host: str, address: str) -> None:
    assert reachable(host) == address

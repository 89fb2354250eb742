"""Which addresses a channel may call."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from alerts.channels.hosts import HostPolicy, NotAllowed, connector, is_public


@pytest.mark.parametrize(
    ("allowed", "url"),
    [
        ("", "https://hooks.example.com/x"),
        ("", "https://hooks.example.com:8443/x"),
        ("hooks.example.com", "https://hooks.example.com/x"),
        ("*.example.com", "https://a.b.example.com/x"),
        ("hooks.example.com:8443", "https://hooks.example.com:8443/x"),
        ("http://localhost:9093", "http://localhost:9093/api"),
        ("http://[::1]:9093", "http://[::1]:9093/api"),
        ("HOOKS.example.com", "https://hooks.EXAMPLE.com/x"),
    ],
)
def test_address_that_is_allowed(allowed: str, url: str) -> None:
    assert HostPolicy.parse(allowed).check(url).hostname


@pytest.mark.parametrize(
    ("allowed", "url", "said"),
    [
        ("", "http://hooks.example.com/x", "plain http"),
        ("", "ftp://hooks.example.com/x", "not a web address"),
        ("", "file:///etc/passwd", "not a web address"),
        ("", "hooks.example.com", "not a web address"),
        ("", "https://user:secret@hooks.example.com/", "password"),
        ("", "https://hooks.example.com:99999/", "not a web address"),
        ("other.example.com", "https://hooks.example.com/x", "not among those"),
        ("hooks.example.com", "https://hooks.example.com:8443/x", "not among those"),
        ("hooks.example.com", "https://hooks.example.com.evil.org/x", "not among those"),
        ("https://localhost", "http://localhost/x", "plain http"),
    ],
)
def test_address_that_is_refused_says_why_and_tells_no_secret(allowed: str, url: str, said: str) -> None:
    with pytest.raises(NotAllowed, match=said) as caught:
        HostPolicy.parse(allowed).check(url)
    assert "secret" not in str(caught.value).replace("keep secrets out", "")


@pytest.mark.parametrize("entry", ["https://", "a b", "hooks.example.com/path", "user@host"])
def test_entry_that_is_no_host_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="is not a host"):
        HostPolicy.parse(entry)


@pytest.mark.parametrize(
    "address",
    [
        *["100.64.0.1", "0.0.0.0", "192.168.1.1", "fd00::1", "fe80::1%eth0", "2002:a00:1::", "224.0.0.1", "::", "fec0::1"],
        *["64:ff9b::a00:1", "64:ff9b::7f00:1", "64:ff9b:1::a00:1", "::a00:1", "::7f00:1", "::ffff:0:10.0.0.1", "::ffff:a9fe:a9fe"],
        *["2001:0:7f00:1::1", "2001:db8::1", "169.254.169.254", "fd00:ec2::254", "255.255.255.255", "198.18.0.1"],
    ],
)
def test_private_and_special_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:4700::1111", "64:ff9b::5db8:d822", "::ffff:93.184.216.34"])
def test_public_addresses_are_public_by_whatever_way(address: str) -> None:
    assert is_public(address)


def looked_up(*addresses: str) -> Callable[..., Any]:
    return lambda host, port, **_: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]


def test_name_that_leads_to_a_private_address_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []
    monkeypatch.setattr(socket, "getaddrinfo", looked_up("10.0.0.7", "169.254.169.254"))
    monkeypatch.setattr(socket, "create_connection", lambda address, timeout: called.append(address))
    policy = HostPolicy()

    with pytest.raises(NotAllowed, match="only private addresses"):
        connector(policy, policy.check("https://hooks.example.com/"))(("hooks.example.com", 443))
    assert called == []


def test_of_several_addresses_only_the_public_ones_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []
    monkeypatch.setattr(socket, "getaddrinfo", looked_up("10.0.0.7", "93.184.216.34"))
    monkeypatch.setattr(socket, "create_connection", lambda address, timeout: called.append(address))
    policy = HostPolicy()

    connector(policy, policy.check("https://hooks.example.com/"))(("hooks.example.com", 443))

    assert called == [("93.184.216.34", 443)]

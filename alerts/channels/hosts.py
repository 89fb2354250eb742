"""Which hosts may be called: an address in a rules file must not become a way into the network that the service runs in."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import SplitResult, urlsplit

PORTS = {"http": 80, "https": 443}
SETTING = "MODELWATCH_WEBHOOK_HOSTS"
_TRANSLATED = tuple(IPv6Network(one) for one in ("64:ff9b::/96", "::ffff:0:0:0/96", "::/96"))
"""NAT64 (RFC 6052), SIIT and IPv4-compatible addresses: their last 32 bits are the IPv4 address that is called."""
_LOCAL = tuple(IPv6Network(one) for one in ("64:ff9b:1::/48", "fec0::/10"))
"""Translation of a site's own (RFC 8215), and the site-local addresses of old: Python takes them for public."""


class NotAllowed(Exception):
    """An address must not be called; the text says why and what to set, and holds nothing of the address but its host."""


@dataclass(frozen=True, slots=True)
class HostPolicy:
    """Without any ``allowed`` every public host may be called over https; with some, only these.

    An entry is a host, ``host:port``, or ``http://host`` where plain HTTP is meant; ``*`` stands for any text. Hosts with
    private addresses (RFC 1918, loopback, link-local …) have to be named.
    """

    allowed: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> HostPolicy:
        """From a list with commas. Raises ValueError for an entry that is none.

        >>> HostPolicy.parse("hooks.example.com, *.corp.example.com:8443, http://localhost:9093").allowed
        ('hooks.example.com', '*.corp.example.com:8443', 'http://localhost:9093')
        """
        entries = tuple(part.strip().lower() for part in text.split(",") if part.strip())
        for entry in entries:
            bare = entry.removeprefix("http://").removeprefix("https://")
            if not bare or "/" in bare or "@" in bare or " " in bare:
                raise ValueError(f"{entry!r} is not a host; write for example hooks.example.com or http://localhost:9093")
        return cls(tuple(entry.removeprefix("https://") for entry in entries))

    def check(self, url: str) -> SplitResult:
        """The parts of an address that may be called as far as its text tells. Raises NotAllowed."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise NotAllowed("it is not a web address") from None
        if parts.scheme not in PORTS or not host:
            raise NotAllowed("it is not a web address; it must begin with https://")
        if parts.username or parts.password:
            raise NotAllowed("its address holds a password; keep secrets out of addresses")
        named = self._named(parts.scheme, host, port or PORTS[parts.scheme])
        if parts.scheme == "http" and not named:
            raise NotAllowed(f"{host} is not to be called over plain http; name http://{host} in {SETTING} if it is meant")
        if self.allowed and not named:
            raise NotAllowed(f"the host {host} is not among those in {SETTING}")
        return parts

    def permits(self, parts: SplitResult, address: str) -> bool:
        """Whether a checked host may be called at this IP address: a private one only where the host is named."""
        host = parts.hostname or ""
        return is_public(address) or self._named(parts.scheme, host, parts.port or PORTS[parts.scheme])

    def _named(self, scheme: str, host: str, port: int) -> bool:
        prefix = "http://" if scheme == "http" else ""
        bracketed = f"[{host}]" if ":" in host else host
        names = (f"{prefix}{bracketed}", f"{prefix}{bracketed}:{port}")
        usual = port == PORTS[scheme]
        literal = [entry.replace("[", "[[]") for entry in self.allowed]  # the brackets of an IPv6 address are no pattern
        return any(fnmatchcase(name, entry) for entry in literal for name in (names if usual else names[1:]))


def own_host(url: str) -> HostPolicy:
    """A policy for an address that an operator has set: it may be called, and nothing else. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname:
        raise ValueError("it is not a web address; it must begin with https://")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return HostPolicy((f"{'http://' if parts.scheme == 'http' else ''}{host}:{parts.port or PORTS[parts.scheme]}",))


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet.

    >>> [is_public(a) for a in ("93.184.216.34", "10.0.0.1", "127.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1")]
    [True, False, False, False, False, False]
    """
    found: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        if any(found in network for network in _LOCAL):
            return False
        found = _within(found) or found
    return found.is_global and not found.is_multicast


def _within(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that is called by way of this one."""
    if any(address in network for network in _TRANSLATED):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def connector(policy: HostPolicy, parts: SplitResult) -> Callable[..., socket.socket]:
    """What ``http.client`` connects with: the name is looked up once, and only addresses that are allowed are called.

    So a name whose address changes between the check and the call leads nowhere.
    """

    def connect(address: tuple[str, int], timeout: float | None = None, source_address: object = None) -> socket.socket:
        host, port = address
        found = [entry[4][0] for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        allowed = [str(ip) for ip in found if policy.permits(parts, str(ip))]
        if not allowed:
            raise NotAllowed(f"{host} has only private addresses; name it in {SETTING} if it is meant")
        failure: OSError | None = None
        for ip in allowed:
            try:
                return socket.create_connection((ip, port), timeout)
            except OSError as error:
                failure = error
        raise failure or OSError("no address")

    return connect

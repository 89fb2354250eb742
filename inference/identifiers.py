"""Ids of predictions: UUIDv7, which databases insert in order (random ids cost SQLite six times in bulk)."""

from __future__ import annotations

import random
import time

_random = random.SystemRandom()


class IdMaker:
    """Makes UUIDv7 texts (RFC 9562) that grow within one process. Not thread-safe.

    After the 48 bits of milliseconds come 12 + 14 random bits per millisecond, then a counter of 48 bits that starts at
    a random place below its half: other processes share a millisecond, not the 74 bits after it.
    """

    __slots__ = ("_count", "_milliseconds", "_prefix")

    def __init__(self) -> None:
        self._milliseconds = -1
        self._prefix = ""
        self._count = 0

    def make(self, milliseconds: int | None = None) -> str:
        """One id."""
        now = time.time_ns() // 1_000_000 if milliseconds is None else milliseconds
        if now > self._milliseconds:
            self._start(now)
        self._count += 1
        return f"{self._prefix}{self._count:012x}"

    def make_many(self, count: int) -> list[str]:
        """``count`` ids, in ascending order."""
        first = self.make()
        prefix, start = self._prefix, self._count + 1
        self._count += count - 1
        return [first, *[f"{prefix}{number:012x}" for number in range(start, start + count - 1)]]

    def _start(self, milliseconds: int) -> None:
        self._milliseconds = milliseconds
        bits = _random.getrandbits(26 + 47)
        self._count = bits & ((1 << 47) - 1)
        high, low = bits >> 61, (bits >> 47) & 0x3FFF
        stamp = f"{milliseconds:012x}"
        self._prefix = f"{stamp[:8]}-{stamp[8:]}-7{high:03x}-{0x8000 | low:04x}-"

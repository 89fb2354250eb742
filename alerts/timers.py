"""Looks, between evaluations, whether incidents have to be brought up to date: something is due, something else
changed, or the clock was put back.

That costs four small queries. What was seen last is remembered; a process that has seen nothing yet looks once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine

from alerts.calendars import open_windows
from alerts.dispatch import Desk, Dispatched, dispatch
from alerts.evaluate import LEASE, LEASE_TIME
from alerts.routing import Routing
from storage import incidents, leases, silences
from storage.engine import reading, writing


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What changes who is told, beside the alerts themselves."""

    routing: Routing
    windows: frozenset[str]
    silences: tuple[int, ...]
    acked: tuple[tuple[int, datetime], ...]


@dataclass(slots=True)
class Timers:
    """Remembers what was seen last."""

    _seen: _Seen | None = None
    _looked_at: datetime | None = None

    def tend(self, engine: Engine, desk: Desk, *, owner: str, now: datetime) -> Dispatched | None:
        """Brings incidents up to date if need be; None where another engine holds the lease. Raises DatabaseUnavailable."""
        with reading(engine) as c:
            due, seen = _look(c, desk.routing, now)
        put_back = self._looked_at is not None and now < self._looked_at  # and what was due soon is far away
        self._looked_at = now
        if not due and not put_back and seen == self._seen:
            return Dispatched()
        with writing(engine) as c:
            if leases.acquire(c, LEASE, owner, ttl=LEASE_TIME, now=now) is None:
                return None
            dispatched = dispatch(c, desk, now)
        self._seen = seen
        return dispatched


def _look(c: Connection, routing: Routing, now: datetime) -> tuple[bool, _Seen]:
    outlook = incidents.outlook(c)
    seen = _Seen(
        routing=routing,
        windows=open_windows(routing, now),
        silences=tuple(silence.id for silence in silences.active(c, now)),
        acked=outlook.acked,
    )
    return outlook.due_at is not None and outlook.due_at <= now, seen

"""Who is told of what, and when: the tree of routes, inhibitions and mute windows as frozen values. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import time, timedelta
from zoneinfo import ZoneInfo

from alerts.receivers import Receiver
from storage.matchers import Matchers

GROUP_BY = ("model",)
GROUP_WAIT = timedelta(seconds=30)
GROUP_INTERVAL = timedelta(minutes=5)
REPEAT_INTERVAL = timedelta(hours=4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalation:
    """Who is told as well where nobody has acknowledged the incident ``after`` so long."""

    after: timedelta
    receiver: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """Instead of at once, all is told in one message at these times of day, in ``zone``, on ``weekdays`` (Monday is 0)."""

    at: tuple[time, ...]
    zone: ZoneInfo
    weekdays: frozenset[int] = frozenset(range(7))


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A node of the tree; what a child does not say it has from its parent.

    ``path`` names the node ("" for the root, "0.1" for the second child of the first). ``group_by`` None keeps every alert
    by itself. ``mute`` and ``only`` name mute windows: nobody is told during, or only during, one of them.
    """

    path: str
    receiver: str
    match: Matchers = field(default_factory=Matchers)
    proceed: bool = False
    group_by: tuple[str, ...] | None = GROUP_BY
    group_wait: timedelta = GROUP_WAIT
    group_interval: timedelta = GROUP_INTERVAL
    repeat_interval: timedelta = REPEAT_INTERVAL
    mute: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    escalate: tuple[Escalation, ...] = ()
    digest: Digest | None = None
    routes: tuple[Route, ...] = ()

    def find(self, labels: Mapping[str, str]) -> tuple[Route, ...]:
        """The nodes that an alert belongs to: depth first, the first child that matches unless it says ``continue``.

        ``labels`` with ``alert`` among them; the root matches everything, and where no child matches, the node itself is it.
        """
        found: list[Route] = []
        for child in self.routes:
            if child.match.match(labels):
                found += child.find(labels)
                if not child.proceed:
                    break
        return tuple(found) or (self,)

    def walk(self) -> Iterator[Route]:
        """This node and all below it."""
        yield self
        for child in self.routes:
            yield from child.walk()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inhibition:
    """While an alert that matches ``source`` fires, nobody is told of those that match ``target`` and agree in ``equal``."""

    source: Matchers
    target: Matchers
    equal: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MuteWindow:
    """Recurring times. All that is given has to hold; ``times`` are (from, to) of a day, over midnight where to <= from.

    ``weekdays``: Monday is 0. ``days``: of the month, negative ones from its end (-1 is the last). ``months``: 1 to 12.
    A range over midnight belongs to the day it begins on.
    """

    name: str
    zone: ZoneInfo
    times: tuple[tuple[time, time], ...] = ()
    weekdays: frozenset[int] | None = None
    days: frozenset[int] | None = None
    months: frozenset[int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """Everything about who is told."""

    root: Route
    receivers: tuple[Receiver, ...] = ()
    inhibit: tuple[Inhibition, ...] = ()
    mute_windows: tuple[MuteWindow, ...] = ()

    def receiver(self, name: str) -> Receiver | None:
        return next((receiver for receiver in self.receivers if receiver.name == name), None)

    def window(self, name: str) -> MuteWindow | None:
        return next((window for window in self.mute_windows if window.name == name), None)

    def with_fallback(self, receiver: Receiver) -> Routing:
        """The same, with this receiver where no receiver is named: for a file that has none."""
        if self.receivers:
            return self
        return replace(self, root=_received(self.root, receiver.name), receivers=(receiver,))


def _received(route: Route, receiver: str) -> Route:
    children = tuple(_received(child, receiver) for child in route.routes)
    return replace(route, receiver=route.receiver or receiver, routes=children)

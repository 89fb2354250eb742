"""Which way an alert goes through the routes, with all that holds there: what `modelwatch alerts check` shows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from alerts.receivers import Receiver
from alerts.routes import Recipient, recipients_of
from alerts.routing import Digest, Route, Routing
from alerts.routing_text import EACH_ALONE, WEEKDAYS
from storage.durations import format_duration
from storage.matchers import labels_for_matching
from storage.records import AlertRow


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteReport:
    """One route that an alert takes. ``path`` and ``matches`` name each node on the way down, the root first.

    ``tells`` and ``escalates`` are lists of texts; durations are as people write them. ``digest`` is "" where there is none.
    """

    path: tuple[str, ...]
    matches: tuple[str, ...]
    receiver: str
    tells: tuple[str, ...]
    send_resolved: bool
    group_by: tuple[str, ...]
    group_wait: str
    group_interval: str
    repeat_interval: str
    mute: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    escalates: tuple[str, ...] = ()
    digest: str = ""

    def lines(self) -> list[str]:
        """For people: the way, who is told, and when."""
        way = " > ".join(f"{name} ({match})" if match else name for name, match in zip(self.path, self.matches, strict=True))
        grouped = "each alert by itself" if self.group_by == (EACH_ALONE,) else f"by {', '.join(self.group_by)}"
        grouped = grouped if self.group_by else "all in one"
        when = (
            f"digest {self.digest}"
            if self.digest
            else (f"first after {self.group_wait}, changes every {self.group_interval}, reminders every {self.repeat_interval}")
        )
        extra = [f"muted during {name}" for name in self.mute] + [f"only during {name}" for name in self.only]
        extra += [f"escalates to {step}" for step in self.escalates]
        extra += [] if self.send_resolved else ["ends are not told"]
        return [f"{way}: tells {self.receiver} ({', '.join(self.tells) or 'no channel'})", "; ".join([grouped, when, *extra])]


def routes_of(alert: AlertRow, routing: Routing) -> tuple[RouteReport, ...]:
    """Every route that the alert takes, in the order of the file."""
    found = routing.root.find(labels_for_matching(alert.rule, alert.labels))
    return tuple(_report(route, routing) for route in found)


def _report(route: Route, routing: Routing) -> RouteReport:
    nodes = _nodes(route, routing)
    receiver = routing.receiver(route.receiver)
    return RouteReport(
        path=tuple("routes" if not node.path else f"route {_counted(node.path)}" for node in nodes),
        matches=tuple(str(node.match) if node.match.patterns else "" for node in nodes),
        receiver=route.receiver,
        tells=channels_of(receiver) if receiver else (),
        send_resolved=receiver is None or receiver.send_resolved,
        group_by=_group_by(route),
        group_wait=format_duration(route.group_wait),
        group_interval=format_duration(route.group_interval),
        repeat_interval=format_duration(route.repeat_interval),
        mute=route.mute,
        only=route.only,
        escalates=() if route.digest else tuple(f"{step.receiver} after {format_duration(step.after)}" for step in route.escalate),
        digest=_digest(route.digest) if route.digest else "",
    )


def _group_by(route: Route) -> tuple[str, ...]:
    """As a file says it; a digest is one message, whatever the route groups by."""
    if route.digest is not None:
        return ()
    return (EACH_ALONE,) if route.group_by is None else route.group_by


def _nodes(route: Route, routing: Routing) -> list[Route]:
    """The route and all above it, the root first."""
    above = [node for node in routing.root.walk() if not node.path or f"{route.path}.".startswith(f"{node.path}.")]
    return sorted(above, key=lambda node: len(node.path))


def _counted(path: str) -> str:
    """As the messages about mistakes count: from one on."""
    return ".".join(str(int(number) + 1) for number in path.split("."))


def channels_of(receiver: Receiver) -> tuple[str, ...]:
    """The channels of a receiver, each with the address that it has there."""
    return tuple(_channel(recipient, receiver) for recipient in recipients_of(receiver))


def _channel(recipient: Recipient, receiver: Receiver) -> str:
    if recipient.channel == "action":
        return f"action: {', '.join(action.do for action in receiver.actions)}"
    whom = recipient.address.slack_channel or ", ".join(recipient.address.email_to)
    return recipient.channel + (f" {whom}" if whom else "")


def _digest(digest: Digest) -> str:
    days: Sequence[str] = [WEEKDAYS[day] for day in sorted(digest.weekdays)] if len(digest.weekdays) < 7 else ["every day"]
    return f"at {', '.join(f'{at:%H:%M}' for at in digest.at)} {digest.zone.key}, {', '.join(days)}"

"""Many messages to one receiver as one, after its channel was held: what piled up is told once and whole. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from alerts.messages import AlertLine, Kind, Message
from alerts.renderings import MARKS

MERGED_FROM = 3
"""So many messages that piled up become one; two are told one after the other."""
FOR_PEOPLE = frozenset({"slack", "email", "apprise"})
"""Channels whose messages people read. Programs get every message by itself."""
_RANK = {"critical": 0, "page": 0, "error": 1, "warning": 2}


def digest_of(messages: Sequence[Message], *, key: str, now: datetime) -> Message:
    """One message for all of them, oldest first. What fired and ended meanwhile is told with both.

    Incidents are told by their newest message, worst first; those that are over come last.
    """
    newest: dict[str, Message] = {}
    began: set[str] = set()
    for message in messages:
        name = message.incident_key or message.key
        newest[name] = message
        if message.kind is Kind.FIRING:
            began.add(name)
    lines = sorted((_line(message, name in began) for name, message in newest.items()), key=lambda pair: pair[0])
    worst = min((message.severity for message in newest.values()), key=lambda severity: _RANK.get(severity, 3))
    over = sum(message.kind is Kind.RESOLVED for message in newest.values())
    fine = f", {over} of them resolved" if over else ""
    return Message(
        kind=Kind.DIGEST,
        key=key,
        title=f"{len(newest)} incidents{fine}",
        summary=f"{len(messages)} messages came at once or could not be delivered in time; this is what they said.",
        at=now,
        severity=worst,
        lines=tuple(line for _, line in lines),
        dashboard_url=next((message.dashboard_url for message in newest.values() if message.dashboard_url), ""),
    )


def _line(message: Message, began: bool) -> tuple[tuple[int, int], AlertLine]:
    over = message.kind is Kind.RESOLVED
    state = MARKS[message.kind].lower()
    detail = f"fired and ended meanwhile. {message.summary}" if over and began else message.summary
    line = AlertLine(
        state="resolved" if over else "firing",
        title=message.title,
        detail=detail if over or message.kind is Kind.FIRING else f"{state}: {detail}",
        labels=message.labels,
        url=message.dashboard_url,
    )
    return (int(over), _RANK.get(message.severity, 3)), line

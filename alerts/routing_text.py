"""Routes, inhibitions and mute windows as people write them in a rules file, and the values made of them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import time
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool

from alerts.receivers import ReceiverText, receiver_of
from alerts.routing import Digest, Escalation, Inhibition, MuteWindow, Route, Routing
from alerts.yaml_types import Duration, Name, Pattern, PositiveDuration, Text
from storage.matchers import Matchers

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
EACH_ALONE = "..."
"""In ``group_by``: every alert is an incident of its own."""


def _patterns(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _time(value: object) -> time:
    if isinstance(value, str):
        try:
            return time.fromisoformat("00:00" if value == "24:00" else value)
        except ValueError:
            pass
    raise ValueError(f'{value!r} is not a time of day; write it in quotes, for example "22:00"')


def _zone(value: object) -> ZoneInfo:
    try:
        return ZoneInfo(str(value))
    except (KeyError, ValueError, OSError) as error:  # unknown, malformed, or a folder of the zone data
        raise ValueError(f"{value!r} is not a time zone; write for example Europe/Berlin or UTC") from error


def _day(value: int) -> int:
    if value == 0:
        raise ValueError("months begin with day 1; -1 is the last one")
    return value


def _list(value: object) -> object:
    return value if isinstance(value, list) else [value]


MatchText = dict[Name, Annotated[list[Pattern], BeforeValidator(_patterns), Field(min_length=1)]]
TimeOfDay = Annotated[time, BeforeValidator(_time)]
Zone = Annotated[ZoneInfo, BeforeValidator(_zone)]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Month = Literal["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
DayOfMonth = Annotated[int, Field(strict=True, ge=-31, le=31), AfterValidator(_day)]


class EscalationText(Text):
    """A further receiver, and how long nobody may acknowledge before it is told."""

    after: PositiveDuration
    receiver: Name


class DigestText(Text):
    """Times at which all is told in one message."""

    at: Annotated[list[TimeOfDay], BeforeValidator(_list), Field(min_length=1)]
    time_zone: Zone = ZoneInfo("UTC")
    weekdays: list[Weekday] | None = None


class RouteText(Text):
    """Who is told of what."""

    receiver: Name | None = None
    match: MatchText = {}
    proceed: StrictBool = Field(False, alias="continue")
    group_by: list[Name] | None = None
    group_wait: Duration | None = None
    group_interval: PositiveDuration | None = None
    repeat_interval: PositiveDuration | None = None
    mute: Annotated[list[Name], BeforeValidator(_list)] | None = None
    only: Annotated[list[Name], BeforeValidator(_list)] | None = None
    escalate: list[EscalationText] | None = None
    digest: DigestText | None = None
    routes: list[RouteText] = []


class InhibitText(Text):
    """What keeps quiet while something else fires."""

    source: Annotated[MatchText, Field(min_length=1)]
    target: Annotated[MatchText, Field(min_length=1)]
    equal: list[Name] = []


class SpanText(Text):
    """A part of a day."""

    start: TimeOfDay = Field(alias="from")
    end: TimeOfDay = Field(alias="to")


class MuteWindowText(Text):
    """Recurring times."""

    name: Name
    time_zone: Zone = ZoneInfo("UTC")
    times: list[SpanText] = []
    weekdays: list[Weekday] | None = None
    days_of_month: list[DayOfMonth] | None = None
    months: list[Month] | None = None


# ---------------------------------------------------------------------------------------------- values


def routing_of(
    root: RouteText, receivers: Sequence[ReceiverText], inhibit: Sequence[InhibitText], windows: Sequence[MuteWindowText]
) -> Routing:
    """The values of a file whose parts are right (``routing_problems`` found nothing)."""
    made = tuple(receiver_of(receiver) for receiver in receivers)
    fallback = made[0].name if made else ""
    return Routing(
        root=_route(root, Route(path="", receiver=fallback), path=""),
        receivers=made,
        inhibit=tuple(
            Inhibition(source=Matchers.of(one.source), target=Matchers.of(one.target), equal=tuple(one.equal)) for one in inhibit
        ),
        mute_windows=tuple(_window(window) for window in windows),
    )


def _route(text: RouteText, parent: Route, *, path: str) -> Route:
    route = Route(
        path=path,
        receiver=text.receiver or parent.receiver,
        match=Matchers.of(text.match),
        proceed=text.proceed,
        group_by=parent.group_by if text.group_by is None else _group_by(text.group_by),
        group_wait=parent.group_wait if text.group_wait is None else text.group_wait,
        group_interval=text.group_interval or parent.group_interval,
        repeat_interval=text.repeat_interval or parent.repeat_interval,
        mute=parent.mute if text.mute is None else tuple(text.mute),
        only=parent.only if text.only is None else tuple(text.only),
        escalate=parent.escalate
        if text.escalate is None
        else tuple(
            Escalation(after=step.after, receiver=step.receiver) for step in sorted(text.escalate, key=lambda step: step.after)
        ),
        digest=parent.digest if text.digest is None else _digest(text.digest),
    )
    children = tuple(_route(child, route, path=f"{path}.{i}".lstrip(".")) for i, child in enumerate(text.routes))
    return replace(route, routes=children)


def _group_by(names: Sequence[str]) -> tuple[str, ...] | None:
    return None if EACH_ALONE in names else tuple(names)


def _digest(text: DigestText) -> Digest:
    return Digest(at=tuple(sorted(text.at)), zone=text.time_zone, weekdays=_weekdays(text.weekdays) or frozenset(range(7)))


def _weekdays(names: Sequence[str] | None) -> frozenset[int] | None:
    return None if names is None else frozenset(WEEKDAYS.index(name) for name in names)


def _window(text: MuteWindowText) -> MuteWindow:
    return MuteWindow(
        name=text.name,
        zone=text.time_zone,
        times=tuple((span.start, span.end) for span in text.times),
        weekdays=_weekdays(text.weekdays),
        days=None if text.days_of_month is None else frozenset(text.days_of_month),
        months=None if text.months is None else frozenset(MONTHS.index(month) + 1 for month in text.months),
    )


# ---------------------------------------------------------------------------------------------- what is wrong


def routing_problems(root: RouteText, receivers: Sequence[ReceiverText], windows: Sequence[MuteWindowText]) -> list[str]:
    """What is wrong between the parts, each a sentence that says where it is."""
    known = [receiver.name for receiver in receivers]
    named = [window.name for window in windows]
    problems = [
        f'receiver "{receiver.name}": it has no channel; give it `slack: {{channel: "#…"}}` or `email: {{to: […]}}`'
        for receiver in receivers
        if receiver.is_empty
    ]
    if root.match:
        problems.append("routes: the root is for everything; put `match` into a route below it")
    for place, route in _walk(root, "routes"):
        problems += [_unknown_receiver(place, name, known) for name in _receivers_of(route) if name not in known]
        if route.digest is not None and route.escalate:
            problems.append(f"{place}: a digest does not escalate; take `escalate` away, or give it to a route of its own")
        wanted = [*(route.mute or []), *(route.only or [])]
        problems += [f'{place}: there is no mute window "{name}"' for name in wanted if name not in named]
    effective = _route(root, Route(path="", receiver=""), path="")
    problems += [problem for route in effective.walk() for problem in _interval_problems(route)]
    return problems


def _walk(route: RouteText, place: str) -> Iterator[tuple[str, RouteText]]:
    yield place, route
    for number, child in enumerate(route.routes):
        yield from _walk(child, f"{place}: route number {number + 1}")


def _receivers_of(route: RouteText) -> list[str]:
    return [*([route.receiver] if route.receiver else []), *(step.receiver for step in route.escalate or [])]


def _unknown_receiver(place: str, name: str, known: Sequence[str]) -> str:
    return f'{place}: receiver "{name}" does not exist' + (
        f"; known are {', '.join(known)}" if known else "; list it under `receivers`"
    )


def _interval_problems(route: Route) -> list[str]:
    if route.repeat_interval < route.group_interval:
        return ["routes: repeat_interval is shorter than group_interval, which a repeat waits for; make it longer"]
    return []

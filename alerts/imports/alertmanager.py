"""Routing of Alertmanager as ours: routes, inhibitions and time intervals. Receivers are in ``alerts.imports.receivers``. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from alerts.imports.notes import ImportProblem, Mapping, Notes, duration, listed, mapped, truth
from alerts.imports.patterns import NoPattern, parse_matcher, patterns_of, split_matchers
from alerts.imports.receivers import import_receivers
from alerts.imports.times import import_windows
from alerts.routing import GROUP_INTERVAL, REPEAT_INTERVAL
from storage.durations import format_duration, parse_duration

NOBODY = "nobody"
"""The mute window that is always open: for routes to a receiver that has no channel."""


@dataclass(slots=True, kw_only=True)
class _Import:
    """What the parts need of each other: what alerts, receivers and time intervals are called here."""

    notes: Notes
    alerts: dict[str, list[str]]
    windows: dict[str, list[str]] = field(default_factory=dict)
    silent: frozenset[str] = frozenset()
    receivers: tuple[str, ...] = ()
    uses_nobody: bool = False


@dataclass(frozen=True, slots=True)
class _Inherited:
    """What a route has from those above it, as far as it matters here."""

    receiver: str = ""
    mute: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    group_interval: str = format_duration(GROUP_INTERVAL)
    repeat_interval: str = format_duration(REPEAT_INTERVAL)


def import_routing(content: Mapping, alerts: dict[str, list[str]], notes: Notes) -> Mapping:
    """``routes``, ``receivers``, ``inhibit`` and ``mute_windows``. ``alerts``: what rules are called here. Raises ImportProblem."""
    receivers, silent = import_receivers(content, notes)
    windows, names = import_windows(content, notes)
    if not receivers:
        raise ImportProblem("alertmanager: receivers: none of them has a channel")
    known = tuple(receiver["name"] for receiver in receivers)
    work = _Import(notes=notes, alerts=alerts, windows=names, silent=silent, receivers=known)
    root = mapped(content.get("route"), "route")
    if not root.get("receiver"):
        raise ImportProblem("alertmanager: route: it names no receiver")
    # Without group_by Alertmanager puts all alerts together; here they would be grouped by model.
    routes = _route({"group_by": [], **root}, _Inherited(), "route", work)
    assert routes is not None  # only matchers make it nothing, and a root has none
    inhibit = [
        one
        for number, rule in enumerate(listed(content.get("inhibit_rules"), "inhibit_rules"))
        for one in _inhibit(rule, number, work)
    ]
    if work.uses_nobody:
        windows.append({"name": NOBODY})
    _rest(content, notes)
    parts = {"routes": routes, "receivers": receivers, "inhibit": inhibit, "mute_windows": windows}
    return {name: part for name, part in parts.items() if part}


def _rest(content: Mapping, notes: Notes) -> None:
    if content.get("templates"):
        notes.lost.append("alertmanager: templates: messages have their own form here")
    settings = mapped(content.get("global"), "global")
    if settings.get("resolve_timeout"):
        notes.lost.append("alertmanager: global: resolve_timeout: alerts end when their rule says so")
    if settings.get("smtp_smarthost"):
        notes.todo.append(
            f"set MODELWATCH_SMTP_HOST and MODELWATCH_SMTP_PORT for {settings['smtp_smarthost']}, and MODELWATCH_SMTP_FROM"
        )
    if settings.get("smtp_auth_username"):
        notes.todo.append("set MODELWATCH_SMTP_USERNAME and MODELWATCH_SMTP_PASSWORD")


# ---------------------------------------------------------------------------------------------- routes


def _route(route: Mapping, above: _Inherited, place: str, work: _Import) -> Mapping | None:
    """The route with those below it; None where its matchers cannot be said, so that its alerts stay with the route above."""
    try:
        match = _matchers(route, ("match", "match_re", "matchers"), work)
    except NoPattern as error:
        work.notes.lost.append(
            f"{place}: left out with all below it, its alerts go on to the routes that follow, or to the one above: {error}"
        )
        return None
    made: Mapping = {"match": match} if match else {}
    receiver = str(route.get("receiver") or above.receiver)
    made |= _receiver(receiver, above, place, work)
    if truth(route.get("continue")):
        made["continue"] = True
    if route.get("group_by") is not None:
        made["group_by"] = ["alert" if name == "alertname" else str(name) for name in listed(route["group_by"], place)]
    clocks = {
        key: duration(route[key], f"{place}: {key}")
        for key in ("group_wait", "group_interval", "repeat_interval")
        if route.get(key) is not None
    }
    group, repeat = (clocks.get("group_interval", above.group_interval), clocks.get("repeat_interval", above.repeat_interval))
    if parse_duration(repeat) < parse_duration(group):
        work.notes.changed.append(
            f"{place}: repeat_interval {repeat} is shorter than group_interval {group}, which it waits for; it is {group} now"
        )
        clocks["repeat_interval"] = repeat = group
    made |= clocks
    mute = _names(route, "mute_time_intervals", place, work) + ((NOBODY,) if receiver in work.silent else ())
    only = _names(route, "active_time_intervals", place, work)
    # Alertmanager does not hand these down; here a route has them from the one above unless it says otherwise.
    made |= {"mute": list(mute)} if mute != above.mute else {}
    made |= {"only": list(only)} if only != above.only else {}
    here = _Inherited(receiver, mute, only, group, repeat)
    below = [
        _route(mapped(child, place), here, f"{place}.routes[{number}]", work)
        for number, child in enumerate(listed(route.get("routes"), place))
    ]
    children = [child for child in below if child is not None]
    return made | ({"routes": children} if children else {})


def _receiver(name: str, above: _Inherited, place: str, work: _Import) -> Mapping:
    if name in work.silent:
        work.uses_nobody = True
        work.notes.changed.append(f"receiver {name}: it has no channel; its routes are muted for good by the mute window {NOBODY}")
        return {"receiver": work.receivers[0]} if not above.receiver else {}
    if name not in work.receivers:
        raise ImportProblem(f"alertmanager: {place}: there is no receiver {name!r}")
    return {"receiver": name} if name != above.receiver else {}


def _names(route: Mapping, key: str, place: str, work: _Import) -> tuple[str, ...]:
    found: list[str] = []
    for name in listed(route.get(key), f"{place}: {key}"):
        if not work.windows.get(str(name)):
            work.notes.lost.append(f"{place}: {key}: {name}, of which nothing is carried over")
        found += work.windows.get(str(name), [])
    return tuple(found)


# ---------------------------------------------------------------------------------------------- matchers


def _matchers(content: Mapping, keys: tuple[str, str, str], work: _Import) -> dict[str, list[str]]:
    """All matchers of a route or of a side of an inhibition. Raises NoPattern."""
    plain, regex, newer = keys
    parsed = [(name, "=", str(value)) for name, value in mapped(content.get(plain), plain).items()]
    parsed += [(name, "=~", str(value)) for name, value in mapped(content.get(regex), regex).items()]
    texts = content.get(newer) or []
    for text in [texts] if isinstance(texts, str) else listed(texts, newer):
        parsed += [parse_matcher(one) for one in split_matchers(str(text))]
    made: dict[str, list[str]] = {}
    for name, how, value in parsed:
        label = "alert" if name == "alertname" else name
        patterns = _named(patterns_of(how, value), work) if label == "alert" else patterns_of(how, value)
        if made.get(label, patterns) != patterns:
            raise NoPattern(f"two matchers of {name} at once")
        made[label] = patterns
    return made


def _named(patterns: Sequence[str], work: _Import) -> list[str]:
    """Rules that were given another name are meant by their own, too."""
    found = [name for pattern in patterns for name in work.alerts.get(pattern, [pattern])]
    for pattern in patterns:
        if pattern.startswith("!") and len(work.alerts.get(pattern[1:], [])) > 1:
            raise NoPattern(f"{pattern[1:]} is the name of several rules, which are called otherwise here")
    return found


def _inhibit(rule: object, number: int, work: _Import) -> Iterable[Mapping]:
    content = mapped(rule, "inhibit_rules")
    try:
        sides = [
            _matchers(content, (f"{side}_match", f"{side}_match_re", f"{side}_matchers"), work) for side in ("source", "target")
        ]
    except NoPattern as error:
        work.notes.lost.append(f"inhibit_rules[{number}]: left out: {error}")
        return []
    equal = ["alert" if name == "alertname" else str(name) for name in listed(content.get("equal"), "equal")]
    if "alert" in equal and any(len(names) > 1 for names in work.alerts.values()):
        work.notes.changed.append(
            f"inhibit_rules[{number}]: equal: alertname: rules that shared a name are called otherwise here, and differ in it"
        )
    return [{"source": sides[0], "target": sides[1]} | ({"equal": equal} if equal else {})]

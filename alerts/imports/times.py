"""Time intervals of Alertmanager as mute windows. Pure."""

from __future__ import annotations

from alerts.imports.notes import ImportProblem, Mapping, Notes, listed, mapped, unused
from alerts.routing_text import MONTHS, WEEKDAYS

LAST_DAY = 31


def import_windows(content: Mapping, notes: Notes) -> tuple[list[Mapping], dict[str, list[str]]]:
    """The windows, and by the name of an interval what its windows are called: it may have several. Raises ImportProblem."""
    windows: list[Mapping] = []
    names: dict[str, list[str]] = {}
    used: set[str] = set()
    for key in ("time_intervals", "mute_time_intervals"):
        for named in (mapped(one, key) for one in listed(content.get(key), key)):
            name = str(named.get("name", ""))
            for interval in listed(named.get("time_intervals"), name):
                made = _window(mapped(interval, name), f"time interval {name}", notes)
                if made is not None:
                    made["name"] = unused(name, used)
                    names.setdefault(name, []).append(made["name"])
                    windows.append({"name": made.pop("name"), **made})
    return windows, names


def _window(interval: Mapping, place: str, notes: Notes) -> Mapping | None:
    if interval.get("years"):
        notes.lost.append(f"{place}: a part with years, which mute windows do not have")
        return None
    made: Mapping = {}
    if interval.get("location"):
        made["time_zone"] = str(interval["location"])
    times = [mapped(one, place) for one in listed(interval.get("times"), place)]
    if times:
        made["times"] = [{"from": str(one.get("start_time")), "to": str(one.get("end_time"))} for one in times]
    if interval.get("weekdays"):
        made["weekdays"] = [WEEKDAYS[day] for text in listed(interval["weekdays"], place) for day in _weekdays(str(text), place)]
    if interval.get("months"):
        made["months"] = [MONTHS[month - 1] for text in listed(interval["months"], place) for month in _months(str(text), place)]
    if interval.get("days_of_month"):
        try:
            made["days_of_month"] = [day for text in listed(interval["days_of_month"], place) for day in _days(str(text))]
        except ValueError as error:
            notes.lost.append(f"{place}: a part with the days {error}, which cannot be said here")
            return None
    return made


def _weekdays(text: str, place: str) -> range:
    """``monday:friday`` as days of the week, Monday 0. Alertmanager's weeks begin on Sunday."""
    days = [_of(WEEKDAYS, one, place) for one in text.split(":")]
    first, last = days[0], days[-1]
    if first == WEEKDAYS.index("sun") and last != first:
        first = -1
    if last < first:
        raise ImportProblem(f"{place}: the weekdays {text!r} go backwards")
    return range(first, last + 1)


def _months(text: str, place: str) -> range:
    months = [int(one) if one.isdigit() else _of(MONTHS, one, place) + 1 for one in text.split(":")]
    if not 1 <= months[0] <= months[-1] <= len(MONTHS):
        raise ImportProblem(f"{place}: {text!r} are no months")
    return range(months[0], months[-1] + 1)


def _of(names: tuple[str, ...], text: str, place: str) -> int:
    short = text.strip().lower()[:3]
    if short not in names:
        raise ImportProblem(f"{place}: {text!r} is not known")
    return names.index(short)


def _days(text: str) -> range:
    """Days of the month, negative ones from its end. Raises ValueError where the range has an end that depends on the month."""
    days = [int(one) for one in text.split(":")]
    first, last = days[0], days[-1]
    if first > 0 and last == -1:
        last = LAST_DAY
    if not first or not last or (first > 0) != (last > 0) or first > last or max(abs(first), abs(last)) > LAST_DAY:
        raise ValueError(text)
    return range(first, last + 1)

"""What an import brings and what it leaves behind: every piece says so with a sentence. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

Mapping = dict[str, Any]

_PART = re.compile(r"(\d+)(ms|[smhdwy])")


class ImportProblem(Exception):
    """A file cannot be taken over; the message names the file, and the place in it."""


@dataclass(slots=True)
class Notes:
    """What does not carry over and why (``lost``), what carries over with another meaning (``changed``), what is to do (``todo``)."""

    lost: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    todo: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """A line for each, without repetition."""
        kinds = (("Not carried over", self.lost), ("Changed", self.changed), ("To do", self.todo))
        return [f"{title}: {note}." for title, notes in kinds for note in dict.fromkeys(notes)]


def duration(value: object, place: str) -> str:
    """A duration of Prometheus in our units, which have no years. Raises ImportProblem.

    >>> duration("1y2d", "for"), duration(0, "for")
    ('365d2d', '0s')
    """
    text = str(value).strip()
    if text in ("0", ""):
        return "0s"
    if _PART.sub("", text):
        raise ImportProblem(f"{place}: {text!r} is not a duration")
    return "".join(f"{int(number) * 365}d" if unit == "y" else number + unit for number, unit in _PART.findall(text))


def listed(value: object, place: str) -> list[Any]:
    """A list, which may be absent. Raises ImportProblem."""
    if value in (None, ""):
        return []
    if not isinstance(value, list):
        raise ImportProblem(f"{place}: it is not a list")
    return value


def mapped(value: object, place: str) -> Mapping:
    """A mapping, which may be absent. Raises ImportProblem."""
    if value in (None, ""):
        return {}
    if not isinstance(value, dict):
        raise ImportProblem(f"{place}: it is not a mapping")
    return {str(key): one for key, one in value.items()}


def truth(value: object) -> bool:
    """A text that YAML takes for true."""
    return str(value).lower() in ("true", "yes", "on")


def unused(name: str, used: set[str]) -> str:
    """The name, with a number at its end where it is used already; it counts as used from then on."""
    found, number = name, 2
    while found in used:
        found, number = f"{name}_{number}", number + 1
    used.add(found)
    return found

"""The comparison that a rule makes: ``"> 0.2"``, or ``"> threshold"`` with the threshold of the point itself. Pure."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Operator(StrEnum):
    """How a value is held against its bound."""

    GREATER = ">"
    GREATER_EQUAL = ">="
    LESS = "<"
    LESS_EQUAL = "<="
    EQUAL = "=="
    NOT_EQUAL = "!="


_COMPARE: dict[Operator, Callable[[float, float], bool]] = {
    Operator.GREATER: operator.gt,
    Operator.GREATER_EQUAL: operator.ge,
    Operator.LESS: operator.lt,
    Operator.LESS_EQUAL: operator.le,
    Operator.EQUAL: operator.eq,
    Operator.NOT_EQUAL: operator.ne,
}
_OPPOSITE = {
    Operator.GREATER: Operator.LESS_EQUAL,
    Operator.GREATER_EQUAL: Operator.LESS,
    Operator.LESS: Operator.GREATER_EQUAL,
    Operator.LESS_EQUAL: Operator.GREATER,
    Operator.EQUAL: Operator.NOT_EQUAL,
    Operator.NOT_EQUAL: Operator.EQUAL,
}
_UPWARD = (Operator.GREATER, Operator.GREATER_EQUAL)
_DOWNWARD = (Operator.LESS, Operator.LESS_EQUAL)

_TEXT = re.compile(r"(>=|<=|==|!=|>|<)\s*(?:(?P<factor>\S+?)\s*\*\s*threshold|(?P<plain>threshold)|(?P<number>\S+))")


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A comparison with ``limit``, or, where ``of_threshold``, with ``limit`` times the threshold of the point."""

    operator: Operator
    limit: float
    of_threshold: bool = False

    def bound(self, threshold: float | None) -> float | None:
        """The number that a value is compared with; None where the point should bring a threshold and has none."""
        if not self.of_threshold:
            return self.limit
        return None if threshold is None else self.limit * threshold

    def holds(self, value: float, threshold: float | None) -> bool:
        """Whether the comparison is true. A condition without a bound holds for nothing."""
        bound = self.bound(threshold)
        return bound is not None and _COMPARE[self.operator](value, bound)

    def opposite(self) -> Condition:
        """The condition that holds exactly where this one does not."""
        return Condition(operator=_OPPOSITE[self.operator], limit=self.limit, of_threshold=self.of_threshold)

    def __str__(self) -> str:
        if not self.of_threshold:
            return f"{self.operator} {self.limit:g}"
        return f"{self.operator} threshold" if self.limit == 1 else f"{self.operator} {self.limit:g} * threshold"


PRESENT = Condition(operator=Operator.GREATER, limit=-math.inf)
"""What a query without a condition of its own is held against: whatever it gives is a problem, as in Prometheus."""


def parse_condition(text: str) -> Condition:
    """``"> 0.2"``, ``"> 20%"``, ``"<= threshold"`` or ``"< 0.8 * threshold"``. Raises ValueError with a sentence for anything else.

    >>> str(parse_condition("< -20%"))
    '< -0.2'
    """
    matched = _TEXT.fullmatch(text.strip())
    if matched is None:
        raise ValueError(f'{text!r} is not a condition; write for example "> 0.2", "<= 5" or "> threshold"')
    number = matched["factor"] or matched["number"]
    limit = 1.0 if number is None else _number(number, text)
    return Condition(operator=Operator(matched[1]), limit=limit, of_threshold=matched["number"] is None)


def overlap(when: Condition, resolve_when: Condition) -> bool:
    """Whether some value makes both true (an alert that fires and resolves at once), as far as it can be told beforehand.

    Bounds of different kinds, a number and a threshold, cannot be compared before there is a point.
    """
    if when.operator in _UPWARD and resolve_when.operator in _UPWARD:
        return True
    if when.operator in _DOWNWARD and resolve_when.operator in _DOWNWARD:
        return True
    if when.of_threshold != resolve_when.of_threshold or not {when.operator, resolve_when.operator} <= {*_UPWARD, *_DOWNWARD}:
        return False
    lowest, highest = (when, resolve_when) if when.operator in _UPWARD else (resolve_when, when)
    both_include = lowest.operator is Operator.GREATER_EQUAL and highest.operator is Operator.LESS_EQUAL
    return lowest.limit < highest.limit or (both_include and lowest.limit == highest.limit)


def _number(text: str, whole: str) -> float:
    plain = text.removesuffix("%")
    try:
        number = float(plain) / (100 if plain != text else 1)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f'{whole!r} compares with {text!r}, which is not a number; write for example "> 0.2" or "> threshold"')
    return number

"""The types of a rules file's values: durations with units, conditions, patterns, names, addresses, and mappings without unknown keys."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictStr

from alerts.conditions import Condition, parse_condition
from storage.durations import parse_duration

WHERE_KEYS = ("model", "version", "role", "segment", "feature")
_ADDRESS = re.compile(r"[^\s@<>,;:\"()]+@[^\s@<>,;:\"()]+")
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SOME_OF = re.compile(r"(\d{1,4}) of (\d{1,4})")
MOST_POINTS = 1000


def _duration(value: object) -> timedelta:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} has no unit; write for example 30s, 10m, 1h30m or 7d")
    return parse_duration(value)


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be longer than zero; write for example 30s or 1m")
    return value


def _condition(value: object) -> Condition:
    if not isinstance(value, str):
        raise ValueError(f'{value!r} has no comparison; write for example "> {value}"')
    return parse_condition(value)


def _pattern(value: object) -> str:
    if isinstance(value, bool | float) or not isinstance(value, str | int):
        raise ValueError(f'{value!r} is not text; put it in quotes, for example "*" or "1.10"')
    return str(value)


def _where_key(value: object) -> str:
    if not isinstance(value, str) or not _LABEL.fullmatch(value):
        raise ValueError(f"{value!r} cannot be matched; use {', '.join(WHERE_KEYS)}, or with promql a label of its series")
    return value


def _share(value: object) -> float:
    text = str(value).strip()
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = math.nan
    if isinstance(value, bool) or not 0 < share < 1:
        raise ValueError(f"{value!r} is not a share between 0% and 100%; write for example 99.9%")
    return share


def _some_of(value: object) -> tuple[int, int]:
    """``3 of 5`` as (3, 5)."""
    found = _SOME_OF.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None or not 1 <= int(found[1]) <= int(found[2]) <= MOST_POINTS:
        raise ValueError(f"{value!r} is not a number of points; write for example 3 of 5 (of {MOST_POINTS} at most)")
    return int(found[1]), int(found[2])


def _label_name(value: object) -> str:
    if not isinstance(value, str) or not _LABEL.fullmatch(value):
        raise ValueError(f"{value!r} is not a label name; use letters, digits and _")
    if value in (*WHERE_KEYS, "alert", "rule"):
        raise ValueError(f"{value!r} is set from the series that the rule judges; choose another label name")
    return value


def _label_value(value: object) -> str:
    text = _pattern(value)
    if "{{" in text:
        raise ValueError("labels are plain text (they name the alert); put templates into annotations")
    return text


def _address(value: object) -> str:
    if not isinstance(value, str) or not _ADDRESS.fullmatch(value.strip()):
        raise ValueError(f"{value!r} is not an email address; write for example oncall@example.com")
    return value.strip()


def addresses(value: object) -> object:
    return [value] if isinstance(value, str) else value


Duration = Annotated[timedelta, BeforeValidator(_duration)]
PositiveDuration = Annotated[timedelta, BeforeValidator(_duration), AfterValidator(_positive)]
ConditionText = Annotated[Condition, BeforeValidator(_condition)]
Pattern = Annotated[str, BeforeValidator(_pattern)]
WhereKey = Annotated[str, BeforeValidator(_where_key)]
LabelKey = Annotated[str, BeforeValidator(_where_key)]
LabelName = Annotated[str, BeforeValidator(_label_name)]
LabelValue = Annotated[str, BeforeValidator(_label_value)]
Share = Annotated[float, BeforeValidator(_share)]
SomeOf = Annotated[tuple[int, int], BeforeValidator(_some_of)]
Address = Annotated[str, BeforeValidator(_address)]
Name = Annotated[StrictStr, Field(min_length=1, max_length=200)]
PolicyText = Literal["keep", "alert", "ok"]


class Text(BaseModel):
    """A mapping of the file: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

"""The shape of a file of tests of rules as people write it: YAML text to validated mappings, with errors that name the place. Pure."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import AwareDatetime, BeforeValidator, Field, StrictFloat, StrictInt, StrictStr, ValidationError
from pydantic_core import ErrorDetails

from alerts.rule_text import read_mapping
from alerts.yaml_types import Duration, Name, PositiveDuration, Text, WhereKey

MOST_VALUES = 100_000
START = datetime(2026, 1, 5, tzinfo=UTC)
"""When tests begin unless they say otherwise: a Monday, at midnight in UTC."""

_NUMBER = r"[+-]?(?:\d+\.?\d*(?:e[+-]?\d+)?|\.\d+|inf|nan)"
_STEPS = re.compile(rf"(?P<first>{_NUMBER})(?P<step>[+-](?:\d+\.?\d*|\.\d+))?x(?P<times>\d+)", re.IGNORECASE)
_MISSING = re.compile(r"_(?:x(?P<times>\d+))?")


class RuleTestsError(Exception):
    """A file of tests is wrong; the message names the file and the place in it."""

    def __init__(self, source: str, problems: list[str]) -> None:
        super().__init__("\n".join(f"{source}: {problem}" for problem in problems))
        self.problems = tuple(problems)


def parse_values(text: str) -> list[float | None]:
    """The values of a series, None where there is no point: numbers, and the short forms of Prometheus' promtool.

    ``0.3x2`` is a value and two more of it, ``1+0.5x2`` goes on in steps, ``_`` is no point and ``_x3`` are three of them.
    Raises ValueError with a sentence for anything else.

    >>> parse_values("0x1 1+0.5x2 _x2 7")
    [0.0, 0.0, 1.0, 1.5, 2.0, None, None, 7.0]
    """
    values: list[float | None] = []
    for word in text.split():
        values += _values(word)
        if len(values) > MOST_VALUES:
            raise ValueError(f"more than {MOST_VALUES:,} values; make the interval longer")
    return values


def _values(word: str) -> list[float | None]:
    if gap := _MISSING.fullmatch(word):
        return [None] * _times(gap["times"] or "1")
    if steps := _STEPS.fullmatch(word):
        first, step = float(steps["first"]), float(steps["step"] or 0)
        return [first + step * number for number in range(_times(steps["times"]) + 1)]
    try:
        return [float(word)]
    except ValueError:
        raise ValueError(f'{word!r} is no value; write for example "0.1 0.3x10 0+0.1x5 _x3"') from None


def _times(text: str) -> int:
    if int(text) > MOST_VALUES:
        raise ValueError(f"{text} values are more than {MOST_VALUES:,}; make the interval longer")
    return int(text)


def _value_text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError('it is not text; write for example "0.1 0.3x10"')
    parse_values(str(value))
    return str(value)


Values = Annotated[str, BeforeValidator(_value_text)]
LabelText = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, int) else value)]


class SeriesText(Text):
    """Points of one series, one per interval from the start on: of a metric, or what a query of Prometheus gives."""

    metric: Name | None = None
    promql: Name | None = None
    labels: dict[WhereKey, LabelText] = {}
    window: PositiveDuration | None = None
    values: Values
    n: Annotated[StrictInt, Field(ge=0)] | None = None
    threshold: StrictFloat | StrictInt | None = None


class ExpectedAlertText(Text):
    """An alert that has to be there; labels that are not named may be anything."""

    alert: Name | None = None
    labels: dict[Name, LabelText] = {}
    state: Literal["pending", "firing", "recovering", "resolved"] = "firing"
    annotations: dict[StrictStr, StrictStr] = {}


class AlertsAtText(Text):
    """The alerts of a rule, or of all, at a time after the start."""

    at: Duration
    alert: Name | None = None
    expect: list[ExpectedAlertText]


class NotificationText(Text):
    """A message that has to be sent."""

    at: Duration | None = None
    receiver: Name
    kind: Literal["firing", "update", "repeat", "escalation", "resolved", "digest"] = "firing"
    alerts: list[Name] | None = None


class RuleTestText(Text):
    """One test: series, and what has to come of them."""

    name: Name | None = None
    start: AwareDatetime = START
    interval: PositiveDuration = timedelta(minutes=1)
    until: PositiveDuration | None = None
    series: list[SeriesText] = []
    alerts: list[AlertsAtText] = []
    notifications: list[NotificationText] | None = None


class RuleTestsText(Text):
    """The whole file."""

    rules: Name
    tests: Annotated[list[RuleTestText], Field(min_length=1)]


def read_tests(text: str, source: str) -> RuleTestsText:
    """The tests in a file's text. Raises RuleTestsError with every problem that was found."""
    content, problems = read_mapping(text, begin="rules: rules.yml")
    if content is None:
        raise RuleTestsError(source, problems)
    try:
        tests = RuleTestsText.model_validate(content)
    except ValidationError as error:
        raise RuleTestsError(source, [_explain(problem) for problem in error.errors()]) from error
    problems = [problem for number, test in enumerate(tests.tests) for problem in _problems(test, f"test number {number + 1}")]
    if problems:
        raise RuleTestsError(source, problems)
    return tests


def _problems(test: RuleTestText, place: str) -> list[str]:
    problems = []
    for number, series in enumerate(test.series):
        where = f"{place}: series number {number + 1}"
        if (series.metric is None) == (series.promql is None):
            problems.append(f"{where}: it needs one of `metric` and `promql`")
        unknown = [key for key in series.labels if series.metric and key not in ("model", "version", "role", "segment", "feature")]
        problems += [f"{where}: labels: points have no label {key!r}" for key in unknown]
        if series.promql and (series.window or series.n or series.threshold is not None):
            problems.append(f"{where}: window, n and threshold are for metrics")
        if any(value is not None and math.isinf(value) for value in parse_values(series.values)) and series.metric:
            problems.append(f"{where}: values: a metric is never infinite")
    if not test.alerts and test.notifications is None:
        problems.append(f"{place}: it expects nothing; give it `alerts` or `notifications`")
    return problems


def _explain(problem: ErrorDetails) -> str:
    names = {"tests": "test", "series": "series", "alerts": "alerts", "expect": "expect", "notifications": "notification"}
    words: list[str] = []
    for part in problem["loc"]:
        if isinstance(part, int) and words:
            words[-1] = f"{names.get(words[-1], words[-1])} number {part + 1}"
        elif part != "[key]":
            words.append(str(part))
    place = "".join(f"{word}: " for word in words[:-1])
    last = words[-1] if words else ""
    if problem["type"] == "extra_forbidden":
        return f"{place}unknown key {last!r}"
    if problem["type"] == "missing":
        return f"{place}the key {last!r} is missing"
    return f"{place}{last}: {problem['msg'].removeprefix('Value error, ')}"

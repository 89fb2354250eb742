"""The shape of a rules file as people write it: YAML text to validated mappings, with errors that say where and what.

``alerts.rules`` turns the result into the values that the rest works with.
"""

from __future__ import annotations

import difflib
from datetime import timedelta
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, StrictInt, StrictStr, ValidationError
from pydantic_core import ErrorDetails

from alerts.receivers import EmailText, ReceiverText, SlackText
from alerts.routing_text import InhibitText, MuteWindowText, RouteText
from alerts.yaml_types import (
    ConditionText,
    Duration,
    LabelKey,
    LabelName,
    LabelValue,
    Name,
    Pattern,
    PolicyText,
    PositiveDuration,
    Share,
    SomeOf,
    Text,
    WhereKey,
)


class ChangeText(Text):
    """Against which earlier time a value is held."""

    against: PositiveDuration
    kind: Literal["relative", "absolute"] = "relative"
    tolerance: PositiveDuration | None = None


class BurnWindowText(Text):
    """A long and a short window, how fast the budget burns in both, and how bad that is."""

    long: PositiveDuration
    short: PositiveDuration
    burn: Annotated[float, Field(gt=0)]
    severity: LabelValue


class BurnRateText(Text):
    """An objective, and how fast its budget of failures burns."""

    objective: Literal["error_rate", "latency"]
    target: Share
    threshold: PositiveDuration | None = None
    over: PositiveDuration = timedelta(days=30)
    min_failures: Annotated[StrictInt, Field(ge=1)] = 5
    windows: Annotated[list[BurnWindowText], Field(min_length=1)] | None = None


class PartText(Text):
    """What is judged, and how: all of a rule, or one of its parts."""

    metric: Name | None = None
    promql: Name | None = None
    where: dict[WhereKey, Pattern] = {}
    window: PositiveDuration | None = None
    when: ConditionText | None = None
    resolve_when: ConditionText | None = None
    points: SomeOf = (1, 1)
    change: ChangeText | None = None
    min_samples: Annotated[StrictInt, Field(ge=0)] | None = None


PartsText = Annotated[list[PartText], Field(min_length=2)]


class RuleText(PartText):
    """One rule."""

    alert: Name
    all_of: PartsText | None = Field(None, alias="all")
    any_of: PartsText | None = Field(None, alias="any")
    equal: list[LabelKey] | None = None
    burn_rate: BurnRateText | None = None
    hold: Duration = Field(timedelta(0), alias="for")
    keep_firing_for: Duration = timedelta(0)
    no_data: PolicyText = "keep"
    on_error: PolicyText = "keep"
    labels: dict[LabelName, LabelValue] = {}
    annotations: dict[StrictStr, StrictStr] = {}


class GroupText(Text):
    """Rules that are judged together."""

    name: Name
    interval: PositiveDuration = timedelta(minutes=1)
    rules: list[RuleText]


class FileText(Text):
    """The whole file."""

    groups: list[GroupText] = []
    routes: RouteText = RouteText()
    receivers: list[ReceiverText] = []
    inhibit: list[InhibitText] = []
    mute_windows: list[MuteWindowText] = []


class _UniqueKeys(yaml.SafeLoader):
    """PyYAML lets the last of two equal keys win in silence; here it is an error."""


def _unique_mapping(loader: _UniqueKeys, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    seen: set[str] = set()
    for key, _ in node.value:
        if key.value in seen:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} is there twice", key.start_mark)
        seen.add(key.value)
    return loader.construct_mapping(node, deep=True)


_UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def read_text(text: str) -> tuple[FileText | None, list[str]]:
    """The file's content, or None and the problems with it, each a sentence that says where it is."""
    content, problems = read_mapping(text, begin="groups:")
    if content is None:
        return None, problems
    try:
        return FileText.model_validate(content), []
    except ValidationError as error:
        return None, [_explain(problem, content) for problem in error.errors()]


def read_mapping(text: str, *, begin: str) -> tuple[dict[str, Any] | None, list[str]]:
    """The mapping that a YAML file is, or None and what is wrong; ``begin`` is what its author may begin with."""
    try:
        content = yaml.load(text, Loader=_UniqueKeys)  # noqa: S506  a SafeLoader
    except yaml.YAMLError as error:
        return None, [_explain_yaml(error)]
    except (ValueError, RecursionError) as error:  # an impossible date, a document nested without end
        return None, [f"it cannot be read as YAML ({error})"]
    if content is None:
        content = {}
    if _holds_unstorable(content):
        return None, ["a text in it cannot be stored: it holds NUL, or half of a character (\\ud800 to \\udfff)"]
    if not isinstance(content, dict):
        return None, [f"it is not a mapping; begin with `{begin}`"]
    return content, []


def _holds_unstorable(content: Any) -> bool:
    if isinstance(content, dict):
        return any(_holds_unstorable(one) for pair in content.items() for one in pair)
    if isinstance(content, list):
        return any(map(_holds_unstorable, content))
    return isinstance(content, str) and ("\0" in content or any("\ud800" <= one <= "\udfff" for one in content))


def _explain_yaml(error: yaml.YAMLError) -> str:
    if not isinstance(error, yaml.MarkedYAMLError):
        return "it is not text that YAML allows"
    mark = error.problem_mark or error.context_mark
    place = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
    return f"{place}{error.problem or error.context}"


def _explain(problem: ErrorDetails, content: dict[str, Any]) -> str:
    place, model, key = _place(problem["loc"], content)
    kind = problem["type"]
    if kind == "extra_forbidden":
        return f"{place}unknown key {key!r}{_suggestion(key, model)}"
    if kind == "missing":
        return f"{place}the key {key!r} is missing{_example(key)}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{place}{key}: {message}" if key else f"{place}{message}"


_LISTS: dict[str, tuple[str, str]] = {
    "groups": ("group", "name"),
    "rules": ("rule", "alert"),
    "receivers": ("receiver", "name"),
    "all": ("part", "metric"),
    "any": ("part", "metric"),
    "windows": ("window", "severity"),
}
_SHAPES: dict[str, type[Text]] = {
    "groups": GroupText,
    "rules": RuleText,
    "all": PartText,
    "any": PartText,
    "change": ChangeText,
    "burn_rate": BurnRateText,
    "windows": BurnWindowText,
    "receivers": ReceiverText,
    "routes": RouteText,
    "slack": SlackText,
    "email": EmailText,
}


def _place(loc: tuple[int | str, ...], content: object) -> tuple[str, type[Text], str]:
    """Where an error is, in the names that the author gave; the mapping that it is in; the key, with what is below it."""
    words: list[str] = []
    shape: type[Text] = FileText
    rest = [part for part in loc if part != "[key]"]
    while len(rest) > 1 and rest[0] in _SHAPES:
        name, rest = str(rest[0]), rest[1:]
        content = content.get(name) if isinstance(content, dict) else None
        shape = _SHAPES[name]
        if name in _LISTS and isinstance(rest[0], int):
            number, rest = rest[0], rest[1:]
            content = content[number] if isinstance(content, list) and number < len(content) else None
            words.append(_named(*_LISTS[name], number, content))
        else:
            words.append(name)
    return "".join(f"{word}: " for word in words), shape, ".".join(map(str, rest))


def _named(noun: str, key: str, number: int, content: object) -> str:
    name = content.get(key) if isinstance(content, dict) else None
    return f'{noun} "{name}"' if isinstance(name, str) and name else f"{noun} number {number + 1}"


def _suggestion(key: str, shape: type[Text]) -> str:
    allowed = [field.alias or name for name, field in shape.model_fields.items()]
    near = difflib.get_close_matches(key, allowed, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(allowed)}"


def _example(key: str) -> str:
    examples = {
        "alert": "alert: FeatureDrift",
        "when": 'when: "> threshold"',
        "name": "name: drift",
        "to": "to: [oncall@example.com]",
    }
    return f"; write for example `{examples[key]}`" if key in examples else ""

"""The texts that a rule's author wrote, with what is known of an alert filled in: sandboxed templates. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache

from jinja2 import Template, TemplateError

from alerts.rules import Rule
from alerts.sandbox import BoundedSandbox, written
from alerts.wording import Unit, format_value
from alerts.yaml_types import WHERE_KEYS
from storage.durations import format_duration
from storage.records import AlertRow

LONGEST_ANNOTATION = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotations:
    """The texts of a rule for one alert; ``problems`` says which templates failed and why."""

    texts: Mapping[str, str]
    problems: tuple[str, ...] = field(default=())


class Readable(float):
    """A number that templates print with few digits and may still compute with or format themselves."""

    unit: Unit = Unit.PLAIN

    def __str__(self) -> str:
        return format_value(float(self), self.unit)


def render_annotations(rule: Rule, alert: AlertRow) -> Annotations:
    """The rule's annotations with what is known of the alert filled in."""
    texts, problems = {}, []
    for name, source in rule.annotations.items():
        try:
            texts[name] = written(_compiled(source).generate(template_values(rule, alert)), LONGEST_ANNOTATION)
        except Exception as error:  # noqa: BLE001  whatever a template does, its alert must go out
            problems.append(f'rule "{rule.name}": annotations: {name}: {_first_line(error)}')
    return Annotations(texts=texts, problems=tuple(problems))


def template_values(rule: Rule, alert: AlertRow) -> dict[str, object]:
    """The names that a template can use (docs/rules.md lists them)."""
    unit = rule.words.unit
    return {
        **{key: value for key, value in alert.labels.items() if key.isidentifier()},
        **{key: alert.labels.get(key, "") for key in WHERE_KEYS},
        "labels": dict(alert.labels),
        "alert": rule.name,
        "rule": rule.name,
        "metric": rule.metric,
        "metric_title": rule.words.title,
        "value": _readable(alert.value, unit),
        "threshold": _readable(alert.threshold, unit),
        "window": format_duration(timedelta(seconds=alert.window_seconds)) if alert.window_seconds else "",
        "n": alert.n_current or 0,
        "severity": alert.labels.get("severity", ""),
        "since": alert.pending_at or alert.fired_at,
        "reason": alert.reason,
        "state": alert.state.value,
    }


def _readable(value: float | None, unit: Unit) -> Readable:
    number = Readable(math.nan if value is None else value)
    number.unit = unit
    return number


@cache
def _sandbox() -> BoundedSandbox:
    return BoundedSandbox()


@cache
def _compiled(source: str) -> Template:
    return _sandbox().from_string(source)


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    kind = "" if isinstance(error, TemplateError) else f"{type(error).__name__}: "
    return f"{kind}{text[0]}" if text else type(error).__name__

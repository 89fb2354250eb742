"""What Prometheus answers to the query of a rule, and what the rule finds in it. Pure; ``alerts.prometheus`` asks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from alerts.conditions import PRESENT
from alerts.lifecycle import Finding
from alerts.readings import Reading, compared, verdict_text
from alerts.rules import Rule
from storage.matchers import RULE_LABEL

NAME_LABEL = "__name__"
MOST_SERIES = 10_000
"""A query that gives more series than this is a mistake: nobody can be told of so many alerts."""


class UnusableAnswer(Exception):
    """An answer of Prometheus that no rule can be judged on; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One series of an answer."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a query gave ``at`` a time; ``error`` says why it gave nothing."""

    at: datetime
    samples: tuple[Sample, ...] = ()
    error: str = ""


def parse_result(result: Sequence[Any]) -> tuple[Sample, ...]:
    """The series of an instant vector, or the one of a scalar. Raises UnusableAnswer for anything else.

    >>> [(sample.labels, sample.value) for sample in parse_result([1772366400, "2.5"])]
    [({}, 2.5)]
    """
    if not isinstance(result, list):
        raise UnusableAnswer("the answer is not one that Prometheus gives")
    if len(result) == 2 and isinstance(result[0], int | float):
        return (Sample(labels={}, value=_number(result[1])),)
    if len(result) > MOST_SERIES:
        raise UnusableAnswer(f"the query gives {len(result):,} series; narrow it to {MOST_SERIES:,} at most")
    samples = tuple(_sample(series) for series in result)
    twice = [labels for labels, times in Counter(tuple(sorted(sample.labels.items())) for sample in samples).items() if times > 1]
    if twice:
        raise UnusableAnswer(f"the query gives several series with the same labels ({_shown(twice[0])})")
    return samples


def _sample(series: Any) -> Sample:
    if not isinstance(series, Mapping) or "metric" not in series:
        raise UnusableAnswer("the answer is not one that Prometheus gives")
    if "value" not in series:
        raise UnusableAnswer("the query gives a range or a histogram; a rule needs one number per series")
    labels = {_renamed(str(key)): _storable(str(value)) for key, value in series["metric"].items() if key != NAME_LABEL}
    return Sample(labels=labels, value=_number(series["value"][1]))


def _renamed(label: str) -> str:
    """The name of the rule is a label of every alert, so that of a series has to give way, as in Prometheus."""
    return f"exported_{label}" if label in (RULE_LABEL, "rule") else label


def _number(text: object) -> float:
    """``NaN``, ``+Inf`` and ``-Inf`` among them."""
    try:
        return float(str(text))
    except ValueError as error:
        raise UnusableAnswer(f"the query gives {str(text)[:80]!r}, which is not a number") from error


def _storable(text: str) -> str:
    """The text without what no database keeps: NUL, and halves of characters."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def _shown(labels: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{key}={value}" for key, value in labels) or "none at all"


def read_answer(rule: Rule, answer: Answer) -> list[Reading]:
    """What the rule finds in each series of an answer that its ``where`` selects."""
    return [_read(rule, sample, answer.at) for sample in answer.samples if rule.selects(sample.labels)]


def _read(rule: Rule, sample: Sample, at: datetime) -> Reading:
    finding, value = _finding(rule, sample.value), sample.value
    finite = math.isfinite(value)
    return Reading(
        series=sample.labels,
        finding=finding,
        reason=_said(rule, finding, value),
        value=value if finite else None,  # neither JSON nor every database holds an infinity
        threshold=rule.when.bound(None) if finite and rule.when != PRESENT else None,
        at=None if finding is Finding.NO_DATA else at,
    )


def _finding(rule: Rule, value: float) -> Finding:
    """An infinity is more, or less, than any bound, as in Prometheus; what is not a number says nothing."""
    if rule.when == PRESENT:
        return Finding.BREACH
    if math.isinf(value) and not (rule.when.of_threshold or rule.resolve_when.of_threshold):
        if rule.when.holds(value, None):
            return Finding.BREACH
        return Finding.CLEAR if rule.resolve_when.holds(value, None) else Finding.BETWEEN
    return compared(rule, value, None)


def _said(rule: Rule, finding: Finding, value: float) -> str:
    if finding is Finding.ERROR:
        return "a series of Prometheus has no threshold of its own; compare it with a number"
    if finding is Finding.NO_DATA:
        return "the query gives NaN, which is not a number"
    if rule.when == PRESENT:
        return f"the query gives this series, with the value {value:.6g}"
    if math.isinf(value):
        return f"the value of the query is {value:+}, and the bound {rule.when}"
    return verdict_text(rule, finding, value, None)

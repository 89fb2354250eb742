"""What selects alerts by their labels: for routes, silences and inhibitions. Pure.

A matcher is a mapping of label names to patterns; all of them have to match. ``*`` stands for any text and ``?`` for any
character, ``!`` in front turns a pattern round, and a list matches where any of its patterns does. A label that an alert
does not have counts as empty. ``alert`` is the name of the rule.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from functools import lru_cache

RULE_LABEL = "alert"
"""The label that stands for the name of the rule; no rule may set it."""


@dataclass(frozen=True, slots=True)
class Matchers:
    """Label patterns that all have to match; one without any patterns matches everything.

    >>> Matchers({"alert": ("*Drift",), "model": ("!test*",)}).match({"alert": "FeatureDrift", "model": "churn"})
    True
    >>> Matchers({"severity": ("critical", "page")}).match({"alert": "FeatureDrift"})
    False
    """

    patterns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, patterns: Mapping[str, str | Sequence[str]]) -> Matchers:
        """From texts as people write them: a pattern, or a list of patterns, for each label."""
        return cls({name: (value,) if isinstance(value, str) else tuple(value) for name, value in patterns.items()})

    def match(self, labels: Mapping[str, str]) -> bool:
        """Whether an alert with these labels, ``alert`` among them, is meant."""
        return all(_any(patterns, labels.get(name, "")) for name, patterns in self.patterns.items())

    def to_json(self) -> dict[str, list[str]]:
        """As SQL and JSON keep it."""
        return {name: list(patterns) for name, patterns in self.patterns.items()}

    def __str__(self) -> str:
        return ", ".join(f"{name}={' or '.join(patterns)}" for name, patterns in self.patterns.items()) or "everything"


def labels_for_matching(rule: str, labels: Mapping[str, str]) -> dict[str, str]:
    """The labels of an alert with the name of its rule among them."""
    return {**labels, RULE_LABEL: rule}


def _any(patterns: Sequence[str], value: str) -> bool:
    return any(_matches(pattern, value) for pattern in patterns)


def _matches(pattern: str, value: str) -> bool:
    if pattern.startswith("!"):
        return not _matches(pattern[1:], value)
    return _compiled(pattern).match(value) is not None


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern.replace("[", "[[]")))  # a bracket stands for itself

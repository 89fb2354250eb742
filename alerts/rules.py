"""Rules: what is judged, when it is a problem, and who is told. A YAML file becomes frozen values here. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from fnmatch import fnmatchcase

from alerts.conditions import Condition, overlap
from alerts.routing import Routing
from alerts.routing_text import routing_of, routing_problems
from alerts.rule_text import FileText, GroupText, RuleText, read_text
from alerts.wording import METRICS
from alerts.yaml_types import WHERE_KEYS

EMPTY_UNLESS_NAMED = ("role", "segment")
"""A rule that does not name these judges the series over all live roles and all segments, not each role again."""


class RulesError(Exception):
    """A rules file is wrong; the message names the file, the group, the rule and the key, and says what to write."""

    def __init__(self, source: str, problems: tuple[str, ...]) -> None:
        more = f" ({len(problems) - 1} more; `modelwatch alerts check` lists them)" if len(problems) > 1 else ""
        super().__init__(f"{source}: {problems[0]}{more}")
        self.source = source
        self.problems = problems


class Policy(StrEnum):
    """What an alert does while it cannot be judged: stay as it is, count as a problem, or count as well."""

    KEEP = "keep"
    ALERT = "alert"
    OK = "ok"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One judgement, made of every series that it selects. ``hold`` is the file's ``for``."""

    name: str
    metric: str
    when: Condition
    resolve_when: Condition
    group: str = ""
    interval: timedelta = timedelta(minutes=1)
    where: Mapping[str, str] = field(default_factory=dict)
    window: timedelta | None = None
    hold: timedelta = timedelta(0)
    keep_firing_for: timedelta = timedelta(0)
    min_samples: int | None = None
    no_data: Policy = Policy.KEEP
    on_error: Policy = Policy.KEEP
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    def selects(self, series: Mapping[str, str]) -> bool:
        """Whether a series with these labels (absent: "not by this") is judged by the rule."""
        return all(self._matches(key, series.get(key, "")) for key in WHERE_KEYS)

    def _matches(self, key: str, value: str) -> bool:
        pattern = self.where.get(key)
        if pattern is None:
            return value == "" or key not in EMPTY_UNLESS_NAMED
        return fnmatchcase(value, pattern)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rules that are judged together, every ``interval``."""

    name: str
    interval: timedelta
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSet:
    """A whole rules file. ``warnings`` are things that look like slips."""

    source: str
    groups: tuple[Group, ...]
    routing: Routing
    warnings: tuple[str, ...] = ()

    @property
    def rules(self) -> tuple[Rule, ...]:
        return tuple(rule for group in self.groups for rule in group.rules)


def parse_rules(text: str, source: str) -> RuleSet:
    """The rules in a file's text. Raises RulesError with every problem that was found."""
    content, problems = read_text(text)
    if content is None:
        raise RulesError(source, tuple(problems))
    problems = [
        *_names_twice(content),
        *_rule_problems(content),
        *routing_problems(content.routes, content.receivers, content.mute_windows),
    ]
    if problems:
        raise RulesError(source, tuple(problems))
    return RuleSet(
        source=source,
        groups=tuple(_group(group) for group in content.groups),
        routing=routing_of(content.routes, content.receivers, content.inhibit, content.mute_windows),
        warnings=tuple(_warnings(content)),
    )


def _group(text: GroupText) -> Group:
    rules = tuple(_rule(rule, text) for rule in text.rules)
    return Group(name=text.name, interval=text.interval, rules=rules)


def _rule(text: RuleText, group: GroupText) -> Rule:
    return Rule(
        name=text.alert,
        metric=text.metric or "",
        when=text.when,
        resolve_when=text.resolve_when or text.when.opposite(),
        group=group.name,
        interval=group.interval,
        where=dict(text.where),
        window=text.window,
        hold=text.hold,
        keep_firing_for=text.keep_firing_for,
        min_samples=text.min_samples,
        no_data=Policy(text.no_data),
        on_error=Policy(text.on_error),
        labels=dict(text.labels),
        annotations=dict(text.annotations),
    )


# ---------------------------------------------------------------------------------------------- what is wrong


def _names_twice(content: FileText) -> list[str]:
    rules = [(f'group "{group.name}": rule', rule.alert) for group in content.groups for rule in group.rules]
    kinds = [
        [("group", group.name) for group in content.groups],
        rules,
        [("receiver", receiver.name) for receiver in content.receivers],
        [("mute window", window.name) for window in content.mute_windows],
    ]
    problems = []
    for named in kinds:
        seen: set[str] = set()
        for noun, name in named:
            if name in seen:
                problems.append(f'{noun} "{name}": the name is used twice; states are kept by name, so choose another')
            seen.add(name)
    return problems


def _rule_problems(content: FileText) -> list[str]:
    problems = []
    for group in content.groups:
        for rule in group.rules:
            problems += [f'group "{group.name}": rule "{rule.alert}": {problem}' for problem in _problems_of(rule)]
    return problems


def _problems_of(rule: RuleText) -> list[str]:
    problems = []
    if rule.promql is not None:
        problems.append("promql: is not supported in this version; use `metric`")
    elif rule.metric is None:
        problems.append("the key 'metric' is missing; write for example `metric: drift_psi`")
    if rule.resolve_when is not None and overlap(rule.when, rule.resolve_when):
        problems.append(
            f'resolve_when: "{rule.resolve_when}" and when "{rule.when}" can be true at once; '
            f'leave a gap, for example `resolve_when: "{rule.when.opposite()}"`'
        )
    return problems


def _warnings(content: FileText) -> list[str]:
    warnings = [_unknown_metric(group, rule) for group in content.groups for rule in group.rules if rule.metric not in METRICS]
    if not any(group.rules for group in content.groups):
        warnings.append("there are no rules in it, so nothing will ever be told")
    return warnings


def _unknown_metric(group: GroupText, rule: RuleText) -> str:
    near = difflib.get_close_matches(rule.metric or "", METRICS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f'group "{group.name}": rule "{rule.alert}": metric: nothing writes {rule.metric!r}{hint}'

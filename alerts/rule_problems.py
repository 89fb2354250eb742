"""What is wrong, or looks like a slip, in the rules of a file: sentences that say where and what to write. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from alerts.conditions import overlap
from alerts.rule_text import FileText, GroupText, PartText, RuleText
from alerts.wording import METRICS
from alerts.yaml_types import WHERE_KEYS

LONG_TERMS = ("window", "points", "change", "min_samples")
"""Keys of a metric's points, which Prometheus has no part in."""


def rule_problems(content: FileText) -> list[str]:
    """What keeps the rules of a file from being used, each a sentence that says where it is."""
    problems = _names_twice(content)
    for group, rule in _rules(content):
        problems += [f'group "{group.name}": rule "{rule.alert}": {problem}' for problem in _problems_of(rule)]
    return problems


def rule_warnings(content: FileText) -> list[str]:
    """What looks like a slip."""
    warnings = [
        _unknown_metric(group, rule, part.metric)
        for group, rule in _rules(content)
        for _, part in _parts(rule)
        if part.metric is not None and part.metric not in METRICS
    ]
    if not any(group.rules for group in content.groups):
        warnings.append("there are no rules in it, so nothing will ever be told")
    return warnings


def _rules(content: FileText) -> Iterator[tuple[GroupText, RuleText]]:
    for group in content.groups:
        for rule in group.rules:
            yield group, rule


def _parts(rule: RuleText) -> list[tuple[str, PartText]]:
    """What the rule judges, each with the place that it is at."""
    named = [(key, parts) for key, parts in (("all", rule.all_of), ("any", rule.any_of)) if parts]
    found = [(f"{key}: part number {number + 1}: ", part) for key, parts in named for number, part in enumerate(parts)]
    return found or [("", rule)]


def _names_twice(content: FileText) -> list[str]:
    rules = [(f'group "{group.name}": rule', rule.alert) for group, rule in _rules(content)]
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


def _problems_of(rule: RuleText) -> list[str]:
    ways = {"metric": rule.metric, "promql": rule.promql, "all": rule.all_of, "any": rule.any_of, "burn_rate": rule.burn_rate}
    given = [name for name, way in ways.items() if way is not None]
    if len(given) > 1:
        return [f"{' and '.join(given)} cannot be together; give it one of them"]
    if rule.burn_rate is not None:
        return _budget_problems(rule)
    if rule.all_of or rule.any_of:
        return _compound_problems(rule, given[0])
    problems = _part_problems(rule)
    return [*problems, "equal: is for rules with `all` or `any`"] if rule.equal is not None else problems


def _part_problems(part: PartText) -> list[str]:
    if (part.metric is None) == (part.promql is None):
        wrong = "the key 'metric' is missing" if part.metric is None else "metric and promql cannot be together"
        return [f"{wrong}; write for example `metric: drift_psi`"]
    problems = []
    if part.promql is not None:
        extra = [name for name in LONG_TERMS if getattr(part, name) != PartText.model_fields[name].default]
        problems += [f"{name}: is for metrics; let the query of promql say it" for name in extra]
    else:
        problems += [
            f"where: {key!r} cannot be matched; use {', '.join(WHERE_KEYS)}" for key in part.where if key not in WHERE_KEYS
        ]
        if part.when is None:
            problems.append("the key 'when' is missing; write for example `when: \"> threshold\"`")
    return problems + _condition_problems(part)


def _condition_problems(part: PartText) -> list[str]:
    if part.resolve_when is None:
        return []
    if part.when is None:
        return ["resolve_when: needs a `when`"]
    problems = []
    if overlap(part.when, part.resolve_when):
        problems.append(
            f'resolve_when: "{part.resolve_when}" and when "{part.when}" can be true at once; '
            f'leave a gap, for example `resolve_when: "{part.when.opposite()}"`'
        )
    return problems


def _compound_problems(rule: RuleText, key: str) -> list[str]:
    own = [name for name in ("where", "when", "resolve_when", *LONG_TERMS) if getattr(rule, name) != _default(name)]
    problems = [f"{name}: belongs into each part of `{key}`" for name in own]
    problems += [f"{place}{problem}" for place, part in _parts(rule) for problem in _part_problems(part)]
    if rule.equal is None and all(part.promql for _, part in _parts(rule)):
        problems.append(f"{key}: say which labels the series of the parts have in common, for example `equal: [job]`")
    return problems


def _budget_problems(rule: RuleText) -> list[str]:
    assert rule.burn_rate is not None
    own = [name for name in ("when", "resolve_when", "window", "points", "change") if getattr(rule, name) != _default(name)]
    problems = [f"{name}: is set by burn_rate" for name in own]
    problems += [
        f"where: {key!r} cannot be matched; a budget is by model or by model and version"
        for key in rule.where
        if key not in ("model", "version")
    ]
    if (rule.burn_rate.objective == "latency") != (rule.burn_rate.threshold is not None):
        problems.append("burn_rate: `threshold` is how long a prediction may take, for the objective latency and no other")
    problems += [
        f"burn_rate: a short window of {window.short} is not shorter than its long one"
        for window in rule.burn_rate.windows or ()
        if window.short >= window.long
    ]
    return problems


def _default(name: str) -> object:
    field = RuleText.model_fields[name]
    return field.default


def _unknown_metric(group: GroupText, rule: RuleText, metric: str) -> str:
    near = difflib.get_close_matches(metric, METRICS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f'group "{group.name}": rule "{rule.alert}": metric: nothing writes {metric!r}{hint}'

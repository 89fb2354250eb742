"""A rule in a few words, for reports on rules files. Pure."""

from __future__ import annotations

from alerts.conditions import PRESENT
from alerts.rules import Combine, Rule
from storage.durations import format_duration


def describe(rule: Rule) -> str:
    """What the rule holds against what, in a few words.

    >>> from alerts.rules import parse_rules
    >>> rules = "[{alert: A, any: [{metric: drift_psi, when: '> 0.2'}, {promql: up, when: '< 1'}], equal: [model]}]"
    >>> describe(parse_rules(f"groups: [{{name: g, rules: {rules}}}]", "rules.yml").rules[0])
    'drift_psi > 0.2 or up < 1'
    """
    if rule.parts:
        return (" and " if rule.combine is Combine.ALL else " or ").join(describe(part) for part in rule.parts)
    if rule.burn_rate is not None:
        burns = " or ".join(
            f"{window.burn:g} over {format_duration(window.long)} and {format_duration(window.short)}"
            for window in rule.burn_rate.windows
        )
        return f"{rule.words.title} > {burns}"
    if rule.when == PRESENT:
        return rule.promql
    change = f" (change against {format_duration(rule.change.against)} earlier)" if rule.change else ""
    some = f" in {rule.points[0]} of {rule.points[1]} points" if rule.points[1] > 1 else ""
    return f"{rule.metric or rule.promql}{change} {rule.when}{some}"

"""Rules: what is judged, when it is a problem, and who is told. A YAML file becomes frozen values here. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from fnmatch import fnmatchcase

from alerts.conditions import Condition, overlap
from alerts.rule_text import WHERE_KEYS, FileText, GroupText, ReceiverText, RuleText, read_text
from alerts.wording import METRICS

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
class Receiver:
    """Somebody to tell. ``slack_channel`` "" is the channel of the webhook or of the settings; ``email_to`` () none."""

    name: str
    slack: bool = False
    slack_channel: str = ""
    email_to: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSet:
    """A whole rules file. ``warnings`` are things that have no effect in this version or look like slips."""

    source: str
    groups: tuple[Group, ...]
    receivers: tuple[Receiver, ...] = ()
    default_receiver: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def rules(self) -> tuple[Rule, ...]:
        return tuple(rule for group in self.groups for rule in group.rules)


def parse_rules(text: str, source: str) -> RuleSet:
    """The rules in a file's text. Raises RulesError with every problem that was found.

    What a later version will understand and this one does not is an error where it would change who is told of what,
    and a warning where it would only change how.
    """
    content, problems = read_text(text)
    if content is None:
        raise RulesError(source, tuple(problems))
    problems = [*_unsupported(content), *_names_twice(content), *_rule_problems(content), *_receiver_problems(content)]
    if problems:
        raise RulesError(source, tuple(problems))
    groups = tuple(_group(group) for group in content.groups)
    receivers = tuple(_receiver(receiver) for receiver in content.receivers)
    default = content.routes.receiver or (receivers[0].name if receivers else "")
    return RuleSet(source=source, groups=groups, receivers=receivers, default_receiver=default, warnings=tuple(_warnings(content)))


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


def _receiver(text: ReceiverText) -> Receiver:
    return Receiver(
        name=text.name,
        slack=text.slack is not None,
        slack_channel=(text.slack.channel or "") if text.slack else "",
        email_to=tuple(text.email.to) if text.email else (),
    )


# ---------------------------------------------------------------------------------------------- what is wrong


def _unsupported(content: FileText) -> list[str]:
    problems = []
    if content.inhibit:
        problems.append("inhibit: is not supported in this version, and leaving it out would tell people more; remove it")
    if content.mute_windows:
        problems.append("mute_windows: is not supported in this version, and leaving it out would tell people more; remove it")
    if content.routes.routes:
        problems.append("routes: nested routes are not supported in this version; keep one `receiver`, which is told of everything")
    if content.routes.match:
        problems.append("routes: `match` is not supported in this version; keep one `receiver`, which is told of everything")
    return problems


def _names_twice(content: FileText) -> list[str]:
    rules = [(f'group "{group.name}": rule', rule.alert) for group in content.groups for rule in group.rules]
    kinds = [
        [("group", group.name) for group in content.groups],
        rules,
        [("receiver", receiver.name) for receiver in content.receivers],
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


def _receiver_problems(content: FileText) -> list[str]:
    names = [receiver.name for receiver in content.receivers]
    problems = [
        f'receiver "{receiver.name}": it has no channel; give it `slack: {{channel: "#…"}}` or `email: {{to: […]}}`'
        for receiver in content.receivers
        if receiver.slack is None and receiver.email is None
    ]
    wanted = content.routes.receiver
    if wanted is not None and wanted not in names:
        known = f"; known are {', '.join(names)}" if names else "; list it under `receivers`"
        problems.append(f'routes: receiver "{wanted}" does not exist{known}')
    return problems


def _warnings(content: FileText) -> list[str]:
    warnings = [
        f"routes: `{key}` has no effect in this version: each alert is told by itself, once when it fires and once when it resolves"
        for key in ("group_by", "group_wait", "group_interval", "repeat_interval")
        if getattr(content.routes, key) is not None
    ]
    default = content.routes.receiver or (content.receivers[0].name if content.receivers else "")
    warnings += [
        f'receiver "{receiver.name}": is told of nothing, because only the receiver of the route ("{default}") is used in this version'
        for receiver in content.receivers
        if receiver.name != default
    ]
    warnings += [_unknown_metric(group, rule) for group in content.groups for rule in group.rules if rule.metric not in METRICS]
    if not any(group.rules for group in content.groups):
        warnings.append("there are no rules in it, so nothing will ever be told")
    return warnings


def _unknown_metric(group: GroupText, rule: RuleText) -> str:
    near = difflib.get_close_matches(rule.metric or "", METRICS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f'group "{group.name}": rule "{rule.alert}": metric: nothing writes {rule.metric!r}{hint}'

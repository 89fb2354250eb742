"""Rules: what is judged, when it is a problem, and who is told. A YAML file becomes frozen values here. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum

from alerts.conditions import PRESENT, Condition, Operator
from alerts.routing import Routing
from alerts.routing_text import routing_of, routing_problems
from alerts.rule_problems import rule_problems, rule_warnings
from alerts.rule_text import BurnRateText, BurnWindowText, ChangeText, GroupText, PartText, RuleText, read_text
from alerts.selection import matches
from alerts.wording import QUERY_WORDS, SEGMENTED, UNJUDGED, MetricWords, labels_of, words_of
from alerts.yaml_types import WHERE_KEYS

SOURCE_FAILING = "DataSourceFailing"
"""The rule that tells of a source that does not answer; it is there by itself where a rule asks one."""

LEAST_PREDICTIONS = 100
"""Over fewer predictions no budget is judged, unless a rule says otherwise: a single failure would be a burn of ten."""

BUDGETS = {"error_rate": "error_budget_burn", "latency": "latency_budget_burn"}
"""What the value of a rule on a budget is called."""

EMPTY_UNLESS_NAMED = ("role", "segment")
"""A rule that does not name these judges the series over all live roles and all segments, not each role again.

Metrics of a machine, or of a channel or source, have no whole: they are judged for each segment.
"""


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


class Combine(StrEnum):
    """How the parts of a rule make one finding."""

    ALL = "all"
    ANY = "any"


class Objective(StrEnum):
    """What a budget of failures is for."""

    ERRORS = "error_rate"
    LATENCY = "latency"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A value is held against that of the same series ``against`` so long ago: their difference, or its share of the earlier one.

    ``tolerance`` is how far from that time the earlier point may be; None for one and a half steps of the points.
    """

    against: timedelta
    is_relative: bool = True
    tolerance: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BurnWindow:
    """A problem where the budget burns ``burn`` times as fast as it may, over the long and over the short window."""

    long: timedelta
    short: timedelta
    burn: float
    severity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BurnRate:
    """An objective: at least ``target`` of the predictions succeed, or take at most ``threshold``.

    Fewer than ``min_failures`` failures in a long window are no problem, however few predictions there were.
    """

    objective: Objective
    target: float
    windows: tuple[BurnWindow, ...]
    threshold: timedelta | None = None
    min_failures: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One judgement, made of every series that it selects. ``hold`` is the file's ``for``.

    ``metric`` is empty where ``promql`` asks Prometheus; where there are ``parts`` it is that of the first. Of the newest
    ``points[1]`` points ``points[0]`` have to meet ``when``. A part is a rule without labels that has the name of its rule.
    """

    name: str
    metric: str
    when: Condition
    resolve_when: Condition
    group: str = ""
    interval: timedelta = timedelta(minutes=1)
    promql: str = ""
    where: Mapping[str, str] = field(default_factory=dict)
    window: timedelta | None = None
    points: tuple[int, int] = (1, 1)
    change: Change | None = None
    burn_rate: BurnRate | None = None
    combine: Combine | None = None
    parts: tuple[Rule, ...] = ()
    equal: tuple[str, ...] = ()
    hold: timedelta = timedelta(0)
    keep_firing_for: timedelta = timedelta(0)
    min_samples: int | None = None
    no_data: Policy = Policy.KEEP
    on_error: Policy = Policy.KEEP
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    def selects(self, series: Mapping[str, str]) -> bool:
        """Whether a series with these labels (absent: "not by this") is judged by the rule."""
        named = all(matches(pattern, series.get(key, "")) for key, pattern in self.where.items())
        return named and not any(series.get(key, "") for key in self.empty_unless_named if key not in self.where)

    @property
    def empty_unless_named(self) -> tuple[str, ...]:
        """The labels that a series must not have unless ``where`` names them; those of Prometheus may have any."""
        if self.promql:
            return ()
        return ("role",) if self.metric in SEGMENTED else EMPTY_UNLESS_NAMED

    @property
    def judged(self) -> tuple[Rule, ...]:
        """What is judged: the parts, or the rule itself."""
        return self.parts or (self,)

    @property
    def sources(self) -> frozenset[str]:
        """The queries that Prometheus has to answer for it."""
        return frozenset(part.promql for part in self.judged if part.promql)

    @property
    def words(self) -> MetricWords:
        """What its value is called and how it is written."""
        words = words_of(self.metric) if self.metric else QUERY_WORDS
        return words.as_change(is_relative=self.change.is_relative) if self.change else words


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
        *rule_problems(content),
        *routing_problems(content.routes, content.receivers, content.mute_windows),
    ]
    if problems:
        raise RulesError(source, tuple(problems))
    groups = tuple(_group(group) for group in content.groups)
    return RuleSet(
        source=source,
        groups=groups + _built_in(groups),
        routing=routing_of(content.routes, content.receivers, content.inhibit, content.mute_windows),
        warnings=tuple(rule_warnings(content)),
    )


def _group(text: GroupText) -> Group:
    rules = tuple(_rule(rule, text) for rule in text.rules)
    return Group(name=text.name, interval=text.interval, rules=rules)


def _rule(text: RuleText, group: GroupText) -> Rule:
    own = _part(text, text.alert, group)
    whole = replace(
        own,
        hold=text.hold,
        keep_firing_for=text.keep_firing_for,
        no_data=Policy(text.no_data),
        on_error=Policy(text.on_error),
        labels=dict(text.labels),
        annotations=dict(text.annotations),
    )
    if text.burn_rate is not None:
        return _with_budget(whole, text.burn_rate)
    if text.all_of is None and text.any_of is None:
        return whole
    combine = Combine.ANY if text.all_of is None else Combine.ALL
    parts = tuple(_part(part, text.alert, group) for part in text.all_of or text.any_of or ())
    first, equal = parts[0], common_labels(parts) if text.equal is None else tuple(text.equal)
    shown = replace(whole, metric=first.metric, when=first.when, resolve_when=first.resolve_when, change=first.change)
    return replace(shown, combine=combine, parts=parts, equal=equal)


def _part(text: PartText, name: str, group: GroupText) -> Rule:
    when = text.when or PRESENT
    return Rule(
        name=name,
        metric=text.metric or "",
        promql=text.promql or "",
        when=when,
        resolve_when=text.resolve_when or when.opposite(),
        group=group.name,
        interval=group.interval,
        where=dict(text.where),
        window=text.window,
        points=text.points,
        change=_change(text.change) if text.change else None,
        min_samples=text.min_samples,
    )


def _change(text: ChangeText) -> Change:
    return Change(against=text.against, is_relative=text.kind == "relative", tolerance=text.tolerance)


def common_labels(parts: Sequence[Rule]) -> tuple[str, ...]:
    """The labels that the series of all parts have, as far as their metrics and matchers tell; Prometheus' may have any."""
    known = [set(labels_of(part.metric)) | set(part.where) for part in parts if not part.promql]
    return tuple(key for key in WHERE_KEYS if known and all(key in labels for labels in known))


def _with_budget(rule: Rule, text: BurnRateText) -> Rule:
    objective = Objective(text.objective)
    windows = usual_windows(text.over) if text.windows is None else tuple(_burn_window(window) for window in text.windows)
    return replace(
        rule,
        metric=BUDGETS[objective],
        when=Condition(operator=Operator.GREATER, limit=windows[0].burn),
        resolve_when=Condition(operator=Operator.LESS_EQUAL, limit=windows[0].burn),
        burn_rate=BurnRate(
            objective=objective,
            target=text.target,
            windows=windows,
            threshold=text.threshold,
            min_failures=text.min_failures,
        ),
        min_samples=LEAST_PREDICTIONS if rule.min_samples is None else rule.min_samples,
    )


def _burn_window(text: BurnWindowText) -> BurnWindow:
    return BurnWindow(long=text.long, short=text.short, burn=text.burn, severity=text.severity)


def usual_windows(over: timedelta) -> tuple[BurnWindow, ...]:
    """The windows of the SRE workbook (chapter 5), with the burn rates that spend the same share of a budget for ``over``.

    A page where 2 % of it went in an hour, or 5 % in six; a ticket where 10 % went in a day, or in three. The short window is
    a twelfth of the long one, so that the alert ends soon after the problem.

    >>> [(window.burn, window.severity) for window in usual_windows(timedelta(days=30))]
    [(14.4, 'page'), (6.0, 'page'), (3.0, 'ticket'), (1.0, 'ticket')]
    """
    shares = ((1, 0.02, "page"), (6, 0.05, "page"), (24, 0.1, "ticket"), (72, 0.1, "ticket"))
    hour = timedelta(hours=1)
    return tuple(
        BurnWindow(long=hours * hour, short=hours * hour / 12, burn=round(share * (over / hour) / hours, 4), severity=severity)
        for hours, share, severity in shares
    )


def _built_in(groups: Sequence[Group]) -> tuple[Group, ...]:
    """Who asks Prometheus is told when it does not answer, without having to think of it."""
    rules = [rule for group in groups for rule in group.rules]
    if not any(rule.sources for rule in rules) or any(part.metric == UNJUDGED for rule in rules for part in rule.judged):
        return ()
    name = unused_name(SOURCE_FAILING, {rule.name for rule in rules})
    interval = min(group.interval for group in groups if any(rule.sources for rule in group.rules))
    when = Condition(operator=Operator.GREATER, limit=0)
    rule = Rule(
        name=name,
        metric=UNJUDGED,
        when=when,
        resolve_when=when.opposite(),
        group=name,
        interval=interval,
        hold=timedelta(minutes=2),
        labels={"severity": "warning"},
        annotations={"summary": "{{ segment }} does not answer: {{ value }} rules cannot be judged, and stay as they are"},
    )
    return (Group(name=unused_name(SOURCE_FAILING, {group.name for group in groups}), interval=interval, rules=(rule,)),)


def unused_name(name: str, used: Collection[str]) -> str:
    """The name, with underscores at its end where it is used already."""
    while name in used:
        name += "_"
    return name

"""Reads what a group of rules is judged on: each metric once, however many rules ask for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import chain

from sqlalchemy import Connection

from alerts.freshness import Freshness, judged_window
from alerts.observations import Asked
from alerts.readings import is_plain
from alerts.rules import Group, Rule
from alerts.selection import is_literal, matches
from alerts.sources import Sources
from alerts.spending import read_spendings
from alerts.wording import LABELLED, OWN
from alerts.yaml_types import WHERE_KEYS
from storage import metrics
from storage.records import MetricPoint

AHEAD = timedelta(minutes=5)
"""Clocks of other machines may be ahead of this one's; what is further ahead was written before the clock was put back."""


@dataclass(slots=True)
class _Points:
    """Points with an index for each label that rules name: most name their model."""

    points: list[MetricPoint]
    _indexes: dict[str, Mapping[str, list[MetricPoint]]] = field(default_factory=dict)

    def of(self, rule: Rule) -> Sequence[MetricPoint]:
        """Those that the rule may select: by the label of those that it names that leaves the fewest."""
        named = [(key, pattern) for key, pattern in rule.where.items() if key in WHERE_KEYS and pattern != "*"]
        found = (self._matching(key, pattern) for key, pattern in named)
        fewest = min(found, key=lambda lists: sum(map(len, lists)), default=[self.points])
        return fewest[0] if len(fewest) == 1 else list(chain.from_iterable(fewest))

    def _matching(self, key: str, pattern: str) -> list[list[MetricPoint]]:
        """The points of each value of a label that a pattern stands for; a value is looked at once, however many points have it."""
        index = self._index(key)
        if is_literal(pattern):
            return [index.get(pattern, [])]
        return [points for value, points in index.items() if matches(pattern, value)]

    def _index(self, key: str) -> Mapping[str, list[MetricPoint]]:
        if key not in self._indexes:
            index = defaultdict(list)
            for point in self.points:
                index[getattr(point, key)].append(point)
            self._indexes[key] = index
        return self._indexes[key]


@dataclass(frozen=True, slots=True)
class _Need:
    """What has to be read for parts of rules: the newest points of a metric over one length of window, or all of a time.

    ``least`` asks for points over enough data: -1 for what the collector thinks enough. ``against`` is how long ago the
    time ended, None for the newest only.
    """

    metric: str
    window_seconds: int
    least: int | None = None
    against: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """The rules of a group with the windows that they judge, the points of each, and what else there is to judge on."""

    rules: Sequence[Rule]
    points: Mapping[str, Sequence[MetricPoint]]
    asked: Asked


def gather(c: Connection, group: Group, freshness: Freshness, sources: Sources, now: datetime) -> Gathered:
    """Everything that the rules of the group are judged on; the answers of Prometheus come in ``asked`` later."""
    newest: dict[str, Mapping[int, datetime]] = {}
    rules = [_resolved(c, rule, newest, freshness) for rule in group.rules]
    needs = {rule.name: [list(_needs(part)) for part in rule.judged] for rule in rules}
    since = _since(rules, needs, freshness, now)
    read = {need: _Points(_read(c, need, start, now)) for need, start in since.items()}
    own = sources.points(c, {part.metric for rule in rules for part in rule.judged if part.metric in OWN}, now)
    points = {
        rule.name: _joined(
            [read[need].of(part) for part, wanted in zip(rule.judged, needs[rule.name], strict=True) for need in wanted]
            + ([own] if any(part.metric in OWN for part in rule.judged) else [])
        )
        for rule in rules
    }
    budgets = [rule for rule in rules if rule.burn_rate is not None]
    spending = read_spendings(c, budgets, rollup=freshness.rollup, lag=freshness.window_lag, now=now) if budgets else {}
    return Gathered(rules=rules, points=points, asked=Asked(spending=spending))


def _resolved(c: Connection, rule: Rule, newest: dict[str, Mapping[int, datetime]], freshness: Freshness) -> Rule:
    """The rule with the lengths of window that it, or each of its parts, judges now; a part without any has nothing to judge."""
    if rule.parts:
        return replace(rule, parts=tuple(_resolved(c, part, newest, freshness) for part in rule.parts))
    if rule.window is not None or not rule.metric or rule.burn_rate is not None or rule.metric in OWN:
        return rule
    if rule.metric not in newest:
        newest[rule.metric] = metrics.newest_by_window(c, rule.metric)
    seconds = judged_window(rule, newest[rule.metric], freshness)
    return rule if seconds is None else replace(rule, window=timedelta(seconds=seconds))


def _needs(part: Rule) -> Iterator[_Need]:
    if part.window is None or part.metric in OWN or part.burn_rate is not None:
        return
    seconds = int(part.window.total_seconds())
    yield _Need(part.metric, seconds)
    if part.metric in LABELLED:
        yield _Need(part.metric, seconds, least=-1 if part.min_samples is None else part.min_samples)
    if not is_plain(part):
        if part.points[1] > 1:
            yield _Need(part.metric, seconds, against=timedelta(0))
        if part.change is not None:
            yield _Need(part.metric, seconds, against=part.change.against)


def _since(
    rules: Iterable[Rule], needs: Mapping[str, Sequence[Sequence[_Need]]], freshness: Freshness, now: datetime
) -> dict[_Need, datetime]:
    """From when on each need has to be read: from the earliest time that any rule asks for."""
    since: dict[_Need, datetime] = {}
    for rule in rules:
        for part, wanted in zip(rule.judged, needs[rule.name], strict=True):
            for need in wanted:
                back = freshness.lookback(part, need.window_seconds)
                if need.against is not None:
                    back += need.against + freshness.tolerance(part, need.window_seconds)
                since[need] = min(since.get(need, now), now - back)
    return since


def _read(c: Connection, need: _Need, since: datetime, now: datetime) -> list[MetricPoint]:
    seconds, latest = need.window_seconds, now + AHEAD
    if need.against is not None:
        end = now - need.against + AHEAD
        return metrics.read_points(c, names=[need.metric], window_seconds=seconds, start=since, end=end)
    if need.least is not None:
        least = None if need.least < 0 else need.least
        return metrics.latest_points(
            c, need.metric, window_seconds=seconds, since=since, until=latest, sufficient=least is None, least_n=least
        )
    return metrics.latest_points(c, need.metric, window_seconds=seconds, since=since, until=latest)


def _joined(found: Sequence[Sequence[MetricPoint]]) -> Sequence[MetricPoint]:
    return found[0] if len(found) == 1 else list(chain.from_iterable(found))

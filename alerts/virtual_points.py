"""The points that rules see on a virtual clock: what ``alerts.gathering`` reads from the database, kept in memory. Pure.

No more is kept than the rules look back to, so that a history of any length fits.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from alerts.freshness import Freshness, judged_window
from alerts.readings import is_plain, is_too_little
from alerts.rules import Rule
from alerts.wording import LABELLED, OWN
from storage.records import MetricPoint

SWEEP_EVERY = 256
"""After so many looks at a shelf, what nobody will look at any more is taken from it."""

Series = tuple[str, str, str, str, str]


@dataclass(slots=True)
class _Shelf:
    """Points of one metric over windows of one length, by series, the oldest first."""

    series: dict[Series, deque[MetricPoint]] = field(default_factory=lambda: defaultdict(deque))
    looks: int = 0

    def add(self, point: MetricPoint, only_last: bool) -> None:
        points = self.series[point.model, point.version, point.role, point.segment, point.feature]
        if only_last:
            points.clear()
        elif points and points[-1].at == point.at:
            points.pop()  # as in the database, the newer of two at one time is the one there is
        points.append(point)

    def sweep(self, oldest: datetime) -> None:
        self.looks += 1
        if self.looks % SWEEP_EVERY:
            return
        for points in self.series.values():
            while points and points[0].at < oldest:
                points.popleft()
        self.series = defaultdict(deque, {key: points for key, points in self.series.items() if points})


class PointHistory:
    """Takes points in the order of their time, and gives each rule those that the service would have read for it."""

    def __init__(self, rules: Iterable[Rule], freshness: Freshness) -> None:
        parts = [part for rule in rules for part in rule.judged if part.metric and part.burn_rate is None]
        self.metrics = frozenset(part.metric for part in parts)
        self._freshness = freshness
        self._parts = parts
        self._several = {part.metric for part in parts if not is_plain(part) or part.metric in LABELLED}
        self._shelves: dict[str, dict[int, _Shelf]] = defaultdict(lambda: defaultdict(_Shelf))
        self._newest: dict[str, dict[int, datetime]] = defaultdict(dict)
        self._back: dict[tuple[str, int], timedelta] = {}
        self._resolved: dict[tuple[str, int, int], Rule] = {}

    @property
    def points(self) -> int:
        """How many points are kept."""
        return sum(
            len(points) for shelves in self._shelves.values() for shelf in shelves.values() for points in shelf.series.values()
        )

    def add(self, points: Iterable[MetricPoint]) -> None:
        """Makes points known; those of metrics that no rule judges are passed over."""
        for point in points:
            if point.name in self.metrics:
                self._shelves[point.name][point.window_seconds].add(point, point.name not in self._several)
                self._newest[point.name][point.window_seconds] = point.at

    def back(self, metric: str, window_seconds: int) -> timedelta:
        """How far back any rule looks at the metric."""
        key = (metric, window_seconds)
        if key not in self._back:
            parts = [part for part in self._parts if part.metric == metric]
            self._back[key] = max((self._reach(part, window_seconds) for part in parts), default=timedelta(0))
        return self._back[key]

    def _reach(self, part: Rule, window_seconds: int) -> timedelta:
        reach = self._freshness.lookback(part, window_seconds)
        if part.change is None:
            return reach
        return reach + part.change.against + self._freshness.tolerance(part, window_seconds)

    def resolved(self, rule: Rule) -> Rule:
        """The rule with the length of window that it, or each of its parts, judges now."""
        if rule.parts:
            return replace(rule, parts=tuple(self._with_window(part, number) for number, part in enumerate(rule.parts)))
        return self._with_window(rule, -1)

    def _with_window(self, rule: Rule, number: int) -> Rule:
        if rule.window is not None or not rule.metric or rule.burn_rate is not None or rule.metric in OWN:
            return rule
        seconds = judged_window(rule, self._newest.get(rule.metric, {}), self._freshness)
        if seconds is None:
            return rule
        key = (rule.name, number, seconds)
        if key not in self._resolved:
            self._resolved[key] = replace(rule, window=timedelta(seconds=seconds))
        return self._resolved[key]

    def of(self, rule: Rule, now: datetime) -> Sequence[MetricPoint]:
        """The points to judge a resolved rule on."""
        found: list[MetricPoint] = []
        for part in rule.judged:
            if not part.metric or part.burn_rate is not None:
                continue
            for seconds, shelf in self._shelves_of(part).items():
                shelf.sweep(now - self.back(part.metric, seconds))
                found.extend(_wanted(part, shelf, now - self._reach(part, seconds)))
        return found

    def _shelves_of(self, part: Rule) -> Mapping[int, _Shelf]:
        shelves = self._shelves.get(part.metric, {})
        if part.metric in OWN and part.window is None:
            return shelves
        seconds = int(part.window.total_seconds()) if part.window is not None else None
        return {seconds: shelves[seconds]} if seconds is not None and seconds in shelves else {}


def _wanted(part: Rule, shelf: _Shelf, since: datetime) -> Iterator[MetricPoint]:
    """Of each series the newest point; the newest over enough data as well, or all, where the rule looks at more."""
    if not is_plain(part):
        yield from (point for points in shelf.series.values() for point in points if point.at >= since)
        return
    for points in shelf.series.values():
        if not points or points[-1].at < since:
            continue
        yield points[-1]
        if part.metric in LABELLED and is_too_little(part, points[-1]):
            enough = (point for point in reversed(points) if not is_too_little(part, point))
            found = next(enough, None)
            if found is not None and found.at >= since:
                yield found

"""What evaluations need from outside the database, kept by one process from one evaluation to the next."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection

from alerts.own_metrics import own_points
from alerts.prometheus import Prometheus, prometheus_query, source_name
from alerts.promql import Answer
from alerts.rules import Group, RuleSet
from storage.records import MetricPoint

NOT_SET = "prometheus: MODELWATCH_PROMETHEUS_URL is not set"
REMEMBER = timedelta(minutes=5)
"""For how long it counts that a rule could not be judged, or for three of its intervals where those are longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unjudged:
    """The rules of a group that could not be judged the last time."""

    at: datetime
    interval: timedelta
    rules: frozenset[str]


@dataclass(slots=True, kw_only=True)
class Sources:
    """Prometheus, the home folder, and which rules could not be judged because a source did not answer."""

    prometheus: Prometheus | None = None
    home: Path | None = None
    _unjudged: dict[str, _Unjudged] = field(default_factory=dict)

    def answers(self, group: Group, now: datetime) -> dict[str, Answer]:
        """What Prometheus says to the queries of a group; a query without an answer is still on its way."""
        queries = frozenset().union(*(rule.sources for rule in group.rules))
        if not queries:
            return {}
        if self.prometheus is None:
            found = {query: Answer(at=now, error=NOT_SET) for query in queries}
        else:
            found = self.prometheus.ask(group.name, queries)
        failed = {query for query, answer in found.items() if answer.error}
        waited_for = self._unjudged.get(group.name)
        still = waited_for.rules if waited_for else frozenset()
        unjudged = {rule.name for rule in group.rules if rule.sources & failed}
        # What has not been answered yet stays as it was: neither well again, nor failing for the first time.
        unjudged |= {rule.name for rule in group.rules if rule.sources - found.keys() and rule.name in still}
        self._unjudged[group.name] = _Unjudged(at=now, interval=group.interval, rules=frozenset(unjudged))
        return found

    def points(self, c: Connection, wanted: Collection[str], now: datetime) -> list[MetricPoint]:
        """The service's own metrics."""
        return own_points(c, wanted, home=self.home, unjudged=self.unjudged(now), now=now)

    def unjudged(self, now: datetime) -> dict[str, int]:
        """By source, how many rules cannot be judged; empty where no rule asks one."""
        recent = {group: one for group, one in self._unjudged.items() if now - one.at <= max(REMEMBER, 3 * one.interval)}
        self._unjudged = recent
        name = self.prometheus.name if self.prometheus else "prometheus"
        return {name: sum(len(one.rules) for one in recent.values())} if recent else {}

    def warnings(self, rules: RuleSet) -> list[str]:
        """What the rules ask and nothing answers."""
        asking = [rule.name for rule in rules.rules if rule.sources]
        if self.prometheus is not None or not asking:
            return []
        return [f"{len(asking)} rules ask Prometheus ({', '.join(asking[:3])}), but MODELWATCH_PROMETHEUS_URL is not set"]


def sources_for(prometheus_url: str, home: Path) -> Sources:
    """The sources that the settings name; an empty address is no Prometheus."""
    prometheus = Prometheus(prometheus_query(prometheus_url), name=source_name(prometheus_url)) if prometheus_url else None
    return Sources(prometheus=prometheus, home=home)

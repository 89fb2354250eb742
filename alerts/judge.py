"""Judges the groups of rules on time, and keeps incidents up to date between evaluations."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import Engine

from alerts.dispatch import Desk, desk_for
from alerts.evaluate import LEASE_TIME, evaluate_group, give_up_lease, renew, resolve_orphans
from alerts.evidence import Evidence
from alerts.lifecycle import LIVE
from alerts.metrics import AlertMetrics
from alerts.rule_files import WatchedRules
from alerts.rules import Group, RuleSet
from alerts.settings import AlertsSettings, channel_warnings, default_receiver
from alerts.sources import Sources
from alerts.timers import Timers
from storage.alerts import load_alerts
from storage.engine import DatabaseUnavailable, reading
from storage.incidents import load_open

TICK_SECONDS = 1.0
STANDBY_SECONDS = 3.0
RENEW_SECONDS = LEASE_TIME.total_seconds() / 3

_log = logging.getLogger(__name__)


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True, kw_only=True)
class Judge:
    """Which groups are due, and whether this process is the one that judges them."""

    engine: Engine
    settings: AlertsSettings
    rules: WatchedRules
    metrics: AlertMetrics
    owner: str
    sources: Sources = field(default_factory=Sources)
    _due: dict[str, float] = field(default_factory=dict)
    _renewed: float = 0.0
    _orphans_due: bool = True
    _timers: Timers = field(default_factory=Timers)
    _made: tuple[RuleSet, Desk] | None = None
    _leads: bool = False
    evaluated_at: datetime | None = None
    """When this process last judged a group; None while another one does."""

    def round(self) -> float:
        """Judges what is due; returns for how many seconds there is nothing to do. Raises DatabaseUnavailable."""
        if self.rules.reload():
            self._orphans_due = True
            self._due = {name: at for name, at in self._due.items() if name in {group.name for group in self.rules.rules.groups}}
            self.announce()
        self.metrics.rules_loaded(not self.rules.problem)
        if not self._keep_lease():
            self.metrics.stood_by()
            self.evaluated_at = None
            return STANDBY_SECONDS
        if self._orphans_due:
            self._orphans_due = resolve_orphans(self.engine, self.rules.rules, self._desk(), owner=self.owner, now=_now()) is None
        due = self._groups_due()
        for group in due:
            self._judge(group)
        if self._tend() or due:
            self._show()
        return self._idle_seconds()

    def announce(self) -> None:
        """Says what is odd about the rules and the channels, once for each file that comes into force."""
        rules = self.rules.rules
        told = [r for r in rules.routing.receivers if r.name == rules.routing.root.receiver] or [default_receiver(self.settings)]
        for warning in (*rules.warnings, *self.sources.warnings(rules), *channel_warnings(self.settings, tuple(told))):
            _log.warning("%s: %s.", rules.source, warning)

    def close(self) -> None:
        """Lets another process go on at once."""
        if not self._leads:
            return
        try:
            give_up_lease(self.engine, owner=self.owner, now=_now())
        except DatabaseUnavailable:
            _log.info("The lease was not given back because the database is away; it runs out by itself.")

    def _desk(self) -> Desk:
        """The desk of the rules in force, made once for each file."""
        rules, settings = self.rules.rules, self.settings
        if self._made is None or self._made[0] is not rules:
            desk = desk_for(
                rules,
                default_receiver(settings),
                dashboard=settings.dashboard,
                freshness=settings.freshness,
                evidence=Evidence({rule.name: rule for rule in rules.rules}).card,
                sources=self.sources,
            )
            self._made = rules, desk
        return self._made[1]

    def _tend(self) -> bool:
        """Tells what is due of incidents; whether anything was."""
        dispatched = self._timers.tend(self.engine, self._desk(), owner=self.owner, now=_now())
        if dispatched is None:
            self._leads = False
            return False
        self._say_problems(dispatched.problems)
        return dispatched.looked

    def _say_problems(self, problems: Sequence[str]) -> None:
        self.metrics.templates_failed(len(problems))
        for problem in problems:
            _log.error("%s: %s. The alert went out with a plain text instead.", self.rules.rules.source, problem)

    def _keep_lease(self) -> bool:
        if self._leads and time.monotonic() - self._renewed < RENEW_SECONDS:
            return True
        leads = renew(self.engine, owner=self.owner, now=_now())
        if leads != self._leads:
            _log.info("This process judges the rules now." if leads else "Another process judges the rules; this one stands by.")
        self._leads, self._renewed = leads, time.monotonic()
        return leads

    def _groups_due(self) -> list[Group]:
        now = time.monotonic()
        return [group for group in self.rules.rules.groups if self._due.get(group.name, 0.0) <= now]

    def _judge(self, group: Group) -> None:
        interval = max(group.interval, self.settings.evaluation_interval).total_seconds()
        started = time.monotonic()
        now = _now()
        evaluation = evaluate_group(self.engine, group, self._desk(), owner=self.owner, now=now)
        if evaluation is None:
            self._leads = False
            return
        self._renewed = started
        self._due[group.name] = max(self._due.get(group.name, started) + interval, started + interval / 2)
        self.metrics.evaluated(now)
        self.evaluated_at = now
        self._say_problems(evaluation.problems)
        for transition in evaluation.transitions:
            if transition.changed:
                row = transition.row
                _log.info("%s %s: %s, was %s (%s)", row.rule, row.labels, row.state, transition.from_state, row.reason)

    def _show(self) -> None:
        with reading(self.engine) as c:
            live = load_alerts(c, states=LIVE)
            unfinished = load_open(c)
        self.metrics.show_alerts([rule.name for rule in self.rules.rules.rules], live)
        self.metrics.show_incidents(unfinished)

    def _idle_seconds(self) -> float:
        due = min((self._due.get(group.name, 0.0) for group in self.rules.rules.groups), default=time.monotonic() + TICK_SECONDS)
        return min(TICK_SECONDS, max(0.0, due - time.monotonic()))

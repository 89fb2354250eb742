"""The alerts process: judges the rules on time, sends what is due, and tells Prometheus how that goes.

Two loops. The main thread judges; another sends, so that a slow channel delays no judgement. Either waits out a database
that is away. Nothing is kept in memory that a restart would need.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import Engine

from alerts.deliver import Delivery
from alerts.dispatch import Desk, desk_for
from alerts.evaluate import LEASE_TIME, evaluate_group, give_up_lease, renew, resolve_orphans
from alerts.lifecycle import LIVE
from alerts.metrics import AlertMetrics
from alerts.rule_files import WatchedRules
from alerts.rules import Group, RuleSet
from alerts.settings import (
    AlertsSettings,
    channel_warnings,
    default_receiver,
    make_channels,
    usual_addresses,
)
from alerts.timers import Timers
from storage.alerts import load_alerts
from storage.engine import DatabaseUnavailable, create_engine, reading
from storage.incidents import load_open
from storage.service import exporting, owner_name, stopping, wait_for_database

TICK_SECONDS = 1.0
STANDBY_SECONDS = 3.0
RENEW_SECONDS = LEASE_TIME.total_seconds() / 3
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 15.0
DRAIN_SECONDS = 20.0

_log = logging.getLogger(__name__)


def run(settings: AlertsSettings) -> int:
    """Judge and tell until SIGTERM or SIGINT; 0 after a clean stop.

    A database that is away is waited for, at the start too. Raises RulesError for a bad rules file, SettingsError where
    the port is taken, SchemaMismatch where the database is older or newer than this program.
    """
    rules = WatchedRules(settings.rules, required="rules" in settings.model_fields_set)
    metrics = AlertMetrics()
    exporter = exporting(
        metrics.registry,
        settings.host,
        settings.alerts_port,
        trusted=settings.trusted_network,
        variable="MODELWATCH_ALERTS_PORT",
    )
    with exporter, stopping() as stop:
        engine = create_engine(settings.database)
        try:
            if wait_for_database(engine, stop):
                _work(settings, rules, metrics, engine, stop)
        finally:
            engine.dispose()
    return 0


def _now() -> datetime:
    return datetime.now(UTC)


def _work(settings: AlertsSettings, rules: WatchedRules, metrics: AlertMetrics, engine: Engine, stop: threading.Event) -> None:
    owner = owner_name()
    judge = Judge(engine=engine, settings=settings, rules=rules, metrics=metrics, owner=owner)
    delivery = Delivery(
        engine,
        make_channels(settings),
        usual=usual_addresses(settings),
        owner=owner,
        metrics=metrics,
        clock=_now,
        pause=stop.wait,
    )
    sender = threading.Thread(target=_send, args=(delivery, stop), name="delivery", daemon=True)
    sender.start()
    judge.announce()
    _log.info("Judging %d rules of %s.", len(rules.rules.rules), rules.rules.source)
    _repeat(judge.round, stop, "judge the rules")
    sender.join(DRAIN_SECONDS)
    judge.close()


# ---------------------------------------------------------------------------------------------- judging


@dataclass(slots=True, kw_only=True)
class Judge:
    """Which groups are due, and whether this process is the one that judges them."""

    engine: Engine
    settings: AlertsSettings
    rules: WatchedRules
    metrics: AlertMetrics
    owner: str
    _due: dict[str, float] = field(default_factory=dict)
    _renewed: float = 0.0
    _orphans_due: bool = True
    _timers: Timers = field(default_factory=Timers)
    _made: tuple[RuleSet, Desk] | None = None
    _leads: bool = False

    def round(self) -> float:
        """Judges what is due; returns for how many seconds there is nothing to do. Raises DatabaseUnavailable."""
        if self.rules.reload():
            self._orphans_due = True
            self._due = {name: at for name, at in self._due.items() if name in {group.name for group in self.rules.rules.groups}}
            self.announce()
        self.metrics.rules_loaded(not self.rules.problem)
        if not self._keep_lease():
            self.metrics.stood_by()
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
        for warning in (*rules.warnings, *channel_warnings(self.settings, tuple(told))):
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
        """Made once for each file that comes into force."""
        rules, settings = self.rules.rules, self.settings
        if self._made is None or self._made[0] is not rules:
            fallback = default_receiver(settings)
            desk = desk_for(rules, fallback, dashboard=settings.dashboard, freshness=settings.freshness)
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


# ---------------------------------------------------------------------------------------------- sending


def _send(delivery: Delivery, stop: threading.Event) -> None:
    _repeat(lambda: 0.0 if delivery.deliver_next() else TICK_SECONDS, stop, "send messages")


# ---------------------------------------------------------------------------------------------- loops


def _repeat(work: Callable[[], float], stop: threading.Event, what: str) -> None:
    """Works, and waits as long as the work says, until told to stop. A fault is logged and tried again, ever more slowly."""
    pause = FIRST_PAUSE_SECONDS
    away = False
    while not stop.is_set():
        try:
            seconds = work()
        except DatabaseUnavailable as error:
            if not away:
                _log.warning("Cannot %s: %s Waiting for it.", what, error)
            away, seconds, pause = True, pause, min(2 * pause, LONGEST_PAUSE_SECONDS)
        except Exception:  # noqa: BLE001  the edge of a loop that must not end
            _log.exception("Could not %s because of a fault in the program; trying again.", what)
            seconds, pause = pause, min(2 * pause, LONGEST_PAUSE_SECONDS)
        else:
            if away:
                _log.info("The database is back.")
            away, pause = False, FIRST_PAUSE_SECONDS
        stop.wait(seconds)

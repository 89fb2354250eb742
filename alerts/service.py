"""The alerts process: judges the rules on time, sends what is due, and tells Prometheus how that goes.

Two loops. The main thread judges; another sends, so that a slow channel delays no judgement. Either waits out a database
that is away. Nothing is kept in memory that a restart would need.
"""

from __future__ import annotations

import errno
import logging
import os
import platform
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import FrameType

from prometheus_client import CollectorRegistry, start_http_server
from sqlalchemy import Engine

from alerts.deliver import Delivery
from alerts.evaluate import LEASE_TIME, Desk, evaluate_group, give_up_lease, renew, resolve_orphans
from alerts.lifecycle import LIVE
from alerts.metrics import AlertMetrics
from alerts.routes import recipients
from alerts.rule_files import WatchedRules
from alerts.rules import Group
from alerts.settings import (
    AlertsSettings,
    channel_warnings,
    default_receiver,
    make_channels,
    usual_addresses,
)
from storage.alerts import load_alerts
from storage.engine import DatabaseUnavailable, create_engine, reading
from storage.migrate import require_current
from storage.settings import SettingsError

TICK_SECONDS = 1.0
STANDBY_SECONDS = 3.0
RENEW_SECONDS = LEASE_TIME.total_seconds() / 3
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 15.0
DRAIN_SECONDS = 20.0

_log = logging.getLogger(__name__)


def run(settings: AlertsSettings) -> int:
    """Judge and tell until SIGTERM or SIGINT, or until the parent is gone; 0 after a clean stop.

    A database that is away is waited for, at the start too. Raises RulesError for a bad rules file, SettingsError where
    the port is taken, SchemaMismatch where the database is older or newer than this program.
    """
    rules = WatchedRules(settings.rules, required="rules" in settings.model_fields_set)
    metrics = AlertMetrics()
    with _exporter(metrics.registry, settings), _stopping() as stop:
        engine = create_engine(settings.database)
        try:
            if _wait_for_database(engine, stop):
                _work(settings, rules, metrics, engine, stop)
        finally:
            engine.dispose()
    return 0


def owner_name() -> str:
    """A name that no other alerts process has or will have."""
    return f"{platform.node()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


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
        if due:
            self._show()
        return self._idle_seconds()

    def announce(self) -> None:
        """Says what is odd about the rules and the channels, once for each file that comes into force."""
        rules = self.rules.rules
        told = [r for r in rules.receivers if r.name == rules.default_receiver] or [default_receiver(self.settings)]
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
        fallback = default_receiver(self.settings)
        return Desk(
            recipients=recipients(self.rules.rules, fallback), dashboard=self.settings.dashboard, freshness=self.settings.freshness
        )

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
        self.metrics.evaluated(now, len(evaluation.problems))
        for problem in evaluation.problems:
            _log.error("%s: %s. The alert went out with a plain text instead.", group.name, problem)
        for transition in evaluation.transitions:
            if transition.changed:
                row = transition.row
                _log.info("%s %s: %s, was %s (%s)", row.rule, row.labels, row.state, transition.from_state, row.reason)

    def _show(self) -> None:
        with reading(self.engine) as c:
            live = load_alerts(c, states=LIVE)
        self.metrics.show_alerts([rule.name for rule in self.rules.rules.rules], live)

    def _idle_seconds(self) -> float:
        due = min((self._due.get(group.name, 0.0) for group in self.rules.rules.groups), default=time.monotonic() + TICK_SECONDS)
        return min(TICK_SECONDS, max(0.0, due - time.monotonic()))


# ---------------------------------------------------------------------------------------------- sending


def _send(delivery: Delivery, stop: threading.Event) -> None:
    _repeat(lambda: 0.0 if delivery.deliver_next() else TICK_SECONDS, stop, "send messages")


# ---------------------------------------------------------------------------------------------- loops


def _repeat(work: Callable[[], float], stop: threading.Event, what: str) -> None:
    """Works, and waits as long as the work says, until told to stop. A fault is logged and tried again, ever more slowly."""
    parent = os.getppid()
    pause = FIRST_PAUSE_SECONDS
    away = False
    while not stop.is_set():
        if os.getppid() != parent:
            _log.info("The parent process is gone; stopping.")
            stop.set()
            return
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


def _wait_for_database(engine: Engine, stop: threading.Event) -> bool:
    """Whether there is a database with the right tables; False when told to stop while it was away."""
    parent = os.getppid()
    waiting = False
    while not stop.is_set() and os.getppid() == parent:
        try:
            require_current(engine)
        except DatabaseUnavailable as error:
            if not waiting:
                _log.warning("%s Waiting for it.", error)
            waiting = True
            stop.wait(STANDBY_SECONDS)
        else:
            return True
    return False


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """An event that SIGTERM or SIGINT sets, while the block runs in the main thread."""
    stop = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# ---------------------------------------------------------------------------------------------- exporter


@contextmanager
def _exporter(registry: CollectorRegistry, settings: AlertsSettings) -> Iterator[None]:
    """Serves the metrics while the block runs. It knows no keys, so beyond loopback only in a trusted network."""
    loopback = ("127.0.0.1", "::1", "localhost")
    address = settings.host if settings.trusted_network or settings.host in loopback else loopback[0]
    try:
        server, thread = start_http_server(settings.alerts_port, addr=address, registry=registry)
    except OSError as error:
        raise SettingsError(_port_problem(error, address, settings.alerts_port)) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _port_problem(error: OSError, address: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} of {address} is taken by another program; free it, or set MODELWATCH_ALERTS_PORT to another one."
    return f"Port {port} of {address} cannot be used ({error.strerror}); set MODELWATCH_ALERTS_PORT or MODELWATCH_HOST."

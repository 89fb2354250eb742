"""The alerts process: judges the rules on time, sends what is due, and answers over HTTP.

The main thread judges. Others send, one for each kind of channel, so that a slow one delays neither a judgement nor another
channel; one more sends the heartbeat. Each waits out a database that is away. Nothing is kept in memory that a restart
would need.
"""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime

from sqlalchemy import Engine

from alerts.http import make_app, serving
from alerts.judge import Judge
from alerts.loops import repeat
from alerts.metrics import AlertMetrics
from alerts.rule_files import WatchedRules
from alerts.settings import AlertsSettings
from alerts.sources import sources_for
from alerts.telling import Telling
from storage.engine import create_engine
from storage.service import owner_name, stopping, wait_for_database

_log = logging.getLogger(__name__)


def run(settings: AlertsSettings) -> int:
    """Judge and tell until SIGTERM or SIGINT; 0 after a clean stop.

    A database that is away is waited for, at the start too. Raises RulesError for a bad rules file, SettingsError where
    the port is taken, SchemaMismatch where the database is older or newer than this program.
    """
    rules = WatchedRules(settings.rules, required="rules" in settings.model_fields_set)
    metrics = AlertMetrics()
    engine = create_engine(settings.database)
    app = make_app(engine, metrics.registry, signing_secret=settings.slack_signing_secret.get_secret_value())
    listening = serving(
        app, settings.host, settings.alerts_port, trusted=settings.trusted_network, variable="MODELWATCH_ALERTS_PORT"
    )
    try:
        with listening, stopping() as stop:
            if wait_for_database(engine, stop):
                _work(settings, rules, metrics, engine, stop)
    finally:
        engine.dispose()
    return 0


def _now() -> datetime:
    return datetime.now(UTC)


def _work(settings: AlertsSettings, rules: WatchedRules, metrics: AlertMetrics, engine: Engine, stop: threading.Event) -> None:
    owner = owner_name()
    sources = sources_for(settings.prometheus_url.get_secret_value(), settings.home)
    judge = Judge(engine=engine, settings=settings, rules=rules, metrics=metrics, owner=owner, sources=sources)
    telling = Telling(
        engine,
        settings,
        receivers=lambda: rules.rules.routing.receivers,
        evaluated_at=lambda: judge.evaluated_at,
        owner=owner,
        metrics=metrics,
        clock=_now,
        stop=stop,
    )
    telling.start()
    judge.announce()
    _log.info("Judging %d rules of %s.", len(rules.rules.rules), rules.rules.source)
    repeat(judge.round, stop, "judge the rules")
    telling.join()
    judge.close()

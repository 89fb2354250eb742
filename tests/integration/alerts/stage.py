"""Everything around the alerts engine, real but under control: a database, Slack, a mail server, and the time."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trustme
from sqlalchemy import Engine

from alerts.channels.channel import Channel
from alerts.deliver import Delivery
from alerts.dispatch import Desk, Dispatched, Evidence, desk_for
from alerts.evaluate import Evaluation, evaluate_group
from alerts.metrics import AlertMetrics
from alerts.observations import Freshness
from alerts.rules import RuleSet, parse_rules
from alerts.settings import AlertsSettings, default_receiver, make_channels, usual_addresses
from alerts.sources import Sources
from alerts.timers import Timers
from storage import alerts, metrics, outbox
from storage.engine import reading, writing
from storage.records import AlertRow, MetricPoint, OutboxItem, OutboxStatus
from tests.fakes import FakeMail, FakeSlack

RULES = """
groups:
  - name: drift
    interval: 10s
    rules:
      - alert: FeatureDrift
        metric: drift_psi
        where: {model: churn, feature: "*"}
        when: "> 0.2"
        resolve_when: "< 0.1"
        for: 20s
        keep_firing_for: 10s
        min_samples: 100
        labels: {severity: warning}
        annotations: {summary: "{{ feature }} of {{ model }} drifted: PSI {{ value }}"}
receivers:
  - name: oncall
    slack: {channel: "#ml-oncall"}
    email: {to: [oncall@example.com]}
routes: {receiver: oncall, group_by: ["..."], group_wait: 0s, group_interval: 10s}
"""
QUICK = Freshness(
    collect_interval=timedelta(seconds=10), rollup=timedelta(seconds=1), window_lag=timedelta(0), restate_labels=timedelta(hours=1)
)


@dataclass(kw_only=True)
class Stage:
    """One engine of alerts on a database, with the time in its hands."""

    engine: Engine
    settings: AlertsSettings
    rules: RuleSet = field(default_factory=lambda: parse_rules(RULES, "rules.yml"))
    owner: str = "one"
    now: datetime = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    metrics: AlertMetrics = field(default_factory=AlertMetrics)
    evidence: Evidence | None = None
    timers: Timers = field(default_factory=Timers)
    sources: Sources = field(default_factory=Sources)
    _delivery: Delivery | None = None

    def point(self, value: float | None, **changes: Any) -> None:
        """A point that ends now."""
        given: dict[str, Any] = {
            "at": self.now,
            "name": "drift_psi",
            "value": value,
            "model": "churn",
            "version": "1",
            "feature": "age",
            "window_seconds": 60,
            "n_current": 1000,
            "threshold": 0.2,
            **changes,
        }
        with writing(self.engine) as c:
            metrics.write_points(c, [MetricPoint(**given)])

    def evaluate(self, group: int = 0) -> Evaluation | None:
        """One evaluation of the first group, or of another."""
        return evaluate_group(self.engine, self.rules.groups[group], self.desk, owner=self.owner, now=self.now)

    @property
    def desk(self) -> Desk:
        fallback = default_receiver(self.settings)
        return desk_for(
            self.rules,
            fallback,
            dashboard="https://watch.example.com",
            freshness=QUICK,
            evidence=self.evidence,
            sources=self.sources,
        )

    def tend(self) -> Dispatched | None:
        """What the service does between evaluations."""
        return self.timers.tend(self.engine, self.desk, owner=self.owner, now=self.now)

    def play(self, *values: float | None, step: float = 10.0, **changes: Any) -> list[str]:
        """For each value: a point, an evaluation, and ``step`` seconds; the states of the alerts after each."""
        states = []
        for value in values:
            self.point(value, **changes)
            self.evaluate()
            states.append("".join(row.state.value[0] for row in self.alerts()))
            self.wait(step)
        return states

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    @property
    def delivery(self) -> Delivery:
        if self._delivery is None:
            self._delivery = make_delivery(self)
        return self._delivery

    def deliver(self) -> int:
        """Sends until nothing is due; how many messages were taken on."""
        number = 0
        while self.delivery.deliver_next():
            number += 1
            assert number < 100, "the outbox never ends"
        return number

    def alerts(self) -> list[AlertRow]:
        with reading(self.engine) as c:
            return alerts.load_alerts(c)

    def items(self, status: OutboxStatus | None = None) -> list[OutboxItem]:
        """The messages, oldest first."""
        with reading(self.engine) as c:
            return outbox.list_items(c, status=status)[::-1]

    def fire(self) -> None:
        """An alert begins to fire; its messages are in the outbox."""
        states = self.play(0.5, 0.5, 0.5)
        assert states[-1] == "f", states

    def resolve(self) -> None:
        states = self.play(0.01, 0.01)
        assert states[-1] == "r", states


def make_delivery(stage: Stage, channels: dict[str, Channel] | None = None) -> Delivery:
    return Delivery(
        stage.engine,
        make_channels(stage.settings) if channels is None else channels,
        usual=usual_addresses(stage.settings),
        owner=stage.owner,
        metrics=stage.metrics,
        clock=lambda: stage.now,
        pause=lambda seconds: None,
    )


def settings_for(slack: FakeSlack | None = None, mail: FakeMail | None = None, **changes: Any) -> AlertsSettings:
    """Settings that lead to the fakes: Slack by a bot unless ``webhook``, mail without TLS unless told otherwise."""
    given: dict[str, Any] = {}
    if slack and changes.pop("webhook", False):
        given |= {"slack_webhook_url": slack.webhook_url}
    elif slack:
        given |= {"slack_bot_token": "xoxb-the-secret-token", "slack_channel": "#usual", "slack_api_url": slack.api_url}
    if mail:
        given |= {"smtp_host": "127.0.0.1", "smtp_port": mail.port, "smtp_tls": "none"}
        given |= {"smtp_from": "Watch <watch@example.com>", "smtp_to": "usual@example.com"}
    return AlertsSettings.load(**given | changes)


def secure_settings(mail: FakeMail, authority: Path, **changes: Any) -> AlertsSettings:
    """Settings for a mail server with TLS and a password."""
    given = {
        "smtp_tls": "starttls",
        "smtp_ca_file": str(authority),
        "smtp_username": FakeMail.USERNAME,
        "smtp_password": FakeMail.PASSWORD,
    }
    return settings_for(mail=mail, **given | changes)


def certificate_file(authority: trustme.CA, folder: Path) -> Path:
    path = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


SERVICE = (
    "import sys; from alerts.service import run; from alerts.settings import AlertsSettings; import logging;"
    "logging.basicConfig(level='INFO', stream=sys.stderr); sys.exit(run(AlertsSettings.load()))"
)


def start_service(environment: dict[str, str], folder: Path, log: Path) -> subprocess.Popen[bytes]:
    """The alerts service as a process of its own; its log goes to a file."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MODELWATCH_")}
    with log.open("ab") as stderr:
        return subprocess.Popen([sys.executable, "-c", SERVICE], env=clean | environment, cwd=folder, stderr=stderr)

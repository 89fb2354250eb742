"""What the alerts service says of itself to Prometheus."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge

from alerts.channels.channel import Fault
from storage.records import AlertRow, AlertState, Incident

CHANNELS = ("slack", "email", "webhook", "pagerduty", "alertmanager", "apprise", "action")
OUTCOMES = ("sent", "retried", "failed", "escalated")
INCIDENT_STATES = ("waiting", "open", "acknowledged")
"""Nobody was told yet; people were told; somebody takes care of it."""
SUPPRESSIONS = ("silence", "inhibition", "mute_window")
SHOWN_STATES = (AlertState.PENDING, AlertState.FIRING, AlertState.RECOVERING)


class AlertMetrics:
    """The metrics of one alerts process, in a registry of their own. Every label value that can occur begins at 0."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._alerts = Gauge("modelwatch_alerts", "Alerts by rule and state.", ["rule", "state"], registry=self.registry)
        self._notifications = Counter(
            "modelwatch_notifications",
            "Attempts to send a message, by how they ended.",
            ["channel", "outcome"],
            registry=self.registry,
        )
        self._failures = Counter(
            "modelwatch_notification_failures", "Attempts that failed, by reason.", ["channel", "reason"], registry=self.registry
        )
        self._waiting = Gauge("modelwatch_notifications_waiting", "Messages that wait to be sent.", registry=self.registry)
        self._rules_loaded = Gauge(
            "modelwatch_rules_last_reload_successful", "Whether the rules in force are those of the file.", registry=self.registry
        )
        self._evaluated = Gauge(
            "modelwatch_alerts_last_evaluation_timestamp_seconds",
            "When this process last judged a group of rules; 0 while another one does.",
            registry=self.registry,
        )
        self._template_problems = Counter(
            "modelwatch_alert_template_failures", "Texts of rules that could not be made.", registry=self.registry
        )
        self._suppressed = Gauge(
            "modelwatch_alerts_suppressed",
            "Alerts that nobody is told of now, by what suppresses them.",
            ["reason"],
            registry=self.registry,
        )
        self._incidents = Gauge("modelwatch_incidents", "Incidents that are not over, by state.", ["state"], registry=self.registry)
        self._heartbeat = Gauge(
            "modelwatch_heartbeat_last_success_timestamp_seconds", "When a heartbeat was last sent.", registry=self.registry
        )
        Gauge("modelwatch_alerts_up", "1 while the process runs.", registry=self.registry).set(1)
        self.show_incidents(())
        self._show_suppressed(())
        for channel in CHANNELS:
            for outcome in OUTCOMES:
                self._notifications.labels(channel, outcome)
            for fault in Fault:
                self._failures.labels(channel, fault.value)

    def show_alerts(self, rules: Iterable[str], live: Iterable[AlertRow]) -> None:
        """Replaces the counts of alerts; a rule without any shows 0 in each state."""
        live = list(live)
        self._show_suppressed(live)
        counted = Tally((row.rule, row.state) for row in live)
        names = {*rules, *(rule for rule, _ in counted)}
        self._alerts.clear()
        for rule in names:
            for state in SHOWN_STATES:
                self._alerts.labels(rule, state.value).set(counted[rule, state])

    def _show_suppressed(self, live: Iterable[AlertRow]) -> None:
        counted = Tally(_suppression(row.suppressed) for row in live if row.suppressed)
        for reason in SUPPRESSIONS:
            self._suppressed.labels(reason).set(counted[reason])

    def show_incidents(self, unfinished: Iterable[Incident]) -> None:
        """Replaces the counts of incidents."""
        counted = Tally(_standing(incident) for incident in unfinished)
        for state in INCIDENT_STATES:
            self._incidents.labels(state).set(counted[state])

    def show_waiting(self, number: int) -> None:
        self._waiting.set(number)

    def rules_loaded(self, successful: bool) -> None:
        self._rules_loaded.set(1 if successful else 0)

    def evaluated(self, at: datetime) -> None:
        """A group was judged."""
        self._evaluated.set(at.timestamp())

    def templates_failed(self, number: int) -> None:
        self._template_problems.inc(number)

    def stood_by(self) -> None:
        """Another process holds the lease."""
        self._evaluated.set(0)

    def beaten(self, at: datetime) -> None:
        """A heartbeat was sent."""
        self._heartbeat.set(at.timestamp())

    def attempted(self, channel: str, outcome: str) -> None:
        self._notifications.labels(channel, outcome).inc()

    def failed(self, channel: str, fault: Fault) -> None:
        self._failures.labels(channel, fault.value).inc()


def _standing(incident: Incident) -> str:
    if not incident.number:
        return "waiting"
    return "open" if incident.acked_at is None else "acknowledged"


def _suppression(why: str) -> str:
    """The kind of a reason as ``alerts.suppressed`` has it."""
    if why.startswith("silence "):
        return "silence"
    return "inhibition" if why.startswith("inhibited ") else "mute_window"

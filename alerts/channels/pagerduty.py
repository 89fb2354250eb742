"""PagerDuty, by its Events API v2 (https://developer.pagerduty.com/docs/events-api-v2-overview)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from alerts.channels.channel import Address, Delivered, Fault, NotDelivered
from alerts.channels.post import Poster
from alerts.channels.secrets import NoSecret, read_secret
from alerts.messages import Kind, Message
from alerts.receivers import PagerDuty
from alerts.renderings import one_line, plain_text

URL = "https://events.pagerduty.com/v2/enqueue"
LONGEST_SUMMARY = 1024
SEVERITIES = {
    "page": "critical",
    "critical": "critical",
    "error": "error",
    "warning": "warning",
    "info": "info",
    "ticket": "warning",
}
ACTIONS = {Kind.RESOLVED: "resolve", Kind.ACKNOWLEDGED: "acknowledge"}
_OF_AN_INCIDENT = frozenset({Kind.FIRING, Kind.UPDATE, Kind.REPEAT, Kind.ESCALATION, Kind.ACKNOWLEDGED, Kind.RESOLVED})


class PagerDutyEvents:
    """Triggers, acknowledges and resolves one PagerDuty alert per incident."""

    name = "pagerduty"

    def __init__(self, targets: Mapping[str, PagerDuty], poster: Poster, *, url: str = URL) -> None:
        self._targets = targets
        self._poster = poster
        self._url = url

    def send(self, message: Message, address: Address, *, answers: str | None) -> Delivered:
        """Sends the event. The same incident has the same ``dedup_key``, so that an event that comes twice changes nothing."""
        target = self._targets.get(address.target)
        if target is None:
            raise NotDelivered(Fault.NOT_CONFIGURED, f"the rules no longer have a PagerDuty service for {address.target}")
        try:
            key = read_secret(target.routing_key).value
        except NoSecret as error:
            raise NotDelivered(Fault.NOT_CONFIGURED, f"PagerDuty's routing key of {address.target} is missing: {error}") from None
        made = event(message)
        self._post({"routing_key": key, **made})
        if message.kind is Kind.TEST:  # nobody has to close a test by hand
            self._post({"routing_key": key, **made, "event_action": "resolve"})
        return Delivered(message_id=str(made["dedup_key"]))

    def _post(self, content: dict[str, Any]) -> None:
        body = json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")
        self._poster.post("PagerDuty", self._url, body, {"Content-Type": "application/json"})


def event(message: Message) -> dict[str, Any]:
    """The event of a message, but for the routing key."""
    action = ACTIONS.get(message.kind, "trigger")
    name = message.incident_key if message.incident_key and message.kind in _OF_AN_INCIDENT else message.key
    links = [
        {"href": url, "text": text} for url, text in ((message.dashboard_url, "Dashboard"), (message.runbook_url, "Runbook")) if url
    ]
    payload = {
        "summary": one_line(f"{message.title}: {message.summary}")[:LONGEST_SUMMARY],
        "source": "modelwatch",
        "severity": SEVERITIES.get(message.severity, "error"),
        "timestamp": message.at.isoformat(),
        "component": message.labels.get("model", ""),
        "class": message.labels.get("alert", ""),
        "custom_details": {**dict(message.facts), "text": plain_text(message)},
    }
    return {
        "event_action": action,
        "dedup_key": f"modelwatch-{hashlib.sha256(name.encode()).hexdigest()[:40]}",
        "payload": {key: value for key, value in payload.items() if value},
        "links": links,
        "client": "modelwatch",
        **({"client_url": message.dashboard_url} if message.dashboard_url else {}),
    }

"""An Alertmanager that has the routing already: each alert of an incident as one of its own, by API v2."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from alerts.channels.channel import Address, Delivered, Fault, NotDelivered
from alerts.channels.post import Poster
from alerts.messages import AlertLine, Kind, Message
from alerts.receivers import Alertmanager

FIRING_FOR = timedelta(hours=24)
"""How long Alertmanager takes an alert to fire without hearing of it again; repeats come much sooner."""
_NAME = re.compile(r"[^a-zA-Z0-9_]")


class Alertmanagers:
    """Posts the alerts of a message to the Alertmanager of its receiver."""

    name = "alertmanager"

    def __init__(self, targets: Mapping[str, Alertmanager], poster: Poster) -> None:
        self._targets = targets
        self._poster = poster

    def send(self, message: Message, address: Address, *, answers: str | None) -> Delivered:
        """Posts the alerts. Alertmanager knows them by their labels, so that one that comes twice changes nothing."""
        target = self._targets.get(address.target)
        if target is None:
            raise NotDelivered(Fault.NOT_CONFIGURED, f"the rules no longer have an Alertmanager for {address.target}")
        body = json.dumps(alerts_of(message), ensure_ascii=False).encode("utf-8", "replace")
        url = f"{target.url.rstrip('/')}/api/v2/alerts"
        self._poster.post(f"the Alertmanager of {address.target}", url, body, {"Content-Type": "application/json"})
        return Delivered()


def alerts_of(message: Message) -> list[dict[str, Any]]:
    """The alerts of a message as Alertmanager takes them; a message that is about none is an alert by itself."""
    if message.lines:
        return [_alert(line, message) for line in message.lines]
    labels = {"alertname": message.labels.get("alert") or "Modelwatch", "severity": message.severity or "info", **message.labels}
    line = AlertLine(state="firing", title=message.title, detail=message.summary, labels=labels)
    return [_alert(line, message)]


def _alert(line: AlertLine, message: Message) -> dict[str, Any]:
    named = {**line.labels, "alertname": line.labels.get("alert") or line.labels.get("alertname", "Modelwatch")}
    over = line.state == "resolved" or message.kind is Kind.TEST
    annotations = {"summary": line.detail or line.title, "description": message.description, "runbook_url": message.runbook_url}
    return {
        "labels": {_NAME.sub("_", key): value for key, value in named.items() if value and key != "alert"},
        "annotations": {key: value for key, value in annotations.items() if value},
        "startsAt": line.starts_at or message.at.isoformat(),
        "endsAt": (line.ends_at or message.at.isoformat()) if over else (message.at + FIRING_FOR).isoformat(),
        **({"generatorURL": url} if (url := line.url or message.dashboard_url) else {}),
    }

"""What people read of an alert or an incident, independent of the channel: one frozen message. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import urlencode, urlsplit

from alerts.annotations import Annotations, render_annotations
from alerts.cards import Card
from alerts.rules import Rule
from alerts.titles import alert_title, common_labels
from alerts.wording import format_value, words_of
from alerts.yaml_types import WHERE_KEYS
from storage.durations import format_duration
from storage.records import AlertRow, AlertState


class Kind(StrEnum):
    """Why a message is sent."""

    FIRING = "firing"
    UPDATE = "update"
    REPEAT = "repeat"
    ESCALATION = "escalation"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    DIGEST = "digest"
    ACTION = "action"
    TEST = "test"
    UNDELIVERED = "undelivered"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertLine:
    """One alert of an incident in a line. ``state``: firing, new, resolved; ``labels`` with ``alert`` among them."""

    state: str
    title: str
    detail: str
    fingerprint: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    starts_at: str = ""
    ends_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is told, independent of the channel. ``facts`` are pairs of a name and a value, in the order of reading.

    ``key`` names the message and is the same however often it is sent; ``answers`` is the key of the message that this
    one continues ("" for none). ``note`` says what was unusual about its delivery. ``incident`` is the number of the
    incident (None for a message that is about none) and ``incident_key`` its name for services that merge messages by it;
    ``lines`` are its alerts, worst first, ``more`` the number of those that are left out. ``labels`` are common to all.
    """

    kind: Kind
    key: str
    title: str
    summary: str
    at: datetime
    severity: str = ""
    description: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    dashboard_url: str = ""
    runbook_url: str = ""
    answers: str = ""
    note: str = ""
    incident: int | None = None
    incident_key: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    lines: tuple[AlertLine, ...] = ()
    more: int = 0
    card: Card | None = None

    def to_json(self) -> dict[str, Any]:
        """As the outbox keeps it."""
        return {**asdict(self), "at": self.at.isoformat(), "facts": [list(fact) for fact in self.facts]}

    @classmethod
    def from_json(cls, payload: Mapping[str, Any]) -> Message:
        """The message that ``to_json`` wrote."""
        read = {
            "kind": Kind(payload["kind"]),
            "at": datetime.fromisoformat(payload["at"]),
            "facts": tuple((str(name), str(value)) for name, value in payload["facts"]),
            "lines": tuple(AlertLine(**line) for line in payload["lines"]),
            "card": None if payload["card"] is None else Card.from_json(payload["card"]),
        }
        return cls(**{**payload, **read})


# ---------------------------------------------------------------------------------------------- the message


def message_for(alert: AlertRow, rule: Rule | None, *, dashboard: str, now: datetime) -> tuple[Message, tuple[str, ...]]:
    """The message that tells of an alert that has just fired or resolved, and what failed in the rule's templates.

    ``rule`` is None for an alert whose rule is no longer there. A template that fails costs its text, not the message.
    """
    annotations = render_annotations(rule, alert) if rule else Annotations(texts={})
    resolved = alert.state is AlertState.RESOLVED
    texts = annotations.texts
    message = Message(
        kind=Kind.RESOLVED if resolved else Kind.FIRING,
        key=message_key(alert, resolved=resolved),
        answers=message_key(alert, resolved=False) if resolved else "",
        title=alert_title(alert),
        summary=_resolved_summary(alert) if resolved else texts.get("summary") or _plain_summary(alert),
        at=now,
        severity=alert.labels.get("severity", ""),
        description="" if resolved else texts.get("description", ""),
        facts=_facts(alert, rule, now),
        dashboard_url=dashboard_link(dashboard, alert, rule, now),
        runbook_url=_web_address(texts.get("runbook_url", "")),
        note="A text of this rule could not be made; `modelwatch alerts check` says why." if annotations.problems else "",
    )
    return message, annotations.problems


def message_key(alert: AlertRow, *, resolved: bool) -> str:
    """Which message this is: one per alert, per time that it fired, and per end of that. The same on every machine."""
    fired_at = "" if alert.fired_at is None else alert.fired_at.isoformat()
    return f"{alert.fingerprint}:{fired_at}:{'resolved' if resolved else 'firing'}"


def trial_message(now: datetime, dashboard: str) -> Message:
    """What `modelwatch alerts test-notify` sends."""
    return Message(
        kind=Kind.TEST,
        key=f"test:{now.isoformat()}",
        title="Test of this channel",
        summary="Nothing is wrong: somebody asked modelwatch to test this channel. Alerts will arrive here.",
        at=now,
        facts=(("Sent", f"{now:%Y-%m-%d %H:%M:%S} UTC"),),
        dashboard_url=dashboard,
    )


def undelivered(message: Message, *, channel: str, receiver: str, error: str) -> Message:
    """The same message for another channel, with the reason why it comes by this one."""
    note = f"This was meant for {receiver} by {channel}, which does not work: {error}"
    return replace(message, kind=Kind.UNDELIVERED, key=f"{message.key}:undelivered:{receiver}:{channel}", note=note)


def channel_broken(message: Message, *, channel: str, receiver: str, error: str, now: datetime) -> Message:
    """The news that a channel does not work, for those who got the message itself by another one. One key per hour."""
    return Message(
        kind=Kind.UNDELIVERED,
        key=f"broken:{receiver}:{channel}:{now:%Y-%m-%dT%H}",
        title=f"{channel} to {receiver} does not work",
        summary=f"Messages to {receiver} by {channel} do not arrive: {error}",
        at=now,
        facts=(("Message that did not arrive", message.title),),
    )


def _plain_summary(alert: AlertRow) -> str:
    return alert.reason[:1].upper() + alert.reason[1:] if alert.reason else f"{alert.rule} fires"


def _resolved_summary(alert: AlertRow) -> str:
    lasted = ""
    if alert.fired_at and alert.resolved_at:
        lasted = f" after {format_duration(max(alert.resolved_at - alert.fired_at, timedelta(seconds=1)))}"
    return f"Resolved{lasted}: {alert.reason}." if alert.reason else f"Resolved{lasted}."


def _facts(alert: AlertRow, rule: Rule | None, now: datetime) -> tuple[tuple[str, str], ...]:
    words = rule.words if rule else words_of("")
    unit = words.unit
    facts: list[tuple[str, str]] = []
    if alert.value is not None:
        facts.append((words.title[:1].upper() + words.title[1:] or "Value", format_value(alert.value, unit)))
    if alert.threshold is not None:
        operator = f"{rule.when.operator} " if rule else ""
        facts.append(("Fires when", f"{operator}{format_value(alert.threshold, unit)}"))
    if alert.window_seconds:
        facts.append(("Window", format_duration(timedelta(seconds=alert.window_seconds))))
    if alert.n_current is not None:
        facts.append(("Predictions in it", f"{alert.n_current:,}"))
    facts += [(key.capitalize(), alert.labels[key]) for key in WHERE_KEYS if key in alert.labels]
    facts += [(key.capitalize(), value) for key, value in sorted(alert.labels.items()) if key not in WHERE_KEYS]
    return (*facts, *_times(alert, now))


def _times(alert: AlertRow, now: datetime) -> list[tuple[str, str]]:
    times = []
    if began := alert.pending_at or alert.fired_at:
        times.append(("Since", f"{began:%Y-%m-%d %H:%M:%S} UTC"))
    if alert.state is AlertState.RESOLVED:
        times.append(("Resolved", f"{alert.resolved_at or now:%Y-%m-%d %H:%M:%S} UTC"))
    return times


def dashboard_link(dashboard: str, alert: AlertRow, rule: Rule | None, now: datetime) -> str:
    """The page of the dashboard that shows the problem, from a while before it began to its end or to now."""
    return problems_link(dashboard, [(alert, rule)], now)


def problems_link(dashboard: str, problems: Sequence[tuple[AlertRow, Rule | None]], now: datetime) -> str:
    """The page that shows all of the problems, for what they have in common, over the time of all; the overview where pages differ."""
    if not dashboard or not problems:
        return ""
    pages = {words_of(rule.metric if rule else "").page for _, rule in problems}
    page = pages.pop() if len(pages) == 1 else "overview"
    spans = [_span(alert, now) for alert, _ in problems]
    common = common_labels([alert for alert, _ in problems])
    wanted: dict[str, str] = {key: common[key] for key in ("model", "version", "feature") if key in common}
    wanted |= {"from": _instant(min(begin for begin, _ in spans)), "to": _instant(max(end for _, end in spans))}
    return f"{dashboard.rstrip('/')}/{page}?{urlencode(wanted)}"


def _span(alert: AlertRow, now: datetime) -> tuple[datetime, datetime]:
    began = alert.pending_at or alert.fired_at or now
    before = max(timedelta(seconds=5 * (alert.window_seconds or 60)), timedelta(minutes=1))
    until = alert.resolved_at if alert.state is AlertState.RESOLVED and alert.resolved_at else now
    return began - before, until + timedelta(seconds=1)


def _instant(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def _web_address(text: str) -> str:
    """The text where it is a link that a person may safely follow, else nothing."""
    text = text.strip()
    try:
        address = urlsplit(text)
    except ValueError:
        return ""
    return text if address.scheme in ("http", "https") and address.netloc and text.isprintable() and " " not in text else ""

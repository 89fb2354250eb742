"""What people read of an incident: one message made of its alerts, however many they are. Pure.

An incident of one alert reads as that alert; one of several says how many, which is the worst, and lists the worst ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from alerts.causes import began
from alerts.incidents import Notice
from alerts.messages import AlertLine, Kind, Message, message_for, problems_link
from alerts.rules import Rule
from alerts.titles import common_labels, presentable, worst_first
from alerts.yaml_types import WHERE_KEYS
from storage.durations import format_duration
from storage.matchers import labels_for_matching
from storage.records import AlertRow, AlertState, Incident

MOST_LINES = 20
LONGEST_DETAIL = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What the texts are made from: the alerts by fingerprint, the rules by name, and where the dashboard is."""

    alerts: Mapping[str, AlertRow]
    rules: Mapping[str, Rule]
    dashboard: str
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """The alerts of a message, the worst first, with those that are over at the end; and the messages of the shown ones."""

    firing: Sequence[AlertRow]
    new: int
    ended: Sequence[AlertRow]
    shown: Sequence[tuple[AlertRow, Message]]
    problems: tuple[str, ...]

    @property
    def all(self) -> Sequence[AlertRow]:
        return (*self.firing, *self.ended)


def incident_message(
    incident: Incident, notice: Notice, sources: Sources, *, answers: str = "", ends: bool = True
) -> tuple[Message, tuple[str, ...]]:
    """The message of a notice, and what failed in the rules' templates. ``ends``: whether alerts that are over are told.

    ``incident`` as the notice left it, with its id; ``answers`` is the key of the message that this one continues.
    """
    told = _told(notice, sources, ends=ends)
    alone = len(incident.told) == 1 and len(told.shown) == 1 and notice.kind is not Kind.DIGEST
    message = _of_one(incident, notice, told, sources) if alone else _of_many(incident, notice, told, sources)
    message = replace(
        message,
        kind=notice.kind,
        key=f"incident:{incident.id}:{notice.number}",
        answers=answers,
        incident=incident.id,
        incident_key=f"{incident.key}@{incident.opened_at.isoformat()}",
        lines=tuple(_line(alert, one, notice) for alert, one in told.shown),
        more=len(told.all) - len(told.shown),
    )
    return message, told.problems


def _told(notice: Notice, sources: Sources, *, ends: bool) -> _Told:
    new = frozenset(notice.new)
    firing = worst_first((presentable(sources.alerts[one]) for one in (*notice.new, *notice.still) if one in sources.alerts), new)
    over = [presentable(sources.alerts[one]) for one in notice.ended if ends and one in sources.alerts]
    # One that began to be a problem again while its end waited to be told: the end is what is told.
    ended = worst_first(replace(alert, state=AlertState.RESOLVED) for alert in over)
    shown: list[tuple[AlertRow, Message]] = []
    problems: list[str] = []
    for alert in [*firing, *ended][:MOST_LINES]:
        message, failed = message_for(alert, sources.rules.get(alert.rule), dashboard=sources.dashboard, now=sources.now)
        shown.append((alert, message))
        problems += failed
    return _Told(firing=firing, new=len(notice.new), ended=ended, shown=shown, problems=tuple(dict.fromkeys(problems)))


def _line(alert: AlertRow, message: Message, notice: Notice) -> AlertLine:
    state = "resolved" if alert.state is AlertState.RESOLVED else "firing"
    if notice.kind is not Kind.FIRING and alert.fingerprint in notice.new:
        state = "new"
    return AlertLine(
        state=state,
        title=message.title,
        detail=_shortened(message.summary),
        fingerprint=alert.fingerprint,
        labels=labels_for_matching(alert.rule, alert.labels),
        url=message.dashboard_url,
        starts_at=alert.fired_at.isoformat() if alert.fired_at else "",
        ends_at=alert.resolved_at.isoformat() if alert.resolved_at and state == "resolved" else "",
    )


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_DETAIL else text[: LONGEST_DETAIL - 1] + "…"


# ---------------------------------------------------------------------------------------------- one alert


def _of_one(incident: Incident, notice: Notice, told: _Told, sources: Sources) -> Message:
    alert, message = told.shown[0]
    return replace(
        message,
        summary=_joined(_lead(incident, notice, sources.now), message.summary, _cause(incident, notice)),
        labels=labels_for_matching(alert.rule, alert.labels),
    )


def _lead(incident: Incident, notice: Notice, now: datetime) -> str:
    """What is said before what the alert itself says."""
    lasted = _lasted(incident, now)
    leads = {
        Kind.REPEAT: f"Still firing after {lasted}.",
        Kind.ESCALATION: f"Nobody has acknowledged this for {lasted}.",
        Kind.ACKNOWLEDGED: f"{incident.acked_by} takes care of it{f': {incident.ack_note}' if incident.ack_note else ''}.",
    }
    return leads.get(notice.kind, "")


def _cause(incident: Incident, notice: Notice) -> str:
    return incident.cause or "" if notice.kind is not Kind.RESOLVED else ""


def _lasted(incident: Incident, now: datetime) -> str:
    return format_duration(max(now - incident.opened_at, timedelta(seconds=1)))


def _joined(*sentences: str) -> str:
    """The sentences that are there, each but the last with an end."""
    said = [sentence for sentence in sentences if sentence]
    return " ".join([*(one if one[-1] in ".!?…" else f"{one}." for one in said[:-1]), *said[-1:]])


# ---------------------------------------------------------------------------------------------- several


def _of_many(incident: Incident, notice: Notice, told: _Told, sources: Sources) -> Message:
    common = common_labels(told.all)
    rules = {alert.rule for alert in told.all}
    problems = [(alert, sources.rules.get(alert.rule)) for alert in told.all]
    return Message(
        kind=notice.kind,
        key="",
        title=incident.title,
        summary=_joined(
            _lead(incident, notice, sources.now),
            _numbers(incident, notice, told, sources.now),
            _worst(told),
            _cause(incident, notice),
        ),
        at=sources.now,
        severity=incident.severity,
        facts=_facts(incident, told, common, sources.now),
        dashboard_url=problems_link(sources.dashboard, problems, sources.now),
        runbook_url=next((message.runbook_url for _, message in told.shown if message.runbook_url), ""),
        note=next((message.note for _, message in told.shown if message.note), ""),
        labels=labels_for_matching(rules.pop(), common) if len(rules) == 1 else common,
    )


def _numbers(incident: Incident, notice: Notice, told: _Told, now: datetime) -> str:
    if not told.firing:
        return f"All {len(incident.told):,} alerts are over after {_lasted(incident, now)}."
    fire = f"{_count(len(told.firing), 'alert')} fire" if len(told.firing) > 1 else "1 alert fires"
    news = [f"{told.new:,} new"] if told.new and notice.kind is not Kind.FIRING else []
    over = [f"{len(told.ended):,} over"] if told.ended else []
    return f"{fire} ({', '.join([*news, *over])})." if news or over else f"{fire}."


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _worst(told: _Told) -> str:
    return f"Worst: {told.shown[0][1].summary}" if told.firing and told.shown else ""


def _facts(incident: Incident, told: _Told, common: Mapping[str, str], now: datetime) -> tuple[tuple[str, str], ...]:
    facts = [("Incident", str(incident.id)), ("Firing", f"{len(told.firing):,}")]
    if told.ended:
        facts.append(("Over", f"{len(told.ended):,}"))
    facts += [(key.capitalize(), common[key]) for key in WHERE_KEYS if key in common]
    facts += [(key.capitalize(), value) for key, value in sorted(common.items()) if key not in WHERE_KEYS]
    facts.append(("Since", _time(began(told.all, incident.opened_at))))
    if not told.firing:
        facts.append(("Resolved", _time(now)))
    return tuple(facts)


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"

"""Reads rules files as the service would, tries every text on sample data and follows it through the routes.

This is what `modelwatch alerts check` reports.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from alerts.annotations import render_annotations
from alerts.conditions import PRESENT
from alerts.messages import message_for
from alerts.receivers import Receiver
from alerts.renderings import headline
from alerts.route_reports import RouteReport, routes_of
from alerts.routes import Recipient, recipients
from alerts.routing import Routing
from alerts.rule_files import read_rules
from alerts.rule_words import describe
from alerts.rules import Rule, RulesError, RuleSet
from alerts.settings import AlertsSettings, channel_warnings, default_receiver
from alerts.wording import SEGMENTED, labels_of
from alerts.yaml_types import WHERE_KEYS
from storage.durations import format_duration
from storage.records import AlertRow, AlertState

SAMPLE_NAMES = {"model": "churn", "version": "2", "role": "champion", "segment": "country=US", "feature": "age"}
_NOBODY = Receiver(name="default")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleReport:
    """One rule: what it says, the message that it would send, and the routes that this message takes."""

    group: str
    name: str
    condition: str
    headline: str
    summary: str
    problems: tuple[str, ...]
    routes: tuple[RouteReport, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReport:
    """One file. ``told`` says who would be told; ``problems`` keep the file from being used or a text from being made."""

    path: str
    rules: tuple[RuleReport, ...] = ()
    told: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What was found in all files."""

    files: tuple[FileReport, ...]

    @property
    def ok(self) -> bool:
        return not any(file.problems for file in self.files)

    def to_json(self) -> dict[str, Any]:
        return {"ok": self.ok, "files": [asdict(file) for file in self.files]}

    def text(self) -> str:
        """For people: problems and warnings first, then each rule with the message that it would send."""
        return "\n".join(line for file in self.files for line in _lines(file))


def check_rules(paths: Iterable[Path], settings: AlertsSettings | None = None) -> CheckReport:
    """A report on every file; a file that cannot be read is a problem of it, not an exception.

    With ``settings``, what the receivers ask of channels and the settings do not give is a warning.
    """
    return CheckReport(files=tuple(_check(path, settings) for path in paths))


def _check(path: Path, settings: AlertsSettings | None) -> FileReport:
    try:
        rules = read_rules(path)
    except RulesError as error:
        return FileReport(path=str(path), problems=error.problems)
    fallback = default_receiver(settings) if settings else _NOBODY
    routing = rules.routing.with_fallback(fallback)
    reports = tuple(_report(rule, routing) for rule in rules.rules)
    return FileReport(
        path=str(path),
        rules=reports,
        told=_told(rules, fallback),
        problems=tuple(problem for report in reports for problem in report.problems),
        warnings=(*rules.warnings, *(channel_warnings(settings, routing.receivers) if settings else ())),
    )


def _report(rule: Rule, routing: Routing) -> RuleReport:
    alert = sample_alert(rule)
    message, _ = message_for(alert, rule, dashboard="http://127.0.0.1:8501", now=alert.fired_at or datetime.now(UTC))
    problems = render_annotations(rule, alert).problems
    return RuleReport(
        group=rule.group,
        name=rule.name,
        condition=_condition(rule),
        headline=headline(message),
        summary=message.summary,
        problems=tuple(f'group "{rule.group}": {problem}' for problem in problems),
        routes=routes_of(alert, routing),
    )


def sample_alert(rule: Rule) -> AlertRow:
    """A made-up alert of the rule, with a name for everything that it may select."""
    at = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
    named = set(rule.equal) if rule.parts else {*rule.where, *labels_of(rule.metric)}
    names = {key: _sample(rule, key) for key in WHERE_KEYS if key in named and rule.where.get(key) != ""}
    if rule.burn_rate is not None:
        names["severity"] = rule.burn_rate.windows[0].severity
    bound = (rule.when.bound(0.2) or 0.0) if rule.when != PRESENT else 0.0
    return AlertRow(
        fingerprint="0" * 16,
        rule=rule.name,
        labels={**rule.labels, **names} if rule.burn_rate else {**names, **rule.labels},
        state=AlertState.FIRING,
        value=bound * 1.5 if rule.when.holds(bound * 1.5, 0.2) else bound * 0.5 if bound else 1.0,
        threshold=bound,
        window_seconds=int((rule.window or timedelta(hours=1)).total_seconds()),
        n_current=max(rule.min_samples or 0, 1000),
        reason="the query gives this series" if rule.when is PRESENT else f"the value is {rule.when}",
        pending_at=at - rule.hold,
        fired_at=at,
    )


def _sample(rule: Rule, key: str) -> str:
    pattern = rule.where.get(key, "*")
    if key == "segment" and rule.metric in SEGMENTED and pattern == "*":
        return "host=web1"
    return SAMPLE_NAMES[key] if pattern == "*" else pattern.replace("*", "name").replace("?", "x")


def _condition(rule: Rule) -> str:
    parts = [" ".join(describe(rule).split())]
    if rule.window:
        parts.append(f"over {format_duration(rule.window)}")
    parts.append(f"for {format_duration(rule.hold)}")
    simple = not rule.parts and rule.burn_rate is None and rule.when != PRESENT
    until = str(rule.resolve_when) if simple else "not any more"
    parts.append(f"until {until} for {format_duration(rule.keep_firing_for)}")
    parts.append(f"every {format_duration(rule.interval)}")
    return ", ".join(parts)


def _told(rules: RuleSet, fallback: Receiver) -> tuple[str, ...]:
    found = recipients(rules, fallback)
    if not found:
        return ("whoever MODELWATCH_SLACK_… and MODELWATCH_SMTP_TO name",)
    return tuple(_recipient(recipient) for recipient in found)


def _recipient(recipient: Recipient) -> str:
    whom = recipient.address.slack_channel or ", ".join(recipient.address.email_to)
    return f"{recipient.receiver} by {recipient.channel}" + (f" ({whom})" if whom else "")


def _lines(file: FileReport) -> list[str]:
    lines = [f"{file.path}: {problem}" for problem in file.problems]
    lines += [f"{file.path}: warning: {warning}" for warning in file.warnings]
    if not file.rules:
        return lines
    lines.append(f"{file.path}: {len(file.rules)} rules; told: {'; '.join(file.told)}")
    for rule in file.rules:
        lines += [f"  {rule.name}: {rule.condition}", f"    {rule.headline}", f"    {rule.summary}"]
        for route in rule.routes:
            way, when = route.lines()
            lines += [f"    -> {way}", f"       {when}"]
    return lines

"""What an alert and an incident are called in one line, and which of several alerts is the worst. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from storage.records import AlertRow

LONGEST_VALUE = 300
LONGEST_REASON = 1000
MOST_NAMES = 4
LONGEST_TITLE = 160
_SUBJECT = ("model", "version")
_RANKS = {"critical": 0, "page": 0, "error": 1, "warning": 2, "": 3, "info": 4, "none": 5}


def presentable(alert: AlertRow) -> AlertRow:
    """The alert with texts that can be written and read: values that are not endless, and nothing that UTF-8 cannot hold.

    Labels may come from whoever sends requests. The alert keeps its own; this is how it is told.
    """
    labels = {name: _readable(value, LONGEST_VALUE) for name, value in alert.labels.items()}
    return replace(alert, labels=labels, reason=_readable(alert.reason, LONGEST_REASON))


def _readable(text: str, limit: int) -> str:
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def alert_title(alert: AlertRow) -> str:
    """The rule, and what it is about."""
    subject = [alert.labels.get("model", "")]
    if version := alert.labels.get("version"):
        subject.append(f"version {version}")
    if feature := alert.labels.get("feature"):
        subject.append(feature)
    name = ", ".join(part for part in subject if part)
    return _shortened(f"{alert.rule}: {name}" if name else alert.rule)


def incident_title(alerts: Sequence[AlertRow]) -> str:
    """How many alerts, of what, and which: ``2 alerts for churn version 2: FeatureDrift age, income``. One is called as by itself."""
    if len(alerts) == 1:
        return alert_title(alerts[0])
    common = common_labels(alerts)
    subject = " ".join(f"{'version ' if key == 'version' else ''}{common[key]}" for key in _SUBJECT if key in common)
    number = f"{len(alerts):,} alerts" + (f" for {subject}" if subject else "")
    return _shortened(f"{number}: {_names(alerts, common)}")


def _shortened(title: str) -> str:
    return title if len(title) <= LONGEST_TITLE else title[: LONGEST_TITLE - 1] + "…"


def common_labels(alerts: Sequence[AlertRow]) -> dict[str, str]:
    """The labels that all of the alerts have with the same value."""
    common = dict(alerts[0].labels) if alerts else {}
    for alert in alerts:
        common = {name: value for name, value in common.items() if alert.labels.get(name) == value}
    return common


def worst_first(alerts: Iterable[AlertRow], new: Collection[str] = frozenset()) -> list[AlertRow]:
    """By severity, then the new ones (by fingerprint), then the longest firing; in the same order on every machine."""
    return sorted(
        alerts,
        key=lambda alert: (_rank(alert), alert.fingerprint not in new, str(alert.fired_at or ""), alert.fingerprint),
    )


def worst_severity(alerts: Iterable[AlertRow]) -> str:
    """The label ``severity`` of the worst alert."""
    return min(((_rank(alert), alert.labels.get("severity", "")) for alert in alerts), default=(0, ""))[1]


def _rank(alert: AlertRow) -> int:
    return _RANKS.get(alert.labels.get("severity", ""), 3)


def _names(alerts: Sequence[AlertRow], common: dict[str, str]) -> str:
    """The rules, each with what tells its alerts apart; of many of either the first few and the number of the rest."""
    by_rule: dict[str, list[str]] = defaultdict(list)
    for alert in alerts:
        by_rule[alert.rule].append(_apart(alert, common))
    named = [f"{rule} {_few(sorted(dict.fromkeys(filter(None, names))))}".strip() for rule, names in sorted(by_rule.items())]
    return _few(named, "; ")


def _apart(alert: AlertRow, common: dict[str, str]) -> str:
    keys = [key for key in ("model", "version", "segment", "feature") if key in alert.labels and key not in common]
    return " ".join(f"{'version ' if key == 'version' else ''}{alert.labels[key]}" for key in keys)


def _few(names: Sequence[str], between: str = ", ") -> str:
    if len(names) <= MOST_NAMES:
        return between.join(names)
    return f"{between.join(names[: MOST_NAMES - 1])} and {len(names) - MOST_NAMES + 1:,} more"

"""Rules, points and observations for tests of alerts, complete unless a test says otherwise."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from alerts.conditions import parse_condition
from alerts.lifecycle import Finding, Observation
from alerts.rules import Rule
from storage.records import AlertRow, AlertState, MetricPoint

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def make_rule(**changes: Any) -> Rule:
    """FeatureDrift: PSI above 0.2, resolved below 0.1. ``when`` and ``resolve_when`` are texts."""
    when = parse_condition(changes.pop("when", "> 0.2"))
    resolve = changes.pop("resolve_when", "< 0.1")
    given: dict[str, Any] = {
        "name": "FeatureDrift",
        "metric": "drift_psi",
        "when": when,
        "resolve_when": parse_condition(resolve) if resolve else when.opposite(),
        **changes,
    }
    return Rule(**given)


def make_point(value: float | None = 0.3, **changes: Any) -> MetricPoint:
    given: dict[str, Any] = {
        "at": NOW - seconds(10),
        "name": "drift_psi",
        "value": value,
        "model": "churn",
        "version": "1",
        "feature": "age",
        "window_seconds": 300,
        "n_current": 1000,
        "threshold": 0.2,
        **changes,
    }
    return MetricPoint(**given)


def make_alert(state: AlertState = AlertState.FIRING, **changes: Any) -> AlertRow:
    given: dict[str, Any] = {
        "fingerprint": "0123456789abcdef",
        "rule": "FeatureDrift",
        "labels": {"model": "churn", "version": "1", "feature": "age", "severity": "warning"},
        "state": state,
        "value": 0.34567,
        "threshold": 0.2,
        "window_seconds": 300,
        "n_current": 1234,
        "reason": "PSI 0.3457 > 0.2",
        "pending_at": NOW - timedelta(minutes=10),
        "fired_at": NOW,
        **changes,
    }
    return AlertRow(**given)


def seen(finding: Finding, value: float | None = None, **changes: Any) -> Observation:
    given: dict[str, Any] = {
        "fingerprint": "0123456789abcdef",
        "labels": {"model": "churn"},
        "finding": finding,
        "value": value,
        "reason": finding.value,
        **changes,
    }
    return Observation(**given)

"""What the overview says of each model version, worst first. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from storage.records import AlertRow, AlertState, Deployment, MetricPoint, Mode, Verdict, Version

OPEN_STATES = (AlertState.FIRING, AlertState.RECOVERING, AlertState.PENDING)
ERROR_RATE_LIMIT = 0.05
"""Share of failed predictions from which on a version is called failing where no rule says otherwise."""


class Health(StrEnum):
    """How a version stands; the order is from worst to best."""

    ALERT = "alert"
    FAILING = "failing"
    SILENT = "silent"
    DRIFT = "drift"
    PENDING = "pending"
    LEARNING = "learning"
    HEALTHY = "healthy"
    IDLE = "idle"


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftSummary:
    """How many of the features that could be judged drift, and which one most."""

    drifted: int = 0
    judged: int = 0
    features: int = 0
    worst: MetricPoint | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What came in the time shown; None stands for "nothing to say"."""

    rows: int = 0
    error_rate: float | None = None
    p95_seconds: float | None = None
    last_at: datetime | None = None
    counts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """What the labels of the time shown say, beside what was measured at registration."""

    metric: str = "accuracy"
    labels: int = 0
    coverage: float | None = None
    value: float | None = None
    baseline: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionSummary:
    """One row of the overview."""

    model: str
    version: str
    role: str
    health: Health
    traffic: Traffic
    drift: DriftSummary
    quality: Quality
    alerts: tuple[AlertRow, ...]


def summarise_drift(points: Sequence[MetricPoint]) -> DriftSummary:
    """From the newest drift point of each feature (several window lengths may be there: the worst counts)."""
    by_feature: dict[str, MetricPoint] = {}
    for point in points:
        kept = by_feature.get(point.feature)
        if point.feature and (kept is None or severity(point) > severity(kept)):
            by_feature[point.feature] = point
    judged = [point for point in by_feature.values() if point.verdict is not Verdict.INSUFFICIENT]
    drifted = [point for point in judged if point.verdict is Verdict.DRIFT]
    worst = max(drifted, key=severity, default=None)
    return DriftSummary(drifted=len(drifted), judged=len(judged), features=len(by_feature), worst=worst)


def severity(point: MetricPoint) -> tuple[int, float]:
    """Sorts drift points: drift over ok over insufficient, then how far over the threshold."""
    rank = {Verdict.INSUFFICIENT: 0, Verdict.OK: 1, Verdict.DRIFT: 2}[point.verdict]
    return rank, (point.value or 0.0) / point.threshold if point.threshold else 0.0


def role_of(version: Version, deployment: Deployment | None) -> str:
    """``champion``, ``challenger``, ``archived`` or ``registered``."""
    if deployment is not None and deployment.champion == version.version:
        return "champion"
    if deployment is not None and deployment.mode is not Mode.SINGLE and deployment.challenger == version.version:
        return "challenger"
    return "archived" if version.archived_at else "registered"


def alerts_of(alerts: Sequence[AlertRow], model: str, version: str) -> tuple[AlertRow, ...]:
    """The open alerts of a version, and those of its model that name no version."""
    return tuple(
        alert
        for alert in alerts
        if alert.state in OPEN_STATES and alert.labels.get("model") == model and alert.labels.get("version", version) == version
    )


def judge(
    role: str, traffic: Traffic, drift: DriftSummary, alerts: Sequence[AlertRow], now: datetime, stale_after: timedelta
) -> Health:
    """The worst thing that can be said of a version."""
    deployed = role in ("champion", "challenger")
    if any(alert.state in (AlertState.FIRING, AlertState.RECOVERING) for alert in alerts):
        return Health.ALERT
    if traffic.error_rate is not None and traffic.error_rate >= ERROR_RATE_LIMIT:
        return Health.FAILING
    if deployed and (traffic.last_at is None or now - traffic.last_at > stale_after):
        return Health.SILENT  # before drift: what was found in the last traffic is not news of the present
    if drift.drifted:
        return Health.DRIFT
    if alerts:
        return Health.PENDING
    if not traffic.rows:
        return Health.IDLE
    return Health.HEALTHY if drift.judged else Health.LEARNING


def worst_first(rows: Sequence[VersionSummary]) -> list[VersionSummary]:
    """By health, then by drifted features, then by traffic."""
    order = list(Health)
    return sorted(rows, key=lambda row: (order.index(row.health), -row.drift.drifted, -row.traffic.rows, row.model, row.version))

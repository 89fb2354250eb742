"""What the demo looks up in the database while its story goes on and when it is told: alerts, deliveries, drift, accuracy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine

from cli.comparison import compare_versions
from storage.alerts import list_events, load_alerts
from storage.engine import reading
from storage.metrics import read_points
from storage.outbox import list_items
from storage.records import AlertRow, AlertState, MetricPoint, OutboxItem, OutboxStatus, Verdict
from storage.registry import LayoutLookup
from storage.rollups import read_labels, read_predictions

FOREVER = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """One model's versions since one moment: what this run of the demo caused."""

    engine: Engine
    model: str
    versions: tuple[str, ...]
    since: datetime

    def predictions(self) -> int:
        """Rows in ``predictions``, as counted with their insertion."""
        return self._rows(read_predictions)

    def labels(self) -> int:
        """Labels that were joined to their prediction."""
        return self._rows(read_labels)

    def _rows(self, read: Any) -> int:
        end = datetime.now(UTC) + FOREVER
        with reading(self.engine) as c:
            layout_of = LayoutLookup(c)
            return sum(
                read(c, layout_of(self.model, version), version, self.since - timedelta(seconds=5), end).rows
                for version in self.versions
            )

    def alerts(self) -> list[AlertRow]:
        """The alerts of these versions that became pending since then."""
        with reading(self.engine) as c:
            return [
                alert
                for alert in load_alerts(c)
                if self._is_ours(alert.labels) and alert.pending_at and alert.pending_at >= self.since
            ]

    def alerts_of(self, rule: str) -> list[AlertRow]:
        return [alert for alert in self.alerts() if alert.rule == rule]

    def first_firing(self, rule: str) -> datetime | None:
        """When an alert of the rule first fired."""
        with reading(self.engine) as c:
            events = list_events(c, since=self.since, limit=1000)
        fired = [
            event.at
            for event in events
            if event.rule == rule and event.to_state is AlertState.FIRING and self._is_ours(event.labels)
        ]
        return min(fired, default=None)

    def _is_ours(self, labels: Mapping[str, str]) -> bool:
        return labels.get("model") == self.model and labels.get("version") in self.versions

    def messages(self) -> list[OutboxItem]:
        with reading(self.engine) as c:
            return [item for item in list_items(c, limit=2000) if item.created_at >= self.since]

    def delivered(self) -> dict[str, int]:
        """Messages that their channel has taken, by channel."""
        counts = {"slack": 0, "email": 0}
        for item in self.messages():
            if item.status is OutboxStatus.SENT:
                counts[item.channel] = counts.get(item.channel, 0) + 1
        return counts

    def undelivered(self) -> int:
        return sum(item.status is not OutboxStatus.SENT for item in self.messages())

    def points(self, names: Sequence[str]) -> list[MetricPoint]:
        """The points of these versions since then, oldest first."""
        with reading(self.engine) as c:
            points = read_points(c, names=names, model=self.model, start=self.since, end=datetime.now(UTC) + FOREVER)
        return [point for point in points if point.version in self.versions and point.role == ""]

    def ab(self) -> dict[str, Any]:
        """The comparison of the two versions, as far as the demo reports it."""
        with reading(self.engine) as c:
            found = compare_versions(c, self.model, *self.versions, since=None, end=datetime.now(UTC) + FOREVER)
        return {"winner": found.winner, "verdict": found.verdict.value, "reasons": found.reasons}


def drift_summary(points: Iterable[MetricPoint], window_seconds: int) -> list[dict[str, Any]]:
    """Per feature: how many windows were judged, in how many it drifted, and its largest PSI; the most drifted first."""
    by_feature: dict[str, list[MetricPoint]] = defaultdict(list)
    for point in points:
        if point.feature and point.window_seconds == window_seconds and point.verdict is not Verdict.INSUFFICIENT:
            by_feature[point.feature].append(point)
    found = [
        {
            "feature": feature,
            "windows": len(series),
            "drifted": sum(point.verdict is Verdict.DRIFT for point in series),
            "largest_psi": round(max((point.value for point in series if point.value is not None), default=0.0), 4),
        }
        for feature, series in by_feature.items()
    ]
    return sorted(found, key=lambda entry: (-entry["drifted"], -entry["largest_psi"]))


def course(points: Iterable[MetricPoint], window_seconds: int) -> dict[str, dict[str, float]]:
    """Per version: the first, the lowest and the last value of a series."""
    by_version: dict[str, list[float]] = defaultdict(list)
    for point in points:
        if point.window_seconds == window_seconds and point.value is not None and point.verdict is not Verdict.INSUFFICIENT:
            by_version[point.version].append(point.value)
    return {
        version: {
            "first": round(series[0], 4),
            "lowest": round(min(series), 4),
            "last": round(series[-1], 4),
            "windows": len(series),
        }
        for version, series in sorted(by_version.items())
    }


def alert_json(alert: AlertRow) -> dict[str, Any]:
    """An alert as the demo's JSON shows it."""
    return {
        "name": alert.rule,
        "model": alert.labels.get("model"),
        "version": alert.labels.get("version"),
        "feature": alert.labels.get("feature"),
        "state": alert.state.value,
        "value": alert.value,
        "pending_at": alert.pending_at,
        "fired_at": alert.fired_at,
        "resolved_at": alert.resolved_at,
    }

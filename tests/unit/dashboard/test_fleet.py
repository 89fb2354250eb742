"""How a version stands, and which stands worst."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dashboard import fleet
from storage.records import AlertRow, AlertState, Deployment, MetricPoint, Mode, Verdict
from tests.factories import make_version

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LIVE = fleet.Traffic(rows=1000, error_rate=0.0, p95_seconds=0.01, last_at=NOW - timedelta(seconds=30))
CALM = fleet.DriftSummary(drifted=0, judged=5, features=5)


def alert(state: AlertState, **labels: str) -> AlertRow:
    return AlertRow(fingerprint="f", rule="R", labels={"model": "churn", **labels}, state=state)


@pytest.mark.parametrize(
    ("role", "traffic", "drift", "states", "health"),
    [
        ("champion", LIVE, CALM, [], fleet.Health.HEALTHY),
        ("champion", LIVE, CALM, [AlertState.PENDING], fleet.Health.PENDING),
        ("champion", LIVE, CALM, [AlertState.PENDING, AlertState.FIRING], fleet.Health.ALERT),
        ("champion", LIVE, CALM, [AlertState.RECOVERING], fleet.Health.ALERT),
        ("champion", LIVE, replace(CALM, drifted=1), [], fleet.Health.DRIFT),
        ("champion", replace(LIVE, error_rate=0.5), replace(CALM, drifted=1), [], fleet.Health.FAILING),
        ("champion", LIVE, fleet.DriftSummary(features=5), [], fleet.Health.LEARNING),
        ("champion", replace(LIVE, last_at=NOW - timedelta(hours=1)), CALM, [], fleet.Health.SILENT),
        ("champion", fleet.Traffic(), fleet.DriftSummary(), [], fleet.Health.SILENT),
        ("registered", fleet.Traffic(), fleet.DriftSummary(), [], fleet.Health.IDLE),
    ],
)
def test_a_version_is_as_bad_as_the_worst_thing_about_it(
    role: str, traffic: fleet.Traffic, drift: fleet.DriftSummary, states: list[AlertState], health: fleet.Health
) -> None:
    assert fleet.judge(role, traffic, drift, [alert(state) for state in states], NOW, timedelta(minutes=15)) is health


def test_the_worst_statistic_of_a_feature_counts_once() -> None:
    points = [
        MetricPoint(at=NOW, name="drift_psi", value=0.1, threshold=0.2, feature="a"),
        MetricPoint(at=NOW, name="drift_missing", value=0.9, threshold=0.1, feature="a", verdict=Verdict.DRIFT),
        MetricPoint(at=NOW, name="drift_psi", value=0.3, threshold=0.2, feature="b", verdict=Verdict.DRIFT),
        MetricPoint(at=NOW, name="drift_psi", value=None, feature="c", verdict=Verdict.INSUFFICIENT),
    ]

    found = fleet.summarise_drift(points)

    assert (found.drifted, found.judged, found.features) == (2, 2, 3)
    assert found.worst is points[1]


def test_alerts_belong_to_their_version_or_to_all_of_the_model() -> None:
    rows = [
        alert(AlertState.FIRING),
        alert(AlertState.FIRING, version="1"),
        alert(AlertState.FIRING, version="2"),
        alert(AlertState.RESOLVED),
    ]

    assert fleet.alerts_of(rows, "churn", "1") == (rows[0], rows[1])
    assert fleet.alerts_of(rows, "other", "1") == ()


def test_roles_come_from_the_deployment() -> None:
    deployed = Deployment(
        model="churn", mode=Mode.AB, champion="1", challenger="2", weight=0.5, salt="", at=NOW, actor="", action="", reason=""
    )
    versions = [make_version(1, version=name) for name in ("1", "2", "3")]

    assert [fleet.role_of(version, deployed) for version in versions] == ["champion", "challenger", "registered"]
    assert fleet.role_of(make_version(1, archived_at=NOW), None) == "archived"


def test_the_worst_version_comes_first() -> None:
    def row(health: fleet.Health, model: str, drifted: int = 0) -> fleet.VersionSummary:
        drift = fleet.DriftSummary(drifted=drifted, judged=5, features=5)
        return fleet.VersionSummary(
            model=model, version="1", role="champion", health=health, traffic=LIVE, drift=drift, quality=fleet.Quality(), alerts=()
        )

    rows = [
        row(fleet.Health.HEALTHY, "a"),
        row(fleet.Health.DRIFT, "b", 1),
        row(fleet.Health.ALERT, "c"),
        row(fleet.Health.DRIFT, "d", 3),
    ]

    assert [found.model for found in fleet.worst_first(rows)] == ["c", "d", "b", "a"]

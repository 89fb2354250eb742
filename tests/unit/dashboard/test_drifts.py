"""Drift points as a grid."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from dashboard import drifts
from storage.records import MetricPoint, Verdict

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def point(
    feature: str,
    minutes: int = 0,
    value: float | None = 0.1,
    verdict: Verdict = Verdict.OK,
    threshold: float | None = 0.2,
    **more: Any,
) -> MetricPoint:
    return MetricPoint(
        at=NOW + timedelta(minutes=minutes),
        name="drift_psi",
        value=value,
        feature=feature,
        threshold=threshold,
        verdict=verdict,
        n_current=300,
        n_reference=1000,
        **more,
    )


def test_colour_is_value_over_threshold_and_nothing_where_either_is_missing() -> None:
    frame = drifts.cells(
        [point("a"), point("b", value=None), point("c", threshold=None), point("d", value=float("nan")), point("e", threshold=0.0)]
    )

    assert frame["ratio"].dropna().tolist() == [0.5]


def test_points_of_one_role_or_segment_are_not_the_version() -> None:
    assert drifts.cells([point("a", role="champion"), point("a", segment="region=north")]).empty


def test_many_windows_share_columns_and_keep_the_worst() -> None:
    points = [point("a", minute, value=0.01) for minute in range(1000)]
    points[500] = point("a", 500, value=0.9, verdict=Verdict.DRIFT)
    points[501] = point("a", 501, value=5.0, verdict=Verdict.INSUFFICIENT)

    shown = drifts.bounded(drifts.cells(points), most=50)

    assert len(shown) <= 50
    assert shown["value"].max() == 0.9
    assert shown["shown_at"].is_monotonic_increasing


def test_few_windows_stay_as_they_are() -> None:
    frame = drifts.cells([point("a"), point("a", 1)])

    assert drifts.bounded(frame) is frame


def test_the_score_comes_first_then_the_feature_that_is_worst_now() -> None:
    points = [point("calm"), point("was", 0, 9.0), point("was", 1, 0.1), point("is", 1, 0.5), point("", 1, 0.01)]

    assert drifts.order_of_features(drifts.cells(points)) == ["", "is", "calm", "was"]
    assert drifts.order_of_features(drifts.cells(points), "name") == ["", "calm", "is", "was"]
    assert drifts.order_of_features(drifts.cells([])) == []


def test_only_the_newest_windows_of_features_are_counted() -> None:
    points = [
        point("a", 0, verdict=Verdict.DRIFT),
        point("a", 1),
        point("b", 1, verdict=Verdict.DRIFT),
        point("c", 1, verdict=Verdict.INSUFFICIENT),
        point("", 1, verdict=Verdict.DRIFT),
    ]

    assert drifts.counted(drifts.cells(points)) == (1, 2)

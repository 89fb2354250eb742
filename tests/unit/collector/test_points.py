"""From counts to points: names, verdicts, and what is left out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from collector.judging import Judging, Subject
from collector.points import service_points, window_points
from collector.windows import WindowPlan
from storage.layouts import (
    build_layout,
    count_latency,
    count_predictions,
    empty_label_counts,
    empty_prediction_counts,
)
from storage.records import (
    Feature,
    FeatureType,
    Layout,
    MetricPoint,
    PredictionCounts,
    Profile,
    Scalar,
    Signature,
    Task,
    Verdict,
)

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
PLAN = WindowPlan(length=timedelta(minutes=5), step=timedelta(minutes=1))
JUDGING = Judging(plans=[PLAN], min_samples=100, min_labels=50)


def layout_of(task: Task, classes: tuple[str, ...] = ()) -> Layout:
    signature = Signature(task=task, features=(Feature(name="x", type=FeatureType.NUMBER, missing_allowed=True),), classes=classes)
    return build_layout("m", signature, [np.linspace(0, 1, 500).tolist()], np.linspace(0, 1, 500))


BINARY = layout_of(Task.CLASSIFICATION, ("no", "yes"))
REGRESSION = layout_of(Task.REGRESSION)


def counts_of(
    layout: Layout, values: list[Scalar], scores: list[float | None] | None = None, prediction: str = "yes"
) -> PredictionCounts:
    filled = scores if scores is not None else [0.5] * len(values)
    counts = count_predictions(layout, [[value] for value in values], filled, [prediction] * len(values))
    counts.latency = count_latency([10.0] * len(values))
    return counts


def subject_of(layout: Layout, reference: PredictionCounts | None, performance: dict[str, float] | None = None) -> Subject:
    profile = None
    if reference is not None:
        profile = Profile(
            model="m",
            version="1",
            layout_id=1,
            rows=reference.rows,
            counts=reference,
            labels=empty_label_counts(layout),
            performance=performance or {},
            sample=b"",
            created_at=NOW,
        )
    return Subject(layout=layout, profile=profile, version="1", window=PLAN.ending_at(NOW))


def by_name(points: list[MetricPoint]) -> dict[str, MetricPoint]:
    return {point.name: point for point in points}


def uniform(n: int, seed: int = 0) -> list[Scalar]:
    return [float(value) for value in np.random.default_rng(seed).uniform(0, 1, n)]


def test_points_carry_their_window() -> None:
    point = subject_of(BINARY, None).point("error_rate", 0.1, n_current=3)

    assert (point.at, point.model, point.version, point.window_seconds, point.n_current) == (NOW, "m", "1", 300, 3)


def test_a_window_of_failures_only_has_no_drift() -> None:
    counts = empty_prediction_counts(BINARY)
    counts.rows, counts.errors, counts.timeouts = 20, 15, 5

    found = by_name(window_points(subject_of(BINARY, counts_of(BINARY, uniform(500))), counts, JUDGING))

    assert set(found) == {"requests_per_second", "error_rate", "timeout_rate"}
    assert (found["error_rate"].value, found["timeout_rate"].value) == (0.75, 0.25)


def test_latencies_of_few_predictions_are_insufficient_data() -> None:
    found = by_name(service_points(subject_of(BINARY, None), counts_of(BINARY, uniform(30))))

    verdicts = [found[f"latency_{name}_seconds"].verdict for name in ("p50", "p95", "p99")]
    assert verdicts == [Verdict.OK, Verdict.OK, Verdict.INSUFFICIENT]


def test_without_scores_the_classes_are_compared() -> None:
    reference = counts_of(BINARY, uniform(1000), [None] * 1000)
    current = counts_of(BINARY, uniform(500), [None] * 500, prediction="no")

    found = by_name(window_points(subject_of(BINARY, reference), current, JUDGING))

    assert not {"prediction_mean", "prediction_std"} & set(found)
    assert found["prediction_drift_js"].value == pytest.approx(1.0)
    assert found["prediction_drift_js"].verdict is Verdict.DRIFT


def test_the_more_is_tested_the_less_each_test_may_alarm() -> None:
    wide = replace(BINARY, features=BINARY.features * 20)
    often = replace(JUDGING, plans=[PLAN, PLAN])

    assert JUDGING.policy(wide).alpha < JUDGING.policy(BINARY).alpha
    assert often.policy(BINARY).alpha == pytest.approx(JUDGING.policy(BINARY).alpha / 2)

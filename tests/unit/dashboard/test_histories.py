"""Traffic and quality over time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from dashboard import histories
from storage.layouts import count_labels, count_latency, empty_label_counts, empty_prediction_counts
from storage.records import Task
from tests.factories import make_layout, make_signature

START = datetime(2026, 11, 21, 12, tzinfo=UTC)
END = START + timedelta(hours=1)
LAYOUT = make_layout()


def at(minutes: int) -> datetime:
    return START + timedelta(minutes=minutes)


def test_a_step_without_predictions_is_a_gap_and_not_zero() -> None:
    counts = replace(empty_prediction_counts(LAYOUT), rows=60, errors=3, latency=count_latency([10.0] * 60))

    frame = histories.traffic([(at(0), counts), (at(10), counts)], START, END, 60, END)

    assert frame["rows"].isna().tolist() == [False, True, True, False, True]
    assert frame["per_second"].dropna().tolist() == [1.0, 1.0]
    assert frame["error_rate"].dropna().tolist() == [0.05, 0.05]
    assert frame["p95"].dropna().iloc[0] == pytest.approx(0.01, rel=0.03)


def test_the_last_step_is_divided_by_the_time_it_has_lasted() -> None:
    counts = replace(empty_prediction_counts(LAYOUT), rows=30)

    frame = histories.traffic([(at(0), counts)], START, END, 60, START + timedelta(seconds=10))

    assert frame["per_second"].iloc[0] == 3.0
    assert frame["p50"].isna().all()


def test_coverage_is_of_the_successful_predictions_of_the_same_time() -> None:
    predictions = replace(empty_prediction_counts(LAYOUT), rows=12, errors=1, timeouts=1)
    labels = replace(empty_label_counts(LAYOUT), rows=4)

    frame = histories.label_arrival([(at(0), predictions), (at(1), predictions)], [(at(1), labels)], START, END, 60)

    assert frame["coverage"].iloc[:2].tolist() == [0.0, 0.4]
    assert frame["labels"].iloc[:2].tolist() == [0, 4]


def test_quality_has_its_interval_and_its_number_of_labels() -> None:
    labels = count_labels(LAYOUT, [0.1, 0.9, 0.8], ["no", "yes", "yes"], ["no", "yes", "no"], [1.0, 2.0, 3.0])

    n, value, lower, upper = histories.estimate(LAYOUT, labels, "accuracy")

    assert n == 3
    assert value == pytest.approx(2 / 3)
    assert value is not None
    assert lower is not None
    assert upper is not None
    assert lower < value < upper


def test_each_kind_of_model_has_its_metrics() -> None:
    regression = make_layout(make_signature(task=Task.REGRESSION))

    assert histories.quality_metrics(LAYOUT) == ("accuracy", "roc_auc")
    assert histories.quality_metrics(regression) == ("mae", "rmse", "r2")
    assert histories.estimate(regression, empty_label_counts(regression), "mae")[1] is None


def test_labels_are_provisional_for_as_long_as_they_usually_take() -> None:
    delay = count_labels(LAYOUT, [0.5] * 10, ["no"] * 10, ["no"] * 10, [60.0] * 10).delay

    assert histories.provisional_from(delay, END) == pytest.approx(
        pd.Timestamp(END - timedelta(seconds=60)), abs=timedelta(seconds=15)
    )
    assert histories.provisional_from(np.zeros_like(delay), END) is None

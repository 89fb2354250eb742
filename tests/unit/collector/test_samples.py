"""From a reference's sample to a model of its losses."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from collector.samples import sampled_losses
from storage.records import PREDICTION_COLUMN, SCORE_COLUMN, Layout, Profile, Task
from tests.unit.collector.test_points import REGRESSION, counts_of, layout_of, subject_of, uniform

CLASSES = layout_of(Task.CLASSIFICATION, ("1", "2", "3"))


def profile_with(layout: Layout, columns: dict[str, Any] | None) -> Profile:
    profile = subject_of(layout, counts_of(layout, uniform(10))).profile
    assert profile is not None
    if columns is None:
        return profile
    buffer = io.BytesIO()
    pd.DataFrame(columns).to_parquet(buffer, index=False)
    return replace(profile, sample=buffer.getvalue())


def test_the_losses_of_a_regressor_are_its_absolute_errors() -> None:
    prices = [1.0, 0.0, None, 0.5] * 20
    columns = {"x": [0.1] * 80, "price": prices, PREDICTION_COLUMN: ["0"] * 80, SCORE_COLUMN: [0.5, 0.5, 0.5, 0.9] * 20}

    found = sampled_losses(REGRESSION, profile_with(REGRESSION, columns))

    assert found is not None
    assert found.n == 60
    assert found.mean == pytest.approx((0.5 + 0.5 + 0.4) / 3)


def test_the_losses_of_a_classifier_are_whether_it_was_right_however_labels_are_spelled() -> None:
    kinds, called = [1.0, 2.0, float("nan"), 3.0] * 20, ["1", "3", "1", "3"] * 20
    columns = {"x": [0.1] * 80, "kind": kinds, PREDICTION_COLUMN: called, SCORE_COLUMN: [0.5] * 80}

    found = sampled_losses(CLASSES, profile_with(CLASSES, columns))

    assert found is not None
    assert found.n == 60
    assert found.mean == pytest.approx(2 / 3)


def test_a_sample_without_target_or_no_sample_has_none() -> None:
    columns = {"x": [0.1] * 3, PREDICTION_COLUMN: ["0"] * 3, SCORE_COLUMN: [0.5] * 3}

    assert sampled_losses(REGRESSION, profile_with(REGRESSION, columns)) is None
    assert sampled_losses(REGRESSION, profile_with(REGRESSION, None)) is None


def test_labels_that_are_no_numbers_are_left_out() -> None:
    columns = {"x": [0.1] * 3, "price": ["1.0", "a lot", "0.5"], PREDICTION_COLUMN: ["0"] * 3, SCORE_COLUMN: [0.5, 0.5, None]}

    assert sampled_losses(REGRESSION, profile_with(REGRESSION, columns)) is None

"""What the sample of a reference tells of a model's losses: from its Parquet bytes to a model of its losses. Pure."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
import pyarrow.parquet as pq

from collector.statistics.losses import LossModel, fit_losses
from storage.layouts import bin_indices, category_text, is_regression, numbers
from storage.records import PREDICTION_COLUMN, SCORE_COLUMN, Floats, Layout, Profile, Scalar


def sampled_losses(layout: Layout, profile: Profile) -> LossModel | None:
    """The model of a regressor's absolute errors, or of a classifier's right (1) and wrong (0) answers; None without a target in the sample."""
    if not profile.sample:
        return None
    table = pq.read_table(io.BytesIO(profile.sample))
    named = {PREDICTION_COLUMN, SCORE_COLUMN, *(bins.name for bins in layout.features)}
    target = next((name for name in table.column_names if name not in named), None)
    if target is None or not named <= set(table.column_names):
        return None
    scores, predictions, actual = (table.column(name).to_pylist() for name in (SCORE_COLUMN, PREDICTION_COLUMN, target))
    losses = _absolute_errors(scores, actual) if is_regression(layout) else _right(predictions, actual)
    columns = [bin_indices(bins, table.column(bins.name).to_pylist()) for bins in layout.features]
    sizes = [bins.size for bins in (*layout.features, layout.score)]
    return fit_losses([*columns, bin_indices(layout.score, numbers(scores))], sizes, losses)


def _absolute_errors(scores: Sequence[Scalar], actual: Sequence[Scalar]) -> Floats:
    return np.asarray(np.abs(numbers(scores) - np.array([_number(value) for value in actual])))


def _number(value: Scalar) -> float:
    try:
        return float(value) if value is not None else float("nan")
    except ValueError:
        return float("nan")


def _right(predictions: Sequence[Scalar], actual: Sequence[Scalar]) -> Floats:
    """1 where the prediction is the label, 0 where not, NaN without a label."""
    return np.array(
        [
            float("nan")
            if value is None or (isinstance(value, float) and math.isnan(value))
            else float(category_text(value) == prediction)
            for prediction, value in zip(predictions, actual, strict=True)
        ]
    )

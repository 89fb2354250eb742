"""What the sample of a reference tells of a model's losses: from its Parquet bytes to mean losses by score bin. Pure."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
import pyarrow.parquet as pq

from collector.statistics.estimation import LossByScore, loss_by_score
from storage.layouts import bin_indices, category_text, is_regression, numbers
from storage.records import PREDICTION_COLUMN, SCORE_COLUMN, Floats, Layout, Profile, Scalar


def sampled_losses(layout: Layout, profile: Profile) -> LossByScore | None:
    """Absolute errors of a regressor, right (1) and wrong (0) of a classifier, by score bin; None without a target in the sample."""
    if not profile.sample:
        return None
    table = pq.read_table(io.BytesIO(profile.sample))
    named = {PREDICTION_COLUMN, SCORE_COLUMN, *(bins.name for bins in layout.features)}
    target = next((name for name in table.column_names if name not in named), None)
    if target is None or not {PREDICTION_COLUMN, SCORE_COLUMN} <= set(table.column_names):
        return None
    scores, predictions, actual = (table.column(name).to_pylist() for name in (SCORE_COLUMN, PREDICTION_COLUMN, target))
    losses = _absolute_errors(scores, actual) if is_regression(layout) else _right(predictions, actual)
    return loss_by_score(bin_indices(layout.score, numbers(scores)), losses, layout.score.size - 1)


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

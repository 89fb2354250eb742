"""Fixed bins, and counting into them. Pure: this is what makes any window of a model comparable with any other.

Two moments matter: ``build_layout`` once, when the first version with a schema is registered, and the counting
functions once per uploaded batch. Two counts of one layout merge by addition.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from storage.class_probabilities import LOSSES, Probabilities, bin_numbers, count_probabilities, is_of_many, probability_bins
from storage.error_histogram import ERROR_BINS, count_errors
from storage.records import (
    Bins,
    Feature,
    FeatureType,
    Floats,
    Ints,
    LabelCounts,
    Layout,
    PredictionCounts,
    Scalar,
    Signature,
)

NUMERIC_BINS = 120
"""Quantile bins of a numeric feature: divisible into the 10 or 20 bins of PSI."""
CATEGORIES = 100
"""Most frequent values of a categorical feature that get a bin of their own."""

LATENCY_MIN_SECONDS = 1e-6
LATENCY_GROWTH = 1.04
"""Each latency bin is 4 % wider than the one before, so a quantile read from its middle is off by at most 2 %."""
LATENCY_BINS = 480
DELAY_MIN_SECONDS = 0.1
DELAY_GROWTH = 1.2
DELAY_BINS = 112


# ---------------------------------------------------------------------------------------------- building


def build_layout(
    model: str,
    signature: Signature,
    columns: Sequence[Sequence[Scalar]],
    scores: Floats,
    probabilities: Probabilities | None = None,
) -> Layout:
    """The bins for a model's features (from the reference ``columns``, one per feature), its scores and its ``probabilities``."""
    return Layout(
        model=model,
        features=tuple(_feature_bins(feature, column) for feature, column in zip(signature.features, columns, strict=True)),
        score=Bins(name="", edges=_quantile_edges(scores)),
        classes=signature.classes,
        probabilities=probability_bins(signature.classes, probabilities),
    )


def schema_hash(signature: Signature) -> str:
    """Versions whose signatures have the same hash share a layout: same task, names, kinds and classes."""
    kinds = [(feature.name, feature.type is FeatureType.CATEGORY) for feature in signature.features]
    return hashlib.sha256(json.dumps([signature.task, kinds, signature.classes]).encode()).hexdigest()


def _feature_bins(feature: Feature, column: Sequence[Scalar]) -> Bins:
    if feature.type is FeatureType.CATEGORY:
        counts = Counter(category_text(value) for value in column if value is not None)
        frequent = sorted(counts, key=lambda category: (-counts[category], category))[:CATEGORIES]
        return Bins(name=feature.name, categories=tuple(frequent), is_categorical=True)
    return Bins(name=feature.name, edges=_quantile_edges(numbers(column)))


def _quantile_edges(values: Floats) -> tuple[float, ...]:
    """Ascending edges that hold about equal shares; one bin per distinct value where there are few of them."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return ()
    edges = np.unique(finite)
    if edges.size > NUMERIC_BINS:
        edges = np.unique(np.quantile(finite, np.linspace(0, 1, NUMERIC_BINS + 1), method="inverted_cdf"))
        edges = edges[:-1] if edges.size > 1 else edges
    with np.errstate(over="ignore"):
        end = float(np.nextafter(finite.max(), np.inf))
    return (*edges.tolist(), end) if np.isfinite(end) else tuple(edges.tolist())


def layout_to_json(layout: Layout) -> dict[str, Any]:
    return {
        "features": [asdict(bins) for bins in layout.features],
        "score": asdict(layout.score),
        "classes": list(layout.classes),
        "probabilities": [asdict(bins) for bins in layout.probabilities],
    }


def layout_from_json(model: str, layout_id: int, content: dict[str, Any]) -> Layout:
    return Layout(
        id=layout_id,
        model=model,
        features=tuple(_bins_from_json(bins) for bins in content["features"]),
        score=_bins_from_json(content["score"]),
        classes=tuple(content["classes"]),
        probabilities=tuple(_bins_from_json(bins) for bins in content["probabilities"]),
    )


def _bins_from_json(content: dict[str, Any]) -> Bins:
    return Bins(
        name=content["name"],
        edges=tuple(content["edges"]),
        categories=tuple(content["categories"]),
        is_categorical=content["is_categorical"],
    )


# ---------------------------------------------------------------------------------------------- values


def category_text(value: Scalar) -> str:
    """One text per class or category, however JSON, pandas or a model spells it.

    >>> category_text(True), category_text(2.0), category_text("a")
    ('true', '2', 'a')
    """
    if type(value) is str:
        return value
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def numbers(column: Sequence[Scalar] | Floats) -> Floats:
    """A column as float64; missing values become NaN."""
    return np.asarray(column, dtype=np.float64)


# ---------------------------------------------------------------------------------------------- counting


def layout_size(layout: Layout) -> int:
    """Length of the ``bins`` array: all features, then the score."""
    return sum(bins.size for bins in layout.features) + layout.score.size


def split_bins(layout: Layout, bins: Ints) -> tuple[list[Ints], Ints]:
    """The flat array as one array per feature, and the score's."""
    ends = np.cumsum([feature.size for feature in layout.features])
    parts = np.split(bins, ends) if len(ends) else [bins]
    return parts[:-1], parts[-1]


def bin_indices(bins: Bins, column: Sequence[Scalar] | Floats) -> Ints:
    """The bin of each value, int64 (n,)."""
    if bins.is_categorical:
        known = {category: index for index, category in enumerate(bins.categories)}
        other, missing = len(known), len(known) + 1
        return np.fromiter(
            (missing if value is None else known.get(category_text(value), other) for value in column), np.int64, len(column)
        )
    values = numbers(column)
    indices = np.searchsorted(np.asarray(bins.edges), values, side="right")
    indices[np.isnan(values)] = len(bins.edges) + 1
    return indices.astype(np.int64, copy=False)


def class_indices(classes: Sequence[str], values: Sequence[str | None]) -> Ints:
    """The position of each class, ``len(classes)`` for one that the model does not know."""
    known = {name: index for index, name in enumerate(classes)}
    return np.fromiter(
        (known.get(value, len(known)) if value is not None else len(known) for value in values), np.int64, len(values)
    )


def log_bins(values: Floats, least: float, growth: float, bins: int) -> Ints:
    """Histogram with bins of fixed relative width: bin 0 is up to ``least``, bin i up to ``least * growth**i``."""
    finite = values[np.isfinite(values)]
    ratios = np.maximum(finite / least, 1.0)
    indices = np.ceil(np.log(ratios) / np.log(growth) - 1e-9).astype(np.int64)
    return np.bincount(np.clip(indices, 0, bins - 1), minlength=bins)


def latency_middle_seconds() -> Floats:
    """The geometric middle of each latency bin, seconds, float64 (LATENCY_BINS,)."""
    return np.asarray(LATENCY_MIN_SECONDS * LATENCY_GROWTH ** (np.arange(LATENCY_BINS) - 0.5))


def delay_upper_seconds() -> Floats:
    """The upper end of each label-delay bin, seconds, float64 (DELAY_BINS,)."""
    return np.asarray(DELAY_MIN_SECONDS * DELAY_GROWTH ** np.arange(DELAY_BINS))


def count_predictions(
    layout: Layout,
    rows: Sequence[Sequence[Scalar]],
    scores: Sequence[float | None],
    predictions: Sequence[str | None],
) -> PredictionCounts:
    """Counts of successful predictions: ``rows`` n feature lists, with one score and one prediction text each.

    Latency, errors and timeouts are left at zero for ``count_latency`` and the caller to fill in.
    """
    columns: list[Any] = list(zip(*rows, strict=True)) if rows else [()] * len(layout.features)
    return count_columns(layout, columns, scores, predictions)


def count_columns(
    layout: Layout,
    columns: Sequence[Sequence[Scalar] | Floats],
    scores: Sequence[float | None] | Floats,
    predictions: Sequence[str | None],
) -> PredictionCounts:
    """As ``count_predictions``, of one column of n values per feature. Raises ValueError or TypeError for what does not fit."""
    counts = empty_prediction_counts(layout)
    counts.rows = len(scores)
    if not counts.rows:
        return counts
    start, numeric = 0, 0
    for bins, column in zip((*layout.features, layout.score), (*columns, scores), strict=True):
        values = column if bins.is_categorical else numbers(column)
        counts.bins[start : start + bins.size] = bin_counts(bins, values)
        start += bins.size
        if not bins.is_categorical:
            counts.moments[numeric] = _moments(numbers(values))
            numeric += 1
    if layout.classes:
        counts.classes += _class_counts(layout.classes, predictions)
    return counts


def bin_counts(bins: Bins, column: Sequence[Scalar] | Floats) -> Ints:
    """How many values fall into each bin, int64 (bins.size,): ``np.bincount`` of ``bin_indices``, in less time.

    >>> bin_counts(Bins(name="x", edges=(0.0, 1.0)), [0.5, 0.5, 7.0, None]).tolist()
    [0, 2, 1, 1]
    """
    if bins.is_categorical:
        # A value is looked up once, however often it comes. 1, 1.0 and True are one key of a Counter, so only for texts.
        if set(map(type, column)) <= {str, type(None)}:
            found = Counter(column)
            return _tally(bin_indices(bins, list(found)), list(found.values()), bins.size)
        return np.bincount(bin_indices(bins, column), minlength=bins.size)
    # To sort and look up the edges takes half the time of looking up each value; NaN comes last.
    values = np.sort(numbers(column))
    known = len(values) - int(np.count_nonzero(np.isnan(values)))
    below = np.searchsorted(values[:known], np.asarray(bins.edges, np.float64), side="left")
    return np.diff(below, prepend=0, append=[known, len(values)])


def _class_counts(classes: Sequence[str], values: Sequence[str | None]) -> Ints:
    found = Counter(values)
    return _tally(class_indices(classes, list(found)), list(found.values()), len(classes) + 1)


def _tally(indices: Ints, times: Sequence[int], size: int) -> Ints:
    counts = np.zeros(size, np.int64)
    np.add.at(counts, indices, times)
    return counts


def count_latency(latencies_ms: Sequence[float | None] | Floats) -> Ints:
    """The latency histogram, int64 (LATENCY_BINS,), of latencies in milliseconds; None is left out."""
    seconds = numbers(latencies_ms) / 1000.0
    return log_bins(seconds, LATENCY_MIN_SECONDS, LATENCY_GROWTH, LATENCY_BINS)


def count_labels(
    layout: Layout,
    scores: Sequence[float | None],
    predictions: Sequence[str | None],
    labels: Sequence[str],
    delays_seconds: Sequence[float],
    probabilities: Probabilities | None = None,
) -> LabelCounts:
    """Counts of labelled predictions, one entry of each sequence per label; ``probabilities`` tell of more than two classes."""
    counts = empty_label_counts(layout)
    counts.rows = len(labels)
    if not labels:
        return counts
    counts.delay = log_bins(numbers(list(delays_seconds)), DELAY_MIN_SECONDS, DELAY_GROWTH, DELAY_BINS)
    score_bins = bin_indices(layout.score, list(scores))
    if layout.classes:
        actual = class_indices(layout.classes, labels)
        predicted = class_indices(layout.classes, predictions)
        is_right = (predicted == actual) & (actual < len(layout.classes))
        np.add.at(counts.score_by_class, (score_bins, is_right.astype(np.int64) if is_of_many(layout) else actual), 1)
        np.add.at(counts.confusion, (predicted, actual), 1)
        if is_of_many(layout) and probabilities is not None:
            counts.probabilities, counts.losses = count_probabilities(layout, probabilities, actual)
    else:
        counts.score_by_class[:, 0] = np.bincount(score_bins, minlength=layout.score.size)
        predicted_numbers, actual_numbers = numbers(list(scores)), _label_numbers(labels)
        counts.residuals = _residuals(predicted_numbers, actual_numbers)
        counts.errors = count_errors(layout, predicted_numbers, actual_numbers)
    return counts


def empty_prediction_counts(layout: Layout) -> PredictionCounts:
    numeric = sum(not bins.is_categorical for bins in layout.features) + 1
    return PredictionCounts(
        rows=0,
        errors=0,
        timeouts=0,
        bins=np.zeros(layout_size(layout), np.int64),
        moments=np.zeros((numeric, 3)),
        classes=np.zeros(len(layout.classes) + 1 if layout.classes else 0, np.int64),
        latency=np.zeros(LATENCY_BINS, np.int64),
    )


def empty_label_counts(layout: Layout) -> LabelCounts:
    classes = len(layout.classes) + 1 if layout.classes else 0
    return LabelCounts(
        rows=0,
        score_by_class=np.zeros((layout.score.size, 2 if is_of_many(layout) else max(classes, 1)), np.int64),
        confusion=np.zeros((classes, classes), np.int64),
        residuals=np.zeros(6),
        delay=np.zeros(DELAY_BINS, np.int64),
        errors=np.zeros(0 if classes else ERROR_BINS, np.int64),
        probabilities=np.zeros((sum(bin_numbers(layout)), 2), np.int64),
        losses=np.zeros(LOSSES if is_of_many(layout) else 0),
    )


def add_predictions(left: PredictionCounts, right: PredictionCounts) -> PredictionCounts:
    """The counts of both; they must be of one layout."""
    return PredictionCounts(
        rows=left.rows + right.rows,
        errors=left.errors + right.errors,
        timeouts=left.timeouts + right.timeouts,
        bins=left.bins + right.bins,
        moments=left.moments + right.moments,
        classes=left.classes + right.classes,
        latency=left.latency + right.latency,
    )


def add_labels(left: LabelCounts, right: LabelCounts) -> LabelCounts:
    """The counts of both; they must be of one layout."""
    return LabelCounts(
        rows=left.rows + right.rows,
        score_by_class=left.score_by_class + right.score_by_class,
        confusion=left.confusion + right.confusion,
        residuals=left.residuals + right.residuals,
        delay=left.delay + right.delay,
        errors=left.errors + right.errors,
        probabilities=left.probabilities + right.probabilities,
        losses=left.losses + right.losses,
    )


def is_regression(layout: Layout) -> bool:
    return not layout.classes


def _moments(values: Floats) -> Floats:
    finite = values[np.isfinite(values)]
    with np.errstate(over="ignore"):  # the squares of huge numbers are infinite, which is as good as any
        return np.array([finite.size, finite.sum(), np.square(finite).sum()])


def _label_numbers(labels: Sequence[str]) -> Floats:
    return np.array([_number_or_nan(label) for label in labels])


def _number_or_nan(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _residuals(predicted: Floats, actual: Floats) -> Floats:
    known = np.isfinite(predicted) & np.isfinite(actual)
    actual = actual[known]
    with np.errstate(over="ignore"):
        error = predicted[known] - actual
        sums = (error.sum(), np.abs(error).sum(), np.square(error).sum(), actual.sum(), np.square(actual).sum())
    return np.array([error.size, *sums])

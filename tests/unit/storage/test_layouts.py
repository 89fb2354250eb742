"""Bins hold every value once, and counts of parts add up to the counts of the whole."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from storage.layouts import (
    CATEGORIES,
    DELAY_BINS,
    LATENCY_BINS,
    NUMERIC_BINS,
    add_labels,
    add_predictions,
    bin_counts,
    bin_indices,
    build_layout,
    category_text,
    class_indices,
    count_labels,
    count_latency,
    count_predictions,
    delay_upper_seconds,
    empty_label_counts,
    empty_prediction_counts,
    latency_middle_seconds,
    layout_from_json,
    layout_size,
    layout_to_json,
    schema_hash,
    split_bins,
)
from storage.records import Bins, Feature, FeatureType, Layout, Scalar, Signature, Task
from tests.factories import make_layout, make_rows, make_signature

reals = st.floats(allow_nan=True, allow_infinity=True)
columns = st.lists(st.one_of(st.none(), reals), max_size=300)


def numeric_bins(column: list[Any]) -> Bins:
    """The bins of one numeric feature with this reference."""
    signature = Signature(task=Task.REGRESSION, features=(Feature(name="x", type=FeatureType.NUMBER, missing_allowed=True),))
    return build_layout("m", signature, [column], np.zeros(1)).features[0]


def categorical_bins(column: list[Any]) -> Bins:
    """The bins of one categorical feature with this reference."""
    signature = Signature(task=Task.REGRESSION, features=(Feature(name="x", type=FeatureType.CATEGORY, missing_allowed=True),))
    return build_layout("m", signature, [column], np.zeros(1)).features[0]


# ---------------------------------------------------------------------------------------------- bins


@given(columns, columns)
@example([1.7976931348623157e308], [1.7976931348623157e308, math.inf, -math.inf, None, math.nan])
@example([0.0, -0.0], [0.0, -0.0, 5e-324])
def test_every_value_falls_in_exactly_one_bin_whose_edges_enclose_it(reference: list[Any], column: list[Any]) -> None:
    bins = numeric_bins(reference)

    indices = bin_indices(bins, column)

    assert indices.shape == (len(column),)
    edges = (-math.inf, *bins.edges, math.inf)
    for value, index in zip(column, indices, strict=True):
        if value is None or math.isnan(value):
            assert index == bins.size - 1
        else:
            assert edges[index] <= value <= edges[index + 1]
            assert value < edges[index + 1] or index == len(bins.edges)


@given(columns)
def test_edges_ascend_and_are_finite(reference: list[Any]) -> None:
    bins = numeric_bins(reference)

    assert all(left < right for left, right in zip(bins.edges, bins.edges[1:], strict=False))
    assert all(math.isfinite(edge) for edge in bins.edges)
    assert len(bins.edges) <= NUMERIC_BINS + 1


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300))
def test_no_reference_value_is_below_the_first_edge_or_above_the_last(reference: list[float]) -> None:
    bins = numeric_bins(reference)

    indices = bin_indices(bins, reference)

    assert indices.min() >= 1
    assert indices.max() <= len(bins.edges) - 1


def test_many_distinct_values_fill_the_bins_evenly() -> None:
    reference = np.random.default_rng(1).normal(size=12_000)

    bins = numeric_bins(list(reference))
    counts = np.bincount(bin_indices(bins, reference), minlength=bins.size)

    assert len(bins.edges) == NUMERIC_BINS + 1
    assert counts[0] == counts[-2] == counts[-1] == 0
    assert counts[1:-2].min() >= 99
    assert counts[1:-2].max() <= 101


def test_few_distinct_values_get_a_bin_each() -> None:
    bins = numeric_bins([1, 2, 2, 3, None])

    assert bins.edges[:3] == (1.0, 2.0, 3.0)
    assert bin_indices(bins, [0, 1, 1.5, 2, 3, 3.1, None]).tolist() == [0, 1, 1, 2, 3, 4, 5]


def test_a_constant_column_tells_its_value_from_others() -> None:
    bins = numeric_bins([7.0] * 50)

    assert bin_indices(bins, [6.9, 7.0, 7.1, math.nan]).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("reference", [[], [None, None], [math.nan, math.inf]])
def test_an_empty_column_has_one_bin_for_values_and_one_for_missing(reference: list[Any]) -> None:
    bins = numeric_bins(reference)

    assert bins.size == 2
    assert bin_indices(bins, [1.0, None, -math.inf]).tolist() == [0, 1, 0]


def test_infinite_values_are_below_and_above() -> None:
    bins = numeric_bins([1.0, 2.0])

    assert bin_indices(bins, [-math.inf, math.inf]).tolist() == [0, len(bins.edges)]


def test_booleans_are_binned_as_zero_and_one() -> None:
    bins = numeric_bins([True, False, True])

    assert bin_indices(bins, [False, True, None]).tolist() == [1, 2, bins.size - 1]


def test_categories_beyond_the_most_frequent_are_other() -> None:
    reference = [f"c{number}" for number in range(CATEGORIES + 20) for _ in range(1 + (number < CATEGORIES))]

    bins = categorical_bins(reference)

    assert len(bins.categories) == CATEGORIES
    assert bin_indices(bins, ["c0", "never", None]).tolist() == [bins.categories.index("c0"), CATEGORIES, CATEGORIES + 1]
    assert bin_indices(bins, [f"c{CATEGORIES + 5}"]).tolist() == [CATEGORIES]


@given(st.lists(st.one_of(st.none(), st.text(max_size=5), st.booleans(), st.integers(-3, 3)), max_size=60))
def test_every_category_of_a_short_reference_has_its_bin(reference: list[Any]) -> None:
    bins = categorical_bins(reference)

    indices = bin_indices(bins, reference)

    for value, index in zip(reference, indices, strict=True):
        assert index == (bins.size - 1 if value is None else bins.categories.index(category_text(value)))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (False, "false"),
        (2, "2"),
        (2.0, "2"),
        (-0.0, "0"),
        (2.5, "2.5"),
        ("2.0", "2.0"),
        ("", ""),
        (1e300, str(int(1e300))),
    ],
)
def test_a_category_has_one_text_however_it_is_spelled(value: Scalar, text: str) -> None:
    assert category_text(value) == text
    assert category_text(np.asarray(value, dtype=object).item()) == text


def test_numpy_scalars_are_spelled_as_python_ones() -> None:
    assert [category_text(value) for value in (np.int64(3), np.float64(3.0), np.bool_(True))] == ["3", "3", "true"]  # type: ignore[arg-type]


@given(columns, columns)
@example([0.0, -0.0], [0.0, -0.0, 5e-324, math.nan, None, math.inf, -math.inf])
@example([], [])
@example([], [math.nan, 1.0])
def test_counted_numbers_are_those_of_their_bins(reference: list[Any], column: list[Any]) -> None:
    bins = numeric_bins(reference)

    assert bin_counts(bins, column).tolist() == np.bincount(bin_indices(bins, column), minlength=bins.size).tolist()


texts = st.sampled_from(["1", "true", "a", "b", None])
spellings = st.sampled_from(["1", "true", "a", None, 1, 1.0, True, False, 0, 2.5])


@given(st.lists(spellings, max_size=30), st.one_of(st.lists(texts, max_size=60), st.lists(spellings, max_size=60)))
def test_counted_categories_are_those_of_their_bins(reference: list[Any], column: list[Any]) -> None:
    bins = categorical_bins(reference)

    assert bin_counts(bins, column).tolist() == np.bincount(bin_indices(bins, column), minlength=bins.size).tolist()


@pytest.mark.parametrize("column", [["a lot"], [[1]], [[1], [2]], [{}]])
def test_what_is_no_column_of_numbers_is_not_counted(column: list[Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        bin_counts(numeric_bins([1.0, 2.0]), column)


def test_unknown_and_missing_classes_come_last() -> None:
    assert class_indices(("no", "yes"), ["yes", "no", "maybe", None]).tolist() == [1, 0, 2, 2]


# ---------------------------------------------------------------------------------------------- counting


@st.composite
def batches(draw: st.DrawFn) -> tuple[Layout, list[list[Any]], list[float | None], list[str | None]]:
    """A layout and rows for it, with values that its reference does not have."""
    layout = make_layout()
    number = draw(st.integers(0, 30))
    rows = [
        [
            draw(st.one_of(st.none(), st.integers(-5, 200))),
            draw(st.one_of(st.none(), st.floats(-10, 10))),
            draw(st.one_of(st.none(), st.booleans())),
            draw(st.one_of(st.none(), st.sampled_from(["north", "south", "west"]))),
        ]
        for _ in range(number)
    ]
    scores = [draw(st.one_of(st.none(), st.floats(0, 1))) for _ in range(number)]
    predictions = [draw(st.sampled_from(["no", "yes", "maybe", None])) for _ in range(number)]
    return layout, rows, scores, predictions


@given(batches(), st.integers(0, 30))
def test_counts_of_two_parts_add_up_to_the_counts_of_the_whole(batch: Any, cut: int) -> None:
    layout, rows, scores, predictions = batch

    whole = count_predictions(layout, rows, scores, predictions)
    left = count_predictions(layout, rows[:cut], scores[:cut], predictions[:cut])
    right = count_predictions(layout, rows[cut:], scores[cut:], predictions[cut:])
    both = add_predictions(left, right)

    assert both.rows == whole.rows
    np.testing.assert_array_equal(both.bins, whole.bins)
    np.testing.assert_array_equal(both.classes, whole.classes)
    np.testing.assert_allclose(both.moments, whole.moments, atol=1e-9)


@given(batches())
def test_every_row_is_counted_once_per_column(batch: Any) -> None:
    layout, rows, scores, predictions = batch

    counts = count_predictions(layout, rows, scores, predictions)

    features, score = split_bins(layout, counts.bins)
    assert [part.sum() for part in (*features, score)] == [len(rows)] * (len(layout.features) + 1)
    assert [part.size for part in features] == [bins.size for bins in layout.features]
    assert counts.classes.sum() == len(rows)
    assert counts.bins.size == layout_size(layout)


def test_moments_are_of_the_finite_values_score_last() -> None:
    layout = make_layout()

    counts = count_predictions(layout, [[20, None, True, "north"], [40, 0.5, False, "x"]], [0.25, None], ["no", "yes"])

    assert counts.moments.tolist() == [[2, 60, 2000], [1, 0.5, 0.25], [2, 1, 1], [1, 0.25, 0.0625]]


def test_huge_values_are_counted() -> None:
    layout = make_layout()

    counts = count_predictions(layout, [[1e308, 1e308, True, "north"]] * 2, [1e308, math.inf], ["no", "yes"])

    assert counts.rows == 2
    assert math.isinf(counts.moments[0, 2])


@given(st.lists(st.one_of(st.none(), st.floats(0, 1e9)), max_size=100))
def test_every_known_latency_is_counted_once(latencies: list[float | None]) -> None:
    counts = count_latency(latencies)

    assert counts.shape == (LATENCY_BINS,)
    assert counts.sum() == sum(latency is not None for latency in latencies)


@given(st.floats(0.002, 60_000))
def test_the_middle_of_a_latency_bin_is_within_two_percent(latency_ms: float) -> None:
    middle = latency_middle_seconds()[int(np.argmax(count_latency([latency_ms])))]

    assert middle == pytest.approx(latency_ms / 1000, rel=0.02)


@st.composite
def labelled(draw: st.DrawFn) -> tuple[list[float | None], list[str | None], list[str], list[float]]:
    number = draw(st.integers(0, 30))
    return (
        [draw(st.one_of(st.none(), st.floats(0, 1))) for _ in range(number)],
        [draw(st.sampled_from(["no", "yes", None])) for _ in range(number)],
        [draw(st.sampled_from(["no", "yes", "maybe"])) for _ in range(number)],
        [draw(st.floats(0, 1e7)) for _ in range(number)],
    )


@given(labelled(), st.integers(0, 30))
def test_label_counts_of_two_parts_add_up_to_the_whole(batch: Any, cut: int) -> None:
    layout = make_layout()

    whole = count_labels(layout, *batch)
    both = add_labels(count_labels(layout, *(part[:cut] for part in batch)), count_labels(layout, *(part[cut:] for part in batch)))

    assert both.rows == whole.rows == whole.delay.sum() == whole.confusion.sum() == whole.score_by_class.sum()
    np.testing.assert_array_equal(both.confusion, whole.confusion)
    np.testing.assert_array_equal(both.score_by_class, whole.score_by_class)
    np.testing.assert_array_equal(both.delay, whole.delay)


def test_confusion_is_predicted_by_actual() -> None:
    counts = count_labels(make_layout(), [0.9, 0.1, 0.8], ["yes", "no", "yes"], ["yes", "yes", "maybe"], [1.0, 2.0, 3.0])

    assert counts.confusion.tolist() == [[0, 1, 0], [0, 1, 1], [0, 0, 0]]


def test_residuals_leave_out_what_is_not_a_number() -> None:
    signature = make_signature(task=Task.REGRESSION)

    counts = count_labels(make_layout(signature), [3.0, None, 1.0, 5.0], [None] * 4, ["1", "2", "a lot", "7"], [0.0] * 4)

    assert counts.rows == 4
    assert counts.residuals.tolist() == [2, 0, 4, 8, 8, 50]
    assert counts.score_by_class.shape == (make_layout(signature).score.size, 1)


def test_delay_bins_hold_what_is_at_most_their_upper_end() -> None:
    counts = count_labels(make_layout(), [0.5], ["no"], ["no"], [3600.0])

    place = int(np.argmax(counts.delay))
    assert delay_upper_seconds()[place - 1] < 3600 <= delay_upper_seconds()[place]
    assert delay_upper_seconds().size == DELAY_BINS


# ---------------------------------------------------------------------------------------------- forms


@pytest.mark.parametrize("task", list(Task))
def test_a_layout_survives_json(task: Task) -> None:
    layout = make_layout(make_signature(task=task), layout_id=7)

    content = json.loads(json.dumps(layout_to_json(layout), allow_nan=False))

    assert layout_from_json("churn", 7, content) == layout


@pytest.mark.parametrize("task", list(Task))
def test_empty_counts_have_the_shapes_of_counts(task: Task) -> None:
    signature = make_signature(task=task)
    layout = make_layout(signature)
    rows = make_rows(signature, 5)

    counts = count_predictions(layout, rows, [0.5] * 5, ["no"] * 5)
    labels = count_labels(layout, [0.5] * 5, ["no"] * 5, ["1"] * 5, [0.0] * 5)

    for some, none in ((counts, empty_prediction_counts(layout)), (labels, empty_label_counts(layout))):
        for name in set(type(none).__slots__) - {"rows", "errors", "timeouts"}:
            assert getattr(some, name).shape == getattr(none, name).shape, name


def test_versions_share_a_layout_when_names_kinds_and_classes_are_alike() -> None:
    first = make_signature()
    wider = make_signature(features=[Feature(name=f.name, type=f.type, missing_allowed=True, maximum=1e9) for f in first.features])
    renamed = make_signature(features=[Feature(name=f.name + "_", type=f.type, missing_allowed=True) for f in first.features])

    assert schema_hash(first) == schema_hash(wider)
    assert schema_hash(first) != schema_hash(renamed)
    assert schema_hash(first) != schema_hash(make_signature(task=Task.REGRESSION))

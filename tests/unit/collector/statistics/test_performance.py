"""Performance from counts against scikit-learn on the rows, and the bounds that binning costs."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as quality

import collector.statistics.performance as module
from collector.statistics.performance import classification, regression, roc_auc
from storage.layouts import build_layout, count_labels, empty_label_counts
from storage.records import Feature, FeatureType, Floats, Ints, LabelCounts, Layout, Signature, Task


def layout(classes: tuple[str, ...] = (), scores: Floats | None = None) -> Layout:
    task = Task.CLASSIFICATION if classes else Task.REGRESSION
    signature = Signature(task=task, features=(Feature(name="x", type=FeatureType.NUMBER, missing_allowed=False),), classes=classes)
    return build_layout("m", signature, [[0.0, 1.0]], np.linspace(0, 1, 1000) if scores is None else scores)


def binary(scores: Floats, actual: Ints) -> LabelCounts:
    predicted = ["yes" if score >= 0.5 else "no" for score in scores]
    labels = ["yes" if value else "no" for value in actual]
    return count_labels(layout(("no", "yes")), scores.tolist(), predicted, labels, [1.0] * len(labels))


def some(n: int = 800, seed: int = 1) -> tuple[Floats, Ints]:
    random = np.random.default_rng(seed)
    actual = random.integers(0, 2, n)
    return np.clip(random.normal(0.4 + 0.2 * actual, 0.2), 0, 1), actual


def binned(edges: Floats, values: Floats) -> Ints:
    return np.bincount(np.searchsorted(edges, values), minlength=edges.size + 1)


def test_docstring_examples_run() -> None:
    assert doctest.testmod(module).failed == 0


def test_binary_quality_equals_scikit_learn() -> None:
    scores, actual = some()
    predicted = scores >= 0.5

    found = classification(binary(scores, actual))

    assert found.n == 800
    assert found.accuracy == pytest.approx(quality.accuracy_score(actual, predicted))
    assert found.precision == pytest.approx(quality.precision_score(actual, predicted))
    assert found.recall == pytest.approx(quality.recall_score(actual, predicted))
    assert found.f1 == pytest.approx(quality.f1_score(actual, predicted))


@given(st.integers(0, 10_000))
def test_auc_from_bins_lies_within_its_bound_of_the_exact_one(seed: int) -> None:
    scores, actual = some(60, seed)
    if actual.min() == actual.max():
        return

    found = classification(binary(scores, actual))

    assert found.roc_auc is not None
    assert found.roc_auc_bound is not None
    assert abs(found.roc_auc - quality.roc_auc_score(actual, scores)) <= found.roc_auc_bound + 1e-12
    assert found.roc_auc_bound < 0.05


def test_auc_interval_holds_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(2)
    truth = 0.5 * (1 + math.erf(0.5))  # two normals one deviation apart, Phi(1 / sqrt 2)
    edges = np.linspace(-3, 4, 121)
    held = 0
    for _ in range(400):
        negatives, positives = random.normal(size=150), random.normal(1, 1, 100)
        found = roc_auc(binned(edges, negatives), binned(edges, positives))
        assert found is not None
        held += found.interval[0] <= truth <= found.interval[1]

    assert held / 400 > 0.925


def test_auc_of_a_perfect_order_is_not_called_certain() -> None:
    found = roc_auc(np.array([10, 0]), np.array([0, 10]))

    assert found is not None
    assert found.area == 1.0
    assert 0.5 < found.interval[0] < 1.0


def test_auc_needs_both_classes() -> None:
    assert roc_auc(np.array([1, 2]), np.array([0, 0])) is None


def test_multiclass_quality_is_the_mean_over_classes() -> None:
    random = np.random.default_rng(3)
    names = ("a", "b", "c")
    actual = random.choice(names, 300)
    predicted = np.where(random.random(300) < 0.7, actual, random.choice(names, 300))
    counts = count_labels(layout(names), [0.5] * 300, predicted.tolist(), actual.tolist(), [1.0] * 300)

    found = classification(counts)

    assert found.accuracy == pytest.approx(quality.accuracy_score(actual, predicted))
    assert found.precision == pytest.approx(quality.precision_score(actual, predicted, average="macro"))
    assert found.recall == pytest.approx(quality.recall_score(actual, predicted, average="macro"))
    assert found.f1 == pytest.approx(quality.f1_score(actual, predicted, average="macro"))
    assert (found.roc_auc, found.f1_interval) == (None, None)


def test_a_label_the_model_does_not_know_counts_as_wrong() -> None:
    counts = count_labels(layout(("no", "yes")), [0.9, 0.1], ["yes", "no"], ["yes", "maybe"], [1.0, 1.0])

    assert classification(counts).accuracy == 0.5


def test_a_perfect_accuracy_has_an_open_interval() -> None:
    found = classification(binary(np.full(50, 0.9), np.ones(50, np.int64)))

    assert found.accuracy == 1.0
    assert found.accuracy_interval is not None
    assert found.accuracy_interval[0] == pytest.approx(0.9287, abs=1e-4)


def test_no_labels_leave_everything_undefined() -> None:
    assert classification(empty_label_counts(layout(("no", "yes")))).accuracy is None
    assert regression(empty_label_counts(layout())).mae is None


def test_regression_quality_equals_scikit_learn() -> None:
    random = np.random.default_rng(4)
    actual = random.normal(10, 3, 500)
    predicted = actual + random.normal(0.5, 1, 500)
    counts = count_labels(layout(), predicted.tolist(), [""] * 500, [repr(float(value)) for value in actual], [60.0] * 500)

    found = regression(counts)

    errors = np.abs(predicted - actual)
    assert found.mae == pytest.approx(quality.mean_absolute_error(actual, predicted))
    assert found.rmse == pytest.approx(quality.root_mean_squared_error(actual, predicted))
    assert found.r2 == pytest.approx(quality.r2_score(actual, predicted))
    assert found.mae_variance == pytest.approx(errors.var(ddof=1))
    assert found.delay_seconds == pytest.approx(60, rel=0.2)


def test_r2_is_undefined_where_labels_do_not_vary() -> None:
    counts = count_labels(layout(), [1.0, 2.0], ["", ""], ["3.0", "3.0"], [1.0, 1.0])

    assert regression(counts).r2 is None

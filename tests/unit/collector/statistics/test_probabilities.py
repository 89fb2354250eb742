"""Probabilities from score bins against scikit-learn on the raw scores, within the bounds that are stated."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as quality

import collector.statistics.probabilities as module
from collector.statistics.probabilities import (
    Binned,
    average_precision,
    brier,
    calibration_error,
    confusion_by_threshold,
    equal_groups,
    has_probabilities,
    log_loss,
    score_bins,
)
from storage.layouts import build_layout
from storage.records import Feature, FeatureType, Floats, Ints, Layout, Signature, Task


def layout_of(scores: Floats, classes: tuple[str, ...] = ("no", "yes")) -> Layout:
    feature = Feature(name="x", type=FeatureType.NUMBER, missing_allowed=False)
    signature = Signature(task=Task.CLASSIFICATION, features=(feature,), classes=classes)
    return build_layout("m", signature, [[0.0, 1.0]], scores)


def binned(scores: Floats, actual: Ints, edges: tuple[float, ...]) -> tuple[Ints, Ints]:
    place = np.searchsorted(np.asarray(edges), scores, side="right")
    negatives, positives = (np.bincount(place[actual == value], minlength=len(edges) + 1) for value in (0, 1))
    return negatives, positives


def sample(seed: int, n: int, distinct: int | None = None) -> tuple[Floats, Ints]:
    random = np.random.default_rng(seed)
    scores = random.beta(0.7, 1.5, n)
    if distinct:
        scores = np.round(scores * distinct) / distinct
    return scores, (random.random(n) < random.beta(2, 2) * 0.5 + scores * 0.5).astype(np.int64)


def edges_for(seed: int, distinct: int | None = None) -> tuple[float, ...]:
    return layout_of(sample(seed + 1, 2000, distinct)[0]).score.edges


seeds, sizes = st.integers(0, 10_000), st.integers(1, 300)
kinds = st.sampled_from([None, 7, 1000])


def test_docstring_examples_run() -> None:
    assert doctest.testmod(module).failed == 0


@given(seeds, sizes, kinds)
def test_losses_lie_within_their_bound_of_the_exact_ones(seed: int, n: int, distinct: int | None) -> None:
    scores, actual = sample(seed, n, distinct)
    edges = edges_for(seed, distinct)
    counts, bins = binned(scores, actual, edges), score_bins(edges)

    found, loss = brier(*counts, bins), log_loss(*counts, bins)

    assert found is not None
    assert loss is not None
    assert abs(found.value - quality.brier_score_loss(actual, scores, labels=[0, 1])) <= found.bound + 1e-12
    assert abs(loss.value - quality.log_loss(actual, scores, labels=[0, 1])) <= loss.bound + 1e-9


@given(seeds, sizes, kinds)
def test_average_precision_lies_within_its_bound_of_the_exact_one(seed: int, n: int, distinct: int | None) -> None:
    scores, actual = sample(seed, n, distinct)
    if not actual.any():
        return

    found = average_precision(*binned(scores, actual, edges_for(seed, distinct)))

    assert found is not None
    assert abs(found.value - quality.average_precision_score(actual, scores)) <= found.bound + 1e-12


@given(seeds, sizes)
def test_calibration_error_lies_within_its_bound_of_that_of_raw_scores_in_the_same_groups(seed: int, n: int) -> None:
    scores, actual = sample(seed, n)
    edges = edges_for(seed)
    negatives, positives = binned(scores, actual, edges)

    found = calibration_error(negatives, positives, score_bins(edges))

    assert found is not None
    groups = equal_groups(negatives + positives, 10)[np.searchsorted(np.asarray(edges), scores, side="right")]
    exact = sum(abs(float(np.sum(scores[groups == g] - actual[groups == g]))) for g in np.unique(groups)) / n
    assert abs(found.value - exact) <= found.bound + 1e-12


def test_scores_that_are_few_and_known_lose_nothing_to_binning() -> None:
    scores, actual = sample(3, 500, distinct=7)
    edges = layout_of(scores).score.edges
    counts, bins = binned(scores, actual, edges), score_bins(edges)

    found, loss, area = brier(*counts, bins), log_loss(*counts, bins), average_precision(*counts)

    assert found is not None
    assert loss is not None
    assert area is not None
    assert found.value == pytest.approx(quality.brier_score_loss(actual, scores))
    assert loss.value == pytest.approx(quality.log_loss(actual, scores))
    assert area.value == pytest.approx(quality.average_precision_score(actual, scores))


def test_binning_a_continuous_score_costs_little() -> None:
    scores, actual = sample(5, 3000)
    edges = layout_of(scores).score.edges
    counts, bins = binned(scores, actual, edges), score_bins(edges)

    bounds = [found.bound for found in (brier(*counts, bins), calibration_error(*counts, bins)) if found is not None]

    assert len(bounds) == 2
    assert max(bounds) < 0.01


def test_confusion_at_every_edge_equals_scikit_learn() -> None:
    scores, actual = sample(6, 400)
    edges = edges_for(6)

    found = confusion_by_threshold(*binned(scores, actual, edges), edges)

    for place in (0, 17, len(edges) - 1):
        matrix = quality.confusion_matrix(actual, scores >= found.threshold[place], labels=[0, 1])
        counted = [
            [found.true_negatives[place], found.false_positives[place]],
            [found.false_negatives[place], found.true_positives[place]],
        ]
        assert matrix.tolist() == counted


@pytest.mark.parametrize("name", ["brier", "log_loss", "pr_auc"])
def test_intervals_hold_the_truth_as_often_as_they_say(name: str) -> None:
    random = np.random.default_rng(7)
    edges = layout_of(random.beta(0.7, 1.5, 5000)).score.edges
    bins = score_bins(edges)

    def measure(n: int) -> Binned:
        scores = random.beta(0.7, 1.5, n)
        negatives, positives = binned(scores, (random.random(n) < scores).astype(np.int64), edges)
        found = {
            "brier": brier(negatives, positives, bins),
            "log_loss": log_loss(negatives, positives, bins),
            "pr_auc": average_precision(negatives, positives),
        }[name]
        assert found is not None
        return found

    truth = measure(400_000).value
    intervals = [measure(400).interval for _ in range(300)]

    held = np.mean([interval is not None and interval[0] <= truth <= interval[1] for interval in intervals])
    assert held > 0.92


def test_nothing_is_made_of_no_rows() -> None:
    none, bins = np.zeros(3, np.int64), score_bins((0.2, 0.6))

    assert (brier(none, none, bins), log_loss(none, none, bins), calibration_error(none, none, bins)) == (None, None, None)
    assert average_precision(none + 1, none) is None


def test_a_perfect_order_is_not_called_certain() -> None:
    found = average_precision(np.array([50, 0]), np.array([0, 50]))

    assert found is not None
    assert found.value == 1.0
    assert found.interval is not None
    assert 0.5 < found.interval[0] < 1.0


def test_a_single_positive_row_has_finite_values() -> None:
    found = average_precision(np.array([0, 0]), np.array([0, 1]))

    assert found is not None
    assert found.interval is not None
    assert all(np.isfinite([found.value, found.error or 0.0, *found.interval]))


@pytest.mark.parametrize(
    ("scores", "classes", "expected"),
    [
        (np.linspace(0, 1, 500), ("no", "yes"), True),
        (np.array([0.0, 1.0]), ("no", "yes"), False),
        (np.linspace(-3, 3, 500), ("no", "yes"), False),
        (np.linspace(0, 1, 500), ("a", "b", "c"), True),
        (np.array([]), ("no", "yes"), False),
    ],
    ids=["probabilities", "classes only", "decision values", "several classes", "no scores"],
)
def test_only_probabilities_count_as_such(scores: Floats, classes: tuple[str, ...], expected: bool) -> None:
    assert has_probabilities(layout_of(scores, classes)) is expected

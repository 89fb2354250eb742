"""Estimated performance against its definition on raw scores, and against labels that came later, in simulations."""

from __future__ import annotations

import doctest
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import roc_auc_score

import collector.statistics.estimation as module
from collector.statistics.estimation import (
    ScoreRates,
    calibration_gap,
    called_by_bin,
    estimate_accuracy,
    estimate_roc_auc,
    out_of_support,
    score_rates,
)
from storage.layouts import build_layout, count_labels
from storage.records import Feature, FeatureType, Floats, LabelCounts, Signature, Task
from tests.unit.collector.statistics.streams import Rows, draw, quantile_edges

Flags: TypeAlias = npt.NDArray[np.bool_]


def rates_from(rows: Rows, edges: tuple[float, ...]) -> ScoreRates:
    found = score_rates(*rows.counts(edges))
    assert found is not None
    return found


def raw_cbpe_accuracy(p: Floats, called: Flags) -> float:
    """The definition: the mean of the calibrated probability of what was predicted."""
    return float(np.where(called, p, 1 - p).mean())


def raw_cbpe_roc_auc(p: Floats, scores: Floats) -> float:
    """The definition: the trapezoid under expected true and false positives as the score falls."""
    ordered = p[np.argsort(-scores, kind="stable")]
    hits = np.concatenate([[0.0], np.cumsum(ordered)])
    misses = np.arange(hits.size) - hits
    return float(np.trapezoid(hits / hits[-1], misses / misses[-1]))


def test_docstring_examples_run() -> None:
    assert doctest.testmod(module).failed == 0


@settings(max_examples=40)
@given(st.integers(0, 10_000))
def test_it_equals_the_definition_on_raw_scores_within_the_spread_of_probabilities_in_a_bin(seed: int) -> None:
    random = np.random.default_rng(seed)
    reference, window = draw(random, 1500), draw(random, 400, a=1.5, b=0.9)
    edges = quantile_edges(reference.scores)
    rates = rates_from(reference, edges)
    calibrated = IsotonicRegression(out_of_bounds="clip").fit(reference.scores, reference.actual).predict(window.scores)
    called = window.scores >= np.sort(window.scores)[window.scores.size - window.called] if window.called else np.zeros(400, bool)

    found = estimate_accuracy(rates, window.bins(edges), window.called)

    assert found is not None
    place = np.searchsorted(np.asarray(edges), window.scores, side="right")
    bound = float(np.abs(calibrated - rates.rates[place]).mean()) + float(np.mean(place == place[called].min()))
    assert abs(found.value - raw_cbpe_accuracy(calibrated, called)) <= bound


def test_with_true_probabilities_it_is_off_by_no_more_than_the_width_of_the_bins() -> None:
    random = np.random.default_rng(1)
    scores = random.beta(0.8, 1.2, 5000)
    edges = quantile_edges(scores)
    place = np.searchsorted(np.asarray(edges), scores, side="right")
    rows = np.bincount(place, minlength=len(edges) + 1)
    means = np.bincount(place, weights=scores, minlength=len(edges) + 1) / np.maximum(rows, 1)
    rates = ScoreRates(rows=rows, rates=means, variances=means * (1 - means), isotonic=means)
    window = random.beta(1.5, 0.9, 3000)
    counts = np.append(np.bincount(np.searchsorted(np.asarray(edges), window, side="right"), minlength=len(edges) + 1), 0)

    accuracy, area = estimate_accuracy(rates, counts, int((window >= 0.5).sum())), estimate_roc_auc(rates, counts)

    assert accuracy is not None
    assert area is not None
    assert accuracy.bound is not None
    assert area.bound is not None
    widths = np.diff(np.array([0.0, *edges, 1.0]))
    assert abs(accuracy.value - raw_cbpe_accuracy(window, window >= 0.5)) <= float(counts[:-1] @ widths) / 3000
    assert abs(accuracy.value - raw_cbpe_accuracy(window, window >= 0.5)) <= accuracy.bound
    assert abs(area.value - raw_cbpe_roc_auc(window, window)) <= area.bound + 0.001


def test_on_its_own_reference_it_gives_the_performance_that_was() -> None:
    reference = draw(np.random.default_rng(2), 3000)
    edges = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    rates = rates_from(reference, edges)

    accuracy, area = (
        estimate_accuracy(rates, reference.bins(edges), reference.called),
        estimate_roc_auc(rates, reference.bins(edges)),
    )

    assert accuracy is not None
    assert area is not None
    assert accuracy.value == pytest.approx(reference.accuracy)
    assert area.value == pytest.approx(roc_auc_score(reference.actual, np.digitize(reference.scores, edges)))


@pytest.mark.parametrize(("a", "b"), [(0.8, 1.2), (1.5, 0.9), (3.0, 3.0)], ids=["no shift", "higher scores", "harder rows"])
@pytest.mark.parametrize(("n_reference", "n"), [(1000, 200), (5000, 1000)])
def test_under_covariate_shift_the_interval_holds_the_realised_value_19_times_of_20(
    a: float, b: float, n_reference: int, n: int
) -> None:
    random = np.random.default_rng(3)
    held, rounds = np.zeros(2), 200
    for _ in range(rounds):
        reference, window = draw(random, n_reference), draw(random, n, a=a, b=b)
        edges = quantile_edges(reference.scores)
        rates = rates_from(reference, edges)
        accuracy, area = estimate_accuracy(rates, window.bins(edges), window.called), estimate_roc_auc(rates, window.bins(edges))
        assert accuracy is not None
        assert area is not None
        held[0] += accuracy.interval[0] <= window.accuracy <= accuracy.interval[1]
        held[1] += area.interval[0] <= roc_auc_score(window.actual, window.scores) <= area.interval[1]

    assert 0.91 <= held[0] / rounds <= 0.99
    assert 0.91 <= held[1] / rounds <= 0.99


def test_harder_rows_lower_the_estimate_before_any_label_comes() -> None:
    random = np.random.default_rng(4)
    reference, window = draw(random, 5000), draw(random, 2000, a=8.0, b=8.0)
    edges = quantile_edges(reference.scores)

    found = estimate_accuracy(rates_from(reference, edges), window.bins(edges), window.called)

    assert found is not None
    assert reference.accuracy - found.value > 0.05
    assert found.value == pytest.approx(window.accuracy, abs=0.03)


def test_the_called_rows_are_those_with_the_highest_scores() -> None:
    rows = np.array([5, 0, 4, 3])

    assert [called_by_bin(rows, called).tolist() for called in (0, 3, 6, 12, 99)] == [
        [0, 0, 0, 0],
        [0, 0, 0, 3],
        [0, 0, 3, 3],
        [5, 0, 4, 3],
        [5, 0, 4, 3],
    ]


def test_scores_that_the_reference_has_not_seen_are_out_of_support() -> None:
    reference = np.array([0, 10, 0, 10])

    assert out_of_support(reference, np.array([1, 5, 2, 1, 1])) == pytest.approx(0.4)
    assert out_of_support(reference, np.zeros(5, np.int64)) == 0.0


def test_bins_without_labels_take_the_rate_between_their_neighbours() -> None:
    rates = score_rates(np.array([9, 0, 1]), np.array([1, 0, 9]))

    assert rates is not None
    assert rates.rates.tolist() == pytest.approx([0.1, 0.5, 0.9])


@pytest.mark.parametrize("one", [0, 1])
def test_a_reference_of_one_class_says_nothing(one: int) -> None:
    sides = [np.array([3, 4]), np.zeros(2, np.int64)]

    assert score_rates(sides[one], sides[1 - one]) is None


def test_a_window_without_scores_has_no_estimate() -> None:
    rates = score_rates(np.array([8, 2]), np.array([2, 8]))
    assert rates is not None

    assert estimate_accuracy(rates, np.array([0, 0, 30]), 10) is None
    assert estimate_roc_auc(rates, np.array([0, 0, 30])) is None


def label_counts(rows: Rows, predicted: Flags) -> LabelCounts:
    feature = Feature(name="x", type=FeatureType.NUMBER, missing_allowed=False)
    signature = Signature(task=Task.CLASSIFICATION, features=(feature,), classes=("no", "yes"))
    layout = build_layout("m", signature, [[0.0, 1.0]], rows.scores)
    names = ["no", "yes"]
    called, actual = [names[int(value)] for value in predicted], [names[int(value)] for value in rows.actual]
    return count_labels(layout, rows.scores.tolist(), called, actual, [0.0] * len(actual))


def test_predictions_that_do_not_follow_the_score_show_as_a_gap() -> None:
    rows = draw(np.random.default_rng(5), 4000)
    follows, does_not = label_counts(rows, rows.scores >= 0.5), label_counts(rows, np.arange(4000) % 2 == 1)

    gaps = []
    for counts in (follows, does_not):
        rates = score_rates(counts.score_by_class[:-1, 0], counts.score_by_class[:-1, 1])
        assert rates is not None
        gaps.append(calibration_gap(rates, counts))

    assert gaps[0] < 0.005
    assert gaps[1] > 0.1

"""Probabilities of more than two classes: bins from the reference, counts and exact sums at label time."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from storage.class_probabilities import MOST_CLASSES, PROBABILITY_BINS, by_class
from storage.layouts import add_labels, build_layout, count_labels, empty_label_counts, layout_from_json, layout_to_json
from storage.records import Floats, Layout, Signature, Task

NAMES = ("ant", "bee", "cow")


def layout_of(probabilities: Floats | None, classes: int = 3) -> Layout:
    names = (*NAMES, *(f"c{number:02d}" for number in range(classes - 3)))[:classes]
    signature = Signature(task=Task.CLASSIFICATION, features=(), classes=names)
    scores = np.array([0.4, 0.9]) if probabilities is None else probabilities.max(axis=1)
    return build_layout("m", signature, [], scores, None if probabilities is None else probabilities.tolist())


def drawn(n: int, classes: int = 3, seed: int = 0) -> tuple[Floats, list[str]]:
    """Probabilities that are true, and labels."""
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.ones(classes), n)
    names = layout_of(probabilities, classes).classes
    reached = probabilities.cumsum(axis=1)
    return probabilities, [names[min(int(place), classes - 1)] for place in (random.random((n, 1)) > reached).sum(axis=1)]


def test_log_loss_and_brier_sums_are_those_of_the_rows() -> None:
    probabilities, actual = drawn(500)
    layout = layout_of(probabilities)
    called = [layout.classes[place] for place in probabilities.argmax(axis=1)]

    counts = count_labels(layout, probabilities.max(axis=1).tolist(), called, actual, [0.0] * 500, probabilities.tolist())

    assert counts.losses[0] == 500
    assert counts.losses[1] / 500 == pytest.approx(log_loss(actual, probabilities, labels=NAMES), rel=1e-12)
    assert counts.losses[3] / 500 == pytest.approx(brier_score_loss(actual, probabilities, labels=NAMES), rel=1e-12)
    assert [part.sum() for part in by_class(layout, counts.probabilities)] == [500] * 3
    assert [part[:, 1].sum() for part in by_class(layout, counts.probabilities)] == [actual.count(name) for name in NAMES]


def test_a_value_is_counted_in_the_bin_that_holds_it() -> None:
    probabilities, _ = drawn(500)
    layout = layout_of(probabilities)
    row = [0.2, 0.3, 0.5]

    counts = count_labels(layout, [0.5], ["cow"], ["bee"], [0.0], [row])

    for value, bins, part in zip(row, layout.probabilities, by_class(layout, counts.probabilities), strict=True):
        place = int(np.argmax(part.sum(axis=1)))
        assert bins.edges[place - 1] <= value < bins.edges[place]
    assert counts.score_by_class.sum(axis=0).tolist() == [1, 0]


def test_bins_are_fine_where_a_rare_class_is() -> None:
    random = np.random.default_rng(3)
    rare = random.beta(0.4, 20, 5000)
    probabilities = np.column_stack([rare, (1 - rare) / 2, (1 - rare) / 2])

    edges = np.array(layout_of(probabilities).probabilities[0].edges)

    expected = np.histogram(rare, bins=[-1.0, *edges, 2.0], weights=rare)[0] / rare.sum()
    assert edges.size == PROBABILITY_BINS
    assert expected.max() <= 1.2 / (PROBABILITY_BINS / 2)


def test_each_of_few_distinct_values_is_an_edge() -> None:
    probabilities = np.array([[0.25, 0.25, 0.5], [0.0, 0.5, 0.5]] * 50)

    edges = [bins.edges for bins in layout_of(probabilities).probabilities]

    assert edges == [(0.0, 0.25), (0.25, 0.5), (0.5,)]


def test_rows_that_cannot_be_counted_are_left_out() -> None:
    layout = layout_of(drawn(100)[0])
    rows = [None, [0.5, 0.5], [0.2, None, 0.8], [0.2, 0.3, 0.5], [0.2, 0.3, 0.5], [7.0, 0.0, 0.0]]

    counts = count_labels(layout, [0.5] * 6, ["cow"] * 6, ["cow", "cow", "cow", "cow", "dog", "ant"], [0.0] * 6, rows)

    assert (counts.rows, counts.losses[0], counts.score_by_class.sum()) == (6, 1, 6)
    assert [part.sum() for part in by_class(layout, counts.probabilities)] == [1] * 3


@pytest.mark.parametrize(("classes", "kept"), [(2, 0), (3, 3), (MOST_CLASSES, MOST_CLASSES), (MOST_CLASSES + 1, 0)])
def test_histograms_are_kept_for_three_to_twenty_classes(classes: int, kept: int) -> None:
    probabilities, actual = drawn(60, classes)
    layout = layout_of(probabilities, classes)

    counts = count_labels(layout, [0.5] * 60, actual, actual, [0.0] * 60, probabilities.tolist())

    assert len(layout.probabilities) == kept
    assert counts.losses.tolist()[:1] == ([60] if classes > 2 else [])


def test_counts_add_up_and_come_off_again() -> None:
    probabilities, actual = drawn(300)
    layout = layout_of(probabilities)
    scores, rows = probabilities.max(axis=1).tolist(), probabilities.tolist()
    parts = [
        count_labels(layout, scores[a:b], actual[a:b], actual[a:b], [0.0] * (b - a), rows[a:b]) for a, b in ((0, 90), (90, 300))
    ]

    both = add_labels(add_labels(empty_label_counts(layout), parts[0]), parts[1])
    whole = count_labels(layout, scores, actual, actual, [0.0] * 300, rows)

    np.testing.assert_array_equal(both.probabilities, whole.probabilities)
    np.testing.assert_allclose(both.losses, whole.losses, rtol=1e-12)


@pytest.mark.parametrize("probabilities", [None, drawn(50)[0]])
def test_a_layout_with_probabilities_survives_json(probabilities: Floats | None) -> None:
    layout = layout_of(probabilities)

    assert layout_from_json("m", 0, layout_to_json(layout)) == layout

"""The histogram of absolute errors: its bins suit any target, and it adds up."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.error_histogram import ERROR_BINS, count_errors, error_middle, error_spread, error_upper
from storage.layouts import add_labels, build_layout, count_labels
from storage.records import Layout, Signature, Task

SIGNATURE = Signature(task=Task.REGRESSION, features=())


def layout_of(scores: list[float]) -> Layout:
    return build_layout("m", SIGNATURE, [], np.array(scores, np.float64))


@pytest.mark.parametrize(
    ("scores", "spread"),
    [
        (np.linspace(0, 100, 101).tolist(), 50.0),
        ([0.0] * 900 + [1e12], 1e12),
        ([7.0] * 50, 7.0),
        ([0.0] * 50, 1.0),
        ([], 1.0),
        ([math.nan, math.inf], 1.0),
        ([-1.7e308, 1.7e308], 1.7e308),
    ],
)
def test_bins_begin_at_a_millionth_of_the_spread_of_the_predictions(scores: list[float], spread: float) -> None:
    layout = layout_of(scores)

    assert error_spread(layout) == pytest.approx(spread, rel=0.03)
    assert error_upper(layout)[0] == pytest.approx(1e-6 * spread, rel=0.03)
    assert error_upper(layout).shape == (ERROR_BINS,)


@given(st.floats(2e-6, 15_000), st.sampled_from([1e-9, 1.0, 1e9]))
def test_the_middle_of_a_bin_is_within_two_percent_of_its_errors(error: float, unit: float) -> None:
    layout = layout_of((np.linspace(0, 2, 101) * unit).tolist())

    place = int(np.argmax(count_errors(layout, np.array([error * unit]), np.array([0.0]))))

    assert error_middle(layout)[place] == pytest.approx(error * unit, rel=0.02)


def test_errors_beyond_the_bins_are_counted_in_the_first_and_the_last() -> None:
    layout = layout_of(np.linspace(0, 2, 101).tolist())

    counts = count_errors(layout, np.array([5.0, 1e9, 1.7e308, math.nan, 3.0]), np.array([5.0, 0.0, -1.7e308, 1.0, math.inf]))

    assert (counts[0], counts[-1], counts.sum()) == (1, 2, 3)
    assert error_middle(layout)[0] == 0.0


def test_errors_of_labels_add_up_and_come_off_again() -> None:
    layout = layout_of(np.linspace(0, 2, 101).tolist())
    random = np.random.default_rng(1)
    scores, actual = random.normal(size=400), random.normal(size=400)

    def counted(part: slice) -> np.ndarray:
        texts = [repr(float(value)) for value in actual[part]]
        return count_labels(layout, scores[part].tolist(), [None] * len(texts), texts, [0.0] * len(texts)).errors

    whole, first, second = counted(slice(None)), counted(slice(0, 150)), counted(slice(150, None))

    np.testing.assert_array_equal(first + second, whole)
    np.testing.assert_array_equal(whole - first, second)
    both = [count_labels(layout, [1.0], [None], ["3"], [0.0]), count_labels(layout, [1.0], [None], ["1"], [0.0])]
    assert add_labels(*both).errors.sum() == 2

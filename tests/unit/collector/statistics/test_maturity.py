"""How many labels have usually come, and whether those that came were picked."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from scipy.stats import chi2_contingency

import collector.statistics.maturity as module
from collector.statistics.maturity import arrived_share, label_selection
from storage.layouts import DELAY_BINS, DELAY_GROWTH, DELAY_MIN_SECONDS, log_bins
from storage.records import Floats, Ints


def delays(seconds: Floats) -> Ints:
    return log_bins(seconds, DELAY_MIN_SECONDS, DELAY_GROWTH, DELAY_BINS)


def test_docstring_examples_run() -> None:
    assert doctest.testmod(module).failed == 0


def test_the_share_that_has_come_is_the_mean_of_the_delays_distribution_over_the_window() -> None:
    random = np.random.default_rng(1)
    histogram = delays(random.exponential(1800, 20_000))

    found = arrived_share(histogram, 600, 4200)

    ages = np.linspace(600, 4200, 1000)
    assert found is not None
    assert found == pytest.approx(float(np.mean(1 - np.exp(-ages / 1800))), abs=0.06)
    assert found <= np.mean(1 - np.exp(-ages / 1800)) + 0.01


def test_it_grows_with_age() -> None:
    histogram = delays(np.random.default_rng(2).exponential(1800, 500))

    shares = [arrived_share(histogram, age, age + 300) for age in (0, 600, 3600, 36_000)]

    assert shares == sorted(shares)  # type: ignore[type-var]
    assert shares[-1] == 1.0


def test_few_delays_say_nothing() -> None:
    assert arrived_share(delays(np.full(29, 60.0)), 0, 300) is None
    assert arrived_share(np.zeros(DELAY_BINS, np.int64), 0, 300) is None


def test_selection_is_the_chi_squared_test_of_labelled_against_other_rows() -> None:
    labelled, others = np.array([30, 40, 50, 60]), np.array([60, 40, 50, 30])

    found = label_selection(labelled + others, labelled, 4)

    expected = chi2_contingency([labelled, others], correction=False)
    assert found is not None
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.effect == pytest.approx((expected.statistic / 360) ** 0.5)


def test_labels_picked_at_random_are_not_called_selected() -> None:
    random = np.random.default_rng(4)
    p_values = []
    for _ in range(400):
        scored = random.multinomial(500, np.full(121, 1 / 121))
        found = label_selection(scored, random.binomial(scored, 0.4))
        assert found is not None
        p_values.append(found.p_value)

    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=0.03)


@pytest.mark.parametrize(
    ("scored", "labelled"),
    [([10, 10], [1, 1]), ([50, 50], [50, 50]), ([100], [50]), ([0, 0], [0, 0])],
    ids=["few labels", "all labelled", "one bin", "nothing"],
)
def test_it_says_nothing_where_there_is_nothing_to_compare(scored: list[int], labelled: list[int]) -> None:
    assert label_selection(np.array(scored), np.array(labelled)) is None

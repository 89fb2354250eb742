"""Wasserstein and chi-squared against scipy, and where there is nothing to compare."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import chi2_contingency, wasserstein_distance

import collector.statistics.two_samples as module
from collector.statistics.two_samples import chi_squared, expected_other_share, normalised_wasserstein, unseen_shares
from storage.records import Floats, Ints

samples = hnp.arrays(float, st.integers(2, 40), elements=st.integers(-50, 50).map(float))
counts = hnp.arrays(np.int64, 6, elements=st.integers(0, 200))


def test_docstring_examples_run() -> None:
    assert doctest.testmod(module).failed == 0


@given(samples.filter(lambda values: values.std() > 0), samples)
def test_wasserstein_is_scipys_in_units_of_the_deviation(reference: Floats, current: Floats) -> None:
    expected = wasserstein_distance(reference, current) / reference.std()

    assert normalised_wasserstein(reference, current) == pytest.approx(expected, abs=1e-9)


@given(samples.filter(lambda values: values.std() > 0), st.floats(0.1, 1e6), st.floats(-1e3, 1e3))
def test_wasserstein_does_not_depend_on_the_unit(reference: Floats, scale: float, shift: float) -> None:
    current = reference + 3

    moved = normalised_wasserstein(reference * scale + shift, current * scale + shift)

    assert moved == pytest.approx(normalised_wasserstein(reference, current), rel=1e-4)


@given(counts, counts)
def test_chi_squared_is_scipys(reference: Ints, current: Ints) -> None:
    found = chi_squared(reference, current)

    used = (reference + current) > 0
    if not reference.sum() or not current.sum():
        assert found is None
    else:
        expected = chi2_contingency([reference[used], current[used]], correction=False)
        assert found == pytest.approx((expected.statistic, expected.pvalue), abs=1e-9)


@pytest.mark.parametrize(
    ("reference", "current", "distance"),
    [
        ([], [1.0], None),
        ([1.0], [np.nan], None),
        ([2.0, 2.0], [2.0], 0.0),
        ([2.0, 2.0], [3.0], None),
        ([0.0, 2.0], [np.inf, 1.0, 3.0], 1.0),
    ],
)
def test_wasserstein_at_the_borders(reference: list[float], current: list[float], distance: float | None) -> None:
    assert normalised_wasserstein(np.array(reference), np.array(current)) == distance


def test_expected_share_of_unseen_values_is_met_by_a_second_sample() -> None:
    generator = np.random.default_rng(1)
    shares = 1 / np.arange(1, 2001) / np.sum(1 / np.arange(1, 2001))

    pairs = [unseen_shares(generator.multinomial(2000, shares), generator.multinomial(2000, shares)) for _ in range(20)]

    found, expected = np.array(pairs, float).mean(axis=0)
    assert found == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(("reference", "current"), [([0, 0], [1, 2]), ([1, 2], [0, 0])])
def test_unseen_values_need_both_sides(reference: list[int], current: list[int]) -> None:
    assert unseen_shares(np.array(reference), np.array(current)) == (None, None)


@pytest.mark.parametrize(("levels", "rows"), [(300, 1000), (1000, 1000), (150, 5000), (50, 400), (5000, 2000)])
def test_the_expected_share_of_other_values_is_that_of_fresh_rows(levels: int, rows: int) -> None:
    """Equally frequent values, of which a hundred had luck in the reference."""
    found = []
    for seed in range(30):
        counts = np.bincount(np.random.default_rng(seed).integers(0, levels, rows), minlength=levels)
        chosen = np.argsort(-counts, kind="stable")[:100]
        expected = expected_other_share(counts, 100)
        assert expected is not None
        found.append(expected - (1 - counts[chosen][counts[chosen] > 0].size / levels))

    assert np.mean(found) == pytest.approx(0, abs=0.015)
    assert np.abs(found).max() < 0.1


@given(st.lists(st.integers(0, 30), max_size=40), st.integers(1, 50))
def test_the_expected_share_is_a_share(rows: list[int], kept: int) -> None:
    expected = expected_other_share(np.array(rows, np.int64), kept)

    assert (expected is None) == (sum(rows) == 0)
    assert expected is None or 0 <= expected <= 1


@given(counts)
def test_with_all_values_kept_it_is_what_unseen_shares_expects(rows: Ints) -> None:
    assert expected_other_share(rows, 100) == pytest.approx(unseen_shares(rows, np.ones(6, np.int64))[1])

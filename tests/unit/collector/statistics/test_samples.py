"""Exact two-sample statistics against scipy."""

from __future__ import annotations

import doctest
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import anderson_ksamp, cramervonmises_2samp, wasserstein_distance

from collector.statistics import samples
from collector.statistics.samples import anderson_darling, cramer_von_mises, cramer_von_mises_tail, exact_wasserstein
from storage.records import Floats

values = st.lists(st.floats(-5, 5, width=16) | st.sampled_from([-1.0, 0.0, 1.0]), min_size=3, max_size=60).map(np.array)


def test_docstring_examples_run() -> None:
    assert doctest.testmod(samples).failed == 0


@given(values.filter(lambda sample: sample.std() > 1e-6), values)
def test_wasserstein_equals_scipy_in_deviations_of_the_reference(reference: Floats, current: Floats) -> None:
    expected = wasserstein_distance(reference, current) / reference.std()

    assert exact_wasserstein(reference, current) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(values, values)
def test_cramer_von_mises_equals_scipy_with_ties(reference: Floats, current: Floats) -> None:
    expected = cramervonmises_2samp(reference, current, method="asymptotic")

    found = cramer_von_mises(reference, current)

    assert found is not None
    assert found[0] == pytest.approx(expected.statistic, abs=1e-9)
    assert found[1] == pytest.approx(expected.pvalue, abs=1e-6)


@pytest.mark.parametrize(("statistic", "p"), [(0.34730, 0.10), (0.46136, 0.05), (0.74346, 0.01), (1.16786, 0.001)])
def test_cramer_von_mises_tail_matches_the_published_table(statistic: float, p: float) -> None:
    assert cramer_von_mises_tail(statistic) == pytest.approx(p, rel=0.001)  # Anderson and Darling (1952), table 1


@given(values, values)
def test_anderson_darling_equals_scipy_with_ties(reference: Floats, current: Floats) -> None:
    found = anderson_darling(reference, current)
    if found is None:
        assert np.unique(np.concatenate((reference, current))).size < 2
        return

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy says where it cuts the p-value off
        expected = anderson_ksamp([reference, current], variant="midrank")

    assert found[0] == pytest.approx(expected.statistic, rel=1e-9, abs=1e-9)
    assert found[1] == pytest.approx(expected.pvalue, rel=1e-9)


def test_samples_too_small_have_no_statistic() -> None:
    one, two, none = np.array([1.0]), np.array([1.0, 2.0]), np.zeros(0)

    assert (cramer_von_mises(one, two), anderson_darling(one, two), anderson_darling(none, two)) == (None, None, None)
    assert (exact_wasserstein(none, two), exact_wasserstein(two, none)) == (None, None)


def test_without_deviation_or_with_infinities_there_is_no_wasserstein() -> None:
    assert exact_wasserstein(np.full(9, 0.1), np.array([1.0])) is None
    assert exact_wasserstein(np.array([1.0, 2.0]), np.array([1.0, np.inf])) is None
    assert exact_wasserstein(np.array([1e308, -1e308]), np.array([1e308])) is None


def test_infinities_are_values_to_the_rank_statistics() -> None:
    reference, current = np.array([1.0, 2.0, 3.0, -np.inf]), np.array([2.0, np.inf, 4.0, 5.0])
    ranked = np.array([2.0, 3.0, 4.0, 1.0]), np.array([3.0, 7.0, 5.0, 6.0])

    assert anderson_darling(reference, current) == anderson_darling(*ranked)
    assert cramer_von_mises(reference, current) == cramer_von_mises(*ranked)

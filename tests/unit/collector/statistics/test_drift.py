"""Drift statistics against independent implementations, tables and properties."""

from __future__ import annotations

import doctest
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp

import collector.statistics.drift as module
from collector.statistics.drift import (
    FeatureDrift,
    categorical_drift,
    exact_ks,
    feature_drift,
    grouped,
    js_distance,
    ks_error_bound,
    ks_p_value,
    ks_statistic,
    means_distance,
    numeric_drift,
    psi,
    psi_groups,
    reference_bins,
)
from storage.layouts import bin_indices
from storage.records import Bins, FeatureType, Floats, Ints

EXACT_ONLY = {
    *("ks", "ks_p", "mean_shift", "wasserstein"),
    *("anderson_darling", "anderson_darling_p", "cramer_von_mises", "cramer_von_mises_p"),
}
"""What raw samples give and bins without moments do not, or not to the last digit."""

counts = hnp.arrays(np.int64, 8, elements=st.integers(0, 50))
samples = st.lists(st.floats(-5, 5) | st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=80).map(np.array)


def count(bins: Bins, values: Floats) -> Ints:
    return np.bincount(bin_indices(bins, values), minlength=bins.size)


def moments(values: Floats) -> Floats:
    return np.array([values.size, values.sum(), np.square(values).sum()])


def test_docstring_examples_run() -> None:
    assert doctest.testmod(module).failed == 0


@given(samples.filter(lambda values: values.size > 1), samples.filter(lambda values: values.size > 1))
def test_exact_ks_equals_scipy(reference: Floats, current: Floats) -> None:
    assert exact_ks(reference, current) == pytest.approx(ks_2samp(reference, current, method="asymp").statistic, abs=1e-12)


@given(samples, samples)
def test_binned_ks_lies_below_the_exact_one_by_at_most_its_bound(reference: Floats, current: Floats) -> None:
    bins = reference_bins(reference)
    left, right = count(bins, reference)[:-1], count(bins, current)[:-1]

    binned, exact = ks_statistic(left, right), exact_ks(reference, current)

    assert binned is not None
    assert exact is not None
    assert binned - 1e-12 <= exact <= binned + ks_error_bound(left, right) + 1e-12


def test_bound_is_less_than_one_bin_for_a_continuous_reference() -> None:
    random = np.random.default_rng(1)
    bins = reference_bins(random.normal(size=12_000))

    bound = ks_error_bound(count(bins, random.normal(size=12_000))[:-1], count(bins, random.normal(0.3, 1, 3_000))[:-1])

    assert 0 < bound < 1 / 120 + 0.01


@given(counts, counts)
def test_js_equals_scipy_with_base_2(reference: Ints, current: Ints) -> None:
    found = js_distance(reference, current)

    if not reference.sum() or not current.sum():
        assert found is None
    else:
        assert found == pytest.approx(jensenshannon(reference, current, base=2), abs=1e-7)


@given(counts, counts)
def test_psi_is_never_negative_and_symmetric_for_equal_sizes(reference: Ints, current: Ints) -> None:
    found = psi(reference, current)

    if found is not None:
        assert found >= 0
        assert found == pytest.approx(psi(current, reference))


def test_psi_counts_an_empty_group_as_half_a_row() -> None:
    found = psi(np.array([50, 50, 0]), np.array([60, 38, 2]))

    shares = [(0.5, 0.6), (0.5, 0.38), (0.005, 0.02)]
    assert found == pytest.approx(sum((c - r) * math.log(c / r) for r, c in shares))


@pytest.mark.parametrize(
    ("statistic", "n", "m", "p"), [(0.192, 100, 100, 0.050), (0.061, 1000, 1000, 0.048), (0.0086, 50_000, 50_000, 0.0497)]
)
def test_ks_p_value_matches_known_critical_values(statistic: float, n: int, m: int, p: float) -> None:
    assert ks_p_value(statistic, n, m) == pytest.approx(p, rel=0.02)


def test_ks_p_value_agrees_with_scipy_for_large_samples() -> None:
    random = np.random.default_rng(2)
    reference, current = random.normal(size=4000), random.normal(0.05, 1, size=3000)
    expected = ks_2samp(reference, current, method="asymp")

    assert ks_p_value(float(expected.statistic), 4000, 3000) == pytest.approx(float(expected.pvalue), rel=0.05)


class TestGroups:
    def test_quantile_bins_form_ten_groups_of_twelve(self) -> None:
        bins = reference_bins(np.arange(12_000.0))
        groups = psi_groups(bins, count(bins, np.arange(12_000.0)))

        assert np.bincount(groups).tolist() == [13, *[12] * 8, 13, 1]  # the ends hold what lies outside, missing is by itself

    def test_a_heavy_value_leaves_fewer_groups(self) -> None:
        values = np.concatenate((np.zeros(600), np.linspace(1, 2, 400)))
        bins = reference_bins(values)

        reference, _ = grouped(bins, count(bins, values), count(bins, values))

        assert reference.tolist()[0] >= 600
        assert 4 <= reference.size <= 6

    @given(samples, samples)
    def test_only_what_lies_beyond_the_reference_may_be_a_group_that_is_empty_in_it(
        self, reference: Floats, current: Floats
    ) -> None:
        bins = reference_bins(reference)
        held = count(bins, reference)
        groups = psi_groups(bins, held)

        by_group = np.bincount(groups, weights=held)

        known = np.flatnonzero(held[:-1])
        inside = groups[known[0] : known[-1] + 1]
        assert (by_group[inside] > 0).all()
        assert all(0 <= b - a <= 1 for a, b in pairwise(groups.tolist()))

    @pytest.mark.parametrize(
        ("reference", "current"),
        [
            (np.full(1000, -1.0), np.repeat([-1.0, 7.0], 500)),
            (np.full(1000, -1.0), np.repeat([-9.0, -1.0], 500)),
            (np.repeat([0.0, 1.0], 500), np.repeat([0.0, 1.0, 2.0], 300)),
            (np.append(np.linspace(0, 99, 700), np.full(300, 100.0)), np.append(np.linspace(0, 99, 700), np.full(300, 150.0))),
        ],
        ids=["constant grew", "constant fell", "flag got a third value", "clip was lifted"],
    )
    def test_values_beyond_a_single_value_are_seen(self, reference: Floats, current: Floats) -> None:
        bins = reference_bins(reference)
        held, found = count(bins, reference), count(bins, current)

        assert (psi(*grouped(bins, held, found)) or 0) > 0.2
        assert (js_distance(*grouped(bins, held, found)) or 0) > 0.2

    def test_rare_categories_and_unknown_ones_share_a_group(self) -> None:
        bins = Bins(name="c", categories=("a", "b", "rare"), is_categorical=True)

        groups = psi_groups(bins, np.array([600, 396, 4, 0, 0]))

        assert groups.tolist() == [0, 1, 2, 2, 3]


class TestEdges:
    bins = Bins(name="x", edges=(0.0, 1.0, 2.0, 3.0))
    reference = np.array([0, 30, 40, 30, 0, 0])

    def test_empty_current_has_no_statistics(self) -> None:
        found = feature_drift(self.bins, self.reference, np.zeros(6, np.int64))

        assert (found.ks, found.psi, found.js, found.missing_current, found.n_current) == (None, None, None, None, 0)

    def test_empty_reference_has_no_statistics(self) -> None:
        found = feature_drift(self.bins, np.zeros(6, np.int64), self.reference)

        assert (found.ks, found.psi, found.js, found.missing_reference) == (None, None, None, None)
        assert found.missing_current == 0.0

    def test_a_column_that_went_missing_is_a_result(self) -> None:
        found = feature_drift(self.bins, self.reference, np.array([0, 0, 0, 0, 0, 100]))

        assert (found.ks, found.ks_p, found.missing_current, found.out_of_range_share) == (None, None, 1.0, None)
        assert found.js == pytest.approx(1.0)
        assert found.psi is not None
        assert found.psi > 3

    def test_missing_values_are_left_out_of_ks(self) -> None:
        with_missing = np.array([0, 30, 40, 30, 0, 50])

        found = feature_drift(self.bins, self.reference, with_missing)

        assert found.ks == pytest.approx(0.0, abs=1e-12)
        assert found.psi is not None
        assert found.psi > 0.1

    def test_values_below_and_above_the_range_count_in_all_statistics(self) -> None:
        found = feature_drift(self.bins, self.reference, np.array([0, 30, 40, 0, 30, 0]))

        assert found.out_of_range_share == pytest.approx(0.3)
        assert found.ks == pytest.approx(0.3)
        assert found.psi is not None
        assert found.psi > 0.2  # a single value was the last group, so what lies beyond is a group of its own

    def test_a_constant_column_that_stays_has_no_drift(self) -> None:
        found = numeric_drift(np.ones(100), np.ones(50))

        assert (found.ks, found.psi, found.js, found.out_of_range_share) == (0.0, 0.0, 0.0, 0.0)

    def test_a_constant_column_that_changes_drifts_completely(self) -> None:
        found = numeric_drift(np.ones(100), np.full(50, 2.0))

        assert (found.ks, found.js, found.out_of_range_share) == (1.0, 1.0, 1.0)

    def test_nan_is_missing_and_infinity_out_of_range(self) -> None:
        found = numeric_drift(np.arange(10.0), np.array([1.0, np.nan, np.inf, -np.inf]))

        assert found.missing_current == 0.25
        assert found.out_of_range_share == pytest.approx(2 / 3)
        assert found.ks == pytest.approx(exact_ks(np.arange(10.0), np.array([1.0, np.inf, -np.inf])))

    def test_unseen_categories_are_a_share_of_the_present_ones(self) -> None:
        found = categorical_drift(["a"] * 50 + ["b"] * 50, ["a", "new", "newer", None])

        assert found.unseen_share == pytest.approx(2 / 3)
        assert found.missing_current == 0.25
        assert found.ks is None


@given(samples, samples)
def test_exact_and_binned_agree_on_everything_that_bins_alone_allow(reference: Floats, current: Floats) -> None:
    bins = reference_bins(reference, FeatureType.NUMBER)
    binned = feature_drift(bins, count(bins, reference), count(bins, current))
    exact = numeric_drift(reference, current)

    for name in FeatureDrift.__dataclass_fields__:
        if name not in EXACT_ONLY:
            assert getattr(binned, name) == getattr(exact, name)


def test_from_counts_and_moments_the_shift_of_the_mean_is_the_exact_one() -> None:
    random = np.random.default_rng(3)
    reference, current = random.normal(5, 2, 4000), random.normal(6, 2, 1000)
    bins = reference_bins(reference)

    found = feature_drift(bins, count(bins, reference), count(bins, current), moments(reference), moments(current))

    assert found.mean_shift == pytest.approx(numeric_drift(reference, current).mean_shift, rel=1e-9)
    assert found.mean_shift == pytest.approx((current.mean() - reference.mean()) / reference.std(), rel=1e-9)


def test_a_column_that_was_all_missing_is_out_of_range_at_most_once() -> None:
    bins = reference_bins(np.full(100, np.nan))

    found = feature_drift(bins, count(bins, np.full(100, np.nan)), count(bins, np.array([1.0, 2.0, np.nan])))

    assert found.out_of_range_share == 1.0
    assert (found.ks, found.wasserstein) == (None, None)


def test_distance_of_means_is_euclidean_over_the_numeric_columns() -> None:
    drifts = [numeric_drift([0.0, 2.0], [3.0]), numeric_drift([0.0, 2.0], [1.0, 1.0]), categorical_drift(["a"], ["b"])]

    assert means_distance(drifts) == pytest.approx(2.0)
    assert means_distance(drifts[2:]) is None

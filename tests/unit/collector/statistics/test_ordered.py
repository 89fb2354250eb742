"""Wasserstein and the shift of the mean from counts and moments, against the exact ones."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.statistics import ordered
from collector.statistics.drift import feature_drift, reference_bins
from collector.statistics.ordered import shift, single_values, wasserstein_error_bound
from collector.statistics.samples import exact_wasserstein
from storage.layouts import bin_indices
from storage.records import Bins, Floats, Ints

values = st.lists(st.floats(-50, 50, width=16) | st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=80).map(np.array)


def count(bins: Bins, column: Floats) -> Ints:
    return np.bincount(bin_indices(bins, column), minlength=bins.size)


def moments(column: Floats) -> Floats:
    finite = column[np.isfinite(column)]
    with np.errstate(over="ignore"):
        return np.array([finite.size, finite.sum(), np.square(finite).sum()])


def binned(bins: Bins, reference: Floats, current: Floats) -> tuple[float | None, float | None]:
    """Wasserstein from counts, and its bound."""
    counts, sums = (count(bins, reference), count(bins, current)), (moments(reference), moments(current))
    bound = wasserstein_error_bound(bins, counts[0][:-1], counts[1][:-1], *sums)
    return feature_drift(bins, *counts, *sums).wasserstein, bound


def test_docstring_examples_run() -> None:
    assert doctest.testmod(ordered).failed == 0


@given(values, values, values)
def test_binned_wasserstein_is_off_by_at_most_its_bound(registered: Floats, reference: Floats, current: Floats) -> None:
    bins = reference_bins(registered)  # of other rows, so that both sides have values out of the range
    found, bound = binned(bins, reference, current)
    exact = exact_wasserstein(reference, current)

    if found is None:
        assert exact is None or reference.std() < 1e-5 * np.abs(reference).max()
    else:
        assert exact is not None
        assert bound is not None
        assert abs(found - exact) <= bound * (1 + 1e-6) + 1e-5


@given(values.filter(lambda column: column.std() > 1e-3), values)
def test_binned_wasserstein_is_never_below_the_shift_of_the_mean(reference: Floats, current: Floats) -> None:
    found, _ = binned(reference_bins(reference), reference, current)

    assert found is not None
    assert found >= abs(current.mean() - reference.mean()) / reference.std() - 1e-6


@pytest.mark.parametrize("moved", [0.0, 0.2, 1.0, 5.0])
@pytest.mark.parametrize("name", ["normal", "lognormal", "uniform"])
def test_estimate_is_close_for_continuous_columns(name: str, moved: float) -> None:
    random = np.random.default_rng(6)
    reference, current = getattr(random, name)(size=10_000), getattr(random, name)(size=10_000) + moved

    found, _ = binned(reference_bins(reference), reference, current)

    close = 0.05 if name == "lognormal" else 0.01
    assert found == pytest.approx(exact_wasserstein(reference, current), rel=0.02, abs=close)


def test_columns_of_few_values_are_exact() -> None:
    random = np.random.default_rng(7)
    reference, current = random.poisson(3, 4000).astype(float), random.poisson(4, 1000).astype(float)
    current = np.minimum(current, reference.max())

    found, _ = binned(reference_bins(reference), reference, current)

    assert found == pytest.approx(exact_wasserstein(reference, current), rel=1e-9)


def test_a_column_that_left_the_range_on_one_side_is_as_far_as_its_mean_says() -> None:
    reference, current = np.linspace(0, 1, 500), np.linspace(7, 9, 300)

    found, _ = binned(reference_bins(reference), reference, current)

    assert found == pytest.approx(exact_wasserstein(reference, current), rel=1e-9)


@pytest.mark.parametrize(
    ("reference", "current"),
    [
        (np.full(50, 0.1), np.full(50, 0.3)),
        (np.arange(50.0), np.append(np.arange(50.0), np.inf)),
        (np.append(np.arange(50.0), -np.inf), np.arange(50.0)),
        (np.arange(50.0), np.full(9, np.nan)),
        (np.linspace(-1e300, 1e300, 50), np.arange(9.0)),
        (1.7e9 + np.linspace(0, 1e-3, 50), np.full(9, 1.7e9)),
    ],
    ids=["constant", "infinite window", "infinite reference", "all missing", "squares overflow", "deviation drowns"],
)
def test_where_there_is_no_distance_it_is_none(reference: Floats, current: Floats) -> None:
    assert binned(reference_bins(reference), reference, current) == (None, None)


def test_single_values_are_told_from_ranges() -> None:
    assert single_values(reference_bins(np.array([0.0, 1.0, 2.0, 0.0])))
    assert single_values(reference_bins(np.full(9, 3.0)))
    assert not single_values(reference_bins(np.random.default_rng(8).normal(size=5000)))
    assert not single_values(reference_bins(np.full(9, np.nan)))


def test_shift_is_of_the_finite_values() -> None:
    found = shift(moments(np.array([0.0, 2.0, np.inf])), moments(np.array([3.0, 5.0, np.nan])))

    assert [found.mean.item(), found.variance.item()] == [3.0, 1.0]

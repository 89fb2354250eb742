"""Null distributions: against scipy, against simulation, and against their own inverses."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import chndtrinc
from scipy.stats import chi2, ks_2samp, mannwhitneyu

import collector.statistics.nulls as module
import collector.statistics.shift as shift_module
from collector.statistics import nulls
from collector.statistics.drift import js_distance, psi
from collector.statistics.nulls import Weights
from collector.statistics.shift import rank_deviation, rank_shift


def test_docstring_examples_run() -> None:
    assert doctest.testmod(module).failed == 0
    assert doctest.testmod(shift_module).failed == 0


@pytest.mark.parametrize(("n", "expected"), [(100, 0.192), (1000, 0.0607), (50_000, 0.00859)])
def test_ks_quantile_matches_known_critical_values(n: int, expected: float) -> None:
    assert nulls.ks_quantile(0.05, 2 / n) == pytest.approx(expected, rel=0.01)


def test_ks_p_is_scipys_asymptotic_one() -> None:
    random = np.random.default_rng(0)
    left, right = random.normal(size=500), random.normal(0.15, 1, 300)

    expected = ks_2samp(left, right, method="asymp")

    assert nulls.ks_p(expected.statistic, 1 / 500 + 1 / 300) == pytest.approx(expected.pvalue, rel=0.15)


def test_shift_p_is_that_of_mann_and_whitney() -> None:
    random = np.random.default_rng(1)
    left, right = random.integers(0, 30, 4000), random.integers(0, 30, 400) + (random.random(400) < 0.3)
    counts = [np.bincount(side, minlength=31) for side in (left, right)]

    value = float(rank_shift(counts[0], counts[1]))
    found = nulls.shift_p(value, rank_deviation(counts[0]), 1 / 4000 + 1 / 400)

    assert found == pytest.approx(mannwhitneyu(left, right, use_continuity=False).pvalue, rel=0.05)


@pytest.mark.parametrize("shift", [0.0, 0.2, 1.0, -0.5])
def test_rank_shift_of_normal_columns_is_their_shift_in_deviations(shift: float) -> None:
    random, edges = np.random.default_rng(2), np.linspace(-4, 4, 400)
    counts = [np.bincount(np.searchsorted(edges, random.normal(s, 1, 200_000)), minlength=401) for s in (0.0, shift)]

    assert rank_shift(counts[0], counts[1]) == pytest.approx(abs(shift), abs=0.012)


def test_rank_shift_of_an_empty_side_is_nan_and_without_overlap_it_is_a_number() -> None:
    empty = np.zeros(2, np.int64)

    assert np.isnan(rank_shift(empty, np.array([1, 2])))
    assert np.isnan(rank_shift(np.array([1, 2]), empty))
    assert rank_shift(np.array([5, 0, 0]), np.array([0, 0, 5])) == pytest.approx(8.482, abs=0.001)
    assert rank_deviation(empty) == 0.0


QUANTILES: list[tuple[Callable[..., object], Callable[..., object]]] = [
    (partial(nulls.ks_p, spread=0.006), partial(nulls.ks_quantile, spread=0.006)),
    (partial(nulls.shift_p, deviation=0.28, spread=0.006), partial(nulls.shift_quantile, deviation=0.28, spread=0.006)),
    (partial(nulls.psi_p, groups=10, spread=0.006), partial(nulls.psi_quantile, groups=10, spread=0.006)),
    (partial(nulls.js_p, groups=10, spread=0.006), partial(nulls.js_quantile, groups=10, spread=0.006)),
    (
        partial(nulls.js_p, groups=5, spread=0.001, weights=Weights(first=3, second=20, third=200)),
        partial(nulls.js_quantile, groups=5, spread=0.001, weights=Weights(first=3, second=20, third=200)),
    ),
]


@pytest.mark.parametrize(("p_of", "quantile_of"), QUANTILES)
@pytest.mark.parametrize("alpha", [0.05, 1e-3, 1e-7])
def test_quantiles_are_the_inverse_of_p_values(p_of: Callable[..., float], quantile_of: Callable[..., float], alpha: float) -> None:
    assert p_of(quantile_of(alpha)) == pytest.approx(alpha, rel=1e-6)


@given(st.floats(1e-9, 0.04), st.floats(0.001, 0.999), st.integers(20, 100_000))
def test_share_limits_are_the_inverse_of_the_score(alpha: float, expected: float, n: int) -> None:
    upper, lower = nulls.share_upper(alpha, expected, 1 / n), nulls.share_lower(alpha, expected, 1 / n)

    assert 0 <= lower <= expected <= upper <= 1
    for limit in (lower, upper):
        if 0 < limit < 1:
            assert nulls.upper_tail(abs(float(nulls.share_z(limit, expected, 1 / n)))) == pytest.approx(alpha, rel=1e-3)


@pytest.mark.parametrize("quantile", [nulls.psi_quantile, nulls.js_quantile])
def test_quantiles_fall_with_either_sample_size(quantile: Callable[..., float]) -> None:
    sizes = [(200, 10_000), (400, 10_000), (400, 100_000)]

    found = [quantile(1e-4, 10, nulls.spread_of(n, m)) for n, m in sizes]

    assert found == sorted(found, reverse=True)


def test_psi_quantile_is_the_chi_squared_one_for_large_samples() -> None:
    assert nulls.psi_quantile(0.01, 10, 2e-5) == pytest.approx(2e-5 * chi2.isf(0.01, 9), rel=1e-3)


def test_a_group_alone_cannot_drift() -> None:
    assert nulls.psi_quantile(0.01, 1, 0.006) == 0.0
    assert nulls.psi_p(0.0, 1, 0.006) == 1.0


@pytest.mark.parametrize("alpha", [0.05, 1e-3])
@pytest.mark.parametrize(("n", "groups"), [(100, 5), (200, 10), (1000, 10), (500, 20)])
def test_null_quantiles_of_psi_and_js_hold_in_simulation(n: int, groups: int, alpha: float) -> None:
    random, m, runs = np.random.default_rng(3), 10_000, 20_000
    shares = [1 / groups] * groups
    current, reference = random.multinomial(n, shares, size=runs), random.multinomial(m, shares, size=runs)

    psis = np.array([psi(r, c) for r, c in zip(reference, current, strict=True)], dtype=float)
    jss = np.array([js_distance(r, c) for r, c in zip(reference, current, strict=True)], dtype=float)

    slack = 3 * np.sqrt(alpha / runs)
    assert np.mean(psis > nulls.psi_quantile(alpha, groups, nulls.spread_of(n, m))) < 1.5 * alpha + slack
    assert np.mean(jss > nulls.js_quantile(alpha, groups, nulls.spread_of(n, m))) < 1.5 * alpha + slack


@pytest.mark.parametrize("eigenvalues", [[1.0] * 9, [10.0, 4.0, 2.0, 1.0], [30.0, 1, 1, 1, 1, 1, 1, 1, 1]])
def test_the_weighted_chi_squared_tail_holds_in_simulation(eigenvalues: list[float]) -> None:
    weights = np.array(eigenvalues)
    values = np.random.default_rng(4).chisquare(1, size=(400_000, weights.size)) @ weights
    moments = Weights(first=weights.mean(), second=(weights**2).mean(), third=(weights**3).mean())

    for alpha in (0.05, 0.01, 0.001):
        exceeded = np.mean(values > nulls.chi2_quantile(alpha, weights.size, moments))
        assert exceeded == pytest.approx(alpha, rel=0.15)


@pytest.mark.parametrize(("share", "n"), [(0.0005, 500), (0.01, 300), (0.3, 1000)])
def test_share_limits_hold_in_simulation(share: float, n: int) -> None:
    random, m, runs, alpha = np.random.default_rng(4), 5000, 4000, 0.005
    spread, outside = nulls.spread_of(n, m), 0
    for _ in range(runs):
        expected = float(nulls.expected_share(random.binomial(m, share) / m, m))
        lower, upper = nulls.share_lower(alpha, expected, spread), nulls.share_upper(alpha, expected, spread)
        outside += not lower <= random.binomial(n, share) / n <= upper

    assert outside / runs < 2 * alpha * 1.3 + 3 * np.sqrt(2 * alpha / runs)


@pytest.mark.parametrize("freedom", [1, 3, 9, 19])
@pytest.mark.parametrize("limit", [25.0, 45.0, 200.0])
def test_the_effect_that_is_found_is_scipys_within_three_percent(freedom: int, limit: float) -> None:
    assert nulls.chi2_found(limit, freedom) == pytest.approx(chndtrinc(limit, freedom, 0.2), rel=0.03)

"""Verdicts: tables, the false-alarm rate without drift, and the power with it."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from datetime import timedelta
from functools import partial

import numpy as np
import pytest
from scipy.stats import chi2

import collector.statistics.verdict as module
from collector.statistics.drift import FeatureDrift, feature_drift, js_distance, psi, reference_bins
from collector.statistics.verdict import (
    Floors,
    Policy,
    alpha_for_budget,
    drift_share,
    js_threshold,
    judge,
    judge_drift,
    ks_threshold,
    overall,
    psi_threshold,
    share_limits,
)
from storage.layouts import bin_indices
from storage.records import Bins, FeatureType, Floats, Ints, Verdict

NO_FLOORS = Floors(ks=0, psi=0, js=0, missing=0, unseen=0, out_of_range=0)


def test_docstring_examples_run() -> None:
    assert doctest.testmod(module).failed == 0


def count(bins: Bins, values: Floats) -> Ints:
    return np.bincount(bin_indices(bins, values), minlength=bins.size)


def drift_of(reference: Floats, current: Floats) -> FeatureDrift:
    bins = reference_bins(reference, FeatureType.NUMBER)
    return feature_drift(bins, count(bins, reference), count(bins, current))


@pytest.mark.parametrize(
    ("value", "n_reference", "n_current", "verdict"),
    [
        (0.3, 1000, 1000, Verdict.DRIFT),
        (0.2, 1000, 1000, Verdict.OK),
        (0.1, 1000, 1000, Verdict.OK),
        (0.3, 1000, 199, Verdict.INSUFFICIENT),
        (0.3, 199, 1000, Verdict.INSUFFICIENT),
        (None, 1000, 1000, Verdict.INSUFFICIENT),
    ],
)
def test_judge_needs_rows_and_more_than_the_threshold(
    value: float | None, n_reference: int, n_current: int, verdict: Verdict
) -> None:
    found = judge(value, 0.2, n_reference, n_current, 200)

    assert found.verdict is verdict
    assert (found.threshold is None) == (verdict is Verdict.INSUFFICIENT)


@pytest.mark.parametrize(("n", "expected"), [(100, 0.192), (1000, 0.0607), (50_000, 0.00859)])
def test_ks_threshold_matches_known_critical_values(n: int, expected: float) -> None:
    assert ks_threshold(n, n, 0.05) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(
    "threshold",
    [
        partial(ks_threshold, alpha=1e-4),
        partial(psi_threshold, groups=10, alpha=1e-4),
        partial(js_threshold, groups=10, alpha=1e-4),
    ],
)
def test_thresholds_fall_with_either_sample_size(threshold: Callable[[int, int], float]) -> None:
    assert threshold(200, 10_000) > threshold(400, 10_000) > threshold(400, 100_000)


def test_psi_threshold_is_the_chi_squared_quantile_for_large_samples() -> None:
    assert psi_threshold(100_000, 100_000, 10, 0.01) == pytest.approx(2e-5 * chi2.isf(0.01, 9), rel=1e-3)


def test_a_group_alone_cannot_drift() -> None:
    assert psi_threshold(200, 1000, 1, 0.01) == 0.0
    assert psi(np.array([10]), np.array([20])) == 0.0


@pytest.mark.parametrize("alpha", [0.05, 1e-3])
@pytest.mark.parametrize(("n", "groups"), [(100, 5), (200, 10), (1000, 10), (500, 20)])
def test_null_quantiles_of_psi_and_js_hold_in_simulation(n: int, groups: int, alpha: float) -> None:
    random, m, runs = np.random.default_rng(3), 10_000, 20_000
    shares = [1 / groups] * groups
    current, reference = random.multinomial(n, shares, size=runs), random.multinomial(m, shares, size=runs)

    psis = np.array([psi(r, c) for r, c in zip(reference, current, strict=True)], dtype=float)
    jss = np.array([js_distance(r, c) for r, c in zip(reference, current, strict=True)], dtype=float)

    slack = 3 * np.sqrt(alpha / runs)
    assert np.mean(psis > psi_threshold(n, m, groups, alpha)) < 1.5 * alpha + slack
    assert np.mean(jss > js_threshold(n, m, groups, alpha)) < 1.5 * alpha + slack


@pytest.mark.parametrize(("share", "n"), [(0.0005, 500), (0.01, 300), (0.3, 1000)])
def test_share_limits_hold_in_simulation(share: float, n: int) -> None:
    random, m, runs, alpha = np.random.default_rng(4), 5000, 4000, 0.005
    outside = 0
    for _ in range(runs):
        lower, upper = share_limits(random.binomial(m, share) / m, n, m, alpha)
        outside += not lower <= random.binomial(n, share) / n <= upper

    assert outside / runs < 2 * alpha * 1.3 + 3 * np.sqrt(2 * alpha / runs)


def test_verdicts_stay_below_the_budget_without_drift() -> None:
    """The floors are off, so that the quantiles alone decide: at 1 % a test, 8,000 tests of each kind."""
    random, alpha = np.random.default_rng(5), 0.01
    policy = Policy(alpha=alpha, min_samples=100, floors=NO_FLOORS)
    alarms: dict[str, int] = {}
    windows = 0
    for _ in range(40):
        reference = random.normal(size=5000)
        bins = reference_bins(reference)
        held = count(bins, reference)
        for n in (200, 1000):
            for _ in range(100):
                windows += 1
                for name, found in judge_drift(feature_drift(bins, held, count(bins, random.normal(size=n))), policy).items():
                    alarms[name] = alarms.get(name, 0) + (found.verdict is Verdict.DRIFT)

    assert windows == 8000
    rates = {name: number / windows for name, number in alarms.items()}
    assert {name: rate for name, rate in rates.items() if rate > alpha * 1.5} == {}


def test_a_month_of_windows_without_drift_stays_quiet_with_the_defaults() -> None:
    """20 features, 720 windows of 500 rows with the default floors, at the level of the default budget."""
    random = np.random.default_rng(6)
    policy = Policy(alpha=alpha_for_budget(30, [timedelta(hours=1)], 20 * 5))
    reference = random.normal(size=(20, 10_000))
    binnings = [reference_bins(column) for column in reference]
    held = [count(bins, column) for bins, column in zip(binnings, reference, strict=True)]
    alarms = 0
    for _ in range(720):
        current = random.normal(size=(20, 500))
        for bins, counts, column in zip(binnings, held, current, strict=True):
            alarms += overall(judge_drift(feature_drift(bins, counts, count(bins, column)), policy)) is Verdict.DRIFT

    assert alarms <= 2


@pytest.mark.parametrize(("rows", "least"), [(500, 0.9), (1000, 0.99)])
def test_a_shift_of_half_a_deviation_is_found_with_the_defaults(rows: int, least: float) -> None:
    random = np.random.default_rng(7)
    policy = Policy(alpha=alpha_for_budget(30, [timedelta(minutes=1), timedelta(minutes=5), timedelta(hours=2)], 20 * 5))
    reference = random.normal(size=10_000)

    found = [overall(judge_drift(drift_of(reference, random.normal(0.5, 1, rows)), policy)) for _ in range(100)]

    assert np.mean([verdict is Verdict.DRIFT for verdict in found]) >= least


def test_a_tiny_shift_in_a_huge_window_is_significant_but_not_drift() -> None:
    random = np.random.default_rng(8)
    drift = drift_of(random.normal(size=100_000), random.normal(0.05, 1, 100_000))

    assert drift.ks_p is not None
    assert drift.ks_p < 1e-6
    assert overall(judge_drift(drift, Policy(alpha=0.05))) is Verdict.OK


def test_missing_values_that_appear_are_drift() -> None:
    random = np.random.default_rng(9)
    current = random.normal(size=1000)
    current[:100] = np.nan

    found = judge_drift(drift_of(random.normal(size=10_000), current), Policy(alpha=1e-6))

    assert found["missing"].verdict is Verdict.DRIFT
    assert found["missing"].value == pytest.approx(0.1)


def test_a_window_without_rows_has_no_judgement() -> None:
    assert judge_drift(drift_of(np.arange(1000.0), np.zeros(0)), Policy(alpha=0.01)) == {}


def test_an_all_missing_window_is_judged_by_what_remains() -> None:
    found = judge_drift(drift_of(np.arange(1000.0), np.full(500, np.nan)), Policy(alpha=0.01))

    assert found["ks"].verdict is Verdict.INSUFFICIENT
    assert found["missing"].verdict is Verdict.DRIFT
    assert overall(found) is Verdict.DRIFT


def test_features_without_enough_data_are_left_out_of_the_share() -> None:
    assert drift_share([Verdict.DRIFT, Verdict.OK, Verdict.OK, Verdict.OK, Verdict.INSUFFICIENT], 0.5) == (0.25, Verdict.OK)
    assert drift_share([Verdict.INSUFFICIENT], 0.5) == (None, Verdict.INSUFFICIENT)

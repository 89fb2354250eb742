"""Verdicts: tables, the false-alarm rate without drift, and the power with it."""

from __future__ import annotations

import doctest
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

import collector.statistics.verdict as module
from collector.statistics.budget import Persistence, levels_for_budget
from collector.statistics.drift import FeatureDrift, feature_drift, reference_bins
from collector.statistics.floors import Floors
from collector.statistics.shift import rank_deviation, rank_shift
from collector.statistics.verdict import (
    HOLD,
    Judgement,
    Measured,
    Past,
    Policy,
    Shift,
    drift_share,
    judge,
    judge_drift,
    judge_measured,
    overall,
)
from storage.layouts import bin_indices
from storage.records import Bins, FeatureType, Floats, Ints, Verdict

NO_FLOORS = Floors(ks=0, shift=0, psi=0, js=0, missing=0, unseen=0, out_of_range=0)
HOUR = timedelta(hours=1)


def test_docstring_examples_run() -> None:
    assert doctest.testmod(module).failed == 0


def count(bins: Bins, values: Floats) -> Ints:
    return np.bincount(bin_indices(bins, values), minlength=bins.size)


def drift_of(reference: Floats, current: Floats) -> FeatureDrift:
    bins = reference_bins(reference, FeatureType.NUMBER)
    return feature_drift(bins, count(bins, reference), count(bins, current))


def judged(reference: Floats, current: Floats, policy: Policy, past: dict[str, Past] | None = None) -> dict[str, Judgement]:
    """Everything that a window of numbers is judged by."""
    bins = reference_bins(reference)
    before, now = count(bins, reference), count(bins, current)
    shift = Shift(value=float(rank_shift(before[:-1], now[:-1])), deviation=rank_deviation(before[:-1]))
    return judge_drift(feature_drift(bins, before, now), policy, shift=shift, past=past)


def default_policy(features: int, length: timedelta = HOUR, lengths: int = 1) -> Policy:
    persistence = Persistence()
    levels = levels_for_budget(30, length, length / 12, features * 2.5, lengths=lengths, persistence=persistence)
    return Policy(alpha=levels.once, together=levels.together, persistence=persistence)


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
    policy = default_policy(20)
    reference = random.normal(size=(20, 10_000))
    binnings = [reference_bins(column) for column in reference]
    held = [count(bins, column) for bins, column in zip(binnings, reference, strict=True)]
    alarms = 0
    for _ in range(720):
        current = random.normal(size=(20, 500))
        for bins, counts, column in zip(binnings, held, current, strict=True):
            alarms += overall(judge_drift(feature_drift(bins, counts, count(bins, column)), policy)) is Verdict.DRIFT

    assert alarms <= 2


@pytest.mark.parametrize(("shift", "rows", "least"), [(0.5, 300, 0.95), (0.5, 500, 0.99), (0.2, 1500, 0.9)])
def test_shifts_are_found_with_the_defaults(shift: float, rows: int, least: float) -> None:
    random = np.random.default_rng(7)
    policy = default_policy(20, timedelta(minutes=5), lengths=3)
    reference = random.normal(size=10_000)

    found = [overall(judged(reference, random.normal(shift, 1, rows), policy)) for _ in range(100)]

    assert np.mean([verdict is Verdict.DRIFT for verdict in found]) >= least


@pytest.mark.parametrize(
    ("past", "drift_from", "basis"),
    [
        (Past(), 5.0, "no-drift quantile"),
        (Past(repeats=1), 3.0, "no-drift quantile, 2 of 3 windows"),
        (Past(was_drift=True), 3.0, "no-drift quantile, until it clears"),
        (Past(was_drift=True, repeats=2), 3.0, "no-drift quantile, until it clears"),
    ],
)
def test_the_threshold_in_force_depends_on_what_came_before(past: Past, drift_from: float, basis: str) -> None:
    """A value whose quantile is 5 by itself, and 3 at the lower level."""
    policy = Policy(alpha=1e-6, together=1e-7, min_samples=100)
    measured = Measured(
        value=4.0,
        n_reference=1000,
        n_current=1000,
        quantile=lambda alpha: 5.0 if alpha == policy.alpha else 3.0,
        found=lambda threshold: threshold + 1,
        floor=0.5,
    )

    found = judge_measured(measured, policy, past)

    assert (found.threshold, found.basis) == (drift_from, basis)
    assert found.verdict is (Verdict.DRIFT if drift_from < 4.0 else Verdict.OK)
    assert found.detectable == 6.0


def test_drift_at_its_floor_ends_only_below_a_lower_one() -> None:
    measured = Measured(
        value=0.09,
        n_reference=1000,
        n_current=1000,
        quantile=lambda alpha: 0.01,
        found=lambda threshold: threshold,
        floor=0.1,
        start=0.0,
    )
    policy = Policy(alpha=1e-6, together=1e-7)

    assert judge_measured(measured, policy).verdict is Verdict.OK
    assert judge_measured(measured, policy, Past(was_drift=True)).verdict is Verdict.DRIFT
    held = judge_measured(replace(measured, value=0.079), policy, Past(was_drift=True))
    assert (held.verdict, held.threshold, held.basis) == (Verdict.OK, HOLD * 0.1, "practical floor, until it clears")


def test_a_threshold_that_nothing_could_exceed_is_insufficient_data() -> None:
    """Twelve rows against a level of 1e-9: even no overlap at all would not be significant."""
    found = judged(np.arange(1000.0), np.arange(12.0) + 5000, Policy(alpha=1e-30, min_samples=10))

    assert (found["ks"].verdict, found["ks"].threshold, found["ks"].detectable) == (Verdict.INSUFFICIENT, None, None)


@pytest.mark.parametrize("rows", [400, 1000])
def test_the_detectable_effect_is_found_four_times_out_of_five(rows: int) -> None:
    """A shift of just what is detectable, and shares and distances that come out as what is detectable on average."""
    random, policy = np.random.default_rng(10), Policy(alpha=1e-4, floors=NO_FLOORS)
    reference = random.normal(size=20_000)
    effect = judged(reference, random.normal(size=rows), policy)["shift"].detectable
    assert effect is not None

    found = [judged(reference, random.normal(effect, 1, rows), policy)["shift"].verdict is Verdict.DRIFT for _ in range(400)]

    assert np.mean(found) == pytest.approx(0.8, abs=0.07)


@pytest.mark.parametrize("rows", [400, 2000])
def test_detectable_shares_and_distances_are_found_about_four_times_out_of_five(rows: int) -> None:
    """Categories of the shares 0.4, 0.3, 0.2, 0.1 that move towards the last one until the Jensen-Shannon distance is there."""
    random, policy = np.random.default_rng(11), Policy(alpha=1e-4, floors=NO_FLOORS)
    shares = np.array([0.4, 0.3, 0.2, 0.1])
    bins = Bins(name="c", categories=("a", "b", "c", "d"), is_categorical=True)
    reference = np.append(np.rint(shares * 20_000), [0, 0]).astype(np.int64)
    none = judge_drift(feature_drift(bins, reference, np.append(random.multinomial(rows, shares), [0, 0])), policy)

    def moved(by: float) -> Floats:
        return np.asarray((1 - by) * shares + by * np.array([0, 0, 0, 1.0]))

    def distance(by: float) -> float:
        return float(feature_drift(bins, reference, np.append(np.rint(moved(by) * 10**7), [0, 0]).astype(np.int64)).js or 0.0)

    by = next(step for step in np.linspace(0, 1, 2001) if distance(step) >= (none["js"].detectable or 1))
    drawn = [np.append(random.multinomial(rows, moved(by)), [0, 0]) for _ in range(400)]
    found = [judge_drift(feature_drift(bins, reference, counts), policy)["js"].verdict is Verdict.DRIFT for counts in drawn]
    missing = float(none["missing"].detectable or 1)
    gone = [random.binomial(rows, missing) for _ in range(400)]
    lost = [np.append(random.multinomial(rows - number, shares), [0, number]) for number in gone]
    seen = [judge_drift(feature_drift(bins, reference, counts), policy)["missing"].verdict is Verdict.DRIFT for counts in lost]

    assert np.mean(found) == pytest.approx(0.8, abs=0.08)
    assert np.mean(seen) == pytest.approx(0.8, abs=0.1)


def test_every_judgement_with_enough_data_says_where_its_threshold_comes_from() -> None:
    random = np.random.default_rng(12)

    found = judged(random.normal(size=5000), random.normal(size=1000), Policy(alpha=1e-6, basis="calibrated"))

    assert set(found) == {"ks", "shift", "psi", "js", "missing", "out_of_range"}
    assert {judgement.basis for judgement in found.values()} <= {"calibrated", "practical floor"}
    assert all(judgement.p_value is not None and judgement.detectable is not None for judgement in found.values())


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

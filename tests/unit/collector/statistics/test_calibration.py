"""Dependence and calibration of a reference: against theory, in order and shuffled, and on columns that are odd."""

from __future__ import annotations

import doctest
import json

import numpy as np
import pytest
from scipy.signal import lfilter

import collector.statistics.calibration as module
from collector.statistics.calibration import Calibration, calibrate, calibration_from_json, calibration_to_json
from collector.statistics.dependence import INDEPENDENT_ROWS, dependence
from collector.statistics.drift import feature_drift, reference_bins
from collector.statistics.scores import Column, scores
from collector.statistics.shift import rank_deviation, rank_shift
from collector.statistics.verdict import Policy, Shift, judge_drift
from storage.layouts import bin_indices
from storage.records import Bins, FeatureType, Floats, Ints


def series(random: np.random.Generator, rows: int, correlation: float) -> Floats:
    noise = random.normal(size=rows + 500) * np.sqrt(1 - correlation**2)
    return np.asarray(lfilter([1.0], [1.0, -correlation], noise))[500:]


def binned(values: Floats, name: str = "x") -> tuple[Bins, Ints]:
    bins = reference_bins(values)
    return Bins(name=name, edges=bins.edges), bin_indices(bins, values)


def test_docstring_examples_run() -> None:
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("correlation", [0.3, 0.6, 0.9])
def test_the_design_effect_of_a_series_is_the_theoretical_one(correlation: float) -> None:
    """That of the mean of an AR(1) series is ``(1 + r) / (1 - r)``; ranks of normals are almost as correlated."""
    random = np.random.default_rng(0)
    theory = (1 + correlation) / (1 - correlation)

    found = [dependence(*binned(series(random, 20_000, correlation))).shift for _ in range(10)]

    assert np.mean(found) == pytest.approx(theory, rel=0.15)


@pytest.mark.parametrize("rows", [500, 5000])
def test_independent_rows_have_a_design_effect_of_exactly_one(rows: int) -> None:
    random = np.random.default_rng(1)

    found = [dependence(*binned(random.normal(size=rows))) for _ in range(20)]

    assert all(effect == INDEPENDENT_ROWS for effect in found)


def test_shuffling_a_series_removes_its_dependence() -> None:
    random = np.random.default_rng(2)
    values = series(random, 5000, 0.8)

    assert dependence(*binned(values)).shift > 4
    assert dependence(*binned(random.permutation(values))) == INDEPENDENT_ROWS


def test_a_sorted_column_is_told_from_a_dependent_one() -> None:
    found = dependence(*binned(np.sort(np.random.default_rng(3).normal(size=5000))))

    assert found.is_sorted
    assert found.shift == 1.0


def test_a_category_that_comes_in_runs_is_dependent() -> None:
    random = np.random.default_rng(4)
    runs = np.repeat(random.choice(3, 1000), 8)
    bins = Bins(name="c", categories=("a", "b", "c"), is_categorical=True)

    found = dependence(bins, runs)

    assert found.groups.first == pytest.approx(8, rel=0.3)


ODD: list[Floats] = [
    np.full(1000, np.nan),
    np.full(1000, 3.0),
    np.where(np.arange(1000) < 5, 1.0, np.nan),
    np.where(np.arange(1000) == 500, 1.0, 0.0),
    np.array([np.inf, -np.inf] * 500),
    np.array([0.0, np.nan] * 500),
]


@pytest.mark.parametrize("values", ODD)
def test_odd_columns_are_calibrated_without_a_warning(values: Floats) -> None:
    found = calibrate([binned(values), binned(np.random.default_rng(5).normal(size=1000), "y")])

    assert found.tests is not None
    assert 1 <= found.tests < 200


def test_a_short_reference_has_no_calibration() -> None:
    assert calibrate([]) == Calibration()
    assert calibrate([binned(np.arange(50.0))]) == Calibration(rows=50)


def test_the_same_column_twenty_times_is_about_one_column() -> None:
    random = np.random.default_rng(6)
    column = random.normal(size=4000)

    alone = calibrate([binned(column)]).tests
    twins = calibrate([binned(column, str(number)) for number in range(20)]).tests
    strangers = calibrate([binned(random.normal(size=4000), str(number)) for number in range(20)]).tests

    assert alone is not None
    assert twins == alone
    assert strangers is not None
    assert strangers > 8 * alone


def test_a_calibration_survives_json() -> None:
    found = calibrate([binned(series(np.random.default_rng(7), 2000, 0.7))])

    assert found.block > 1
    assert calibration_from_json(json.loads(json.dumps(calibration_to_json(found)))) == found
    assert calibration_from_json({}) == Calibration()


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_scores_of_many_windows_are_what_each_is_judged_by(correlation: float) -> None:
    random = np.random.default_rng(8)
    values = series(random, 3000, correlation)
    values[random.random(3000) < 0.1] = np.nan
    bins, rows = binned(values)
    column = Column(bins=bins, reference=np.bincount(rows, minlength=bins.size), dependence=dependence(bins, rows))
    windows = np.array([np.bincount(bin_indices(bins, random.normal(d, 1, 300)), minlength=bins.size) for d in (0.0, 0.3, 1.5)])

    found = scores(column, windows)

    for index, window in enumerate(windows):
        shift = Shift(value=float(rank_shift(column.reference[:-1], window[:-1])), deviation=rank_deviation(column.reference[:-1]))
        judged = judge_drift(
            feature_drift(bins, column.reference, window), Policy(alpha=0.01), shift=shift, dependence=column.dependence
        )
        assert set(judged) == set(found)
        for name, judgement in judged.items():
            assert found[name][0][index] == pytest.approx(judgement.value)
            assert found[name][1][index] == pytest.approx(judgement.p_value, rel=1e-6, abs=1e-290)


def test_scores_of_categories_are_what_each_window_is_judged_by() -> None:
    random = np.random.default_rng(9)
    reference = random.choice(["a", "b", "c"], 2000, p=[0.6, 0.3, 0.1]).tolist()
    bins = reference_bins(reference, FeatureType.CATEGORY)
    column = Column(bins=bins, reference=np.bincount(bin_indices(bins, reference), minlength=bins.size))
    drawn = [random.choice(["a", "b", "c", "new"], 400, p=p).tolist() for p in ([0.6, 0.3, 0.1, 0], [0.3, 0.3, 0.3, 0.1])]
    windows = np.array([np.bincount(bin_indices(bins, values), minlength=bins.size) for values in drawn])

    found = scores(column, windows)

    for index, window in enumerate(windows):
        judged = judge_drift(feature_drift(bins, column.reference, window), Policy(alpha=0.01))
        assert set(judged) == set(found)
        for name, judgement in judged.items():
            assert found[name][1][index] == pytest.approx(judgement.p_value, rel=1e-6, abs=1e-290)


def test_p_values_of_dependent_rows_are_honest_only_with_their_dependence() -> None:
    """400 windows of new rows of the same series, at 1 %: each statistic may be beyond in 4 of them."""
    random = np.random.default_rng(10)
    values = series(random, 20_000, 0.8)
    bins, rows = binned(values)
    counts = np.bincount(rows, minlength=bins.size)
    new = bin_indices(bins, series(random, 400 * 300, 0.8)).reshape(400, 300)
    windows = np.array([np.bincount(window, minlength=bins.size) for window in new])

    honest = scores(Column(bins=bins, reference=counts, dependence=dependence(bins, rows)), windows)
    naive = scores(Column(bins=bins, reference=counts), windows)

    assert {name for name, (_, p) in honest.items() if np.mean(p < 0.01) > 0.025} == set()
    assert {name for name, (_, p) in naive.items() if np.mean(p < 0.01) > 0.1} >= {"ks", "shift", "psi", "js"}

"""A prepared reference against the plain functions for one column, and against scipy."""

from __future__ import annotations

import doctest
import pickle
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp, wasserstein_distance

from collector.statistics import exact as module
from collector.statistics.drift import FeatureDrift, categorical_drift, numeric_drift, reference_bins
from collector.statistics.exact import compare, prepare_reference, quantile_edges
from storage.records import Floats, Scalar

numbers = st.lists(
    st.none() | st.floats(-5, 5, width=16) | st.sampled_from([0.0, 1.0, float("inf"), 1e300]), min_size=1, max_size=50
)
texts = st.lists(st.none() | st.sampled_from(["a", "b", "c", "d", "rare"]), min_size=1, max_size=50)


def assert_same(found: FeatureDrift, expected: FeatureDrift) -> None:
    for name, value in asdict(expected).items():
        close = pytest.approx(value, rel=1e-9, abs=1e-12) if isinstance(value, float | tuple) else value
        assert getattr(found, name) == close, name


def test_docstring_examples_run() -> None:
    assert doctest.testmod(module).failed == 0


@given(numbers, numbers)
def test_a_numeric_column_is_that_of_numeric_drift(reference: list[Scalar], current: list[Scalar]) -> None:
    prepared = prepare_reference({"x": np.array(reference, float)})

    found = compare(prepared, {"x": np.array(current, float)}, further=True)

    assert_same(found["x"], numeric_drift(reference, current))


@given(texts, texts)
def test_a_categorical_column_is_that_of_categorical_drift(reference: list[Scalar], current: list[Scalar]) -> None:
    prepared = prepare_reference({"c": pd.Series(reference, dtype="str")})

    found = compare(prepared, {"c": pd.Series(current, dtype="str")})

    assert_same(found["c"], categorical_drift(reference, current))


@given(numbers.map(lambda values: np.array(values, float)))
def test_edges_are_those_of_registration(values: Floats) -> None:
    assert tuple(quantile_edges(np.sort(values[~np.isnan(values)]))) == reference_bins(values).edges


@pytest.mark.parametrize("rows", [121, 1000, 4999, 10_007])
def test_edges_of_many_values_are_those_of_registration(rows: int) -> None:
    values = np.random.default_rng(rows).lognormal(size=rows).round(2)

    assert tuple(quantile_edges(np.sort(values))) == reference_bins(values).edges


def table(rows: int, seed: int, moved: float = 0.0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "normal": random.normal(moved, 1, rows),
            "counts": random.poisson(4 + moved, rows),
            "skewed": random.lognormal(moved, 1, rows),
            "level": random.choice([f"level {i}" for i in range(300)], rows),
            "flag": random.random(rows) < 0.3 + moved / 4,
        }
    )
    frame.loc[random.random(rows) < 0.02, "normal"] = np.nan
    return frame


@pytest.mark.parametrize("threads", [1, 2])
def test_equals_scipy_on_a_table(threads: int) -> None:
    reference, current = table(20_000, 1), table(5_000, 2, moved=0.1)

    found = compare(prepare_reference(reference), current, threads=threads, further=True)

    assert list(found) == list(reference)
    for name in ("normal", "counts", "skewed"):
        left, right = reference[name].dropna().to_numpy(float), current[name].dropna().to_numpy(float)
        expected = ks_2samp(left, right, method="asymp")
        assert found[name].ks == pytest.approx(expected.statistic, abs=1e-12)
        assert found[name].ks_p == pytest.approx(expected.pvalue, rel=0.05)
        assert found[name].wasserstein == pytest.approx(wasserstein_distance(left, right) / left.std(), rel=1e-9)
    assert_same(found["level"], categorical_drift(reference["level"].tolist(), current["level"].tolist()))
    assert_same(found["flag"], categorical_drift(reference["flag"].tolist(), current["flag"].tolist()))


def test_what_needs_sorting_is_left_out_unless_asked_for() -> None:
    found = compare(prepare_reference({"x": np.arange(9.0)}), {"x": np.arange(5.0)})["x"]

    assert (found.wasserstein, found.cramer_von_mises, found.anderson_darling) == (None, None, None)
    assert found.ks == pytest.approx(4 / 9)


def test_one_category_has_one_text_however_it_is_stored() -> None:
    spellings = [
        pd.Series([True, False, True, None], dtype="boolean"),
        pd.Series([True, False, True, None], dtype="object"),
        pd.Series(["true", "false", "true", None], dtype="str"),
        pd.Series(["true", "false", "true", None], dtype="category"),
        ["true", "false", True, None],
    ]
    prepared = prepare_reference({"c": spellings[0]})

    for column in spellings:
        found = compare(prepared, {"c": column})["c"]
        assert (found.psi, found.unseen_share, found.missing_current) == (0.0, 0.0, 0.25)


def test_true_and_one_are_two_categories() -> None:
    found = compare(prepare_reference({"c": ["true", "1"] * 10}), {"c": [True, 1, 1.0, "1"] * 10})["c"]

    assert found.unseen_share == 0.0
    assert found.total_variation == pytest.approx(0.25)


def test_numbers_are_categories_where_named_so() -> None:
    prepared = prepare_reference({"month": np.array([1, 1, 2, 2])}, categorical=["month"])

    found = compare(prepared, {"month": np.array([1.0, 2.0, 3.0, np.nan])})["month"]

    assert (found.is_categorical, found.missing_current) == (True, 0.25)
    assert found.unseen_share == pytest.approx(1 / 3)


def test_nullable_and_small_numbers_are_numbers() -> None:
    prepared = prepare_reference({"x": pd.Series([1, 2, 3, None], dtype="Int64")})

    found = compare(prepared, {"x": np.array([1, 2, 3], np.int8)})["x"]

    assert (found.is_categorical, found.ks, found.missing_reference) == (False, 0.0, 0.25)


def test_a_column_that_vanished_is_missing_in_every_row() -> None:
    prepared = prepare_reference({"x": np.arange(9.0), "c": ["a", "b", "c"] * 3})

    found = compare(prepared, {"other": np.arange(4)})

    assert [(drift.n_current, drift.missing_current, drift.js) for drift in found.values()] == [(4, 1.0, 1.0)] * 2
    assert found["x"].ks is None


def test_texts_in_a_numeric_column_are_missing() -> None:
    found = compare(prepare_reference({"x": np.arange(9.0)}), {"x": ["1", "two", None, "4.5"]})["x"]

    assert (found.missing_current, found.present_current) == (0.5, 2)


@pytest.mark.parametrize("values", [np.zeros(0), np.full(7, np.nan), np.full(7, 3.0), np.array([np.inf]), np.array([1.0])])
@pytest.mark.parametrize("other", [np.zeros(0), np.full(5, np.nan), np.full(5, 3.0), np.array([-np.inf, 2.0])])
def test_columns_with_nothing_in_them_are_a_result(values: Floats, other: Floats) -> None:
    found = compare(prepare_reference({"x": values}), {"x": other}, further=True)["x"]

    assert_same(found, numeric_drift(values, other))


def test_a_prepared_reference_survives_pickling() -> None:
    prepared, current = prepare_reference(table(500, 3)), table(300, 4)

    assert compare(pickle.loads(pickle.dumps(prepared)), current) == compare(prepared, current)


def test_columns_of_different_lengths_or_equal_names_are_refused() -> None:
    with pytest.raises(ValueError, match="same length"):
        prepare_reference({"x": [1.0], "y": [1.0, 2.0]})
    with pytest.raises(ValueError, match="different names"):
        prepare_reference(pd.DataFrame([[1.0, 2.0]], columns=["x", "x"]))


def test_a_frame_in_row_order_is_the_same_as_one_in_column_order() -> None:
    block = np.random.default_rng(5).normal(size=(400, 3))
    columns = {f"{i}": block[:, i].copy() for i in range(3)}
    prepared = prepare_reference(columns)

    assert compare(prepared, pd.DataFrame(block, columns=["0", "1", "2"])) == compare(prepared, columns)


def test_a_table_without_columns_has_no_drifts() -> None:
    assert compare(prepare_reference({}), {}) == {}

"""Evidently's numbers, column by column and test by test, and its choices at the borders."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

from collector.statistics.compatibility import evidently
from collector.statistics.compatibility.columns import NotComparable
from collector.statistics.compatibility.evidently import ColumnDrift, ColumnType
from tests.unit.collector.statistics.compatibility.golden import cases, peer, tables

DISPLAY_NAMES = {"wasserstein": "Wasserstein distance (normed)", "jensenshannon": "Jensen-Shannon distance"}


@cache
def drift_of(column: str) -> ColumnDrift:
    reference, current = tables()
    return evidently.column_drift(reference[column], current[column])


@pytest.mark.parametrize(("call", "column"), cases("evidently"))
def test_score_and_threshold_are_evidentlys(call: str, column: str) -> None:
    expected = peer("evidently")[call][column]
    drift = drift_of(column)

    found = drift.result if call == "default" else next(test for test in drift.tests if test.test == expected["method"])
    assert found.score == pytest.approx(expected["value"], rel=1e-9, abs=1e-300)
    assert found.threshold == expected["threshold"]
    assert call != "default" or DISPLAY_NAMES[found.test] == expected["method"]


@pytest.mark.parametrize("call", sorted(peer("evidently")))
def test_as_many_columns_drift_as_in_evidently(call: str) -> None:
    values = peer("evidently")[call]
    summary = next(value["value"] for name, value in values.items() if name.startswith("_"))
    scores = {name: value["method"] for name, value in values.items() if not name.startswith("_")}

    drifted = [
        drift_of(name).result.drifted
        if call == "default"
        else next(test for test in drift_of(name).tests if test.test == method).drifted
        for name, method in scores.items()
    ]
    assert sum(drifted) == summary["count"]
    assert evidently.dataset_drift(drifted) is (summary["share"] >= 0.5)


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pd.Series([0.0, 1.0]), ColumnType.NUMERICAL),
        (pd.Series(np.arange(10)), ColumnType.CATEGORICAL),
        (pd.Series(np.arange(11)), ColumnType.NUMERICAL),
        (pd.Series([True, False]), ColumnType.CATEGORICAL),
        (pd.Series(["a", "b"] * 2), ColumnType.CATEGORICAL),
        (pd.Series(["a", "b", "c", "a"]), ColumnType.TEXT),
        (pd.Series(["a"], dtype="category"), ColumnType.CATEGORICAL),
        (pd.Series(pd.to_datetime(["2026-01-01"])), ColumnType.DATETIME),
        (pd.Series([None, None], dtype=object), ColumnType.UNKNOWN),
    ],
)
def test_type_is_inferred_from_dtype_and_distinct_values(column: pd.Series[Any], kind: ColumnType) -> None:
    assert evidently.column_type(column) is kind


@pytest.mark.parametrize(
    ("distinct", "rows", "kind", "test"),
    [
        (6, 1000, ColumnType.NUMERICAL, "ks"),
        (5, 1000, ColumnType.NUMERICAL, "chisquare"),
        (2, 1000, ColumnType.NUMERICAL, "z"),
        (3, 1000, ColumnType.CATEGORICAL, "chisquare"),
        (2, 1000, ColumnType.CATEGORICAL, "z"),
        (6, 1001, ColumnType.NUMERICAL, "wasserstein"),
        (5, 1001, ColumnType.NUMERICAL, "jensenshannon"),
        (2, 1001, ColumnType.CATEGORICAL, "jensenshannon"),
    ],
)
def test_default_test_depends_on_reference_rows_and_distinct_values(distinct: int, rows: int, kind: ColumnType, test: str) -> None:
    reference = pd.Series(np.arange(rows, dtype=float) % distinct)

    assert evidently.default_test(reference, reference.head(distinct), kind) == test


def test_z_is_the_pooled_two_proportion_test() -> None:
    reference, current = pd.Series([0] * 60 + [1] * 40), pd.Series([0] * 40 + [1] * 60)

    drift = evidently.column_drift(reference, current)

    assert (drift.result.test, drift.result.drifted) == ("z", True)
    assert drift.result.score == pytest.approx(0.004677735, rel=1e-6)  # 2 (1 - Phi(0.2 / sqrt(0.25 (1/100 + 1/100))))


def test_same_single_value_on_both_sides_is_no_drift() -> None:
    assert evidently.column_drift(pd.Series(["a"] * 9), pd.Series(["a"] * 5)).result.score == 1.0


def test_unseen_category_makes_the_chi_squared_p_value_zero() -> None:
    reference, current = pd.Series(list("aabbcc")), pd.Series(list("aabbccd") * 2)

    assert evidently.column_drift(reference, current).result.score == 0.0


def test_infinities_and_missing_values_are_left_out() -> None:
    values = np.random.default_rng(1).normal(size=2000)
    dirty = pd.Series([*values, np.inf, -np.inf, np.nan])

    assert evidently.column_drift(dirty, dirty).result.score == 0.0


@pytest.mark.parametrize(
    ("reference", "current", "reason"),
    [
        (pd.Series([1.5, 2.5]), pd.Series([np.nan, np.inf]), "empty in the current"),
        (pd.Series([np.nan]), pd.Series([1.5, 2.5]), "empty in the reference"),
        (pd.Series(["x", "y"]), pd.Series([1.5, 2.5]), "not numbers"),
        (pd.Series(["x", "y"]), pd.Series(["x", "y"]), "type text"),
    ],
)
def test_column_that_evidently_fails_on_is_refused_with_the_reason(
    reference: pd.Series[Any], current: pd.Series[Any], reason: str
) -> None:
    with pytest.raises(NotComparable, match=reason):
        evidently.column_drift(reference, current)

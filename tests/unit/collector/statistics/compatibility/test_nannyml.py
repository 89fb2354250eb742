"""NannyML's numbers, column by column and method by method, and its chunks and thresholds."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2_contingency, ks_2samp, wasserstein_distance

from collector.statistics.compatibility import nannyml
from collector.statistics.compatibility.columns import NotComparable
from collector.statistics.compatibility.nannyml import ColumnDrift, MethodDrift
from tests.unit.collector.statistics.compatibility.golden import cases, peer, tables


@cache
def drift_of(column: str, chunk_number: int = 1) -> ColumnDrift:
    reference, current = tables()
    return nannyml.column_drift(reference[column], current[column], chunk_number)


def method_of(drift: ColumnDrift, name: str) -> MethodDrift:
    return next(method for method in drift.methods if method.method == name)


@pytest.mark.parametrize(("call", "column"), cases("nannyml"))
def test_score_is_nannymls(call: str, column: str) -> None:
    found = method_of(drift_of(column), call)

    assert found.score == pytest.approx(peer("nannyml")[call][column]["value"], rel=1e-9)
    assert found.chunk_scores == (found.score,)


@pytest.mark.parametrize("column", ["cat_0", "cat_1"])
def test_chi_squared_alert_is_nannymls(column: str) -> None:
    assert method_of(drift_of(column), "chi2").alerts == (bool(peer("nannyml")["chi2"][column]["alert"]),)


@pytest.mark.parametrize("column", ["num_0", "num_1", "cat_0"])
def test_every_chunk_of_a_drifted_column_alerts(column: str) -> None:
    drift = drift_of(column, nannyml.CHUNKS).result

    assert drift.alerts == (True,) * 10


@pytest.mark.parametrize("column", ["num_0", "cat_0"])
def test_threshold_is_mean_and_three_deviations_of_the_reference_chunks_against_the_whole_reference(column: str) -> None:
    reference, _ = tables()
    scores = [
        nannyml.column_drift(reference[column], reference[column].iloc[start : start + 1000], 1).result.score
        for start in range(0, 10_000, 1000)
    ]

    assert drift_of(column, nannyml.CHUNKS).result.threshold == pytest.approx(np.mean(scores) + 3 * np.std(scores), rel=1e-12)


def test_small_reference_is_compared_exactly() -> None:
    generator = np.random.default_rng(2)
    reference, current = generator.normal(size=500), generator.normal(0.3, size=400)

    drift = nannyml.column_drift(pd.Series(reference), pd.Series(current))

    assert method_of(drift, "kolmogorov_smirnov").score == pytest.approx(ks_2samp(reference, current).statistic)
    assert method_of(drift, "wasserstein").score == pytest.approx(wasserstein_distance(reference, current))


def test_estimates_of_a_large_reference_are_close_to_the_exact_distances() -> None:
    generator = np.random.default_rng(3)
    reference, current = generator.normal(size=12_000), generator.normal(0.3, 1.2, size=9000)

    drift = nannyml.column_drift(pd.Series(reference), pd.Series(current))

    assert method_of(drift, "kolmogorov_smirnov").score == pytest.approx(ks_2samp(reference, current).statistic, abs=1e-3)
    assert method_of(drift, "wasserstein").score == pytest.approx(wasserstein_distance(reference, current), abs=2e-3)


def test_unseen_categories_are_one_leftover_bin_and_count_in_chi_squared() -> None:
    reference, current = pd.Series(list("aabb") * 25), pd.Series(list("aabx") * 25)

    drift = nannyml.column_drift(reference, current, 1)

    assert method_of(drift, "l_infinity").score == 0.25
    assert method_of(drift, "chi2").score == pytest.approx(chi2_contingency([[50, 50, 0], [50, 25, 25]]).statistic)
    assert drift.result.score == pytest.approx(jensenshannon([0.5, 0.5, 0.0], [0.5, 0.25, 0.25], base=2))


def test_chunk_without_values_has_no_score_and_no_alert() -> None:
    reference = pd.Series(np.arange(100.0) % 7)
    current = pd.Series([*(np.arange(90.0) % 7), *[np.nan] * 10])

    drift = nannyml.column_drift(reference, current).result

    assert (drift.chunk_scores[-1], drift.alerts[-1]) == (None, False)


def test_reference_chunk_without_values_leaves_no_threshold_and_no_alert() -> None:
    reference = pd.Series([*(np.arange(90.0) % 7), *[np.nan] * 10])

    drift = nannyml.column_drift(reference, pd.Series(np.arange(100.0) + 100)).result

    assert (drift.threshold, any(drift.alerts)) == (None, False)


@pytest.mark.parametrize(
    ("reference", "current", "reason"),
    [
        (pd.Series([np.nan, np.nan]), pd.Series([1.0]), "empty in the reference"),
        (pd.Series([1.0, 2.0]), pd.Series([np.nan]), "empty in the current"),
        (pd.Series([None], dtype=object), pd.Series(["a"]), "empty in the reference"),
        (pd.Series([1.0, np.inf]), pd.Series([1.0]), "infinite"),
        (pd.Series([1.0, 2.0]), pd.Series(["a"]), "not numbers"),
        (pd.Series(pd.to_datetime(["2026-01-01"])), pd.Series(pd.to_datetime(["2026-01-01"])), "times"),
    ],
)
def test_column_that_nannyml_fails_on_is_refused_with_the_reason(
    reference: pd.Series[Any], current: pd.Series[Any], reason: str
) -> None:
    with pytest.raises(NotComparable, match=reason):
        nannyml.column_drift(reference, current)


@pytest.mark.parametrize("values", [[7.0] * 40, ["a"] * 40], ids=["number", "category"])
def test_constant_column_has_no_distance(values: list[Any]) -> None:
    drift = nannyml.column_drift(pd.Series(values), pd.Series(values))

    assert [method.score for method in drift.methods] == [0.0] * 4
    assert not any(drift.result.alerts)

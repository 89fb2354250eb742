"""Reference against current on the same bins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from dashboard import distributions
from storage.layouts import bin_indices, build_layout
from storage.records import Bins, Feature, FeatureType, Ints, Scalar, Signature, Task


def numeric(values: np.ndarray) -> Bins:
    feature = Feature(name="x", type=FeatureType.NUMBER, missing_allowed=True)
    return build_layout("m", Signature(task=Task.REGRESSION, features=(feature,)), [values.tolist()], np.zeros(0)).features[0]


def count(bins: Bins, values: Sequence[Scalar]) -> Ints:
    return np.bincount(bin_indices(bins, values), minlength=bins.size)


def test_every_row_is_in_one_bar() -> None:
    random = np.random.default_rng(0)
    reference = random.lognormal(0, 1, 5000)
    bins = numeric(reference)
    current = [*random.lognormal(1, 1, 700).tolist(), None, None]

    bars = distributions.histogram(bins, count(bins, reference.tolist()), count(bins, current))

    assert bars["n_reference"].sum() == 5000
    assert bars["n_current"].sum() == 702
    assert bars["reference"].sum() == pytest.approx(1)
    assert bars["current"].sum() == pytest.approx(1)
    assert len(bars) <= distributions.MAX_BARS * 3
    assert bars.iloc[-1]["kind"] == "missing"
    assert bars.iloc[-1]["n_current"] == 2


def test_area_is_share_and_values_outside_the_reference_get_a_bar_at_the_end() -> None:
    reference = np.random.default_rng(0).normal(0, 1, 4000)
    bins = numeric(reference)
    current = [5.0] * 50 + [0.0] * 50

    bars = distributions.densities(distributions.histogram(bins, count(bins, reference.tolist()), count(bins, current)))

    assert (bars["current"] * bars["width"]).sum() == pytest.approx(1)
    outside = bars[bars["outside"]]
    assert outside["kind"].tolist() == ["above"]
    assert outside["share_current"].iloc[0] == 0.5


def test_a_side_without_rows_has_no_shares() -> None:
    bins = numeric(np.arange(100.0))

    bars = distributions.histogram(bins, count(bins, [1.0, 2.0]), np.zeros(bins.size, np.int64))

    assert bars["current"].isna().all()
    assert distributions.cumulative(bins, count(bins, [1.0]), np.zeros(bins.size, np.int64))["current"].isna().all()


def test_the_cumulative_share_is_exact_at_the_edges() -> None:
    reference = np.random.default_rng(0).normal(0, 1, 3000)
    bins = numeric(reference)

    frame = distributions.cumulative(bins, count(bins, reference.tolist()), count(bins, [0.0, None]))

    expected = [(reference < edge).mean() for edge in frame["value"]]
    assert frame["reference"].to_numpy() == pytest.approx(expected)
    assert frame["current"].iloc[-1] == 1.0


def test_few_values_have_a_bar_each() -> None:
    bins = numeric(np.array([0.0, 1.0, 1.0, 2.0]))

    bars = distributions.histogram(bins, count(bins, [0.0, 1.0, 1.0, 2.0]), count(bins, [2.0]))

    assert distributions.is_discrete(bins)
    assert bars[bars["kind"] == "value"]["label"].tolist() == ["0", "1", "2"]
    assert bars[bars["kind"] == "value"]["n_reference"].tolist() == [1, 2, 1]


def test_a_feature_without_any_reference_value_still_has_a_table() -> None:
    bins = Bins(name="x", edges=())

    bars = distributions.histogram(bins, np.array([0, 3]), np.array([2, 1]))

    assert bars["n_current"].tolist() == [2, 1]
    assert distributions.densities(bars).empty


def test_rare_categories_are_folded_and_new_ones_counted() -> None:
    names = tuple(f"c{i:02d}" for i in range(60))
    bins = Bins(name="x", categories=names, is_categorical=True)
    reference = np.array([*range(60, 0, -1), 0, 0])
    current = np.array([*([0] * 60), 7, 3])

    bars = distributions.histogram(bins, reference, current)

    assert bars["kind"].value_counts().to_dict() == {"category": 20, "folded": 1, "other": 1, "missing": 1}
    assert bars["n_reference"].sum() == reference.sum()
    assert bars.set_index("kind").loc["other", "current"] == 0.7

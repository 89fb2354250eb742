"""What plots show: shares that add up, the same bins on both sides, marks for what is new, gone and missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cli.drift_report.distributions import (
    BarKind,
    Bars,
    Distribution,
    Histogram,
    category_distribution,
    number_distribution,
)
from storage.records import Floats

columns = hnp.arrays(float, st.integers(1, 60), elements=st.one_of(st.floats(), st.integers(-5, 5).map(float)))


def totals(distribution: Distribution) -> tuple[float, float]:
    if isinstance(distribution, Bars):
        return sum(bar.reference for bar in distribution.bars), sum(bar.current for bar in distribution.bars)
    return sum(distribution.reference) + distribution.missing[0], sum(distribution.current) + distribution.missing[1]


@given(columns, columns)
def test_shares_of_numbers_add_up_to_all_rows(reference: Floats, current: Floats) -> None:
    assert totals(number_distribution(reference, current)) == pytest.approx((1.0, 1.0))


@given(
    st.lists(st.sampled_from([*"abcdefghijklmnopqrs", None]), min_size=1), st.lists(st.sampled_from(["a", "t", None]), min_size=1)
)
def test_shares_of_categories_add_up_to_all_rows(reference: list[str | None], current: list[str | None]) -> None:
    assert totals(category_distribution(reference, current)) == pytest.approx((1.0, 1.0))


def test_few_distinct_numbers_are_shown_value_by_value() -> None:
    shown = number_distribution(np.array([0.0, 1.0, 1.0, np.nan]), np.array([1.0, 2.0]))

    assert isinstance(shown, Bars)
    assert [(bar.label, bar.kind) for bar in shown.bars] == [
        ("0", BarKind.GONE),
        ("1", BarKind.VALUE),
        ("2", BarKind.NEW),
        ("missing", BarKind.MISSING),
    ]


def test_whole_numbers_get_bins_of_whole_width() -> None:
    shown = number_distribution(np.arange(100.0), np.arange(100.0))

    assert isinstance(shown, Histogram)
    assert set(np.diff(shown.edges)) == {4.0}


def test_outliers_do_not_squeeze_the_rest() -> None:
    values = np.random.default_rng(1).normal(size=1000)

    shown = number_distribution(values, np.append(values, 1e9))

    assert isinstance(shown, Histogram)
    assert (shown.edges[-1] < 5, shown.open_ended) == (True, (True, True))


def test_rare_categories_are_one_bar() -> None:
    shown = category_distribution([f"v{index:02d}" for index in range(20)] * 2, ["v00", "w"])

    assert [(bar.label, bar.kind) for bar in shown.bars][-1] == ("9 other values", BarKind.OTHERS)
    assert [bar.kind for bar in shown.bars if bar.label == "w"] == [BarKind.NEW]


@pytest.mark.parametrize(
    "values", [[np.nan], [np.inf], [-np.inf, np.inf], [1e308, -1e308] * 8, [5e-324], [], np.linspace(1, 1 + 1e-14, 30).tolist()]
)
def test_odd_numbers_can_be_shown(values: list[Any]) -> None:
    with np.errstate(all="ignore"):
        shown = number_distribution(np.array(values, float), np.array([1.0]))

    assert totals(shown)[1] == pytest.approx(1.0)

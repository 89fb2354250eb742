"""Signatures: which columns the model is fed, and what their values say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from inference.signature import SignatureError, column_texts, feature_columns, learn_features, table_rows
from storage.records import Feature, FeatureType

FRAME = pd.DataFrame(
    {
        "age": [30, 41, 18],
        "income": [0.5, np.nan, 2.0],
        "member": [True, False, True],
        "vip": [True, None, False],
        "region": ["north", "south", "north"],
        "code": pd.Categorical(["b", "a", "b"]),
    }
)


def test_types_ranges_and_values_are_learned() -> None:
    assert learn_features(FRAME, list(FRAME.columns)) == (
        Feature(name="age", type=FeatureType.INTEGER, missing_allowed=False, minimum=18, maximum=41),
        Feature(name="income", type=FeatureType.NUMBER, missing_allowed=True, minimum=0.5, maximum=2.0),
        Feature(name="member", type=FeatureType.BOOLEAN, missing_allowed=False),
        Feature(name="vip", type=FeatureType.BOOLEAN, missing_allowed=True),
        Feature(name="region", type=FeatureType.CATEGORY, missing_allowed=False, categories=("north", "south")),
        Feature(name="code", type=FeatureType.CATEGORY, missing_allowed=False, categories=("b", "a")),
    )


def test_rows_are_plain_values_with_none_for_missing() -> None:
    rows = table_rows(FRAME, learn_features(FRAME, list(FRAME.columns)))

    assert rows[1] == (41, None, False, None, "south", "a")
    assert [type(value) for value in rows[0]] == [int, float, bool, bool, str, str]


def test_classes_have_one_text_each() -> None:
    assert column_texts(pd.Series([1.0, np.nan, 2.0])) == ["1", None, "2"]
    assert column_texts(pd.Series([True, False])) == ["true", "false"]


def test_the_models_own_names_decide_order_and_leave_other_columns_out() -> None:
    assert feature_columns(["id", "b", "a", "y"], "y", ("a", "b"), 2) == ["a", "b"]


def test_names_that_a_converter_cleaned_are_still_found() -> None:
    assert feature_columns(["hours-per-week", "y"], "y", ("hours_per_week",), 1) == ["hours-per-week"]


@pytest.mark.parametrize(
    ("columns", "target", "names", "width", "message"),
    [
        (["a", "b"], "y", None, 2, "no column y"),
        (["a", "y"], "y", ("a", "b"), 2, "lacks b"),
        (["a", "b", "c", "y"], "y", None, 2, "takes 2 features, but the reference has 3 columns"),
    ],
)
def test_columns_that_do_not_fit_are_named(
    columns: list[str], target: str, names: tuple[str, ...] | None, width: int, message: str
) -> None:
    with pytest.raises(SignatureError, match=message):
        feature_columns(columns, target, names, width)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pd.Series(pd.to_datetime(["2026-01-01"])), "of type datetime"),
        (pd.Series([1.0, np.inf]), "infinite"),
        (pd.Series([1, 10**400]), "hundreds of digits"),
    ],
)
def test_a_column_that_no_request_can_carry_is_refused(column: pd.Series[Any], message: str) -> None:
    with pytest.raises(SignatureError, match=message):
        learn_features(column.to_frame("x"), ["x"])

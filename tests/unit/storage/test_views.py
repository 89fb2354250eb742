"""Names of views and of their columns."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from storage.records import Feature, FeatureType, Signature, Task
from storage.views import FIXED_COLUMNS, feature_columns, view_name

model_names = st.from_regex(re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII), fullmatch=True)
version_names = st.from_regex(re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII), fullmatch=True)


def signature_of(names: list[str]) -> Signature:
    features = tuple(Feature(name=name, type=FeatureType.NUMBER, missing_allowed=True) for name in names)
    return Signature(task=Task.REGRESSION, features=features)


def test_a_plain_name_is_model_and_version() -> None:
    assert view_name("churn", "2") == "churn_v2"
    assert view_name("churn", "2026-03.rc1") == "churn_v2026-03.rc1"


@given(model_names, version_names, model_names, version_names)
def test_names_fit_and_differ(model: str, version: str, other_model: str, other_version: str) -> None:
    name, other = view_name(model, version), view_name(other_model, other_version)

    assert len(name.encode()) <= 63
    assert (name == other) == ((model, version) == (other_model, other_version))


def test_pairs_that_join_to_one_text_have_different_names() -> None:
    assert view_name("a_v1", "2") != view_name("a", "1_v2")
    assert view_name("a_v1", "2").lower() != view_name("a", "1_V2").lower()


@given(
    st.lists(st.one_of(st.text(max_size=80), st.sampled_from(["id", "ID", "label", "x", "x_2", "x" * 70, "x" * 71])), max_size=12)
)
def test_columns_fit_and_differ_in_more_than_case(names: list[str]) -> None:
    columns = feature_columns(signature_of(names))

    assert len(columns) == len(names)
    assert all(0 < len(column.encode()) <= 63 for column in columns)
    assert len({column.lower() for column in (*columns, *FIXED_COLUMNS)}) == len(columns) + len(FIXED_COLUMNS)


def test_a_feature_keeps_its_name_where_it_can() -> None:
    assert feature_columns(signature_of(["age", "id", "Age", "Größe %"])) == ("age", "id_2", "Age_2", "Größe %")

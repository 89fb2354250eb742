"""Rows against a signature: what fits, what is refused with row, field and reason, and what is only odd."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.problems import MAX_DETAILS, Problem
from inference.rows import RowReader, RowWatch
from storage.records import Feature, FeatureType, Signature, Task
from tests.factories import make_signature

SIGNATURE = make_signature()  # age integer, income number (may be missing), member boolean, region category
READER = RowReader(SIGNATURE)
ROW: list[Any] = [44, 0.5, True, "north"]
NAMED = dict(zip(SIGNATURE.names, ROW, strict=True))


def read(*rows: Any) -> list[Any]:
    return READER.read(json.dumps(list(rows)).encode())


def refusal(*rows: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        read(*rows)
    return caught.value


def test_objects_and_arrays_give_the_same_tuple() -> None:
    backwards = dict(reversed(NAMED.items()))

    assert read(ROW, NAMED, backwards) == [tuple(ROW)] * 3


def test_a_single_row_is_read_as_an_array_of_one_is() -> None:
    assert READER.read_one(json.dumps(NAMED).encode()) == read(NAMED)
    assert READER.read_one(json.dumps(ROW).encode()) == read(ROW)


@pytest.mark.parametrize("whole", [44.0, 44])
def test_a_whole_number_may_be_spelt_as_a_float(whole: float) -> None:
    assert read([whole, 0.5, True, "north"]) == [(44, 0.5, True, "north")]
    assert type(read([whole, 0.5, True, "north"])[0][0]) is int


def test_null_stands_for_missing_where_the_reference_has_missing_values() -> None:
    assert read([44, None, True, "north"]) == [(44, None, True, "north")]


@pytest.mark.parametrize(
    ("row", "field", "reason"),
    [
        ([44.5, 0.5, True, "north"], "age", "must be a whole number"),
        (["44", 0.5, True, "north"], "age", "must be a whole number"),
        ([True, 0.5, True, "north"], "age", "must be a whole number"),
        ([10**20, 0.5, True, "north"], "age", "is too large"),
        ([44, "0.5", True, "north"], "income", "must be a number"),
        ([44, False, True, "north"], "income", "must be a number"),
        ([44, 1e39, True, "north"], "income", "is too large"),
        ([44, 0.5, 1, "north"], "member", "must be true or false"),
        ([44, 0.5, True, 3], "region", "must be a text"),
        ([44, 0.5, True, "x" * 10_001], "region", "is longer than 10000 characters"),
        ([None, 0.5, True, "north"], "age", "must not be missing: the reference has no missing values here"),
        ([44, 0.5, True], None, "has 3 values, the model takes 4"),
        ([*ROW, 1], None, "has 5 values, the model takes 4"),
        ("north", None, "must be an object of features or an array of their values"),
        ({**NAMED, "agee": 1}, "agee", "is not a feature of this model"),
        ({key: value for key, value in NAMED.items() if key != "age"}, "age", "is missing"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_with_its_place(row: Any, field: str | None, reason: str) -> None:
    problem = refusal(ROW, row)

    assert problem.status == 422
    assert problem.details == [{"row": 1, "field": field, "reason": reason}]


def test_not_a_number_is_refused_with_a_hint_though_it_is_no_json() -> None:
    with pytest.raises(Problem) as caught:
        READER.read(b'[[44, NaN, true, "north"]]')

    assert caught.value.status == 422
    assert caught.value.details[0]["field"] == "income"


def test_the_refusal_never_repeats_a_value() -> None:
    problem = refusal(["secret-value", "secret-value", "secret-value", 7])

    assert b"secret-value" not in problem.body()


def test_details_are_few_however_many_rows_are_wrong() -> None:
    problem = refusal(*[["x", "x", "x", 1]] * 1000)

    assert len(json.loads(problem.body())["details"]) == MAX_DETAILS


def test_feature_names_may_be_any_text() -> None:
    names = ["", "f1", "__init__", "mean radius", "größe", "a-b", "instances"]
    features = tuple(Feature(name=name, type=FeatureType.NUMBER, missing_allowed=False) for name in names)
    reader = RowReader(Signature(task=Task.REGRESSION, features=features))

    rows = reader.read(json.dumps([{name: index for index, name in enumerate(names)}]).encode())

    assert rows == [tuple(float(index) for index in range(len(names)))]


values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5), st.just([])
)


@given(st.lists(values, min_size=3, max_size=5))
def test_the_fast_way_takes_what_the_careful_way_takes(row: list[Any]) -> None:
    careful, wrong = READER._row(list(row))

    if wrong:
        assert refusal(row).status == 422
    else:
        assert read(row) == [careful]


# ---------------------------------------------------------------------------------------------- odd values

WATCH = RowWatch(SIGNATURE)


def test_values_that_the_reference_did_not_show_are_warned_of() -> None:
    odd = WATCH.odd([tuple(ROW), (91, 0.5, True, "north"), (44, None, True, "west"), (17, 1.5, True, "south")])

    assert odd == {
        1: [{"field": "age", "reason": "out of range"}],
        2: [{"field": "region", "reason": "unseen category"}],
        3: [{"field": "age", "reason": "out of range"}, {"field": "income", "reason": "out of range"}],
    }


def test_ordinary_rows_have_no_warnings() -> None:
    assert WATCH.odd([tuple(ROW)] * 3) is None


@pytest.mark.parametrize("rows", [1, 15, 17, 100])
def test_plain_numbers_are_watched_alike_in_small_and_large_requests(rows: int) -> None:
    features = tuple(
        Feature(name=f"f{index}", type=FeatureType.NUMBER, missing_allowed=False, minimum=0.0, maximum=1.0) for index in range(3)
    )
    watch = RowWatch(Signature(task=Task.REGRESSION, features=features))

    odd = watch.odd([(0.0, 1.0, 0.5)] * (rows - 1) + [(0.5, -0.1, 1.1)])

    assert odd == {rows - 1: [{"field": "f1", "reason": "out of range"}, {"field": "f2", "reason": "out of range"}]}

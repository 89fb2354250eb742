"""Conditions as rules write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.conditions import Condition, Operator, overlap, parse_condition

numbers = st.floats(-1e6, 1e6, allow_nan=False)
conditions = st.builds(Condition, operator=st.sampled_from(Operator), limit=numbers)


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("> 0.2", 0.3, True),
        ("> 0.2", 0.2, False),
        (">=0.2", 0.2, True),
        ("< -1e-3", -0.01, True),
        ("<= 5", 5.0, True),
        ("== 0", 0.0, True),
        ("!= 0", 0.0, False),
        (" >  .5 ", 0.6, True),
    ],
)
def test_number_is_compared(text: str, value: float, holds: bool) -> None:
    assert parse_condition(text).holds(value, None) is holds


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [("> threshold", 0.21, True), ("> threshold", 0.2, False), ("< 0.5 * threshold", 0.09, True), ("< 0.5*threshold", 0.11, False)],
)
def test_threshold_of_the_point_is_compared(text: str, value: float, holds: bool) -> None:
    assert parse_condition(text).holds(value, 0.2) is holds


def test_condition_on_a_threshold_holds_for_no_point_without_one() -> None:
    condition = parse_condition("> threshold")

    assert condition.bound(None) is None
    assert not condition.holds(9.0, None)
    assert not condition.opposite().holds(9.0, None)


@pytest.mark.parametrize(
    "text", ["", "0.2", "> ", "=> 1", "> abc", "> nan", "> inf", "> 1 2", "> x * threshold", "threshold > 1", "<> 1"]
)
def test_other_text_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write for example"):
        parse_condition(text)


@given(conditions, numbers)
def test_opposite_holds_exactly_where_the_condition_does_not(condition: Condition, value: float) -> None:
    assert condition.opposite().holds(value, None) is not condition.holds(value, None)


@given(conditions)
def test_text_of_a_condition_reads_back(condition: Condition) -> None:
    again = parse_condition(str(condition))

    assert again.operator is condition.operator
    assert again.limit == pytest.approx(condition.limit, rel=1e-5)


@pytest.mark.parametrize(
    ("when", "resolve_when", "overlapping"),
    [
        ("> 0.2", "< 0.1", False),
        ("> 0.2", "<= 0.2", False),
        (">= 0.2", "< 0.2", False),
        (">= 0.2", "<= 0.2", True),
        ("> 0.2", "< 0.3", True),
        ("> 0.2", "> 0.1", True),
        ("< 5", "< 6", True),
        ("< 5", "> 4", True),
        ("< 5", ">= 5", False),
        ("> threshold", "< 0.8 * threshold", False),
        ("> threshold", "< 1.2 * threshold", True),
        ("> threshold", "< 0.1", False),
        ("== 1", "!= 1", False),
    ],
)
def test_overlap_of_firing_and_resolving_is_seen(when: str, resolve_when: str, overlapping: bool) -> None:
    assert overlap(parse_condition(when), parse_condition(resolve_when)) is overlapping

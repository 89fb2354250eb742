"""Where a feature moved to, in words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.movements import movement
from storage.records import Bins

AGE = Bins(name="age", edges=(0.0, 10.0, 20.0, 30.0))
PLAN = Bins(name="plan", categories=("basic", "pro"), is_categorical=True)


@pytest.mark.parametrize(
    ("bins", "reference", "current", "said"),
    [
        (AGE, [0, 100, 0, 0, 0, 0], [0, 0, 100, 0, 0, 0], "median 5 to 15"),
        (AGE, [0, 50, 50, 0, 0, 0], [0, 0, 0, 0, 100, 0], "median 10 to 30"),
        (AGE, [0, 50, 50, 0, 0, 0], [100, 0, 0, 0, 0, 0], "median 10 to 0"),
        (AGE, [0, 100, 0, 0, 0, 0], [0, 50, 0, 0, 0, 50], "missing 0 % to 50 %, median 5 to 5"),
        (AGE, [0, 100, 0, 0, 0, 0], [0, 0, 0, 0, 0, 10], "missing 0 % to 100 %"),
        (PLAN, [90, 10, 0, 0], [60, 40, 0, 0], "basic 90 % to 60 %"),
        (PLAN, [90, 10, 0, 0], [60, 10, 30, 0], "basic 90 % to 60 %"),
        (PLAN, [50, 50, 0, 0], [30, 20, 50, 0], "new or rare values 0 % to 50 %"),
        (PLAN, [90, 10, 0, 0], [90, 10, 0, 0], ""),
        (PLAN, [0, 0, 0, 0], [90, 10, 0, 0], ""),
        (PLAN, [90, 10, 0, 0], [0, 0, 0, 0], ""),
        (Bins(name="empty"), [10, 0], [10, 0], ""),
    ],
)
def test_the_change_that_says_most_is_named(bins: Bins, reference: list[int], current: list[int], said: str) -> None:
    found = movement(bins, np.array(reference), np.array(current))

    assert found == said


@given(data=st.data(), bins=st.sampled_from([AGE, PLAN, Bins(name="empty"), Bins(name="none", is_categorical=True)]))
def test_any_counts_give_a_text(data: st.DataObject, bins: Bins) -> None:
    counts = st.lists(st.integers(0, 10**9), min_size=bins.size, max_size=bins.size)

    assert isinstance(movement(bins, np.array(data.draw(counts)), np.array(data.draw(counts))), str)

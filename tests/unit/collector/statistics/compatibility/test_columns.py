"""What both compatibility modes share."""

from __future__ import annotations

import doctest

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import jensenshannon

from collector.statistics.compatibility import columns, evidently, nannyml
from storage.records import Floats

shares = hnp.arrays(float, 5, elements=st.integers(0, 1_000_000).map(float)).filter(lambda counts: bool(counts.sum()))


@pytest.mark.parametrize("module", [columns, evidently, nannyml], ids=lambda module: module.__name__)
def test_docstring_examples_run(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


@given(shares, shares)
def test_jensen_shannon_is_scipys_except_for_rounding_below_zero(reference: Floats, current: Floats) -> None:
    with np.errstate(invalid="ignore"):
        expected = float(jensenshannon(reference, current))

    assert columns.jensen_shannon(reference, current) == pytest.approx(0.0 if np.isnan(expected) else expected, abs=1e-7)


@given(
    st.lists(st.sampled_from(["a", "b", 1, True, 2.0, None]), min_size=1), st.lists(st.sampled_from(["a", "c", None]), min_size=1)
)
def test_codes_keep_equal_values_together_and_missing_ones_apart(left: list[object], right: list[object]) -> None:
    reference, current = pd.Series(left, dtype=object), pd.Series(right, dtype=object)

    codes, others, levels = columns.as_codes(reference, current)

    assert [value is None for value in [*left, *right]] == [code < 0 for code in [*codes, *others]]
    assert levels == len({value for value in [*left, *right] if value is not None})
    assert all((codes[i] == others[j]) == (left[i] == right[j]) for i in range(len(left)) for j in range(len(right)))

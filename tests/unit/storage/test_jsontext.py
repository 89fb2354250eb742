"""JSON for every database."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from storage.jsontext import dump

values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**40), 2**40),
        st.floats(),
        st.text(st.characters(exclude_categories=[]), max_size=6),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=4), inner, max_size=4)),
    max_leaves=10,
)


@given(values)
def test_the_text_is_strict_json_that_can_be_encoded(value: object) -> None:
    text = dump(value)

    assert "\\u0000" not in text.replace("\\\\", "")
    text.encode("utf-8")
    json.loads(text, parse_constant=lambda name: (_ for _ in ()).throw(AssertionError(name)))


def test_what_cannot_be_stored_is_replaced() -> None:
    assert json.loads(dump({"a": float("nan"), "b": "x\0y\ud800", "c": (1, np.int64(2), np.float64(0.5))})) == {
        "a": None,
        "b": "x\ufffdy\ufffd",
        "c": [1, 2, 0.5],
    }

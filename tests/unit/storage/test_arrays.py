"""Packed arrays come back as they were, or not at all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from storage.arrays import CorruptCounts, pack_floats, pack_ints, sum_floats, sum_ints, unpack_floats, unpack_ints
from storage.records import Floats, Ints

counts = arrays(np.int64, st.integers(0, 40), elements=st.integers(0, 2**62))


@given(counts)
def test_counts_come_back_as_they_were(values: Ints) -> None:
    back = unpack_ints(pack_ints(values), values.size)

    assert back.dtype == np.int64
    np.testing.assert_array_equal(back, values)


@given(arrays(np.float64, st.integers(0, 20)))
def test_floats_come_back_as_they_were(values: Floats) -> None:
    np.testing.assert_array_equal(unpack_floats(pack_floats(values), values.size), values)


@pytest.mark.parametrize(("most", "width"), [(0, 1), (255, 1), (256, 2), (65535, 2), (65536, 4), (2**32 - 1, 4), (2**32, 8)])
def test_the_smallest_type_that_fits_is_used(most: int, width: int) -> None:
    assert len(pack_ints(np.array([0, most]))) == 1 + 2 * width


@given(
    st.integers(1, 30).flatmap(
        lambda size: st.lists(arrays(np.int64, size, elements=st.integers(0, 2**40)), min_size=1, max_size=9)
    )
)
def test_the_sum_of_packed_arrays_is_the_sum_of_the_arrays(parts: list[Ints]) -> None:
    total = sum_ints([pack_ints(part) for part in parts], parts[0].size)

    np.testing.assert_array_equal(total, np.sum(parts, axis=0))


def test_thousands_of_arrays_are_summed() -> None:
    blob = pack_ints(np.array([255, 1]))

    assert sum_ints([blob] * 5000, 2).tolist() == [255 * 5000, 5000]
    assert sum_floats([pack_floats(np.array([0.5]))] * 5000, 1).tolist() == [2500.0]


def test_the_sum_of_nothing_is_zeros() -> None:
    assert sum_ints([], 3).tolist() == [0, 0, 0]
    assert sum_floats([], 2).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("blob", [b"", b"\x00", b"\x01", b"\x03abc", b"\x01ab", b"\x01abcd", b"\x02abc", b"f" + b"\0" * 24])
def test_damaged_counts_are_refused_with_a_sentence(blob: bytes) -> None:
    with pytest.raises(CorruptCounts, match="3 counts were expected"):
        unpack_ints(blob, 3)
    with pytest.raises(CorruptCounts, match="3 counts were expected"):
        sum_ints([blob], 3)


@pytest.mark.parametrize("blob", [b"", b"f", b"\x08" + b"\0" * 16, b"f" + b"\0" * 15])
def test_damaged_moments_are_refused_with_a_sentence(blob: bytes) -> None:
    with pytest.raises(CorruptCounts, match="2 floats were expected"):
        unpack_floats(blob, 2)

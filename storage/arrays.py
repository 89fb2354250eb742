"""Arrays of counts as bytes in a column: one byte that names the type of the numbers, then the numbers, little-endian.

Counts are kept in the smallest unsigned integers that hold them (a minute of a quiet model is one byte a bin), moments
as 64-bit floats. Shapes are not stored: they follow from the layout.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from storage.records import Floats, Ints

Packed: TypeAlias = npt.NDArray[np.unsignedinteger[Any]]

_INTEGERS: dict[int, np.dtype[np.unsignedinteger[Any]]] = {
    1: np.dtype("<u1"),
    2: np.dtype("<u2"),
    4: np.dtype("<u4"),
    8: np.dtype("<u8"),
}
_FLOAT_CODE = 0x66  # "f"
_FLOAT = np.dtype("<f8")
_AT_ONCE = 2048  # arrays, which bounds the memory


class CorruptCounts(Exception):
    """Stored counts cannot be read: they are damaged, or belong to another layout."""


def pack_ints(values: Ints) -> bytes:
    """Counts of any shape (none negative) as bytes."""
    most = int(values.max(initial=0))
    code = next(size for size in _INTEGERS if most < 1 << 8 * size)
    return bytes([code]) + values.astype(_INTEGERS[code]).tobytes()


def unpack_ints(blob: bytes, size: int) -> Ints:
    """The ``size`` counts in ``blob``, int64 (size,). Raises CorruptCounts."""
    return _payload(blob, size).astype(np.int64)


def pack_floats(values: Floats) -> bytes:
    """Floats of any shape as bytes."""
    return bytes([_FLOAT_CODE]) + values.astype(_FLOAT).tobytes()


def unpack_floats(blob: bytes, size: int) -> Floats:
    """The ``size`` floats in ``blob``, float64 (size,). Raises CorruptCounts."""
    if blob[:1] != bytes([_FLOAT_CODE]) or len(blob) != 1 + size * _FLOAT.itemsize:
        raise CorruptCounts(
            f"Stored moments are damaged or of another layout: {len(blob)} bytes where {size} floats were expected."
        )
    return np.frombuffer(blob, _FLOAT, offset=1).astype(np.float64)


def sum_ints(blobs: Iterable[bytes], size: int) -> Ints:
    """The sum of many packed arrays of ``size`` counts each, int64 (size,). Raises CorruptCounts.

    Arrays of one type are added as one matrix, which is many times faster than one by one.
    """
    total = np.zeros(size, np.int64)
    for alike in _alike(blobs):
        numbers = _payload(alike[0], size)
        for start in range(0, len(alike), _AT_ONCE):
            total += _matrix(alike[start : start + _AT_ONCE], numbers.dtype).sum(axis=0, dtype=np.int64)
    return total


def sum_floats(blobs: Iterable[bytes], size: int) -> Floats:
    """The sum of many packed arrays of ``size`` floats each, float64 (size,). Raises CorruptCounts."""
    total = np.zeros(size)
    for alike in _alike(blobs):
        unpack_floats(alike[0], size)
        total += _matrix(alike, _FLOAT).sum(axis=0)
    return total


def _alike(blobs: Iterable[bytes]) -> Iterable[list[bytes]]:
    """The blobs in groups of one type and length: what holds for the first of a group holds for all."""
    groups: dict[tuple[bytes, int], list[bytes]] = defaultdict(list)
    for blob in blobs:
        groups[blob[:1], len(blob)].append(blob)
    return groups.values()


def _matrix(blobs: list[bytes], kind: np.dtype[Any]) -> npt.NDArray[Any]:
    joined = np.frombuffer(b"".join(blobs), np.uint8).reshape(len(blobs), -1)
    return np.ascontiguousarray(joined[:, 1:]).view(kind)


def _payload(blob: bytes, size: int) -> Packed:
    kind = _INTEGERS.get(blob[0]) if blob else None
    if kind is None or len(blob) != 1 + size * kind.itemsize:
        raise CorruptCounts(f"Stored counts are damaged or of another layout: {len(blob)} bytes where {size} counts were expected.")
    return np.frombuffer(blob, kind, offset=1)

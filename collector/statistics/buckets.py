"""Counting a column against a sorted reference without sorting the column: exact Kolmogorov-Smirnov and exact bin counts.

A column is thrown into thousands of buckets by arithmetic alone. At the ends of buckets the gap between the two cumulative
distributions is then known, which bounds it in between: only the few buckets that could hold a greater gap, and those that
an edge of a bin cuts, are looked into. That is about ten passes over a column where sorting it takes log2(n) of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from storage.records import Floats, Ints

ROWS_PER_BUCKET = 8
"""Of the reference, about: with more of them too many rows are looked into, with fewer the buckets no longer fit a cache."""
MOST_BUCKETS = 16_384
TAIL = 0.001
"""Share of the reference on either side that goes into the outermost buckets, lest outliers widen all others."""
SLACK = 1e-13
"""A bucket that could raise the distance by less is not looked into."""

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scratch:
    """Room for what a column is turned into, used again for every column: fresh pages from the system would double the time.

    ``floats`` float64 (n,), ``whole`` int64 (n,), for columns of up to n values. Not to be shared between threads.
    """

    floats: Floats
    whole: Ints

    @classmethod
    def of(cls, rows: int) -> Scratch:
        return cls(floats=np.empty(rows), whole=np.empty(rows, np.int64))


@dataclass(frozen=True, slots=True, kw_only=True)
class Buckets:
    """A function from numbers to 0 .. ``size - 1`` that never falls as the number rises.

    Linear between ``low`` and ``high``, or, ``by_bits``, by the leading bits of the float, which is about logarithmic;
    ``first`` is ``low`` as such an integer.
    """

    low: float
    high: float
    size: int
    by_bits: bool
    scale: float = 0.0
    first: int = 0
    shift: int = 0

    def of(self, values: Floats, scratch: Scratch | None = None) -> Ints:
        """The bucket of each value, int64 (n,); infinities belong to the outermost, NaN is not allowed.

        With ``scratch`` the result stands in it, until its next use.

        >>> Buckets(low=0.0, high=8.0, size=5, by_bits=False, scale=0.5).of(np.array([-np.inf, 1.9, 2.0, 9.0])).tolist()
        [0, 0, 1, 4]
        """
        scratch = scratch or Scratch.of(values.size)
        inside, whole = scratch.floats[: values.size], scratch.whole[: values.size]
        np.clip(values, self.low, self.high, out=inside)
        if self.by_bits:
            _to_sortable(inside, whole)
            keys = whole.view(np.uint64)
            keys -= np.uint64(self.first)
            keys >>= np.uint64(self.shift)
        else:
            inside -= self.low
            inside *= self.scale
            np.copyto(whole, inside, casting="unsafe")
        return whole


def _to_sortable(values: Floats, whole: Ints) -> None:
    """Unsigned integers in the order of the floats: the bits, with the sign turned round, all of them where negative."""
    values += 0.0  # makes one zero of the two
    bits = values.view(np.int64)
    np.right_shift(bits, 63, out=whole)
    whole |= np.int64(np.iinfo(np.int64).min)
    whole ^= bits


def choose_buckets(ordered: Floats) -> Buckets:
    """The buckets that spread a sorted column, float64 (n,), more evenly: linear ones or those by bits.

    >>> choose_buckets(np.arange(1000.0)).by_bits, choose_buckets(2.0 ** np.arange(1000)).by_bits
    (False, True)
    """
    finite = ordered[np.isfinite(ordered)]
    most = int(np.clip(ordered.size // ROWS_PER_BUCKET, 1, MOST_BUCKETS))
    if not finite.size or finite[0] == finite[-1]:
        return Buckets(low=0.0, high=0.0, size=1, by_bits=False)
    tail = int(finite.size * TAIL)
    low, high = float(finite[tail]), float(finite[-1 - tail])
    if low == high:
        low, high = float(finite[0]), float(finite[-1])
    candidates = [_linear(low, high, most), _by_bits(low, high, most)]
    return min(candidates, key=lambda buckets: np.square(np.bincount(buckets.of(ordered)).astype(float)).sum())


def _linear(low: float, high: float, most: int) -> Buckets:
    span = high - low
    scale = most / span
    if not np.isfinite([span, scale]).all():
        return Buckets(low=low, high=low, size=1, by_bits=False)
    return Buckets(low=low, high=high, size=most + 2, by_bits=False, scale=scale)


def _by_bits(low: float, high: float, most: int) -> Buckets:
    keys = np.zeros(2, np.int64)
    _to_sortable(np.array([low, high]), keys)
    first, last = keys.view(np.uint64).tolist()
    shift = max(0, (last - first).bit_length() - most.bit_length())
    return Buckets(low=low, high=high, size=((last - first) >> shift) + 1, by_bits=True, first=first, shift=shift)


@dataclass(frozen=True, slots=True, kw_only=True)
class SortedColumn:
    """The present values of a reference column, sorted, and what is known about its buckets.

    ``ordered``: float64 (n,) ascending. ``edges``: float64 (k,) ascending, whose ranks in other columns are wanted, and
    their buckets. Per bucket: ``ends`` rows up to its end; ``single`` whether all its rows have one value, ``values``.
    """

    ordered: Floats
    edges: Floats
    edge_buckets: Ints
    buckets: Buckets
    ends: Ints
    single: Flags
    values: Floats


def sort_column(present: Floats, edges: Floats | None = None) -> SortedColumn:
    """From the values of a reference column, float64 (n,) in any order and without NaN."""
    return sorted_column(np.sort(present), np.zeros(0) if edges is None else edges)


def sorted_column(ordered: Floats, edges: Floats) -> SortedColumn:
    """From ascending values."""
    buckets = choose_buckets(ordered)
    held = np.bincount(buckets.of(ordered), minlength=buckets.size)
    ends = np.cumsum(held)
    firsts = np.minimum(ends - held, max(ordered.size - 1, 0))
    lasts = np.maximum(ends - 1, 0)
    values = ordered[firsts] if ordered.size else np.zeros(buckets.size)
    single = (held > 0) & (values == ordered[lasts]) if ordered.size else np.zeros(buckets.size, bool)
    return SortedColumn(
        ordered=ordered,
        edges=edges,
        edge_buckets=buckets.of(edges),
        buckets=buckets,
        ends=ends,
        single=single,
        values=values,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A column against a sorted one: the exact KS distance (None: a side is empty), and rows below each edge, int64 (k,)."""

    ks: float | None
    below_edges: Ints


def rank(reference: SortedColumn, present: Floats, scratch: Scratch | None = None) -> Ranked:
    """Compare the values of a window, float64 (m,) in any order and without NaN, with the reference.

    >>> found = rank(sort_column(np.arange(100.0), edges=np.array([25.0, 75.0])), np.arange(50.0, 150.0))
    >>> found.ks, found.below_edges.tolist()
    (0.5, [0, 25])
    """
    scratch = scratch or Scratch.of(present.size)
    bucket = reference.buckets.of(present, scratch)
    held = np.bincount(bucket, minlength=reference.buckets.size)
    gaps = _Gaps.at_ends(reference, held)
    wanted = gaps.open.copy()
    wanted[reference.edge_buckets] = True
    pure = _pure(reference, wanted, bucket, held, present, scratch.floats[: present.size])
    wanted &= ~pure
    inside = np.sort(present[wanted[bucket]])
    skipped = np.where(wanted, 0, held)
    before = np.cumsum(skipped) - skipped
    at = reference.edge_buckets
    below = np.searchsorted(inside, reference.edges) + before[at]
    below += np.where(pure[at] & (reference.edges > reference.values[at]), held[at], 0)
    if not present.size or not reference.ordered.size:
        return Ranked(ks=None, below_edges=below)
    return Ranked(ks=_greatest(reference, gaps, gaps.open & ~pure, inside, before, present.size), below_edges=below)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gaps:
    """The greatest gap at the ends of buckets, and which buckets could hold a greater one."""

    greatest: float
    open: Flags

    @classmethod
    def at_ends(cls, reference: SortedColumn, held: Ints) -> _Gaps:
        n, m = max(reference.ordered.size, 1), max(int(held.sum()), 1)
        r, c = reference.ends / n, np.cumsum(held) / m
        ends = r - c
        greatest = float(np.abs(ends).max())
        # Within a bucket F - G is at most F at its end less G at its start, and at least the reverse.
        highest, lowest = r.copy(), -c
        highest[1:] -= c[:-1]
        lowest[1:] += r[:-1]
        return cls(greatest=greatest, open=(highest > greatest + SLACK) | (lowest < -greatest - SLACK))


def _pure(reference: SortedColumn, wanted: Flags, bucket: Ints, held: Ints, present: Floats, room: Floats) -> Flags:
    """Wanted buckets whose rows on both sides have one and the same value: nothing is hidden in them."""
    asked = wanted & reference.single
    if held[asked].sum() * 8 < present.size:  # looking into them is cheaper than finding out
        return np.zeros(wanted.shape, bool)
    np.take(reference.values, bucket, out=room, mode="clip")  # with the default mode numpy would copy the output
    equal = bucket[present == room]
    return np.asarray(asked & (np.bincount(equal, minlength=held.size) == held))


def _greatest(reference: SortedColumn, gaps: _Gaps, opened: Flags, inside: Floats, before: Ints, m: int) -> float:
    """The distance, with the buckets ``opened``; ``inside`` are the window's sorted rows in the wanted buckets."""
    starts = np.concatenate(([0], reference.ends[:-1]))[opened]
    sizes = reference.ends[opened] - starts
    if not sizes.sum():
        return gaps.greatest
    at = np.repeat(starts - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
    values, offset = reference.ordered[at], np.repeat(before[opened], sizes)
    last = np.append(values[1:] != values[:-1], True)
    first = np.append(True, last[:-1])
    up_to = np.searchsorted(inside, values[last], side="right") + offset[last]
    below = np.searchsorted(inside, values[first], side="left") + offset[first]
    n = reference.ordered.size
    over, under = (at[last] + 1) / n - up_to / m, below / m - at[first] / n
    return max(gaps.greatest, float(over.max()), float(under.max()))

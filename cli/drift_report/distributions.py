"""What a plot of a column shows: shares of all rows on both sides, in the same bins or by the same values. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from cli.drift_report.columns import ColumnPair
from storage.records import Floats

BINS = 30
FEW_VALUES = 12
"""Numbers with at most this many distinct values are shown value by value."""
MOST_BARS = 12
"""Categories that are shown; the others are one bar."""
TAIL_SHARE = 0.005
"""Share of the pooled rows at each end that the first and the last bin take in, however far out they lie."""


class BarKind(StrEnum):
    """What a bar stands for."""

    VALUE = "value"
    NEW = "new"
    GONE = "gone"
    OTHERS = "others"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One value, or a group of them, with its share of all rows on either side."""

    label: str
    reference: float
    current: float
    kind: BarKind = BarKind.VALUE


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """A column shown value by value."""

    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """A column of numbers in bins between ``edges``; the outermost ones hold what lies beyond, too, where ``open_ended``."""

    edges: tuple[float, ...]
    reference: tuple[float, ...]
    current: tuple[float, ...]
    open_ended: tuple[bool, bool]
    missing: tuple[float, float]


Distribution = Bars | Histogram


def distribution_of(pair: ColumnPair) -> Distribution:
    """What a plot of a pair of columns shows."""
    return number_distribution(*pair.numbers) if pair.is_number else category_distribution(*pair.texts)


def number_distribution(reference: Floats, current: Floats) -> Distribution:
    """Of two columns with NaN for missing: a histogram, or bars where there are few distinct values."""
    pooled = np.concatenate([reference, current])
    finite = pooled[np.isfinite(pooled)]
    is_few = np.unique(finite[:1000]).size <= FEW_VALUES  # a long column seldom needs to be sorted to know that it has many
    values = np.unique(finite) if is_few else finite
    if values.size <= FEW_VALUES and not np.isinf(pooled).any():
        return _value_bars(values, reference, current)
    with np.errstate(all="ignore"):  # at the end of the range of floats
        edges = _edges(finite)
    inside = [np.clip(np.nan_to_num(side[~np.isnan(side)]), edges[0], edges[-1]) for side in (reference, current)]
    shares = [np.histogram(part, edges)[0] / max(side.size, 1) for part, side in zip(inside, (reference, current), strict=True)]
    return Histogram(
        edges=tuple(edges.tolist()),
        reference=tuple(shares[0].tolist()),
        current=tuple(shares[1].tolist()),
        open_ended=(bool((pooled < edges[0]).any()), bool((pooled > edges[-1]).any())),
        missing=(_share(np.isnan(reference)), _share(np.isnan(current))),
    )


def _value_bars(values: Floats, reference: Floats, current: Floats) -> Bars:
    n, m = max(reference.size, 1), max(current.size, 1)
    counts = [(int(np.count_nonzero(reference == value)), int(np.count_nonzero(current == value))) for value in values]
    bars = [_category_bar(f"{value:.6g}", left, right, n, m) for value, (left, right) in zip(values, counts, strict=True)]
    return Bars(bars=(*bars, *_missing_bar(np.isnan(reference), np.isnan(current))))


def _edges(finite: Floats) -> Floats:
    """Bins of equal width over all but the outermost tails, which would squeeze the rest into one bin."""
    if not finite.size:
        return np.array([0.0, 1.0])
    low, high = np.quantile(finite, [TAIL_SHARE, 1 - TAIL_SHARE])
    if low == high or not np.isfinite(high - low):
        low, high = finite.min(), finite.max()
    if low == high:
        return np.array([low - 0.5, low + 0.5]) if abs(low) < 2**52 else np.array([low, np.nextafter(low, np.inf)])
    if not np.isfinite(high - low):
        return np.array([low, 0.0, high])
    if np.all(finite == np.round(finite)) and high - low < 2**52:
        width = max(1.0, np.ceil((high - low + 1) / BINS))  # bins of whole width, or some would hold more values than others
        return np.asarray(np.arange(np.floor(low) - 0.5, high + width, width))
    return np.linspace(low, high, BINS + 1)


def category_distribution(reference: Sequence[str | None], current: Sequence[str | None]) -> Bars:
    """The most frequent values of either side, the others together, and the missing ones. New and vanished values are marked."""
    left, right = Counter(reference), Counter(current)
    n, m = max(len(reference), 1), max(len(current), 1)
    values = sorted((set(left) | set(right)) - {None}, key=lambda value: (-max(left[value] / n, right[value] / m), str(value)))
    shown = values if len(values) <= MOST_BARS + 1 else values[:MOST_BARS]
    bars = [_category_bar(str(value), left[value], right[value], n, m) for value in shown]
    others = values[len(shown) :]
    if others:
        label = f"{len(others)} other values"
        bars.append(Bar(label=label, reference=_sum(left, others) / n, current=_sum(right, others) / m, kind=BarKind.OTHERS))
    return Bars(bars=(*bars, *_missing_bar(_is_missing(reference), _is_missing(current))))


def _category_bar(label: str, left: int, right: int, n: int, m: int) -> Bar:
    kind = BarKind.NEW if not left else BarKind.GONE if not right else BarKind.VALUE
    return Bar(label=label or "(empty text)", reference=left / n, current=right / m, kind=kind)


def _sum(counts: Counter[str | None], values: Sequence[str | None]) -> int:
    return sum(counts[value] for value in values)


def _is_missing(values: Sequence[str | None]) -> np.typing.NDArray[np.bool_]:
    return np.fromiter((value is None for value in values), bool, len(values))


def _missing_bar(reference: np.typing.NDArray[np.bool_], current: np.typing.NDArray[np.bool_]) -> list[Bar]:
    if not reference.any() and not current.any():
        return []
    return [Bar(label="missing", reference=_share(reference), current=_share(current), kind=BarKind.MISSING)]


def _share(flags: np.typing.NDArray[np.bool_]) -> float:
    return float(flags.mean()) if flags.size else 0.0

"""Reference against current on the same bins: shares, cumulative shares, categories. Pure: counts in, frames out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from storage.records import Bins, Floats, Ints

MAX_BARS = 40
MAX_CATEGORIES = 20
OTHER, MISSING = "other", "missing"
"""Kinds of a row that is not one of the values themselves; pages put their own words on them."""
COLUMNS = ["kind", "label", "left", "right", "reference", "current", "n_reference", "n_current"]


def histogram(bins: Bins, reference: Ints, current: Ints) -> pd.DataFrame:
    """Shares of both sides per bar, of all rows, missing ones included.

    Columns: kind (value, below, above, category, other, missing), label, left and right (numbers), reference and
    current (shares; NaN where a side has no rows), n_reference and n_current.
    """
    rows = _category_rows(bins, reference, current) if bins.is_categorical else _number_rows(bins, reference, current)
    frame = pd.DataFrame(rows, columns=["kind", "label", "left", "right", "n_reference", "n_current"])
    frame["reference"] = _shares(frame["n_reference"].to_numpy(np.int64))
    frame["current"] = _shares(frame["n_current"].to_numpy(np.int64))
    return frame[COLUMNS]


def _shares(counts: Ints) -> Floats:
    total = counts.sum()
    return counts / total if total else np.full(counts.size, np.nan)


def _category_rows(bins: Bins, reference: Ints, current: Ints) -> list[tuple[Any, ...]]:
    known = len(bins.categories)
    weight = np.maximum(_zero_safe(reference[:known]), _zero_safe(current[:known]))
    shown = np.argsort(-weight, kind="stable")[:MAX_CATEGORIES]
    rows = [("category", bins.categories[i], None, None, int(reference[i]), int(current[i])) for i in shown]
    folded = np.setdiff1d(np.arange(known), shown)
    if folded.size:
        rows.append(("folded", str(folded.size), None, None, int(reference[folded].sum()), int(current[folded].sum())))
    return [
        *rows,
        (OTHER, OTHER, None, None, int(reference[known]), int(current[known])),
        (MISSING, MISSING, None, None, int(reference[known + 1]), int(current[known + 1])),
    ]


def _zero_safe(counts: Ints) -> Floats:
    total = counts.sum()
    return counts / total if total else np.zeros(counts.size)


def _number_rows(bins: Bins, reference: Ints, current: Ints) -> list[tuple[Any, ...]]:
    edges = np.asarray(bins.edges)
    rows: list[tuple[Any, ...]] = []
    if edges.size:
        rows.append(("below", f"< {_short(edges[0])}", None, float(edges[0]), int(reference[0]), int(current[0])))
    for first, last in _bars(edges, reference):
        left, right = float(edges[first]), float(edges[last])
        inside = slice(first + 1, last + 1)
        rows.append(("value", _label(edges, first, last), left, right, int(reference[inside].sum()), int(current[inside].sum())))
    top = edges.size
    label = f"≥ {_short(edges[-1])}" if edges.size else "any"
    rows.append(("above", label, float(edges[-1]) if edges.size else None, None, int(reference[top]), int(current[top])))
    rows.append((MISSING, MISSING, None, None, int(reference[-1]), int(current[-1])))
    return rows


def is_discrete(bins: Bins) -> bool:
    """Whether the reference has so few values that each has a bar of its own."""
    return not bins.is_categorical and 1 < len(bins.edges) <= MAX_BARS + 1


def _bars(edges: Floats, reference: Ints) -> list[tuple[int, int]]:
    """Neighbouring bins joined until a bar is a fortieth of the middle 98 % of the reference wide: (first, last) edges."""
    if edges.size < 2:
        return []
    if edges.size <= MAX_BARS + 1:
        return [(i, i + 1) for i in range(edges.size - 1)]
    low, high = _middle(edges, reference)
    width = (high - low) / MAX_BARS
    bars, first = [], 0
    for i in range(1, edges.size):
        if edges[i] - edges[first] >= width or i == edges.size - 1:
            bars.append((first, i))
            first = i
    return bars


def _middle(edges: Floats, reference: Ints) -> tuple[float, float]:
    inside = reference[1 : edges.size]
    total = inside.sum()
    if not total:
        return float(edges[0]), float(edges[-1])
    rising = np.cumsum(inside) / total
    low = edges[int(np.searchsorted(rising, 0.01))]
    high = edges[min(int(np.searchsorted(rising, 0.99)) + 1, edges.size - 1)]
    return float(low), float(high) if high > low else float(edges[-1])


def _label(edges: Floats, first: int, last: int) -> str:
    left, right = edges[first], edges[last]
    if last == edges.size - 1 and last - first == 1 and right == np.nextafter(left, np.inf):
        return _short(left)
    if float(left).is_integer() and float(right).is_integer() and right - left == 1:
        return _short(left)
    return f"{_short(left)} – {_short(right)}"


def _short(value: float) -> str:
    return f"{value:.4g}"


def cumulative(bins: Bins, reference: Ints, current: Ints) -> pd.DataFrame:
    """Share of the present rows below each edge, columns value, reference, current; exact at every edge of the layout."""
    edges = np.asarray(bins.edges)
    return pd.DataFrame({"value": edges, "reference": _below(reference, edges.size), "current": _below(current, edges.size)})


def _below(counts: Ints, edges: int) -> Floats:
    present = counts[:-1].sum()
    return np.cumsum(counts[:edges]) / present if present else np.full(edges, np.nan)


def densities(frame: pd.DataFrame) -> pd.DataFrame:
    """The numeric bars with ``center``, ``width`` and a height that makes area the share; what is outside gets a bar at each end."""
    values = frame[frame["kind"] == "value"]
    if values.empty:
        return pd.DataFrame(
            columns=["label", "center", "width", "reference", "current", "share_reference", "share_current", "outside"]
        )
    typical = float((values["right"] - values["left"]).median()) or 1.0
    bars = frame[frame["kind"].isin(["below", "value", "above"])].copy()
    bars["outside"] = bars["kind"] != "value"
    left = bars["left"].fillna(bars["right"] - typical)
    right = bars["right"].fillna(bars["left"] + typical)
    bars["width"] = (right - left).clip(lower=typical * 1e-3)
    bars["center"] = (left + right) / 2
    bars["share_reference"], bars["share_current"] = bars["reference"], bars["current"]
    bars["reference"] = bars["reference"] / bars["width"]
    bars["current"] = bars["current"] / bars["width"]
    empty_end = bars["outside"] & (bars["n_reference"] == 0) & (bars["n_current"] == 0)
    return bars[~empty_end]

"""Distributions as inline SVG, without a script: reference as filled bars, current data as an outline or striped bars.

Shape and pattern tell the two apart as well as colour does; every plot has a title and a description for screen readers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from cli.drift_report.distributions import Bar, BarKind, Bars, Distribution, Histogram

WIDTH, HEIGHT = 640, 220
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 10, 28
GAP = 26
"""Pixels between the bins and the bars of missing values."""
MISSING_WIDTH = 46
ROW = 24
LABEL_WIDTH, VALUE_WIDTH = 170, 132
LABEL_LENGTH = 22

Scale = Callable[[float], float]
"""From a share to a height on the page."""


def plot(name: str, distribution: Distribution) -> str:
    """One column's distributions as an SVG element."""
    return _histogram(name, distribution) if isinstance(distribution, Histogram) else _bars(name, distribution)


def _svg(height: float, name: str, description: str, body: Sequence[str]) -> str:
    title = escape(f"Distribution of {name}, reference and current")
    return (
        f'<svg viewBox="0 0 {WIDTH} {_px(height)}" role="img" aria-label="{title}. {escape(description)}">'
        f"<title>{title}</title><desc>{escape(description)}</desc>{''.join(body)}</svg>"
    )


def _px(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")


def _rect(css: str, x: float, y: float, width: float, height: float, title: str = "") -> str:
    tip = f"<title>{escape(title)}</title>" if title else ""
    return f'<rect class="{css}" x="{_px(x)}" y="{_px(y)}" width="{_px(max(width, 0))}" height="{_px(max(height, 0))}">{tip}</rect>'


def _text(css: str, x: float, y: float, text: str) -> str:
    return f'<text class="{css}" x="{_px(x)}" y="{_px(y)}">{escape(text)}</text>'


# ---------------------------------------------------------------------------------------------- numbers


def _histogram(name: str, histogram: Histogram) -> str:
    has_missing = any(histogram.missing)
    right = WIDTH - RIGHT - (MISSING_WIDTH + GAP if has_missing else 0)
    top = max(*histogram.reference, *histogram.current, *histogram.missing, 1e-9)
    step = _nice_step(top)
    bins = len(histogram.reference)
    xs = [LEFT + (right - LEFT) * index / bins for index in range(bins + 1)]

    def y(share: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share / top

    body = _grid(step, top, y) + _steps(histogram, xs, y) + _ticks(histogram, xs)
    if has_missing:
        body += _missing(histogram, right + GAP, y)
    return _svg(HEIGHT, name, _describe_histogram(histogram), body)


def _nice_step(top: float) -> float:
    """A round distance of grid lines that gives three to six of them.

    >>> _nice_step(0.23), _nice_step(1.0)
    (0.05, 0.2)
    """
    return next((step for step in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1) if top / step <= 5.5), 0.2)


def _grid(step: float, top: float, y: Scale) -> list[str]:
    lines = []
    for index in range(int(top / step + 1e-9) + 1):
        at = y(index * step)
        lines.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{_px(at)}" y2="{_px(at)}"/>')
        lines.append(_text("axis end", LEFT - 6, at + 4, f"{index * step:.{1 if step < 0.01 else 0}%}"))
    return lines


def _steps(histogram: Histogram, xs: Sequence[float], y: Scale) -> list[str]:
    """Filled bars of the reference, an outline of the current data over them, and an area to point at for the figures."""
    floor = y(0.0)
    bars, outline, tips = [], [f"M{_px(xs[0])} {_px(floor)}"], []
    for index, (reference, current) in enumerate(zip(histogram.reference, histogram.current, strict=True)):
        left, right = xs[index], xs[index + 1]
        bars.append(_rect("reference", left + 0.5, y(reference), right - left - 1, floor - y(reference)))
        outline.append(f"V{_px(y(current))}H{_px(right)}")
        label = f"{_bin_label(histogram, index)}: reference {reference:.1%}, current {current:.1%}"
        tips.append(_rect("tip", left, TOP, right - left, floor - TOP, label))
    return [*bars, f'<path class="current" d="{"".join(outline)}V{_px(floor)}"/>', *tips]


def _bin_label(histogram: Histogram, index: int) -> str:
    low, high = (number_text(edge) for edge in histogram.edges[index : index + 2])
    if index == 0 and histogram.open_ended[0]:
        return f"below {high}"
    if index == len(histogram.edges) - 2 and histogram.open_ended[1]:
        return f"{low} and above"
    return f"{low} to {high}"


def number_text(value: float) -> str:
    """A number short enough for an axis.

    >>> number_text(34820.4), number_text(0.25), number_text(2.5e9)
    ('34,820', '0.25', '2.5e+09')
    """
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e7 else f"{value:.4g}"


def _ticks(histogram: Histogram, xs: Sequence[float]) -> list[str]:
    """Round values under the axis, and an arrow where the outermost bin takes in all that lies beyond."""
    low, high = histogram.edges[0], histogram.edges[-1]
    labels = [_text("axis", xs[0] - 4, HEIGHT - 9, "\u25c2")] if histogram.open_ended[0] else []
    labels += [_text("axis end", xs[-1] + 4, HEIGHT - 9, "\u25b8")] if histogram.open_ended[1] else []
    for value in round_values(low, high):
        at = xs[0] + (xs[-1] - xs[0]) * ((value - low) / (high - low))
        if xs[0] + 12 <= at <= xs[-1] - 12:
            labels.append(_text("axis middle", at, HEIGHT - 9, number_text(value)))
    return labels


def round_values(low: float, high: float) -> list[float]:
    """Four to eight round numbers between two.

    >>> round_values(17.5, 77.5), round_values(0.0, 1.0)
    ([20.0, 30.0, 40.0, 50.0, 60.0, 70.0], [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    """
    span = high - low
    if not math.isfinite(span) or span < 1e-300:
        return [low]
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(factor * power for factor in (5, 2, 1) if span / (factor * power) >= 4)
    values = [
        round(index * step, 12 - math.floor(math.log10(step)))
        for index in range(math.ceil(low / step), math.floor(high / step) + 1)
    ]
    return values if len(values) <= 12 else [low]


def _missing(histogram: Histogram, x: float, y: Scale) -> list[str]:
    reference, current = histogram.missing
    width, floor = MISSING_WIDTH / 2 - 2, y(0.0)
    return [
        f'<line class="divide" x1="{_px(x - GAP / 2)}" x2="{_px(x - GAP / 2)}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>',
        _rect("reference", x, y(reference), width, floor - y(reference), f"missing: reference {reference:.1%}"),
        _rect("current striped", x + width + 3, y(current), width, floor - y(current), f"missing: current {current:.1%}"),
        _text("axis middle", x + MISSING_WIDTH / 2, HEIGHT - 9, "missing"),
    ]


def _describe_histogram(histogram: Histogram) -> str:
    widest = [max(range(len(shares)), key=shares.__getitem__) for shares in (histogram.reference, histogram.current)]
    reference, current = (_bin_label(histogram, index) for index in widest)
    missing = f" Missing: {histogram.missing[0]:.1%} and {histogram.missing[1]:.1%}." if any(histogram.missing) else ""
    return f"Most frequent bin: {reference} in the reference, {current} in the current table.{missing}"


# ---------------------------------------------------------------------------------------------- categories


def _bars(name: str, bars: Bars) -> str:
    top = max((max(bar.reference, bar.current) for bar in bars.bars), default=1.0) or 1.0
    body = [part for index, bar in enumerate(bars.bars) for part in _pair(bar, index * (ROW + 8) + 4, top)]
    return _svg(max(len(bars.bars) * (ROW + 8) + 4, 24), name, _describe_bars(bars), body)


def _pair(bar: Bar, y: float, top: float) -> list[str]:
    """A value's label, its bar in the reference above the one in the current data, and both shares."""
    width = WIDTH - LABEL_WIDTH - VALUE_WIDTH
    half = ROW / 2
    label = bar.label if len(bar.label) <= LABEL_LENGTH else bar.label[: LABEL_LENGTH - 1] + "\u2026"
    tag = {BarKind.NEW: "new", BarKind.GONE: "gone"}.get(bar.kind, "")
    plain = bar.kind in (BarKind.VALUE, BarKind.NEW, BarKind.GONE)
    return [
        f'<text class="label end{"" if plain else " group"}" x="{LABEL_WIDTH - 10}" y="{_px(y + half + 4)}">{escape(label)}'
        + (f'<tspan class="{tag}"> {tag}</tspan>' if tag else "")
        + f"<title>{escape(bar.label)}</title></text>",
        _rect("reference", LABEL_WIDTH, y, width * bar.reference / top, half - 1, f"{bar.label}: reference {bar.reference:.1%}"),
        _rect(
            "current striped", LABEL_WIDTH, y + half, width * bar.current / top, half - 1, f"{bar.label}: current {bar.current:.1%}"
        ),
        _text("axis", WIDTH - VALUE_WIDTH + 8, y + half + 4, f"{bar.reference:.1%} \u2192 {bar.current:.1%}"),
    ]


def _describe_bars(bars: Bars) -> str:
    return " ".join(f"{bar.label}: {bar.reference:.1%}, then {bar.current:.1%}." for bar in bars.bars) or "No values."

"""Frames into figures. Pure: no Streamlit, no clock, no SQL; texts and colours come in, a plotly figure goes out.

Names come from other people, and plotly reads a kind of HTML in every text: ``safe`` shows them as they are.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from storage.records import Ints, Verdict

AnyArray = np.ndarray[Any, np.dtype[Any]]

MAX_RATIO = 3.0
"""The heat map's darkest colour; further over its threshold looks the same, and the number says it."""
LABELLED_COLUMNS = 40
"""Up to this many columns, cells over their threshold carry their number."""
ROW_PIXELS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    """Colours that can be told apart by everybody, on one background. Based on Okabe and Ito's."""

    reference: str
    current: str
    lines: tuple[str, ...]
    bad: str
    good: str
    muted: str
    grid: str
    text: str
    background: str
    unknown: str
    calm: tuple[str, str]
    over: tuple[str, str]


LIGHT = Palette(
    reference="#8C96A3",
    current="#0072B2",
    lines=("#0072B2", "#E69F00", "#CC79A7", "#009E73", "#56B4E9", "#D55E00"),
    bad="#C2410C",
    good="#0B7A55",
    muted="#6B7685",
    grid="#E6EAEF",
    text="#1B2430",
    background="#FFFFFF",
    unknown="#DDE1E6",
    calm=("#EEF4FA", "#8DB9DE"),
    over=("#F0A04B", "#A61E07"),
)
DARK = Palette(
    reference="#7E8998",
    current="#56B4E9",
    lines=("#56B4E9", "#E69F00", "#CC79A7", "#3CC39A", "#0072B2", "#F0814A"),
    bad="#F0814A",
    good="#3CC39A",
    muted="#93A0AF",
    grid="#28313B",
    text="#E4E9EF",
    background="#11161C",
    unknown="#333D48",
    calm=("#18232E", "#2C618C"),
    over=("#C26A1A", "#FF8A5C"),
)

CONFIG: dict[str, Any] = {
    "displaylogo": False,
    "modeBarButtonsToRemove": ["select2d", "lasso2d"],
    "toImageButtonOptions": {"format": "png", "scale": 2},
}


def safe(text: object, most: int = 60) -> str:
    """Any text as plotly shows it literally, cut to a length that a chart can carry."""
    flat = " ".join(str(text).split())
    return html.escape(flat if len(flat) <= most else f"{flat[: most - 1]}…", quote=False)


def figure(palette: Palette, height: int, *, legend: bool = True) -> go.Figure:
    """An empty figure in the house style."""
    return go.Figure(
        layout={
            "height": height,
            "margin": {"l": 8, "r": 8, "t": 28 if legend else 10, "b": 8},
            "font": {"color": palette.text, "size": 12},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "showlegend": legend,
            "legend": {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "xanchor": "left", "title": {"text": ""}},
            "hoverlabel": {"align": "left"},
            "uirevision": "keep",
            "xaxis": {"gridcolor": palette.grid, "zeroline": False, "automargin": True, "linecolor": palette.grid},
            "yaxis": {"gridcolor": palette.grid, "zeroline": False, "automargin": True, "linecolor": palette.grid},
        }
    )


# ---------------------------------------------------------------------------------------------- drift


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatMapTexts:
    """The words of the heat map; ``verdicts`` by value of the verdict."""

    score: str
    threshold: str
    rows: str
    times_threshold: str
    too_few: str
    scale: str
    verdicts: Mapping[str, str]


def drift_heatmap(frame: pd.DataFrame, features: Sequence[str], texts: HeatMapTexts, palette: Palette) -> go.Figure:
    """Features down, time across, colour = value over threshold; grey where the window was too small to judge.

    ``frame``: as ``drifts.cells``, with ``shown_at`` (the reader's clock). Each cell carries the time and feature that
    ``cell_of`` reads, for a click on it.
    """
    shown = frame[frame["feature"].isin(features)]
    times = sorted(shown["shown_at"].unique())
    fig = figure(palette, 74 + ROW_PIXELS * max(len(features), 2), legend=False)
    if not len(times):
        return fig
    times = _with_gaps(times)
    names = [texts.score if name == "" else safe(name, 34) for name in features]
    shown = shown.sort_values("ratio", na_position="first")  # of two values for one cell the greater one is seen
    place = _places(shown, features, times)
    few = (shown["verdict"] == Verdict.INSUFFICIENT).to_numpy()
    shape, positions = (len(features), len(times)), list(range(len(features)))
    grey = _grid(shape, place, np.where(few, 1.0, np.nan), np.nan)
    ratio = _grid(shape, place, np.where(few, np.nan, shown["ratio"].to_numpy(np.float64, na_value=np.nan)), np.nan)
    heat = _heat(times, positions, ratio, texts, palette)
    heat["hovertext"] = _grid(shape, place, np.array(_hover(shown, texts), str), "")
    heat["customdata"] = _grid(shape, place, np.array(_cells(shown), str), "")
    fig.add_traces([_grey(times, positions, grey, palette), heat])
    fig.update_layout(
        yaxis={
            "tickvals": positions,
            "ticktext": names,
            "range": [len(features) - 0.5, -0.5],
            "showgrid": False,
            "fixedrange": True,
            "ticks": "",
        },
        xaxis={"showgrid": False, "range": _padded(times)},
        dragmode="zoom",
        margin={"t": 6},
    )
    return fig


def cell_of(clicked: str) -> tuple[str, datetime] | None:
    """The feature and the end of the window that a cell of the heat map carries; None where it is none of ours.

    >>> cell_of("2026-11-21T10:00:00+00:00 monthly income")
    ('monthly income', datetime.datetime(2026, 11, 21, 10, 0, tzinfo=datetime.timezone.utc))
    """
    at, separator, feature = clicked.partition(" ")
    try:
        return (feature, datetime.fromisoformat(at)) if separator else None
    except ValueError:
        return None


def _cells(shown: pd.DataFrame) -> list[str]:
    return [f"{at.isoformat()} {feature}" for at, feature in zip(shown["at"], shown["feature"], strict=True)]


def _places(shown: pd.DataFrame, features: Sequence[str], times: Sequence[Any]) -> tuple[Ints, Ints]:
    """Row and column of each line of the frame."""
    row, column = ({name: index for index, name in enumerate(names)} for names in (features, times))
    return shown["feature"].map(row).to_numpy(np.int64), shown["shown_at"].map(column).to_numpy(np.int64)


def _grid(shape: tuple[int, int], place: tuple[Ints, Ints], values: AnyArray, empty: object) -> AnyArray:
    grid = np.full(shape, empty, dtype=values.dtype)
    grid[place] = values
    return grid


def _with_gaps(times: Sequence[Any]) -> list[Any]:
    """Times without windows get empty columns: a heat map would stretch the cells beside a gap over half of it.

    Columns that stand for one or for two windows lie up to two steps apart without a gap.
    """
    steps = [after - before for before, after in pairwise(times)]
    if not steps:
        return list(times)
    step = min(steps)
    around = [(before + step, after - step) for before, after in pairwise(times) if after - before > 2.5 * step]
    return sorted({*times, *(edge for edges in around for edge in edges)})


def _padded(times: Sequence[Any]) -> list[Any]:
    if len(times) == 1:
        return [times[0] - pd.Timedelta(minutes=1), times[0] + pd.Timedelta(minutes=1)]
    half = (times[-1] - times[0]) / (len(times) - 1) / 2
    return [times[0] - half, times[-1] + half]


def _grey(times: Sequence[Any], positions: Sequence[int], few: Any, palette: Palette) -> go.Heatmap:
    scale = [[0, palette.unknown], [1, palette.unknown]]
    return go.Heatmap(
        x=times, y=positions, z=few, colorscale=scale, showscale=False, hoverinfo="skip", xgap=1, ygap=1, zmin=0, zmax=1
    )


def _heat(times: Sequence[Any], positions: Sequence[int], ratio: Any, texts: HeatMapTexts, palette: Palette) -> go.Heatmap:
    line = 1 / MAX_RATIO
    over = int((ratio >= 1).sum())
    labels = (
        np.where(ratio >= 1, np.char.mod("%.1f", np.nan_to_num(ratio)), "") if ratio.shape[1] <= LABELLED_COLUMNS and over else None
    )
    return go.Heatmap(
        x=times,
        y=positions,
        z=np.clip(ratio, 0, MAX_RATIO),
        zmin=0,
        zmax=MAX_RATIO,
        colorscale=[
            [0, palette.calm[0]],
            [line * 0.999, palette.calm[1]],
            [line, palette.over[0]],
            [1, palette.over[1]],
        ],
        text=labels,
        texttemplate="%{text}" if labels is not None else None,
        textfont={"size": 10},
        hoverinfo="text",
        xgap=1,
        ygap=1,
        colorbar={
            "title": {"text": texts.scale, "side": "top", "font": {"size": 11}},
            "tickvals": [0, 1, 2, MAX_RATIO],
            "ticktext": ["0", "1×", "2×", f"≥{MAX_RATIO:g}×"],
            "thickness": 10,
            "len": 1,
            "y": 0.5,
            "outlinewidth": 0,
        },
    )


def _hover(shown: pd.DataFrame, texts: HeatMapTexts) -> list[str]:
    rows: list[Any] = list(shown.itertuples())
    return [
        "<br>".join(
            (
                f"<b>{texts.score if row.feature == '' else safe(row.feature)}</b>",
                f"{row.shown_at:%Y-%m-%d %H:%M:%S}",
                f"{_digits(row.value)} · {texts.threshold} {_digits(row.threshold)}",
                f"{texts.rows} {_count(row.n_current)} / {_count(row.n_reference)}",
                safe(texts.verdicts.get(row.verdict, row.verdict)),
            )
        )
        for row in rows
    ]


def _digits(value: float | None) -> str:
    return "—" if value is None or not np.isfinite(value) else f"{value:.3g}"


def _count(value: float | None) -> str:
    return "—" if value is None or not np.isfinite(value) else f"{int(value):,}"


# ---------------------------------------------------------------------------------------------- distributions


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """The words for reference and current, and for the axes."""

    reference: str
    current: str
    share: str
    density: str
    below_or_equal: str
    value: str


def histogram(bars: pd.DataFrame, sides: Sides, palette: Palette) -> go.Figure:
    """Two densities over the same bars: the reference filled, the current as an outline; area is share.

    ``bars``: as ``distributions.densities``.
    """
    fig = figure(palette, 330)
    for side, name in (("reference", sides.reference), ("current", sides.current)):
        colour = getattr(palette, side)
        fig.add_trace(
            go.Bar(
                x=bars["center"],
                y=bars[side],
                width=bars["width"],
                name=name,
                marker={
                    "color": _faded(colour, 0.45 if side == "reference" else 0.18),
                    "line": {"color": colour, "width": 0.3 if side == "reference" else 1.6},
                    "pattern": {"shape": ["/" if outside else "" for outside in bars["outside"]], "fgcolor": colour, "size": 5},
                },
                customdata=np.stack([bars["label"].map(safe), bars[f"share_{side}"]], axis=-1) if len(bars) else None,
                hovertemplate="%{customdata[0]}<br>%{customdata[1]:.2%}<extra>" + safe(name) + "</extra>",
            )
        )
    fig.update_layout(barmode="overlay", bargap=0)
    fig.update_yaxes(title={"text": sides.density, "standoff": 8}, rangemode="tozero", showticklabels=False)
    fig.update_xaxes(title={"text": sides.value, "standoff": 4}, range=_without_tails(bars))
    return fig


def _without_tails(bars: pd.DataFrame) -> list[float] | None:
    """Where the bars can be seen: thin tails would press the rest together, and can be zoomed out to."""
    heights = bars[["reference", "current"]].max(axis=1)
    seen = bars[heights >= 0.01 * heights.max()]
    if seen.empty:
        return None
    left, right = (seen["center"] - seen["width"] / 2).min(), (seen["center"] + seen["width"] / 2).max()
    return [float(left), float(right)]


def ecdf(frame: pd.DataFrame, sides: Sides, palette: Palette) -> go.Figure:
    """Both cumulative shares as steps; ``frame``: as ``distributions.cumulative``."""
    fig = figure(palette, 330)
    for side, name in (("reference", sides.reference), ("current", sides.current)):
        line = {"color": getattr(palette, side), "width": 2.2, "shape": "linear", "dash": "solid" if side == "current" else "dot"}
        fig.add_trace(
            go.Scatter(x=frame["value"], y=frame[side], mode="lines", name=name, line=line, hovertemplate="%{x:.4g}: %{y:.1%}")
        )
    fig.update_yaxes(range=[-0.02, 1.02], tickformat=".0%", title={"text": sides.below_or_equal, "standoff": 8})
    fig.update_xaxes(title={"text": sides.value, "standoff": 4})
    return fig


def share_bars(frame: pd.DataFrame, labels: Sequence[str], sides: Sides, palette: Palette) -> go.Figure:
    """Paired bars, one pair per category (or discrete value); ``frame``: as ``distributions.histogram``."""
    fig = figure(palette, 330)
    positions = list(range(len(frame)))
    for side, name in (("reference", sides.reference), ("current", sides.current)):
        fig.add_trace(
            go.Bar(
                x=positions,
                y=frame[side],
                name=name,
                marker={"color": getattr(palette, side)},
                customdata=[[safe(label), _count(n)] for label, n in zip(labels, frame[f"n_{side}"], strict=True)],
                hovertemplate="%{customdata[0]}<br>%{y:.2%} (%{customdata[1]})<extra>" + safe(name) + "</extra>",
            )
        )
    fig.update_layout(barmode="group", bargap=0.25, bargroupgap=0.05)
    fig.update_xaxes(tickvals=positions, ticktext=[safe(label, 18) for label in labels], showgrid=False)
    fig.update_yaxes(tickformat=".0%", rangemode="tozero", title={"text": sides.share, "standoff": 8})
    return fig


def _faded(colour: str, opacity: float) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


# ---------------------------------------------------------------------------------------------- time


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a chart over time: a column of the frame, its name, and its band where there is one."""

    column: str
    name: str
    lower: str | None = None
    upper: str | None = None
    dash: str = "solid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """What is drawn beside the lines: a baseline or threshold (value, text), and the time from which values may still change."""

    baseline: tuple[float, str] | None = None
    provisional: tuple[datetime, str] | None = None


def lines(
    frame: pd.DataFrame,
    shown: Sequence[Line],
    palette: Palette,
    *,
    tick_format: str = "",
    marks: Marks | None = None,
    span: tuple[datetime, datetime] | None = None,
    from_zero: bool = False,
    height: int = 240,
) -> go.Figure:
    """Lines over time; ``frame`` has ``shown_at`` and breaks a line where a value is missing."""
    fig = figure(palette, height, legend=len(shown) > 1)
    points = int(frame["shown_at"].size)
    for line, colour in zip(shown, palette.lines, strict=False):
        if line.lower and line.upper:
            for trace in _band(frame, line, colour):
                fig.add_trace(trace)
        fig.add_trace(
            go.Scatter(
                x=frame["shown_at"],
                y=frame[line.column],
                name=safe(line.name),
                mode="lines+markers" if points <= 80 else "lines",
                marker={"size": 4},
                line={"color": colour, "width": 1.8, "dash": line.dash},
                connectgaps=False,
                hovertemplate="%{y:" + (tick_format or ".4~g") + "}<extra>" + safe(line.name) + "</extra>",
            )
        )
    fig.update_layout(hovermode="x unified")
    fig.update_yaxes(tickformat=tick_format, rangemode="tozero" if from_zero else "normal", nticks=5)
    _mark(fig, marks or Marks(), palette, span)
    return fig


def _band(frame: pd.DataFrame, line: Line, colour: str) -> list[go.Scatter]:
    """One filled outline per stretch without gaps: plotly would fill across them."""
    known = frame[[line.lower, line.upper]].notna().all(axis=1)
    traces = []
    for _, part in frame[known].groupby((~known).cumsum()[known]):
        around = pd.concat([part["shown_at"], part["shown_at"][::-1]])
        edge = pd.concat([part[line.upper], part[line.lower][::-1]])
        traces.append(
            go.Scatter(
                x=around,
                y=edge,
                fill="toself",
                mode="lines",
                fillcolor=_faded(colour, 0.18),
                line={"width": 0},
                hoverinfo="skip",
                showlegend=False,
            )
        )
    return traces


def _mark(fig: go.Figure, marks: Marks, palette: Palette, span: tuple[datetime, datetime] | None) -> None:
    if span is not None:
        fig.update_xaxes(range=list(span))
    if marks.baseline is not None:
        value, text = marks.baseline
        fig.add_hline(
            y=value,
            line={"color": palette.muted, "width": 1.2, "dash": "dash"},
            annotation={"text": safe(text), "font": {"size": 11, "color": palette.muted}, "xanchor": "left", "x": 0},
            annotation_position="top left",
        )
    if marks.provisional is not None and span is not None and marks.provisional[0] < span[1]:
        start, text = marks.provisional
        fig.add_vrect(
            x0=max(start, span[0]),
            x1=span[1],
            fillcolor=_faded(palette.muted, 0.16),
            line_width=0,
            layer="below",
            annotation={"text": safe(text), "font": {"size": 11, "color": palette.muted}},
            annotation_position="top right",  # a strip may be narrower than its word
        )


def stacked_bars(
    frame: pd.DataFrame, shown: Sequence[Line], palette: Palette, *, span: tuple[datetime, datetime], height: int = 200
) -> go.Figure:
    """Counts over time, one bar on another; columns are parts of a whole."""
    fig = figure(palette, height)
    colours = (palette.current, _faded(palette.reference, 0.5))
    for line, colour in zip(shown, colours, strict=False):
        fig.add_trace(
            go.Bar(
                x=frame["shown_at"],
                y=frame[line.column],
                name=safe(line.name),
                marker={"color": colour, "line": {"width": 0}},
                hovertemplate="%{y:,.0f}<extra>" + safe(line.name) + "</extra>",
            )
        )
    fig.update_layout(barmode="stack", bargap=0.08, hovermode="x unified")
    fig.update_xaxes(range=list(span))
    fig.update_yaxes(rangemode="tozero", nticks=4)
    return fig


# ---------------------------------------------------------------------------------------------- comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One difference for the forest plot, in units of its own margin or interval so that metrics share an axis."""

    name: str
    difference: float
    interval: tuple[float, float] | None
    sequential: tuple[float, float] | None
    margin: float | None
    better: bool | None
    tick_format: str = ".4~g"


def effect(shown: Effect, names: tuple[str, str], palette: Palette) -> go.Figure:
    """One difference: a dot, a thick bar for the fixed interval, a thin one for the always-valid interval, 0 as a line."""
    fig = figure(palette, 92, legend=False)
    colour = palette.muted if shown.better is None else palette.good if shown.better else palette.bad
    for bounds, width, name in ((shown.sequential, 2, names[1]), (shown.interval, 7, names[0])):
        if bounds is not None:
            fig.add_trace(
                go.Scatter(
                    x=list(bounds),
                    y=[0, 0],
                    mode="lines+markers" if width == 2 else "lines",
                    line={"color": _faded(colour, 1.0 if width == 2 else 0.45), "width": width},
                    marker={"symbol": "line-ns-open", "size": 11},
                    name=safe(name),
                    hovertemplate="%{x:" + shown.tick_format + "}<extra>" + safe(name) + "</extra>",
                )
            )
    fig.add_trace(
        go.Scatter(
            x=[shown.difference],
            y=[0],
            mode="markers",
            marker={"size": 11, "color": colour, "line": {"color": palette.background, "width": 1.5}},
            name=safe(shown.name),
            hovertemplate="%{x:" + shown.tick_format + "}<extra>" + safe(shown.name) + "</extra>",
        )
    )
    marks = [_upright(0.0, {"color": palette.text, "width": 1})]
    if shown.margin is not None:
        marks.append(_upright(shown.margin, {"color": palette.bad, "width": 1, "dash": "dot"}))
    fig.update_layout(
        yaxis={"visible": False, "range": [-1, 1], "fixedrange": True},
        xaxis={"tickformat": shown.tick_format, "nticks": 7, "range": _around(shown)},
        margin={"t": 4, "b": 4},
        hovermode="closest",
        shapes=marks,  # as plain data: add_vline costs ten times as much
    )
    return fig


def _upright(x: float, line: dict[str, Any]) -> dict[str, Any]:
    """A line over all of the height."""
    return {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper", "line": line}


def _around(shown: Effect) -> list[float]:
    values = [0.0, shown.difference, *(shown.interval or ()), *(shown.sequential or ())]
    if shown.margin is not None:
        values.append(shown.margin)
    low, high = min(values), max(values)
    room = (high - low or 1.0) * 0.08
    return [low - room, high + room]

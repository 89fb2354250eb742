"""Which features drift, since when, and how: a heat map over time, and reference against current for one of them."""

from __future__ import annotations

from datetime import datetime, timedelta

import pandas as pd
import streamlit as st

from collector.statistics.drift import FeatureDrift, feature_drift
from dashboard import charts, clicks, distributions, drifts, links, page, queries
from dashboard.texts import Texts, plain
from storage.durations import format_duration
from storage.layouts import split_bins
from storage.records import Bins, Ints, MetricPoint, Verdict, Version

VERDICT_SIGNS = {Verdict.OK: "✔", Verdict.DRIFT: "▲", Verdict.INSUFFICIENT: "…"}
SCORE_NAME = "@score"
"""How the address names the model's output: no feature can be called so without being told apart by its position."""
_CLICKS = "drift_clicks"
_NEWEST, _WHOLE, _CLICKED = "newest", "whole", "at"


def show() -> None:
    context = page.current()
    version = context.selected
    if version is None:
        page.empty(context.texts("empty.version", version=plain(context.version or "")), context.texts("empty.version_advice"))
        return
    names = [bins.name for bins in queries.layout(version.layout_id).features]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        statistic, window, by = _controls(context, version)
    frame = _cells(context, version, statistic, window)
    with page.panel(context):
        _map(context, frame, statistic, by)
    with page.panel(context):
        _detail(context, version, names, frame, window)


def _controls(context: page.Context, version: Version) -> tuple[str, int | None, str]:
    texts = context.texts
    statistic = page.choose(
        "statistic",
        texts("drift.statistic"),
        tuple(drifts.STATISTICS),
        "psi",
        show=lambda name: texts.word("statistic", name),
        width=230,
    )
    if statistic not in drifts.STATISTICS:
        statistic = "psi"
    lengths = queries.window_lengths(version.model, drifts.metric_names(statistic))
    window = None
    if lengths:
        default = _default_window(lengths, context.shown.length)
        chosen = page.choose(
            "window",
            texts("drift.window"),
            [_duration(length) for length in lengths],
            _duration(default),
            forget=("at",),
            width=130,
            filter_mode=None,
        )
        window = next((length for length in lengths if _duration(length) == chosen), default)
    by = page.choose(
        "sort",
        texts("drift.sort"),
        ("worst", "name"),
        "worst",
        show=lambda name: texts(f"drift.sort_{name}"),
        width=170,
        filter_mode=None,
    )
    return statistic, window, by


def _duration(seconds: int) -> str:
    return format_duration(timedelta(seconds=seconds))


def _default_window(lengths: list[int], shown: timedelta) -> int:
    """The shortest window that gives no more columns than can be told apart."""
    return next((length for length in lengths if shown.total_seconds() / length <= 2 * drifts.MAX_COLUMNS), lengths[-1])


def _cells(context: page.Context, version: Version, statistic: str, window: int | None) -> pd.DataFrame:
    shown = context.shown
    names = drifts.metric_names(statistic)
    if not window:
        return drifts.cells([])
    return queries.drift_cells(names, version.model, version.version, window, shown.start, shown.end)


# ---------------------------------------------------------------------------------------------- heat map


def _map(context: page.Context, frame: pd.DataFrame, statistic: str, by: str) -> None:
    texts = context.texts
    if frame.empty:
        _no_points(context)
        return
    drifted, judged = drifts.counted(frame)
    sign = VERDICT_SIGNS[Verdict.DRIFT if drifted else Verdict.OK if judged else Verdict.INSUFFICIENT]
    end = texts.time(frame["at"].max())
    key = "drift.summary" if judged else "drift.summary_few"
    page.section(texts("drift.title"), f"{sign} {texts(key, drifted=drifted, judged=judged, end=end)} {texts('drift.click')}")
    names = drifts.order_of_features(frame, by)
    pages = -(-len(names) // drifts.FEATURES_PER_PAGE)
    number = st.pagination(pages, key="drift_page") if pages > 1 else 1
    first = (number - 1) * drifts.FEATURES_PER_PAGE
    shown_names = names[first : first + drifts.FEATURES_PER_PAGE]
    cells = drifts.bounded(frame)
    merged = "shown_at" in cells
    cells = page.shown_at(context, cells, "shown_at" if merged else "at")
    words = charts.HeatMapTexts(
        score=texts("drift.score"),
        threshold=texts("word.threshold"),
        rows=texts("word.rows"),
        times_threshold=texts("drift.times"),
        too_few=texts("verdict.insufficient_data"),
        scale=texts("drift.times"),
        verdicts={verdict.value: texts.word("verdict", verdict) for verdict in Verdict},
    )
    figure = charts.drift_heatmap(cells, shown_names, words, context.palette)
    page.chart(
        figure,
        "drift_map",
        texts("drift.alt", drifted=drifted, judged=judged, statistic=texts.word("statistic", statistic)),
    )
    clicks.listen("drift_map", _CLICKS, _clicked)
    notes = [texts("drift.grey")] + ([texts("drift.merged")] if merged else [])
    st.caption(" ".join(notes))
    page.details(context, lambda: _export(context, frame), "drift")


def _no_points(context: page.Context) -> None:
    texts = context.texts
    extent = queries.extent(context.model or "", context.version)
    if extent is None:
        page.empty(texts("empty.predictions"), texts("empty.predictions_advice"))
        return
    page.empty(texts("empty.points"), texts("empty.points_advice", first=texts.time(extent[0]), last=texts.time(extent[1])))
    _jump(context, extent)


def _jump(context: page.Context, extent: tuple[datetime, datetime]) -> None:
    start, end = max(extent[0], extent[1] - links.PRESETS["24h"]), extent[1]
    page.link(
        "drift",
        context.texts("link.last_data"),
        page.carried(**{"range": None, "from": links.format_time(start), "to": links.format_time(end)}),
    )


def _clicked() -> None:
    cell = charts.cell_of(clicks.clicked(_CLICKS))
    if cell is not None:
        feature, at = cell
        page.write_params({"feature": SCORE_NAME if feature == drifts.SCORE else feature, "at": links.format_time(at)})


def _export(context: page.Context, frame: pd.DataFrame) -> pd.DataFrame:
    texts = context.texts
    return pd.DataFrame(
        {
            texts("column.time"): [texts.time(at) for at in frame["at"]],
            texts("column.feature"): frame["feature"].replace("", texts("drift.score")),
            texts("column.value"): frame["value"].astype(float).round(5),
            texts("column.threshold"): frame["threshold"].astype(float).round(5),
            texts("column.verdict"): [texts.word("verdict", verdict) for verdict in frame["verdict"]],
            texts("column.n_current"): frame["n_current"].astype("Int64"),
            texts("column.n_reference"): frame["n_reference"].astype("Int64"),
            texts("column.p_value"): frame["p_value"].astype(float),
        }
    )


# ---------------------------------------------------------------------------------------------- one feature


def _detail(context: page.Context, version: Version, names: list[str], frame: pd.DataFrame, window: int | None) -> None:
    texts = context.texts
    ordered = [name or SCORE_NAME for name in drifts.order_of_features(frame)]
    rest = [name for name in (*names, SCORE_NAME) if name not in ordered]
    options = [*[name for name in ordered if name != SCORE_NAME], *rest]
    options += [] if SCORE_NAME in options else [SCORE_NAME]
    if not options:
        return
    page.section(texts("drift.detail"))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        feature = page.choose(
            "feature",
            texts("drift.feature"),
            options,
            options[0],
            show=lambda name: texts("drift.score") if name == SCORE_NAME else name,
            unknown=texts("header.unknown"),
            width=320,
        )
        start, end = _current_window(context, frame, window)
    if feature not in options:
        page.empty(texts("empty.feature", feature=plain(feature)), texts("empty.feature_advice"))
        return
    _against_reference(context, version, names, feature, (start, end))


def _current_window(context: page.Context, frame: pd.DataFrame, window: int | None) -> tuple[datetime, datetime]:
    """What stands for "current": the newest window, the one that was clicked, or all of the time shown."""
    texts, shown = context.texts, context.shown
    clicked = links.parse_time(page.param("at"))
    ends: dict[str, datetime] = {}
    if window and not frame.empty:
        ends[_NEWEST] = frame["at"].max().to_pydatetime()
    if window and clicked is not None:
        ends[_CLICKED] = clicked
    options = [*ends, _WHOLE]
    default = _CLICKED if _CLICKED in ends else options[0]
    choice = page.choose(
        "current",
        texts("drift.current"),
        options,
        default,
        show=lambda name: texts(f"drift.current_{name}", end=texts.clock(ends.get(name))),
        segmented=True,
    )
    if choice in ends and window:
        return ends[choice] - timedelta(seconds=window), ends[choice]
    return shown.start, shown.end


def _against_reference(
    context: page.Context, version: Version, names: list[str], feature: str, span: tuple[datetime, datetime]
) -> None:
    texts = context.texts
    layout = queries.layout(version.layout_id)
    profile = queries.profile(version.model, version.version, version.layout_id)
    counts = queries.prediction_counts(version.layout_id, version.version, *span)
    if profile is None:
        page.empty(texts("empty.reference"), texts("empty.reference_advice"))
        return
    index = names.index(feature) if feature in names else None
    bins = layout.score if index is None else layout.features[index]
    reference, current = (_part(split_bins(layout, side.bins), index) for side in (profile.counts, counts))
    if not current.sum():
        page.empty(texts("empty.window", start=texts.time(span[0]), end=texts.time(span[1])), texts("empty.window_advice"))
        return
    drift = feature_drift(bins, reference, current)
    key = drifts.SCORE if index is None else feature
    left, right = st.columns([3, 2], gap="medium")
    with left:
        _pictures(context, bins, reference, current)
    with right:
        _numbers(context, drift, key, version, span)


def _part(split: tuple[list[Ints], Ints], index: int | None) -> Ints:
    return split[1] if index is None else split[0][index]


def _pictures(context: page.Context, bins: Bins, reference: Ints, current: Ints) -> None:
    texts = context.texts
    sides = charts.Sides(
        reference=texts("word.reference"),
        current=texts("word.current"),
        share=texts("word.share"),
        density=texts("word.density"),
        below_or_equal=texts("word.cumulative"),
        value=texts("word.value"),
    )
    bars = distributions.histogram(bins, reference, current)
    alt = texts("drift.overlay_alt", reference=int(reference.sum()), current=int(current.sum()))
    if bins.is_categorical or distributions.is_discrete(bins):
        visible = bars[(bars["n_reference"] + bars["n_current"]) > 0].tail(distributions.MAX_BARS + 3)
        page.chart(charts.share_bars(visible, _labels(texts, visible), sides, context.palette), "drift_shares", alt)
    else:
        tabs = st.tabs([texts("drift.histogram"), texts("drift.ecdf")], key="drift_tabs", on_change="rerun")
        if tabs[0].open:
            with tabs[0]:
                page.chart(charts.histogram(distributions.densities(bars), sides, context.palette), "drift_histogram", alt)
        if tabs[1].open:
            with tabs[1]:
                page.chart(
                    charts.ecdf(distributions.cumulative(bins, reference, current), sides, context.palette), "drift_ecdf", alt
                )
    page.details(context, lambda: _bar_table(texts, bars), "distribution")


def _labels(texts: Texts, bars: pd.DataFrame) -> list[str]:
    words = {
        distributions.MISSING: texts("word.missing"),
        distributions.OTHER: texts("word.new_or_rare"),
    }
    named = zip(bars["kind"].astype(str), bars["label"].astype(str), strict=True)
    return [texts("word.folded", n=label) if kind == "folded" else words.get(kind, label) for kind, label in named]


def _bar_table(texts: Texts, bars: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            texts("word.value"): _labels(texts, bars),
            texts("column.n_reference"): bars["n_reference"].to_numpy(),
            texts("column.n_current"): bars["n_current"].to_numpy(),
            texts("column.share_reference"): bars["reference"].astype(float).round(5).to_numpy(),
            texts("column.share_current"): bars["current"].astype(float).round(5).to_numpy(),
            texts("column.change"): (bars["current"] - bars["reference"]).astype(float).round(5).to_numpy(),
        }
    )


def _numbers(context: page.Context, drift: FeatureDrift, feature: str, version: Version, span: tuple[datetime, datetime]) -> None:
    texts = context.texts
    st.caption(texts("drift.span", start=texts.time(span[0]), end=texts.time(span[1])))
    page.facts(
        [
            (texts("word.rows"), texts.number(drift.n_reference), texts.number(drift.n_current)),
            (texts("word.missing"), texts.percent(drift.missing_reference), texts.percent(drift.missing_current)),
            *(
                [(texts("word.unseen"), texts.percent(drift.unseen_reference), texts.percent(drift.unseen_share))]
                if drift.is_categorical
                else [
                    (
                        texts("word.out_of_range"),
                        texts.percent(drift.out_of_range_reference),
                        texts.percent(drift.out_of_range_share),
                    )
                ]
            ),
        ],
        ("", texts("word.reference"), texts("word.current")),
    )
    page.facts(
        _verdict_rows(context, drift, feature, version, span),
        ("", texts("column.value"), texts("column.threshold"), texts("column.verdict")),
    )
    st.caption(texts("drift.method"))


def _verdict_rows(
    context: page.Context, drift: FeatureDrift, feature: str, version: Version, span: tuple[datetime, datetime]
) -> list[tuple[str, ...]]:
    """Each statistic of the window shown, with the threshold and verdict that the collector gave for that window."""
    texts = context.texts
    values = {
        "psi": drift.psi,
        "js": drift.js,
        "ks": drift.ks,
        "shift": None,  # not kept with the distances: the points say it
        "cusum": None,
        "missing": drift.missing_current,
        "unseen": drift.unseen_share,
        "out_of_range": drift.out_of_range_share,
    }
    rows: list[tuple[str, ...]] = []
    for name, value in values.items():
        metric = drifts.STATISTICS[name][1 if feature == drifts.SCORE else 0]
        if metric is None:
            continue
        judged = _judged(metric, version, feature, span)
        if value is None and name in ("shift", "cusum") and judged:
            value = judged.value
        if value is None:
            continue
        verdict = (
            f"{VERDICT_SIGNS[judged.verdict]} {texts.word('verdict', judged.verdict)}" if judged else texts("drift.not_judged")
        )
        number = texts.percent(value) if name in ("missing", "unseen", "out_of_range") else texts.number(value)
        limit = judged.threshold if judged else None
        rows.append((texts.word("statistic", name), number, _limit(texts, name, limit), verdict))
    return rows


def _limit(texts: Texts, name: str, limit: float | None) -> str:
    return texts.percent(limit) if name in ("missing", "unseen", "out_of_range") else texts.number(limit)


def _judged(metric: str, version: Version, feature: str, span: tuple[datetime, datetime]) -> MetricPoint | None:
    """The collector's point of exactly this window, None where it made none (the whole time shown has none)."""
    seconds = int((span[1] - span[0]).total_seconds())
    found = queries.points((metric,), version.model, version.version, seconds, span[1], span[1] + timedelta(seconds=1))
    return next((point for point in found if point.feature == feature and point.at == span[1] and point.role == ""), None)


if __name__ == "__main__":  # as Streamlit runs it
    show()

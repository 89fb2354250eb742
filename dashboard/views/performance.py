"""How good the answers are, as far as labels tell, and how quick: labels first, for nothing else can be trusted without them."""

from __future__ import annotations

from datetime import datetime, timedelta

import pandas as pd
import streamlit as st

from dashboard import charts, histories, links, page, queries
from dashboard.texts import plain
from storage.records import LabelCounts, Layout, PredictionCounts, Version


def show() -> None:
    context = page.current()
    version = context.selected
    if version is None:
        page.empty(context.texts("empty.version", version=plain(context.version or "")), context.texts("empty.version_advice"))
        return
    step, start, end = context.steps()
    predictions = queries.prediction_steps(version.layout_id, version.version, start, end, step)
    if not predictions:
        _no_predictions(context)
        return
    labels = queries.label_steps(version.layout_id, version.version, start, end, step)
    with page.panel(context):
        _quality(context, version, predictions, labels)
    with page.panel(context):
        _service(context, predictions)


def _no_predictions(context: page.Context) -> None:
    texts = context.texts
    extent = queries.extent(context.model or "", context.version)
    if extent is None:
        page.empty(texts("empty.predictions"), texts("empty.predictions_advice"))
        return
    page.empty(texts("empty.range"), texts("empty.range_advice", last=texts.time(extent[1])))
    start, end = max(extent[0], extent[1] - links.PRESETS["24h"]), extent[1]
    target = page.carried(**{"range": None, "from": links.format_time(start), "to": links.format_time(end)})
    page.link("performance", texts("link.last_data"), target)


def _span(context: page.Context) -> tuple[datetime, datetime]:
    return context.texts.local(context.shown.start), context.texts.local(context.shown.end)


# ---------------------------------------------------------------------------------------------- labels and quality


def _quality(
    context: page.Context,
    version: Version,
    predictions: list[tuple[datetime, PredictionCounts]],
    labels: list[tuple[datetime, LabelCounts]],
) -> None:
    texts = context.texts
    layout = queries.layout(version.layout_id)
    total = histories.total_labels(layout, labels)
    served = sum(counts.rows - counts.errors - counts.timeouts for _, counts in predictions)
    _label_strip(context, version, layout, total, served)
    step, start, end = context.steps()
    provisional = histories.provisional_from(total.delay, context.now)
    left, right = st.columns(2, gap="medium")
    with left:
        page.section(texts("performance.labels"), texts("performance.labels_note"))
        arrival = page.shown_at(context, histories.label_arrival(predictions, labels, start, end, step))
        arrival = arrival.assign(waiting=arrival["rows"].astype(float) - arrival["labels"].astype(float))
        shown = [
            charts.Line(column="labels", name=texts("performance.labelled")),
            charts.Line(column="waiting", name=texts("performance.unlabelled")),
        ]
        page.chart(
            charts.stacked_bars(arrival, shown, context.palette, span=_span(context), height=250),
            "labels",
            texts("performance.labels"),
        )
    with right:
        page.section(texts("performance.quality"), texts("performance.quality_note"))
        if not total.rows:
            page.empty(texts("empty.labels"), texts("empty.labels_advice"), (_label_command(version.model),))
            return
        _quality_chart(context, version, layout, labels, provisional)
    page.details(context, lambda: _quality_table(context, layout, labels), "quality")


def _label_command(model: str) -> str:
    return f"modelwatch labels {model} labels.csv"


def _label_strip(context: page.Context, version: Version, layout: Layout, total: LabelCounts, served: int) -> None:
    texts = context.texts
    profile = queries.profile(version.model, version.version, version.layout_id)
    usual, most = (histories.delay_quantile(total.delay, q) for q in (0.5, histories.MATURE_SHARE))
    cards = [
        (
            texts("performance.coverage"),
            texts.percent(min(total.rows / served, 1.0) if served else None),
            texts("performance.coverage_note", labels=texts.number(total.rows), served=texts.number(served)),
        ),
        (texts("performance.delay"), texts.seconds(usual), texts("performance.delay_note", most=texts.seconds(most))),
    ]
    for metric in histories.quality_metrics(layout)[:2]:
        n, value, lower, upper = histories.estimate(layout, total, metric) if total.rows else (0, None, None, None)
        baseline = profile.performance.get(metric) if profile else None
        interval = (
            texts("performance.interval", lower=texts.number(lower), upper=texts.number(upper), n=texts.number(n))
            if lower is not None
            else ""
        )
        reference = texts("performance.baseline", value=texts.number(baseline)) if baseline is not None else ""
        cards.append(
            (texts.word("metric", metric), texts.number(value), " · ".join(part for part in (reference, interval) if part))
        )
    for column, (label, number, note) in zip(st.columns(len(cards)), cards, strict=True):
        with column, st.container(border=True):
            st.metric(label, number)
            st.caption(note or " ")


def _quality_chart(
    context: page.Context,
    version: Version,
    layout: Layout,
    labels: list[tuple[datetime, LabelCounts]],
    provisional: datetime | None,
) -> None:
    texts = context.texts
    metrics = histories.quality_metrics(layout)
    metric = page.choose(
        "metric",
        texts("performance.metric"),
        metrics,
        metrics[0],
        show=lambda name: texts.word("metric", name),
        segmented=True,
        label_visibility="collapsed",
    )
    metric = metric if metric in metrics else metrics[0]
    step, start, end = context.steps()
    frame = page.shown_at(context, histories.quality(layout, labels, metric, start, end, step))
    profile = queries.profile(version.model, version.version, version.layout_id)
    baseline = profile.performance.get(metric) if profile else None
    marks = charts.Marks(
        baseline=(baseline, texts("performance.baseline", value=texts.number(baseline))) if baseline is not None else None,
        provisional=(texts.local(provisional), texts("performance.provisional")) if provisional is not None else None,
    )
    line = charts.Line(column="value", name=texts.word("metric", metric), lower="lower", upper="upper")
    page.chart(
        charts.lines(frame, [line], context.palette, marks=marks, span=_span(context), height=210),
        "quality",
        texts("performance.quality"),
    )


def _quality_table(context: page.Context, layout: Layout, labels: list[tuple[datetime, LabelCounts]]) -> pd.DataFrame:
    texts = context.texts
    rows = []
    for at, counts in labels:
        row: dict[str, object] = {texts("column.time"): texts.time(at), texts("column.labels"): counts.rows}
        for metric in histories.quality_metrics(layout):
            _, value, lower, upper = histories.estimate(layout, counts, metric)
            word = texts.word("metric", metric)
            row |= {word: value}
            if lower is not None or metric in ("accuracy", "mae"):
                row |= {f"{word} ({texts('word.lower')})": lower, f"{word} ({texts('word.upper')})": upper}
        rows.append(row)
    return pd.DataFrame(rows)


# ---------------------------------------------------------------------------------------------- service


def _service(context: page.Context, predictions: list[tuple[datetime, PredictionCounts]]) -> None:
    texts = context.texts
    step, start, end = context.steps()
    extent = queries.extent(context.model or "", context.version)
    seen_until = min(context.now, extent[1]) if extent else context.now
    frame = page.shown_at(context, histories.traffic(predictions, start, end, step, seen_until))
    page.section(texts("performance.service"), texts("performance.service_note", step=texts.span(timedelta(seconds=step))))
    latency = [charts.Line(column=name, name=name) for name in ("p50", "p95", "p99")]
    milliseconds = frame.assign(**{name: frame[name].astype(float) * 1000 for name in ("p50", "p95", "p99")})
    pictures = (
        ("latency", charts.lines(milliseconds, latency, context.palette, span=_span(context), from_zero=True)),
        (
            "throughput",
            charts.lines(
                frame,
                [charts.Line(column="per_second", name=texts("performance.throughput"))],
                context.palette,
                span=_span(context),
                from_zero=True,
            ),
        ),
        (
            "error_rate",
            charts.lines(
                frame,
                [charts.Line(column="error_rate", name=texts("performance.error_rate"))],
                context.palette,
                tick_format=".1%",
                span=_span(context),
                from_zero=True,
            ),
        ),
    )
    for column, (name, figure) in zip(st.columns(3, gap="medium"), pictures, strict=True):
        with column:
            st.markdown(f"**{texts(f'performance.{name}')}**")
            page.chart(figure, name, texts(f"performance.{name}"))
    page.details(context, lambda: _traffic_table(context, frame.dropna(subset=["rows"])), "traffic")


def _traffic_table(context: page.Context, frame: pd.DataFrame) -> pd.DataFrame:
    texts = context.texts
    table = {texts("column.time"): [texts.time(at) for at in frame["at"]], texts("column.predictions"): frame["rows"].astype(int)}
    table |= {
        texts("performance.throughput"): frame["per_second"].astype(float),
        texts("performance.error_rate"): frame["error_rate"].astype(float),
    }
    table |= {f"{name} (ms)": frame[name].astype(float) * 1000 for name in ("p50", "p95", "p99")}
    return pd.DataFrame(table)


if __name__ == "__main__":  # as Streamlit runs it
    show()

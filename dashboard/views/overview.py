"""The fleet: one row per model version, worst first, and what changed last."""

from __future__ import annotations

from datetime import timedelta

import pandas as pd
import streamlit as st

from collector.statistics.latency import quantile_seconds
from dashboard import drifts, fleet, histories, page, queries
from dashboard.texts import Texts, plain
from storage.layouts import add_labels, add_predictions, empty_label_counts, empty_prediction_counts
from storage.records import AlertEvent, AlertRow, AlertState, Deployment, MetricPoint, Version

SPARK_POINTS = 40
MAX_ATTENTION = 6
MAX_CHANGES = 12
SIGNS = {
    fleet.Health.ALERT: "✖",
    fleet.Health.FAILING: "✖",
    fleet.Health.DRIFT: "▲",
    fleet.Health.PENDING: "▲",
    fleet.Health.SILENT: "◔",
    fleet.Health.LEARNING: "…",
    fleet.Health.HEALTHY: "✔",
    fleet.Health.IDLE: "○",
}
COLOURS = {
    fleet.Health.ALERT: "red",
    fleet.Health.FAILING: "red",
    fleet.Health.DRIFT: "orange",
    fleet.Health.PENDING: "orange",
    fleet.Health.SILENT: "orange",
    fleet.Health.LEARNING: "gray",
    fleet.Health.HEALTHY: "green",
    fleet.Health.IDLE: "gray",
}
DRIFT_NAMES = tuple(name for name, _ in drifts.STATISTICS.values())


def show() -> None:
    context = page.current()
    rows = summaries(context)
    with page.panel(context):
        _strip(context, rows)
    with page.panel(context):
        _attention(context, rows)
    with page.panel(context):
        _table(context, rows)
    with page.panel(context):
        _changes(context)


# ---------------------------------------------------------------------------------------------- gather


def summaries(context: page.Context) -> list[fleet.VersionSummary]:
    """Every version that is deployed or not archived, worst first."""
    alerts = queries.alert_rows()
    drift: dict[tuple[str, str], list[MetricPoint]] = {}
    for point in queries.latest(DRIFT_NAMES, context.shown.start):
        if point.role == point.segment == "" and point.at <= context.shown.end:
            drift.setdefault((point.model, point.version), []).append(point)
    found = []
    for version in context.registry.versions:
        role = fleet.role_of(version, context.registry.deployed.get(version.model))
        if role != "archived":
            found.append(_summary(context, version, role, drift.get((version.model, version.version), []), alerts))
    return fleet.worst_first(found)


def _summary(
    context: page.Context, version: Version, role: str, points: list[MetricPoint], alerts: list[AlertRow]
) -> fleet.VersionSummary:
    traffic = _traffic(context, version)
    drift = fleet.summarise_drift(points)
    own = fleet.alerts_of(alerts, version.model, version.version)
    return fleet.VersionSummary(
        model=version.model,
        version=version.version,
        role=role,
        health=fleet.judge(role, traffic, drift, own, context.now, context.stale_after),
        traffic=traffic,
        drift=drift,
        quality=_quality(context, version),
        alerts=own,
    )


def _traffic(context: page.Context, version: Version) -> fleet.Traffic:
    step, start, end = context.steps(SPARK_POINTS)
    series = queries.prediction_steps(version.layout_id, version.version, start, end, step)
    total = empty_prediction_counts(queries.layout(version.layout_id))
    by_step = {}
    for at, counts in series:
        total = add_predictions(total, counts)
        by_step[at] = counts.rows
    steps = int((end - start) / timedelta(seconds=step))
    spark = tuple(by_step.get(start + timedelta(seconds=step * i), 0) for i in range(steps))
    extent = queries.extent(version.model, version.version)
    return fleet.Traffic(
        rows=total.rows,
        error_rate=(total.errors + total.timeouts) / total.rows if total.rows else None,
        p95_seconds=quantile_seconds(total.latency, 0.95),
        last_at=extent[1] if extent else None,
        counts=spark if total.rows else (),
    )


def _quality(context: page.Context, version: Version) -> fleet.Quality:
    layout = queries.layout(version.layout_id)
    step, start, end = context.steps(SPARK_POINTS)
    labels = empty_label_counts(layout)
    for _, counts in queries.label_steps(version.layout_id, version.version, start, end, step):
        labels = add_labels(labels, counts)
    served = sum(
        counts.rows - counts.errors - counts.timeouts
        for _, counts in queries.prediction_steps(version.layout_id, version.version, start, end, step)
    )
    metric = histories.quality_metrics(layout)[0]
    profile = queries.profile(version.model, version.version, version.layout_id)
    return fleet.Quality(
        metric=metric,
        labels=labels.rows,
        coverage=min(labels.rows / served, 1.0) if served else None,
        value=histories.estimate(layout, labels, metric)[1] if labels.rows else None,
        baseline=profile.performance.get(metric) if profile else None,
    )


# ---------------------------------------------------------------------------------------------- show


def _strip(context: page.Context, rows: list[fleet.VersionSummary]) -> None:
    texts = context.texts
    total = sum(row.traffic.rows for row in rows)
    failed = sum((row.traffic.error_rate or 0.0) * row.traffic.rows for row in rows)
    firing = sum(alert.state is AlertState.FIRING for alert in queries.alert_rows())
    seconds = _seconds_with_data(context)
    drifting = sum(row.drift.drifted > 0 for row in rows)
    worst = next((row.health for row in rows), fleet.Health.IDLE)
    strip = (
        (texts("overview.fleet", n=len(rows)), f"{SIGNS[worst]} {texts.word('health', worst)}"),
        (texts("overview.firing"), texts.number(firing)),
        (texts("overview.drifting"), texts("overview.of", part=drifting, whole=len(rows))),
        (texts("overview.rate"), texts.number(total / seconds) if seconds else texts.number(None)),
        (texts("overview.errors"), texts.percent(failed / total if total else None, 2)),
    )
    for column, (label, value) in zip(st.columns(len(strip)), strip, strict=True):
        column.metric(label, value, border=True)


def _seconds_with_data(context: page.Context) -> float | None:
    """The part of the time shown in which there can be data: a fresh installation has not served for 24 hours."""
    extents = [found for model in context.registry.models if (found := queries.extent(model))]
    if not extents:
        return None
    start = max(context.shown.start, min(first for first, _ in extents))
    end = min(context.shown.end, context.now)
    return (end - start).total_seconds() if end > start else None


def _attention(context: page.Context, rows: list[fleet.VersionSummary]) -> None:
    texts = context.texts
    wanting = [row for row in rows if row.health not in (fleet.Health.HEALTHY, fleet.Health.IDLE, fleet.Health.LEARNING)]
    if not wanting:
        return
    page.section(texts("overview.attention"))
    for row in wanting[:MAX_ATTENTION]:
        with st.container(horizontal=True, vertical_alignment="center", border=True, gap="medium"):
            st.badge(f"{SIGNS[row.health]} {texts.word('health', row.health)}", color=COLOURS[row.health])  # type: ignore[arg-type]
            st.markdown(f"**{plain(row.model)}** · {plain(row.version)}", width="content")
            st.markdown(" ".join(reasons(texts, row, context)), width="stretch")
            params = page.carried(model=row.model, version=row.version)
            if row.drift.drifted and row.drift.worst is not None:
                page.link("drift", texts("link.drift"), {**params, "feature": row.drift.worst.feature})
            else:
                page.link("performance", texts("link.performance"), params)
            if row.alerts:
                page.link("alerts", texts("link.alerts"), params)


def reasons(texts: Texts, row: fleet.VersionSummary, context: page.Context) -> list[str]:
    """Why a version stands where it stands, in sentences; Markdown."""
    said = []
    firing = [alert.rule for alert in row.alerts if alert.state is not AlertState.PENDING]
    pending = [alert.rule for alert in row.alerts if alert.state is AlertState.PENDING]
    if firing:
        said.append(texts("reason.firing", rules=plain(", ".join(dict.fromkeys(firing)))))
    if pending:
        said.append(texts("reason.pending", rules=plain(", ".join(dict.fromkeys(pending)))))
    if row.health is fleet.Health.FAILING:
        said.append(texts("reason.failing", share=texts.percent(row.traffic.error_rate)))
    worst = row.drift.worst
    if worst is not None:
        said.append(
            texts(
                "reason.drift",
                drifted=row.drift.drifted,
                judged=row.drift.judged,
                feature=plain(worst.feature),
                statistic=texts.word("metric", worst.name),
                value=texts.of_metric(worst.name, worst.value),
                threshold=texts.of_metric(worst.name, worst.threshold),
            )
        )
    if row.health is fleet.Health.SILENT:
        said.append(texts("reason.silent", ago=texts.ago(row.traffic.last_at, context.now)))
    return said


def _table(context: page.Context, rows: list[fleet.VersionSummary]) -> None:
    texts = context.texts
    page.section(texts("overview.versions"), texts("overview.versions_note"))
    frame = pd.DataFrame([_line(texts, row) for row in rows])
    config = {
        texts("column.traffic"): st.column_config.AreaChartColumn(width="small", y_min=0),
        texts("column.predictions"): st.column_config.NumberColumn(format="localized"),
        texts("column.labels"): st.column_config.NumberColumn(format="percent"),
        texts("column.errors"): st.column_config.NumberColumn(format="percent"),
    }
    st.dataframe(
        frame,
        hide_index=True,
        key="fleet",
        column_config=config,
        placeholder="—",
        on_select=_open,
        selection_mode="single-cell",
        alt=texts("overview.versions"),
    )
    st.session_state["fleet_rows"] = [(row.model, row.version) for row in rows]
    page.download(context, frame.drop(columns=texts("column.traffic")), "versions")
    target = st.session_state.pop("fleet_open", None)
    if target is not None:
        st.switch_page(page.PAGE_FILES["drift"], query_params=page.carried(model=target[0], version=target[1]))


def _open() -> None:
    cells = st.session_state["fleet"]["selection"]["cells"]
    if cells:
        st.session_state["fleet_open"] = st.session_state["fleet_rows"][cells[0][0]]


def _line(texts: Texts, row: fleet.VersionSummary) -> dict[str, object]:
    judged = texts("overview.of", part=row.drift.drifted, whole=row.drift.judged)
    return {
        texts("column.status"): f"{SIGNS[row.health]} {texts.word('health', row.health)}",
        texts("column.model"): row.model,
        texts("column.version"): row.version,
        texts("column.role"): texts.word("role", row.role),
        texts("column.traffic"): list(row.traffic.counts) or None,
        texts("column.predictions"): row.traffic.rows or None,
        texts("column.errors"): row.traffic.error_rate,
        texts("column.p95"): texts.seconds(row.traffic.p95_seconds),
        texts("column.drift"): judged if row.drift.judged else texts("overview.too_few") if row.drift.features else None,
        texts("column.labels"): row.quality.coverage,
        texts("column.quality"): _quality_text(texts, row.quality),
        texts("column.alerts"): len(row.alerts) or None,
        texts("column.last"): texts.time(row.traffic.last_at),
    }


def _quality_text(texts: Texts, quality: fleet.Quality) -> str | None:
    if quality.value is None:
        return None
    reference = texts("overview.reference", value=texts.number(quality.baseline)) if quality.baseline is not None else ""
    return f"{texts.word('metric', quality.metric)} {texts.number(quality.value)} {reference}".strip()


def _changes(context: page.Context) -> None:
    texts = context.texts
    changes = [(event.at, _event_text(texts, event)) for event in queries.alert_events(context.shown.start, 50)]
    for model in context.registry.models:
        changes += [(made.at, _deployment_text(texts, made)) for made in queries.deployment_history(model)]
    inside = sorted((change for change in changes if context.shown.start <= change[0] < context.shown.end), reverse=True)
    if not inside:
        return
    page.section(texts("overview.changes"))
    page.facts([(texts.time(at), text) for at, text in inside[:MAX_CHANGES]], (texts("column.time"), texts("column.change")))


def _event_text(texts: Texts, event: AlertEvent) -> str:
    about = " · ".join(event.labels[name] for name in ("model", "version", "feature") if event.labels.get(name))
    return texts("change.alert", rule=event.rule, about=about, state=texts.word("state", event.to_state))


def _deployment_text(texts: Texts, made: Deployment) -> str:
    challenger = (
        texts("change.challenger", version=made.challenger, weight=texts.percent(made.weight, 0)) if made.challenger else ""
    )
    return texts(
        "change.deployment",
        model=made.model,
        action=texts.word("action", made.action),
        version=made.champion,
        challenger=challenger,
        actor=made.actor,
    )


if __name__ == "__main__":  # as Streamlit runs it
    show()

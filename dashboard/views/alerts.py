"""What fires, what may soon, what has ended; what happened to each; and whether anybody was told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import links, page, queries
from dashboard.texts import NOTHING, Texts, plain
from storage.durations import format_duration
from storage.records import AlertEvent, AlertHealth, AlertRow, AlertState, OutboxItem, OutboxStatus

SIGNS = {
    AlertState.FIRING: "✖",
    AlertState.RECOVERING: "✖",
    AlertState.PENDING: "▲",
    AlertState.RESOLVED: "✔",
    AlertState.INACTIVE: "○",
}
COLOURS = {AlertState.FIRING: "red", AlertState.RECOVERING: "orange", AlertState.PENDING: "orange", AlertState.RESOLVED: "green"}
DELIVERY_SIGNS = {OutboxStatus.SENT: "✔", OutboxStatus.WAITING: "…", OutboxStatus.FAILED: "✖", OutboxStatus.MERGED: "✔"}
MAX_RESOLVED = 20
MAX_MESSAGES = 30


def show() -> None:
    context = page.current()
    rows = queries.alert_rows()
    with page.panel(context):
        _states(context, rows)
    with page.panel(context):
        _history(context)
    with page.panel(context):
        _deliveries(context)
    if context.settings.demo_inbox is not None:
        with page.panel(context):
            _inbox(context, str(context.settings.demo_inbox))


# ---------------------------------------------------------------------------------------------- states


def _states(context: page.Context, rows: Sequence[AlertRow]) -> None:
    texts = context.texts
    groups = {
        "firing": [row for row in rows if row.state in (AlertState.FIRING, AlertState.RECOVERING)],
        "pending": [row for row in rows if row.state is AlertState.PENDING],
        "resolved": sorted(
            (row for row in rows if row.state is AlertState.RESOLVED), key=lambda row: str(row.resolved_at or ""), reverse=True
        ),
    }
    for column, (name, found) in zip(st.columns(3), groups.items(), strict=True):
        column.metric(texts(f"alerts.{name}"), len(found), border=True)
    _troubled(context, rows)
    if not any(groups.values()):
        page.empty(
            texts("empty.alerts"), texts("empty.alerts_advice"), ("modelwatch alerts check", "modelwatch alerts test-notify slack")
        )
        return
    for name in ("firing", "pending"):
        if groups[name]:
            page.section(texts(f"alerts.{name}"))
        for row in groups[name]:
            _card(context, row)
    if groups["resolved"]:
        page.section(texts("alerts.resolved"))
        for row in groups["resolved"][:MAX_RESOLVED]:
            _card(context, row)


def _troubled(context: page.Context, rows: Sequence[AlertRow]) -> None:
    """Rules that could not be judged: an alert that cannot fire is worse than one that does."""
    for health in (AlertHealth.ERROR, AlertHealth.NO_DATA):
        names = sorted({row.rule for row in rows if row.health is health and row.state is not AlertState.RESOLVED})
        if names:
            st.warning(context.texts(f"alerts.{health}", rules=plain(", ".join(names))), icon=":material/rule:")


def _card(context: page.Context, row: AlertRow) -> None:
    texts = context.texts
    with st.container(border=True, gap="xxsmall"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.badge(f"{SIGNS[row.state]} {texts.word('state', row.state)}", color=COLOURS.get(row.state, "gray"))  # type: ignore[arg-type]
            st.markdown(f"**{plain(row.rule)}**", width="content")
            st.markdown(_subject(row), width="stretch")
            if severity := row.labels.get("severity"):
                st.badge(plain(severity), color="gray")
            if row.labels.get("model"):
                page.link(_page_of(row), texts("alerts.open"), _target(row), icon=":material/arrow_forward:")
        st.markdown(_numbers(texts, row))
        st.caption(_times(context, row))


def _subject(row: AlertRow) -> str:
    parts = [row.labels[name] for name in ("model", "version", "feature") if row.labels.get(name)]
    return " · ".join(plain(part) for part in parts)


def _numbers(texts: Texts, row: AlertRow) -> str:
    said = []
    if row.value is not None:
        said.append(texts("alerts.value", value=texts.number(row.value), threshold=texts.number(row.threshold)))
    if row.n_current is not None:
        said.append(texts("alerts.n", n=texts.number(row.n_current)))
    if row.window_seconds:
        said.append(texts("alerts.window", window=format_duration(timedelta(seconds=row.window_seconds))))
    if row.reason:
        said.append(plain(row.reason))
    return " · ".join(said) or NOTHING


def _times(context: page.Context, row: AlertRow) -> str:
    texts = context.texts
    moments = (("pending", row.pending_at), ("fired", row.fired_at), ("resolved_at", row.resolved_at))
    said = [texts(f"alerts.at_{name}", at=texts.time(at)) for name, at in moments if at is not None]
    began = row.fired_at or row.pending_at
    if began is not None and row.state is not AlertState.RESOLVED:
        said.append(texts("alerts.for", span=texts.span(context.now - began)))
    if row.acked_by:
        said.append(texts("alerts.acked", who=plain(row.acked_by)))
    return " · ".join(said) or NOTHING


def _page_of(row: AlertRow) -> str:
    return "drift" if row.labels.get("feature") else "performance"


def _target(row: AlertRow) -> dict[str, str]:
    """The page that shows the cause, over the time around it."""
    began = row.pending_at or row.fired_at
    params: dict[str, str | None] = {name: row.labels.get(name) for name in ("model", "version", "feature")}
    last = row.resolved_at or row.evaluated_at
    if began is not None and last is not None:
        around = max((last - began) / 2, timedelta(seconds=row.window_seconds or 300) * 3)
        params |= {"from": links.format_time(began - around), "to": links.format_time(last + around)}
    return links.ordered(params)


# ---------------------------------------------------------------------------------------------- history and deliveries


def _history(context: page.Context) -> None:
    texts = context.texts
    events = [event for event in queries.alert_events(context.shown.start) if event.at < context.shown.end]
    page.section(texts("alerts.history"), texts("alerts.history_note"))
    if not events:
        st.caption(texts("alerts.no_events"))
        return
    frame = pd.DataFrame([_event(texts, event) for event in events])
    page.table(context, frame, "alert_history")


def _event(texts: Texts, event: AlertEvent) -> dict[str, object]:
    return {
        texts("column.time"): texts.time(event.at),
        texts("column.rule"): event.rule,
        texts("column.model"): event.labels.get("model"),
        texts("column.version"): event.labels.get("version"),
        texts("column.feature"): event.labels.get("feature"),
        texts(
            "column.change"
        ): f"{texts.word('state', event.from_state)} → {SIGNS[event.to_state]} {texts.word('state', event.to_state)}",
        texts("column.value"): event.value,
        texts("column.reason"): event.reason,
    }


def _deliveries(context: page.Context) -> None:
    texts = context.texts
    items = queries.deliveries()
    page.section(texts("alerts.deliveries"), texts("alerts.deliveries_note"))
    if not items:
        st.caption(texts("alerts.no_deliveries"))
        return
    failed = sum(item.status is OutboxStatus.FAILED for item in items)
    if failed:
        st.error(texts("alerts.failed", n=failed), icon=":material/unsubscribe:")
    page.table(context, pd.DataFrame([_delivery(texts, item) for item in items]), "deliveries")


def _delivery(texts: Texts, item: OutboxItem) -> dict[str, object]:
    return {
        texts("column.time"): texts.time(item.created_at),
        texts("column.status"): f"{DELIVERY_SIGNS[item.status]} {texts.word('delivery', item.status)}",
        texts("column.channel"): item.channel,
        texts("column.receiver"): item.receiver,
        texts("column.message"): title_of(item.payload),
        texts("column.kind"): item.kind,
        texts("column.attempts"): item.attempts,
        texts("column.sent"): texts.time(item.sent_at),
        texts("column.error"): item.last_error,
    }


def title_of(payload: Mapping[str, Any]) -> str | None:
    """What the message is called, wherever the payload keeps it."""
    message = payload.get("message")
    held = message if isinstance(message, Mapping) else payload
    return str(held["title"]) if held.get("title") else None


# ---------------------------------------------------------------------------------------------- the demo's inbox


def _inbox(context: page.Context, path: str) -> None:
    texts = context.texts
    messages = queries.inbox(path)
    page.section(texts("alerts.inbox"), texts("alerts.inbox_note"))
    if not messages:
        st.caption(texts("alerts.inbox_empty"))
        return
    left, right = st.columns(2, gap="medium")
    for column, channel in ((left, "slack"), (right, "email")):
        found = [message for message in messages if message.get("channel") == channel]
        with column:
            st.markdown(f"**{texts(f'channel.{channel}')}** · {len(found)}")
            for message in found[:MAX_MESSAGES]:
                _message(context, message)


def _message(context: page.Context, message: Mapping[str, Any]) -> None:
    at = links.parse_time(str(message.get("at", "")))
    with st.container(border=True, gap="xxsmall"):
        st.markdown(f"**{plain(message.get('title') or message.get('text') or NOTHING)}**")
        st.caption(f"{context.texts.time(at)} → {plain(message.get('receiver') or NOTHING)}")
        blocks = message.get("blocks")
        body = slack_text(blocks) if isinstance(blocks, list) else str(message.get("text") or "")
        if body:
            st.text(body)


def slack_text(blocks: Sequence[Any]) -> str:
    """The words of Slack's blocks, one paragraph a block, without its markup."""
    return "\n".join(part for part in (_block_text(block) for block in blocks) if part)


def _block_text(block: Any) -> str:
    if not isinstance(block, Mapping) or block.get("type") == "header":
        return ""
    parts = [block.get("text"), *_list(block.get("fields")), *_list(block.get("elements"))]
    return "\n".join(text for text in (_plain_slack(part) for part in parts) if text)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _plain_slack(part: Any) -> str:
    if not isinstance(part, Mapping):
        return ""
    text = part.get("text")
    if isinstance(text, Mapping):  # a button
        return f"[{text.get('text', '')}] {part.get('url', '')}".strip()
    return str(text or "").replace("*", "").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


if __name__ == "__main__":  # as Streamlit runs it
    show()

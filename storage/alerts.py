"""The state of every alert, and the log of its changes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, bindparam, insert, select, update

from storage.dialects import upsert
from storage.records import AlertEvent, AlertHealth, AlertRow, AlertState
from storage.rows import columns_of, values_of
from storage.schema import alert_events, alerts

_MOST_AT_ONCE = 500
"""Fingerprints in one query: drivers take a bounded number of parameters."""


def load_alerts(c: Connection, *, rule: str | None = None, states: Collection[AlertState] | None = None) -> list[AlertRow]:
    """The alerts of one rule or of all, in the given states or in any."""
    query = select(*columns_of(alerts, AlertRow)).order_by(alerts.c.rule, alerts.c.fingerprint)
    if rule is not None:
        query = query.where(alerts.c.rule == rule)
    if states is not None:
        query = query.where(alerts.c.state.in_([AlertState(state).value for state in states]))
    return _rows(c, query)


def load_some(c: Connection, fingerprints: Collection[str]) -> list[AlertRow]:
    """The alerts with these fingerprints, as far as they are known."""
    wanted = sorted(fingerprints)
    chunks = [wanted[i : i + _MOST_AT_ONCE] for i in range(0, len(wanted), _MOST_AT_ONCE)]
    query = select(*columns_of(alerts, AlertRow))
    return [row for chunk in chunks for row in _rows(c, query.where(alerts.c.fingerprint.in_(chunk)))]


def mark(c: Connection, marks: Sequence[tuple[str, str | None, str | None]]) -> None:
    """Notes why nobody is told of alerts, and who takes care of them: (fingerprint, suppressed, acked_by) of each."""
    change = (
        update(alerts)
        .where(alerts.c.fingerprint == bindparam("marked"))
        .values(suppressed=bindparam("why"), acked_by=bindparam("who"))
    )
    if marks:
        c.execute(change, [{"marked": marked, "why": why, "who": who} for marked, why, who in marks])


def save_alert(c: Connection, alert: AlertRow) -> None:
    """Stores the alert in place of what was known under its fingerprint."""
    upsert(c, alerts, [values_of(alert)], key=["fingerprint"])


def add_event(c: Connection, event: AlertEvent) -> AlertEvent:
    """Adds a change of state to the log and returns it with its id."""
    row = values_of(event, without=("id",))
    return replace(event, id=c.execute(insert(alert_events).values(row).returning(alert_events.c.id)).scalar_one())


def list_events(
    c: Connection, *, since: datetime | None = None, fingerprint: str | None = None, limit: int = 200
) -> list[AlertEvent]:
    """The newest changes first, at or after ``since``, of one alert or of all."""
    query = select(*columns_of(alert_events, AlertEvent)).order_by(alert_events.c.at.desc(), alert_events.c.id.desc()).limit(limit)
    if since is not None:
        query = query.where(alert_events.c.at >= since)
    if fingerprint is not None:
        query = query.where(alert_events.c.fingerprint == fingerprint)
    rows = c.execute(query).mappings()
    return [
        AlertEvent(**{**row, "from_state": AlertState(row["from_state"]), "to_state": AlertState(row["to_state"])}) for row in rows
    ]


def _rows(c: Connection, query: Select[Any]) -> list[AlertRow]:
    rows = c.execute(query).mappings()
    return [AlertRow(**{**row, "state": AlertState(row["state"]), "health": AlertHealth(row["health"])}) for row in rows]

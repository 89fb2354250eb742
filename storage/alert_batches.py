"""Many alerts at once: what an evaluation reads and writes, in a few statements however many they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import Connection, RowMapping, insert, select

from storage.dialects import among, upsert
from storage.records import AlertEvent, AlertHealth, AlertRow, AlertState
from storage.rows import columns_of, values_of
from storage.schema import alert_events, alerts

_LIVE = [state.value for state in (AlertState.PENDING, AlertState.FIRING, AlertState.RECOVERING)]


def live_alerts(c: Connection, rules: Collection[str]) -> dict[str, list[AlertRow]]:
    """The pending, firing and recovering alerts of the rules, by rule."""
    query = select(*columns_of(alerts, AlertRow)).where(among(c, alerts.c.rule, rules), alerts.c.state.in_(_LIVE))
    found: dict[str, list[AlertRow]] = defaultdict(list)
    for row in c.execute(query.order_by(alerts.c.rule, alerts.c.fingerprint)).mappings():
        found[row["rule"]].append(_alert(row))
    return found


def alerts_named(c: Connection, fingerprints: Collection[str]) -> list[AlertRow]:
    """The alerts with these fingerprints, in any state."""
    if not fingerprints:
        return []
    query = select(*columns_of(alerts, AlertRow)).where(among(c, alerts.c.fingerprint, fingerprints))
    return [_alert(row) for row in c.execute(query).mappings()]


def save_alerts(c: Connection, rows: Sequence[AlertRow]) -> None:
    """Stores the alerts in place of what was known under their fingerprints."""
    upsert(c, alerts, [values_of(row) for row in rows], key=["fingerprint"])


def add_events(c: Connection, events: Iterable[AlertEvent]) -> None:
    """Adds changes of state to the log, in this order."""
    rows = [values_of(event, without=("id",)) for event in events]
    if rows:
        c.execute(insert(alert_events), rows)


def _alert(row: RowMapping) -> AlertRow:
    return AlertRow(**{**row, "state": AlertState(row["state"]), "health": AlertHealth(row["health"])})

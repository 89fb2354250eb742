"""The newest points of many series at once, and alerts in batches."""

from datetime import timedelta

import numpy as np
from sqlalchemy import Engine

from storage import alerts, metrics
from storage.alert_batches import add_events, alerts_named, live_alerts, save_alerts
from storage.engine import reading, writing
from storage.newest_points import newest_points
from storage.records import AlertEvent, AlertRow, AlertState, MetricPoint, OutboxStatus, Verdict
from storage.undelivered import undelivered_by_channel
from tests.factories import NOW, at


def test_newest_points_are_the_latest_ones(engine: Engine) -> None:
    random = np.random.default_rng(1)
    points = [
        MetricPoint(
            at=at(-60.0 * int(minute)),
            name="drift_psi" if random.random() < 0.8 else "drift_ks",
            value=None if random.random() < 0.1 else float(random.random()),
            model=f"m{random.integers(3)}",
            version=str(random.integers(2)),
            feature=f"f{random.integers(4)}",
            window_seconds=int(random.choice([60, 300])),
            verdict=Verdict.INSUFFICIENT if random.random() < 0.3 else Verdict.OK,
            threshold=0.2,
            n_current=int(random.integers(100)),
        )
        for minute in random.integers(0, 20, 400)
    ]
    since = NOW - timedelta(minutes=8)
    with writing(engine) as c:
        metrics.write_points(c, points)

    with reading(engine) as c:
        found = newest_points(c, "drift_psi", 300, since, NOW)
        expected = metrics.latest_points(c, "drift_psi", window_seconds=300, since=since, until=NOW)

    assert len(found) > 10
    assert sorted(found, key=repr) == sorted(expected, key=repr)


def row(number: int, state: AlertState, rule: str = "A") -> AlertRow:
    return AlertRow(fingerprint=f"{number:016x}", rule=rule, labels={"feature": f"f{number}"}, state=state, evaluated_at=NOW)


def test_alerts_are_written_and_found_in_batches(engine: Engine) -> None:
    states = [AlertState.PENDING, AlertState.FIRING, AlertState.RECOVERING, AlertState.RESOLVED, AlertState.INACTIVE]
    rows = [row(number, state, rule) for number, (state, rule) in enumerate((s, r) for r in ("A", "B", "C") for s in states)]
    with writing(engine) as c:
        save_alerts(c, rows)
        save_alerts(c, [])
        save_alerts(c, [row(0, AlertState.FIRING)])

    with reading(engine) as c:
        live = live_alerts(c, ["A", "B"])
        named = alerts_named(c, [rows[3].fingerprint, rows[14].fingerprint, "unknown"])

    assert {rule: [one.state for one in found] for rule, found in live.items()} == {
        "A": [AlertState.FIRING, AlertState.FIRING, AlertState.RECOVERING],
        "B": states[:3],
    }
    assert sorted(named, key=lambda one: one.fingerprint) == [rows[3], rows[14]]


def test_events_keep_their_order(engine: Engine) -> None:
    events = [
        AlertEvent(
            fingerprint="f",
            rule="A",
            labels={},
            at=NOW,
            from_state=AlertState.PENDING,
            to_state=AlertState.FIRING,
            value=1.0,
            reason=str(n),
        )
        for n in range(5)
    ]
    with writing(engine) as c:
        add_events(c, events)
        add_events(c, [])

    with reading(engine) as c:
        assert [event.reason for event in alerts.list_events(c)] == ["4", "3", "2", "1", "0"]


def test_messages_that_do_not_arrive_are_counted_by_channel(engine: Engine) -> None:
    from storage import outbox
    from storage.records import OutboxItem

    def item(key: str, channel: str, created: float, status: OutboxStatus, attempts: int = 0) -> OutboxItem:
        return OutboxItem(
            dedup_key=key,
            channel=channel,
            receiver="r",
            kind="firing",
            payload={},
            created_at=at(created),
            next_attempt_at=at(created),
            status=status,
            attempts=attempts,
        )

    with writing(engine) as c:
        for one in (
            item("a", "slack", -60, OutboxStatus.FAILED),
            item("b", "slack", -7200, OutboxStatus.FAILED),
            item("c", "slack", -60, OutboxStatus.WAITING, attempts=1),
            item("d", "slack", -200_000, OutboxStatus.WAITING, attempts=3),
            item("e", "email", -60, OutboxStatus.SENT, attempts=5),
            item("f", "old", -200_000, OutboxStatus.FAILED),
        ):
            outbox.enqueue(c, one)
        found = undelivered_by_channel(c, since=at(-3600), seen_since=at(-86_400))

    assert found == {"email": 0, "slack": 2}

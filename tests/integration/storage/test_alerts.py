"""States of alerts and the log of their changes."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Engine

from storage.alerts import add_event, list_events, load_alerts, save_alert
from storage.engine import writing
from storage.records import AlertEvent, AlertHealth, AlertRow, AlertState
from tests.factories import at

ALERT = AlertRow(
    fingerprint="abc",
    rule="FeatureDrift",
    labels={"model": "churn", "feature": 'größe "m²"'},
    state=AlertState.FIRING,
    health=AlertHealth.NO_DATA,
    value=0.31,
    threshold=0.2,
    window_seconds=3600,
    n_current=512,
    reason="0.31 > 0.2",
    pending_at=at(),
    fired_at=at(60),
    evaluated_at=at(120),
    last_point_at=at(100),
    acked_by="ana",
)


def event(seconds: float, fingerprint: str = "abc") -> AlertEvent:
    return AlertEvent(
        fingerprint=fingerprint,
        rule="FeatureDrift",
        labels={"model": "churn"},
        at=at(seconds),
        from_state=AlertState.PENDING,
        to_state=AlertState.FIRING,
        value=None,
        reason="held",
    )


def test_an_alert_comes_back_as_it_was_saved_last(engine: Engine) -> None:
    with writing(engine) as c:
        save_alert(c, replace(ALERT, state=AlertState.PENDING))
        save_alert(c, ALERT)

        assert load_alerts(c) == [ALERT]


def test_alerts_are_found_by_rule_and_state(engine: Engine) -> None:
    with writing(engine) as c:
        save_alert(c, ALERT)
        save_alert(c, replace(ALERT, fingerprint="def", rule="Slow", state=AlertState.RESOLVED))

        assert [a.fingerprint for a in load_alerts(c, rule="Slow")] == ["def"]
        assert [a.fingerprint for a in load_alerts(c, states=[AlertState.FIRING, AlertState.PENDING])] == ["abc"]
        assert load_alerts(c, rule="Slow", states=[AlertState.FIRING]) == []
        assert load_alerts(c, states=[]) == []


def test_events_are_listed_newest_first(engine: Engine) -> None:
    with writing(engine) as c:
        events = [add_event(c, event(seconds)) for seconds in (0, 20, 10)]
        other = add_event(c, event(5, "def"))

        assert [e.at for e in list_events(c)] == [at(20), at(10), at(5), at(0)]
        assert list_events(c, since=at(10)) == [events[1], events[2]]
        assert list_events(c, fingerprint="def") == [other]
        assert len(list_events(c, limit=2)) == 2
        assert len({e.id for e in events}) == 3

"""The clock of the machine is put forward and back between evaluations, and by the hour of summer time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from alerts.evaluate import renew
from alerts.rules import parse_rules
from storage import leases, outbox
from storage.engine import writing
from storage.records import OutboxItem, OutboxStatus
from tests.fakes import FakeSlack
from tests.integration.alerts.stage import RULES, Stage

HOUR = 3600.0
REPEATED = RULES.replace("group_interval: 10s", "group_interval: 10s, repeat_interval: 1m")


@pytest.fixture
def stage(stage: Stage) -> Stage:
    stage.rules = parse_rules(REPEATED, "rules.yml")
    return stage


def kinds(stage: Stage) -> list[str]:
    return [item.kind for item in stage.items() if item.channel == "slack"]


def live(stage: Stage, value: float, seconds: float) -> None:
    """What the service does for a while: points, judgements and what is due of incidents, each ten seconds."""
    for _ in range(int(seconds / 10)):
        stage.point(value)
        stage.evaluate()
        stage.tend()
        stage.wait(10)


def test_jump_forward_by_an_hour_fires_nothing_that_did_not_hold(stage: Stage) -> None:
    stage.play(0.5)
    stage.wait(HOUR)

    assert stage.play(0.5, 0.5) == ["p", "p"]
    assert stage.play(0.5) == ["f"]


def test_jump_back_makes_a_pending_alert_wait_no_longer_than_anew(stage: Stage) -> None:
    stage.play(0.5)
    stage.wait(-HOUR)

    assert stage.play(0.5, 0.5, 0.5) == ["p", "p", "f"]


def test_jump_back_loses_no_end(stage: Stage) -> None:
    stage.fire()
    stage.play(0.01)
    assert [row.state.value for row in stage.alerts()] == ["recovering"]
    stage.wait(-HOUR)

    assert stage.play(0.01, 0.01) == ["r", "r"]
    assert [row.state.value for row in stage.alerts()] == ["resolved"]
    assert kinds(stage) == ["firing", "resolved"]


def test_points_from_before_a_jump_back_do_not_hide_those_after_it(stage: Stage) -> None:
    stage.point(0.01)
    stage.wait(-HOUR)

    assert stage.play(0.5, 0.5, 0.5) == ["p", "p", "f"]


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_jump_silences_no_repeats(stage: Stage, jump: float) -> None:
    stage.fire()
    live(stage, 0.5, 120)
    before = kinds(stage).count("repeat")
    stage.wait(jump)
    live(stage, 0.5, 180)

    assert 1 <= before <= 2
    assert 2 <= kinds(stage).count("repeat") - before <= 4
    assert set(kinds(stage)) == {"firing", "repeat"}


def test_jump_back_stops_no_escalation(stage: Stage) -> None:
    text = REPEATED.replace("group_wait", "escalate: [{after: 1m, receiver: boss}], group_wait")
    stage.rules = parse_rules(text.replace("receivers:", "receivers:\n  - {name: boss, slack: {channel: '#boss'}}"), "rules.yml")
    stage.fire()
    stage.wait(-HOUR)
    live(stage, 0.5, 90)

    assert kinds(stage).count("escalation") == 1


def test_jump_back_while_a_group_waits_tells_it_all_the_same(stage: Stage) -> None:
    stage.rules = parse_rules(REPEATED.replace("group_wait: 0s", "group_wait: 30s"), "rules.yml")
    stage.fire()
    stage.wait(-HOUR)
    live(stage, 0.5, 60)

    assert kinds(stage)[0] == "firing"


def test_message_from_before_a_jump_back_is_sent(stage: Stage, slack: FakeSlack) -> None:
    stage.fire()
    stage.wait(-HOUR)

    stage.deliver()

    assert len(slack.posted) == 1
    assert stage.items(OutboxStatus.WAITING) == []


def test_claim_from_before_a_jump_back_runs_out(stage: Stage, slack: FakeSlack) -> None:
    stage.fire()
    with writing(stage.engine) as c:
        assert len(outbox.claim_due(c, owner="dead", now=stage.now, hold=timedelta(minutes=1), limit=9)) == 2
    stage.wait(-HOUR)

    stage.deliver()

    assert len(slack.posted) == 1


def test_lease_from_before_a_jump_back_keeps_nobody_away(stage: Stage) -> None:
    with writing(stage.engine) as c:
        leases.acquire(c, "alerts", "dead", ttl=timedelta(seconds=15), now=stage.now)
    assert not renew(stage.engine, owner="one", now=stage.now)
    stage.wait(-HOUR)

    assert renew(stage.engine, owner="one", now=stage.now)
    assert stage.evaluate() is not None


def test_lease_of_a_machine_whose_clock_is_a_minute_ahead_is_respected(stage: Stage) -> None:
    with writing(stage.engine) as c:
        leases.acquire(c, "alerts", "other", ttl=timedelta(seconds=15), now=stage.now + timedelta(minutes=1))

    assert not renew(stage.engine, owner="one", now=stage.now)
    assert stage.evaluate() is None


@pytest.mark.parametrize(
    "change", [datetime(2026, 3, 29, 0, 58, tzinfo=UTC), datetime(2026, 10, 25, 0, 58, tzinfo=UTC)], ids=["spring", "autumn"]
)
def test_summer_time_begins_and_ends_without_any_effect(stage: Stage, change: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    stage.now = change
    stage.fire()
    live(stage, 0.5, 240)
    live(stage, 0.01, 30)

    assert kinds(stage) == ["firing", "repeat", "repeat", "repeat", "repeat", "resolved"]


def test_old_message_is_given_up_by_its_age_whatever_the_clock_did(stage: Stage) -> None:
    """A message that claims to be from the future is as old as the moment at which that was seen."""
    item = OutboxItem(
        dedup_key="ahead",
        kind="test",
        channel="slack",
        receiver="oncall",
        payload={},
        created_at=stage.now + timedelta(days=2),
        next_attempt_at=stage.now + timedelta(days=2),
    )
    with writing(stage.engine) as c:
        outbox.enqueue(c, item)

    stage.deliver()

    (stored,) = stage.items()
    assert stored.created_at == stage.now

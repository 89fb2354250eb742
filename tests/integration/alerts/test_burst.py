"""A burst of changes becomes a bounded number of messages, also where the routes would keep every alert by itself."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from sqlalchemy import Connection

from alerts.cards import Card
from alerts.channels.channel import Address
from alerts.deliver import FLOOD
from alerts.dispatch import MOST_CARDS
from alerts.messages import Kind, Message
from alerts.routes import Recipient, outbox_item
from alerts.rules import parse_rules
from storage import metrics, outbox
from storage.engine import writing
from storage.records import AlertRow, MetricPoint, OutboxItem, OutboxStatus
from tests.fakes import Answer, FakeSlack
from tests.integration.alerts.stage import RULES, Stage

AT_ONCE = RULES.replace("for: 20s", "for: 0s").replace("for: 10s", "for: 0s").replace("    email: {to: [oncall@example.com]}\n", "")
MANY = 400


def burst(stage: Stage, value: float, number: int = MANY) -> None:
    """A point of each of many features, and an evaluation."""
    points = [
        MetricPoint(
            at=stage.now,
            name="drift_psi",
            value=value,
            model="churn",
            version="1",
            feature=f"f{n}",
            window_seconds=60,
            n_current=1000,
            threshold=0.2,
        )
        for n in range(number)
    ]
    with writing(stage.engine) as c:
        metrics.write_points(c, points)
    stage.evaluate()
    stage.wait(1)


def test_flood_of_incidents_is_told_in_few_messages_and_none_is_lost(stage: Stage, slack: FakeSlack) -> None:
    stage.rules = parse_rules(AT_ONCE, "rules.yml")
    burst(stage, 0.5)
    stage.deliver()

    posts = [one for one in slack.posted if one.path.endswith("chat.postMessage")]
    items = stage_items(stage)
    assert len(posts) <= 3
    assert f"{MANY} incidents" in posts[0].text
    assert len(items) == MANY
    assert {item.status for item in items} == {OutboxStatus.SENT, OutboxStatus.MERGED}

    burst(stage, 0.01)
    stage.deliver()

    assert len([one for one in slack.posted if one.path.endswith("chat.postMessage")]) <= 6
    assert not [one for one in slack.posted if one.path.endswith("chat.update")]  # which would take the place of a digest
    assert {item.status for item in stage_items(stage)} == {OutboxStatus.SENT, OutboxStatus.MERGED}


def test_fewer_than_a_flood_are_told_one_by_one(stage: Stage, slack: FakeSlack) -> None:
    stage.rules = parse_rules(AT_ONCE, "rules.yml")
    burst(stage, 0.5, FLOOD - 1)
    stage.deliver()

    assert len(slack.posted) == FLOOD - 1


def test_burst_of_one_model_is_one_incident(stage: Stage, slack: FakeSlack) -> None:
    stage.rules = parse_rules(AT_ONCE.replace('["..."]', "[model]"), "rules.yml")
    burst(stage, 0.5)
    stage.deliver()
    burst(stage, 0.01)
    stage.deliver()

    texts = [one.text for one in slack.posted if one.path.endswith("chat.postMessage")]
    assert len(texts) == 2
    assert f"{MANY} alerts" in texts[0]
    assert len(json.dumps(slack.posted[0].body)) < 20_000


def test_only_so_many_messages_of_a_flood_get_evidence(stage: Stage) -> None:
    asked = 0

    def evidence(c: Connection, rows: list[AlertRow], now: datetime) -> Card | None:
        nonlocal asked
        asked += 1
        return None

    stage.rules, stage.evidence = parse_rules(AT_ONCE, "rules.yml"), evidence  # type: ignore[assignment]
    burst(stage, 0.5)

    assert asked == MOST_CARDS


def test_what_continues_a_digest_does_not_take_its_place(stage: Stage, slack: FakeSlack) -> None:
    slack.script.append(Answer(status=429, headers={"Retry-After": "30"}))
    for number in (1, 2, 3):
        enqueue(stage, number, Kind.FIRING)
    stage.deliver()
    stage.wait(31)
    stage.deliver()
    enqueue(stage, 1, Kind.RESOLVED)
    stage.deliver()

    paths = [one.path.rpartition("/")[2] for one in slack.posted]
    assert paths == ["chat.postMessage"] * 3
    assert "thread_ts" not in slack.posted[-1].body


def enqueue(stage: Stage, number: int, kind: Kind) -> None:
    message = Message(
        kind=kind,
        key=f"incident:{number}:{kind}",
        answers=f"incident:{number}:firing" if kind is Kind.RESOLVED else "",
        title=f"Drift {number}",
        summary="It drifted.",
        at=stage.now,
        incident=number,
        incident_key=f"incident:{number}",
    )
    recipient = Recipient(receiver="oncall", channel="slack", address=Address(slack_channel="#ml"))
    with writing(stage.engine) as c:
        assert outbox.enqueue(c, outbox_item(message, recipient, stage.now))
    stage.wait(timedelta(seconds=1).total_seconds())


def stage_items(stage: Stage) -> list[OutboxItem]:
    with writing(stage.engine) as c:
        return outbox.list_items(c, limit=10_000)

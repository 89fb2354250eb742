"""Incidents over alerts in a database: with the evaluation or between two of them, all of it or nothing."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from threading import Barrier, Thread
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, insert, text

from alerts import evaluate
from alerts.cards import Card
from alerts.dispatch import Dispatched, dispatch
from alerts.evaluate import LEASE_TIME, give_up_lease, resolve_orphans
from alerts.messages import Message
from alerts.rules import RuleSet, parse_rules
from storage import alerts, audit, incidents, outbox, schema, silences
from storage.engine import reading, writing
from storage.records import AlertState, Incident, Silence
from storage.rows import values_of
from tests.fakes import FakeMail, FakeSlack
from tests.integration.alerts.stage import RULES, Stage
from tests.unit.alerts.rows import make_alert

GROUPED = """routes:
  receiver: oncall
  group_wait: 30s
  group_interval: 5m
  repeat_interval: 4h
"""


def grouped(routes: str = GROUPED, more: str = "") -> RuleSet:
    head = RULES.split("routes:")[0].replace("for: 20s", "for: 0s").replace("keep_firing_for: 10s", "keep_firing_for: 0s")
    return parse_rules(head + more + routes, "rules.yml")


@pytest.fixture
def stage(stage: Stage) -> Stage:
    stage.rules = grouped()
    return stage


def judge(stage: Stage, seconds: float = 10, **values: float) -> None:
    """A point of each feature, an evaluation, what the service does between two, and some time."""
    for feature, value in values.items():
        stage.point(value, feature=feature)
    stage.evaluate()
    stage.tend()
    stage.wait(seconds)


def wait(stage: Stage, seconds: float) -> None:
    """The service does nothing but to look after incidents."""
    stage.wait(seconds)
    stage.tend()


def told(stage: Stage) -> list[tuple[str, str]]:
    return [(item.kind, item.channel) for item in stage.items()]


def by_slack(stage: Stage) -> list[Message]:
    return [Message.from_json(item.payload["message"]) for item in stage.items() if item.channel == "slack"]


def open_incidents(stage: Stage) -> list[Incident]:
    with reading(stage.engine) as c:
        return incidents.load_open(c)


def add_silence(stage: Stage, seconds: float, **matchers: str) -> Silence:
    silence = Silence(
        matchers={name: [pattern] for name, pattern in matchers.items()},
        starts_at=stage.now,
        ends_at=stage.now + timedelta(seconds=seconds),
        author="ada",
        comment="retraining",
        created_at=stage.now,
    )
    with writing(stage.engine) as c:
        return silences.add(c, silence)


# ---------------------------------------------------------------------------------------------- from begin to end


def test_alerts_of_a_model_are_one_incident_and_one_message(stage: Stage) -> None:
    judge(stage, age=0.5, income=0.4)
    assert told(stage) == []
    (waiting,) = open_incidents(stage)
    assert (waiting.key, waiting.number, waiting.due_at) == (":oncall:model=churn", 0, waiting.opened_at + timedelta(seconds=30))

    wait(stage, 20)

    assert told(stage) == [("firing", "slack"), ("firing", "email")]
    (item, _) = stage.items()
    assert (item.dedup_key, item.incident_id) == (f"incident:{waiting.id}:1:oncall:slack", waiting.id)
    (message,) = by_slack(stage)
    assert message.title == "2 alerts for churn version 1: FeatureDrift age, income"
    assert sorted(line.detail for line in message.lines) == ["age of churn drifted: PSI 0.5", "income of churn drifted: PSI 0.4"]

    judge(stage, age=0.01, income=0.01)
    assert told(stage)[2:] == [("resolved", "slack"), ("resolved", "email")]
    assert by_slack(stage)[1].answers == message.key
    assert open_incidents(stage) == []


def test_messages_arrive_as_one_thread(stage: Stage, slack: FakeSlack, mail: FakeMail) -> None:
    judge(stage, age=0.5)
    wait(stage, 30)
    stage.deliver()
    judge(stage, age=0.5, income=0.5)
    wait(stage, 300)
    stage.deliver()
    judge(stage, age=0.01, income=0.01)
    stage.deliver()

    posts = [post for post in slack.posted if post.path.endswith("postMessage")]
    assert [post.body.get("thread_ts") for post in posts] == [None, "1700000000.000001", "1700000000.000001"]
    first, *others = mail.received
    assert [mail["In-Reply-To"] for mail in others] == [first["Message-ID"]] * 2


def test_what_ends_before_its_first_message_is_not_told(stage: Stage) -> None:
    judge(stage, age=0.5)
    judge(stage, age=0.01)
    wait(stage, 60)

    assert told(stage) == []
    assert open_incidents(stage) == []


def test_restart_keeps_the_clock(stage: Stage) -> None:
    judge(stage, age=0.5)
    restarted = replace(stage, owner="another", _delivery=None, timers=type(stage.timers)())
    restarted.wait(LEASE_TIME.total_seconds())

    wait(restarted, 5)

    assert told(restarted) == [("firing", "slack"), ("firing", "email")]


def test_nothing_is_looked_at_while_nothing_is_due(stage: Stage) -> None:
    judge(stage, age=0.5)
    assert stage.tend() == Dispatched()
    stage.wait(19)
    assert stage.tend() == Dispatched()
    stage.wait(1)
    assert stage.tend() == Dispatched(looked=True, messages=2)
    assert stage.tend() == Dispatched()


def test_clock_that_is_put_back_is_noticed(stage: Stage) -> None:
    judge(stage, age=0.5)
    stage.wait(-3600)
    assert stage.tend() == Dispatched(looked=True)
    wait(stage, 30)

    assert told(stage) == [("firing", "slack"), ("firing", "email")]


def test_rule_that_is_removed_ends_the_incident(stage: Stage) -> None:
    judge(stage, age=0.5)
    wait(stage, 30)
    without = parse_rules(RULES.replace("FeatureDrift", "Other"), "rules.yml")
    stage.rules = replace(without, routing=stage.rules.routing)

    resolve_orphans(stage.engine, stage.rules, stage.desk, owner=stage.owner, now=stage.now)

    assert [kind for kind, _ in told(stage)] == ["firing", "firing", "resolved", "resolved"]
    assert "its rule was removed" in by_slack(stage)[1].summary


# ---------------------------------------------------------------------------------------------- suppression


def test_silence_is_on_record_and_its_end_tells(stage: Stage) -> None:
    silence = add_silence(stage, 600, feature="a*")
    judge(stage, age=0.5, income=0.5)
    wait(stage, 30)

    assert [line.labels["feature"] for line in by_slack(stage)[0].lines] == ["income"]
    assert {row.labels["feature"]: row.suppressed for row in stage.alerts()} == {"age": f"silence {silence.id}", "income": None}

    with writing(stage.engine) as c:
        silences.end(c, silence.id, by="bob", now=stage.now)
    wait(stage, 300)

    assert [(line.state, line.labels["feature"]) for line in by_slack(stage)[1].lines] == [("new", "age"), ("firing", "income")]
    assert {row.suppressed for row in stage.alerts()} == {None}
    with reading(stage.engine) as c:
        reasons = [event.reason for event in alerts.list_events(c) if event.from_state is event.to_state]
    assert reasons == [
        f"no longer suppressed by silence {silence.id}",
        f"nobody is told: silence {silence.id} (by ada: retraining)",
    ]


def test_end_of_a_silenced_alert_that_was_told_is_told_and_leaves_no_mark(stage: Stage) -> None:
    judge(stage, age=0.5)
    wait(stage, 30)
    add_silence(stage, 600, model="churn")
    wait(stage, 10)
    assert stage.alerts()[0].suppressed == "silence 1"

    judge(stage, age=0.01)

    assert [kind for kind, _ in told(stage)] == ["firing", "firing", "resolved", "resolved"]
    assert stage.alerts()[0].suppressed is None


def test_cause_inhibits_its_effects(stage: Stage) -> None:
    down = (
        "      - {alert: EndpointDown, metric: uptime, where: {model: churn}, when: '< 0.5', labels: {severity: critical}}\n"
        "inhibit: [{source: {alert: EndpointDown}, target: {alert: '*Drift'}, equal: [model]}]\n"
    )
    head, tail = RULES.replace("for: 20s", "for: 0s").split("receivers:")
    stage.rules = parse_rules(f"{head}{down}receivers:{tail.split('routes:')[0]}{GROUPED}", "rules.yml")
    stage.point(0.0, name="uptime", feature="", threshold=None)

    judge(stage, age=0.5)
    wait(stage, 30)

    assert {row.rule: row.suppressed for row in stage.alerts()} == {
        "EndpointDown": None,
        "FeatureDrift": "inhibited by EndpointDown",
    }
    assert [line.labels["alert"] for line in by_slack(stage)[0].lines] == ["EndpointDown"]


# ---------------------------------------------------------------------------------------------- acknowledgement and escalation

ESCALATING = GROUPED + "  escalate: [{after: 10m, receiver: boss}]\n"
BOSS = "  - {name: boss, email: {to: [boss@example.com]}}\n"


def test_acknowledgement_is_told_once_and_stops_what_would_follow(stage: Stage) -> None:
    stage.rules = grouped(ESCALATING, BOSS)
    judge(stage, age=0.5)
    wait(stage, 30)
    (incident,) = open_incidents(stage)
    with writing(stage.engine) as c:
        incidents.acknowledge(c, incident.id, by="ada", note="on it", now=stage.now)

    for _ in range(3):
        wait(stage, 4 * 3600)

    assert [kind for kind, _ in told(stage)] == ["firing", "firing", "acknowledged", "acknowledged"]
    assert by_slack(stage)[1].summary.startswith("ada takes care of it: on it. ")
    assert stage.alerts()[0].acked_by == "ada"


def test_new_alert_lifts_the_acknowledgement_and_the_escalation_counts_anew(stage: Stage) -> None:
    stage.rules = grouped(ESCALATING, BOSS)
    judge(stage, age=0.5)
    wait(stage, 30)
    (incident,) = open_incidents(stage)
    with writing(stage.engine) as c:
        incidents.acknowledge(c, incident.id, by="ada", note="", now=stage.now)
    wait(stage, 3000)
    judge(stage, seconds=0, age=0.5, income=0.5)
    wait(stage, 30)
    lifted = stage.now

    assert [kind for kind, _ in told(stage)][4:] == ["update", "update"]
    assert {row.acked_by for row in stage.alerts()} == {None}
    with reading(stage.engine) as c:
        assert incidents.lifted_at(c, [incident.id, 999]) == {incident.id: lifted}
        assert audit.entries(c, target=f"incident {incident.id}")[0].details["acked_by"] == "ada"
    wait(stage, 599)
    assert stage.items()[-1].kind == "update"
    wait(stage, 1)
    assert (stage.items()[-1].kind, stage.items()[-1].receiver) == ("escalation", "boss")


def test_thread_of_the_one_told_later_begins_with_the_escalation(stage: Stage, mail: FakeMail) -> None:
    stage.rules = grouped(ESCALATING, BOSS)
    judge(stage, age=0.5)
    wait(stage, 30)
    wait(stage, 600)
    judge(stage, age=0.01)
    stage.deliver()

    boss = [mail for mail in mail.received if mail["To"] == "boss@example.com"]
    assert [("In-Reply-To" in mail) for mail in boss] == [False, True]
    assert boss[1]["In-Reply-To"] == boss[0]["Message-ID"]


def test_receiver_that_is_gone_from_the_file_hears_of_the_end(stage: Stage, mail: FakeMail) -> None:
    judge(stage, age=0.5)
    wait(stage, 30)
    renamed = RULES.replace("oncall\n", "others\n").replace("oncall@", "others@").replace("receiver: oncall", "receiver: others")
    stage.rules = parse_rules(renamed.replace("group_wait: 0s", "group_wait: 1h"), "rules.yml")
    judge(stage, age=0.01)
    stage.wait(10)
    judge(stage, age=0.01)
    stage.deliver()

    assert [(mail["To"], mail["Subject"].split("]")[0]) for mail in mail.received] == [
        ("oncall@example.com", "[WARNING"),
        ("oncall@example.com", "[RESOLVED"),
    ]


# ---------------------------------------------------------------------------------------------- causes and evidence


def test_promotion_shortly_before_is_named(stage: Stage) -> None:
    row = {"model": "churn", "mode": "single", "champion": "1", "challenger": None, "weight": 0.0, "salt": "s", "actor": "ada"}
    with writing(stage.engine) as c:
        c.execute(
            insert(schema.deployments).values({**row, "at": stage.now - timedelta(minutes=4), "action": "promote", "reason": ""})
        )
    judge(stage, age=0.5)
    wait(stage, 30)

    (incident,) = open_incidents(stage)
    assert incident.cause == "Likely cause: version 1 of churn was promoted by ada, 4m before."
    assert incident.cause in by_slack(stage)[0].summary


def test_evidence_fills_the_card(stage: Stage) -> None:
    asked: list[list[str]] = []

    def evidence(c: Connection, rows: Any, now: object) -> Card:
        asked.append([row.labels["feature"] for row in rows])
        return Card(worst_segment="the unit changed")

    stage.evidence = evidence
    judge(stage, age=0.5)
    wait(stage, 30)
    judge(stage, age=0.01)

    assert asked == [["age"]]
    assert [message.card and message.card.worst_segment for message in by_slack(stage)] == ["the unit changed", None]


@pytest.mark.parametrize("query", ["SELECT 1", "SELECT * FROM no_such_table"])
def test_evidence_that_fails_costs_the_card_and_not_the_message(stage: Stage, query: str) -> None:
    def evidence(c: Connection, rows: object, now: object) -> Card:
        c.execute(text(query))
        raise ZeroDivisionError

    stage.evidence = evidence
    judge(stage, age=0.5)
    wait(stage, 30)

    assert told(stage) == [("firing", "slack"), ("firing", "email")]
    assert by_slack(stage)[0].card is None


# ---------------------------------------------------------------------------------------------- kills, rivals, bursts


class Killed(BaseException):
    """Ends a process between two steps."""


@pytest.mark.parametrize(
    "step", [(evaluate, "save_alerts"), (incidents, "load_open"), (incidents, "save"), (outbox, "enqueue"), (alerts, "mark")]
)
@pytest.mark.parametrize("after", [False, True])
def test_kill_at_any_step_leaves_nothing_and_loses_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, step: tuple[Any, str], after: bool
) -> None:
    stage.rules = grouped(GROUPED.replace("30s", "0s"))
    module, name = step
    real = getattr(module, name)

    def killed(*args: Any, **kwargs: Any) -> Any:
        if after:
            real(*args, **kwargs)
        raise Killed

    monkeypatch.setattr(module, name, killed)
    stage.point(0.5)
    with pytest.raises(Killed):
        stage.evaluate()
    monkeypatch.undo()

    assert (stage.alerts(), stage.items(), open_incidents(stage)) == ([], [], [])
    stage.evaluate()
    stage.tend()
    assert [row.state for row in stage.alerts()] == [AlertState.FIRING]
    assert told(stage) == [("firing", "slack"), ("firing", "email")]


def test_engines_that_look_at_once_tell_once(stage: Stage) -> None:
    judge(stage, age=0.5)
    stage.wait(30)
    give_up_lease(stage.engine, owner=stage.owner, now=stage.now)
    barrier = Barrier(4)
    found: list[Dispatched | None] = []

    def tend(owner: str) -> None:
        rival = replace(stage, owner=owner, timers=type(stage.timers)())
        barrier.wait()
        found.append(rival.tend())

    threads = [Thread(target=tend, args=(f"engine-{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(one.messages for one in found if one is not None) == 2
    assert told(stage) == [("firing", "slack"), ("firing", "email")]


def test_acknowledgement_while_an_engine_looks_is_not_lost(engine: Engine, stage: Stage) -> None:
    judge(stage, age=0.5)
    wait(stage, 30)
    (incident,) = open_incidents(stage)
    judge(stage, seconds=0, age=0.5, income=0.5)
    stage.wait(300)
    given: list[Incident | None] = []

    def acknowledge() -> None:
        with writing(engine) as c:
            given.append(incidents.acknowledge(c, incident.id, by="ada", note="", now=stage.now))

    thread = Thread(target=acknowledge)
    with writing(engine) as c:
        dispatch(c, stage.desk, stage.now)
        thread.start()
        time.sleep(0.2)  # it waits for the end of this transaction, whose row it must not see as it was before
    thread.join()

    assert given[0] is not None
    assert (given[0].number, given[0].acked_by) == (2, "ada")
    assert open_incidents(stage) == given


def test_burst_of_ten_thousand_alerts_is_a_few_messages(stage: Stage) -> None:
    row = values_of(make_alert(fired_at=stage.now))
    names = [f"f{number:05}" for number in range(10_000)]
    rows = [{**row, "fingerprint": name, "labels": {"model": "churn", "feature": name}} for name in names]
    with writing(stage.engine) as c:
        c.execute(insert(schema.alerts), rows)
    began = time.process_time()
    stage.tend()
    wait(stage, 30)

    assert told(stage) == [("firing", "slack"), ("firing", "email")]
    assert max(len(str(item.payload)) for item in stage.items()) < 20_000
    assert time.process_time() - began < 10

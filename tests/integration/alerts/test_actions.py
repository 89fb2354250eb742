"""What alerts have done: on a real database, with a real web server and real commands."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from alerts.actions.channel import CONFIRM_WITHIN, Actions
from alerts.channels.channel import Address, Delivered
from alerts.channels.hosts import HostPolicy
from alerts.channels.post import Poster
from alerts.messages import Kind, Message
from alerts.receivers import Action
from alerts.routes import Recipient, outbox_item
from storage import actions, audit, deployments, outbox
from storage.engine import reading, writing
from storage.records import ActionRow, ActionState, Deployment, Mode, OutboxItem
from tests.factories import NOW, register_model
from tests.fakes import Answer, FakeSlack

MESSAGE = Message(
    kind=Kind.FIRING,
    key="incident:7:1",
    title="ErrorRate: churn, version 2",
    summary="The error rate is 12 %",
    at=NOW,
    incident=7,
    incident_key="incident:7",
    labels={"model": "churn", "version": "2"},
)
ROLLBACK = Action(do="rollback", confirm=False)


class Bench:
    """The channel with one receiver, its clock, and what is stored."""

    def __init__(self, engine: Engine, *wanted: Action, poster: Poster | None = None, commands: bool = False) -> None:
        self.engine = engine
        self.now = NOW
        self.channel = Actions(
            {"guard": wanted}, engine, poster or Poster(policy=HostPolicy()), allow_commands=commands, clock=lambda: self.now
        )

    def send(self, message: Message = MESSAGE) -> Delivered:
        return self.channel.send(message, Address(target="guard"), answers=None)

    def rows(self) -> list[ActionRow]:
        with reading(self.engine) as c:
            return actions.list_actions(c)[::-1]

    def deployment(self) -> Deployment:
        with reading(self.engine) as c:
            found = deployments.current(c, "churn")
        assert found is not None
        return found

    def told(self) -> list[OutboxItem]:
        with reading(self.engine) as c:
            return [item for item in outbox.of_incident(c, 7) if item.kind == "action"]


@pytest.fixture
def split(engine: Engine) -> Engine:
    """Version 1 came before version 2, which shares the traffic with its challenger 3; people were told of incident 7."""
    with writing(engine) as c:
        register_model(c, versions=("1", "2", "3"))
        deployments.promote(c, "churn", "1", actor="ada", reason="", now=NOW)
        deployments.promote(c, "churn", "2", actor="ada", reason="", now=NOW)
        deployments.deploy(c, "churn", mode=Mode.CANARY, champion="2", challenger="3", weight=0.1, actor="ada", reason="", now=NOW)
        for channel, address in (("slack", Address(slack_channel="#ml")), ("email", Address(email_to=("a@example.com",)))):
            item = outbox_item(MESSAGE, Recipient(receiver="oncall", channel=channel, address=address), NOW)
            outbox.enqueue(c, replace(item, incident_id=7))
    return engine


def about(version: str) -> Message:
    return replace(MESSAGE, labels={"model": "churn", "version": version})


def test_canary_that_fails_is_taken_out_at_once_and_everybody_is_told(split: Engine) -> None:
    bench = Bench(split, ROLLBACK)

    bench.send(about("3"))

    found = bench.deployment()
    assert (found.mode, found.champion, found.challenger, found.actor) == (Mode.SINGLE, "2", None, "alerts:guard")
    assert "The error rate is 12 %" in found.reason
    assert [row.state for row in bench.rows()] == [ActionState.DONE]
    assert [(item.channel, item.payload["message"]["summary"]) for item in bench.told()] == [
        ("slack", "Done: version 3 of churn was taken out; version 2 answers everything"),
        ("email", "Done: version 3 of churn was taken out; version 2 answers everything"),
    ]
    assert {item.payload["message"]["answers"] for item in bench.told()} == {"incident:7:1"}


@pytest.mark.parametrize(
    ("failing", "state", "champion", "said"),
    [
        ("2", ActionState.DONE, "1", "rolled back from version 2 to version 1"),
        ("", ActionState.DONE, "2", "version 3 of churn was taken out"),
        ("1", ActionState.FAILED, "2", "does not answer any more"),
    ],
)
def test_rollback_goes_away_from_the_version_that_fails(
    split: Engine, failing: str, state: ActionState, champion: str, said: str
) -> None:
    bench = Bench(split, ROLLBACK)

    bench.send(about(failing))

    [row] = bench.rows()
    assert (row.state, bench.deployment().champion) == (state, champion)
    assert said in (row.result or "")


def test_message_that_comes_twice_does_it_once(split: Engine) -> None:
    bench = Bench(split, ROLLBACK)

    for _ in range(2):
        bench.send(about("3"))
        bench.channel.run_confirmed()

    with reading(split) as c:
        assert len(deployments.history(c, "churn")) == 4
    assert len(bench.rows()) == 1
    assert len(bench.told()) == 2


@pytest.mark.parametrize("kind", [Kind.UPDATE, Kind.REPEAT, Kind.RESOLVED, Kind.ACKNOWLEDGED, Kind.TEST])
def test_only_the_beginning_and_an_escalation_have_something_done(split: Engine, kind: Kind) -> None:
    bench = Bench(split, ROLLBACK)

    bench.send(replace(MESSAGE, kind=kind))

    assert bench.rows() == []


def test_action_waits_until_a_person_agrees(split: Engine) -> None:
    bench = Bench(split, replace(ROLLBACK, confirm=True))
    bench.send(about("3"))
    bench.channel.run_confirmed()
    [row] = bench.rows()
    assert (row.state, bench.deployment().challenger) == (ActionState.PROPOSED, "3")
    assert f"modelwatch alerts confirm {row.id}" in bench.told()[0].payload["message"]["summary"]

    with writing(split) as c:
        assert actions.decide(c, row.id, confirm=True, by="ada", now=NOW) is not None
        assert actions.decide(c, row.id, confirm=False, by="bob", now=NOW) is None
    bench.channel.run_confirmed()

    assert (bench.rows()[0].state, bench.rows()[0].decided_by, bench.deployment().challenger) == (ActionState.DONE, "ada", None)
    with reading(split) as c:
        assert [entry.action for entry in audit.entries(c, target="churn")][:4] == [
            "done rollback",
            "promote",
            "confirm rollback",
            "propose rollback",
        ]


def test_what_nobody_agrees_to_is_not_done_and_expires(split: Engine) -> None:
    bench = Bench(split, replace(ROLLBACK, confirm=True), replace(ROLLBACK, confirm=True))
    bench.send(about("3"))
    with writing(split) as c:
        actions.decide(c, bench.rows()[0].id, confirm=False, by="ada", now=NOW)
    bench.now += CONFIRM_WITHIN + timedelta(seconds=1)
    bench.channel.run_confirmed()

    assert [row.state for row in bench.rows()] == [ActionState.REFUSED, ActionState.EXPIRED]
    assert bench.deployment().challenger == "3"


def test_rehearsal_changes_nothing_and_says_what_would_be_done(split: Engine) -> None:
    bench = Bench(split, replace(ROLLBACK, dry_run=True))

    bench.send(about("3"))

    [row] = bench.rows()
    assert (row.state, bench.deployment().challenger) == (ActionState.REHEARSED, "3")
    assert row.result == "only a rehearsal: a rollback of churn would be done now"


def test_limit_holds_over_incidents_and_ends_with_its_time(split: Engine) -> None:
    weight = Action(do="weight", weight=0.5, confirm=False, most=2, per=timedelta(hours=1))
    bench = Bench(split, weight)
    for number in range(4):
        bench.now = NOW + timedelta(minutes=10 * number)
        bench.send(replace(MESSAGE, incident_key=f"incident:{number}"))
    bench.now = NOW + timedelta(minutes=61)
    bench.send(replace(MESSAGE, incident_key="incident:later"))

    assert [row.state for row in bench.rows()] == [*[ActionState.DONE] * 2, *[ActionState.REFUSED] * 2, ActionState.DONE]
    assert "2 times within 1h already" in (bench.rows()[2].result or "")


@pytest.mark.parametrize(
    ("action", "check"),
    [
        (Action(do="promote", version="3", confirm=False), lambda one: (one.champion, one.challenger) == ("3", None)),
        (Action(do="weight", weight=0.0, confirm=False), lambda one: one.weight == 0.0 and one.challenger == "3"),
    ],
)
def test_promotion_and_weight_change_the_deployment(split: Engine, action: Action, check: Callable[[Deployment], bool]) -> None:
    bench = Bench(split, action)

    bench.send()

    assert check(bench.deployment())


def test_promotion_of_a_version_that_is_not_there_fails_and_is_told(split: Engine) -> None:
    bench = Bench(split, Action(do="promote", version="9", confirm=False))

    bench.send()

    assert bench.rows()[0].state is ActionState.FAILED
    assert "has no version 9" in bench.told()[0].payload["message"]["summary"]


def test_webhook_gets_what_happened_and_its_refusal_is_told(split: Engine) -> None:
    with FakeSlack() as server:
        action = Action(do="webhook", url=f"{server.url}/retrain", confirm=False, most=5)
        bench = Bench(split, action, poster=Poster(policy=HostPolicy.parse(server.url)))
        bench.send()
        server.script.append(Answer(status=500))
        bench.send(replace(MESSAGE, incident_key="incident:8"))

    assert server.posted[0].body["model"] == "churn"
    assert server.posted[0].body["reason"] == "The error rate is 12 %"
    assert [row.state for row in bench.rows()] == [ActionState.DONE, ActionState.FAILED]


def command(code: str, **changes: Any) -> Action:
    return Action(do="command", command=(sys.executable, "-c", code), confirm=False, **changes)


def test_command_gets_what_happened_on_its_input_and_no_secret_in_its_environment(
    split: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELWATCH_SMTP_PASSWORD", "hush")
    code = "import json, os, sys; print(json.load(sys.stdin)['title'], any('hush' in value for value in os.environ.values()))"
    bench = Bench(split, command(code), commands=True)

    bench.send()

    assert bench.rows()[0].result == f"{sys.executable} ended well: ErrorRate: churn, version 2 False"


@pytest.mark.parametrize(
    ("action", "commands", "state", "said"),
    [
        (command("print(1)"), False, ActionState.REFUSED, "MODELWATCH_ACTION_COMMANDS"),
        (command("import sys; sys.exit('no model')"), True, ActionState.FAILED, "ended with 1: no model"),
        (
            command("import time; time.sleep(60)", timeout=timedelta(seconds=0.5)),
            True,
            ActionState.FAILED,
            "did not end within 0.5 s",
        ),
        (replace(command(""), command=("/no/such/program",)), True, ActionState.FAILED, "cannot be run"),
    ],
)
def test_command_that_cannot_be_done_says_why(split: Engine, action: Action, commands: bool, state: ActionState, said: str) -> None:
    bench = Bench(split, action, commands=commands)

    bench.send()

    assert bench.rows()[0].state is state
    assert said in (bench.rows()[0].result or "")


def test_action_that_a_killed_process_left_is_not_done_again(split: Engine) -> None:
    bench = Bench(split, command("print(1)"), commands=True)
    with writing(split) as c:
        row = ActionRow(
            dedup_key="incident:7:guard:0",
            incident_id=7,
            receiver="guard",
            what="command",
            model="churn",
            details={"number": 0},
            state=ActionState.CONFIRMED,
            reason="",
            created_at=NOW,
        )
        actions.begin(c, actions.propose(c, row).id, NOW)

    bench.channel.run_confirmed()
    assert bench.rows()[0].state is ActionState.CONFIRMED
    bench.now += timedelta(minutes=3)
    bench.channel.run_confirmed()

    assert bench.rows()[0].state is ActionState.FAILED
    assert "whether it happened is not known" in (bench.rows()[0].result or "")


def test_action_that_was_stored_but_not_begun_is_done_after_a_restart(split: Engine) -> None:
    at: datetime = NOW
    with writing(split) as c:
        row = ActionRow(
            dedup_key="incident:7:guard:0", incident_id=7, receiver="guard", what="rollback", model="churn",
            details=json.loads('{"number": 0, "version": "3"}'), state=ActionState.CONFIRMED, reason="", created_at=at,
        )  # fmt: skip
        actions.propose(c, row)

    bench = Bench(split, ROLLBACK)
    bench.channel.run_confirmed()
    bench.channel.run_confirmed()

    assert bench.rows()[0].state is ActionState.DONE
    assert bench.deployment().challenger is None

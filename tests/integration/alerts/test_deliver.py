"""From the outbox to people: once where all goes well, at least once where it does not."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from threading import Barrier, Thread

import pytest
from prometheus_client import generate_latest
from sqlalchemy import Engine, make_url, text

from alerts.channels.channel import Address, Delivered
from alerts.channels.slack import SlackWebhook
from alerts.deliver import CLAIM_TIME
from alerts.messages import Kind, Message
from alerts.routes import Recipient, outbox_item
from storage import outbox
from storage.engine import DatabaseUnavailable, create_engine, writing
from storage.records import OutboxItem, OutboxStatus
from tests.conftest import with_statement
from tests.fakes import Answer, FakeMail, FakeSlack
from tests.integration.alerts.stage import Stage, make_delivery, settings_for

SENT, WAITING, FAILED = OutboxStatus.SENT, OutboxStatus.WAITING, OutboxStatus.FAILED


def standing(stage: Stage) -> list[tuple[str, str, OutboxStatus]]:
    return [(item.kind, item.channel, item.status) for item in stage.items()]


def by_slack(stage: Stage, kind: str = "firing") -> OutboxItem:
    return next(item for item in stage.items() if (item.kind, item.channel) == (kind, "slack"))


def metric(stage: Stage, name: str) -> float:
    lines = generate_latest(stage.metrics.registry).decode().splitlines()
    return float(next(line for line in lines if line.startswith(name + " ")).split()[-1])


# ---------------------------------------------------------------------------------------------- when all goes well


def test_alert_reaches_slack_and_mail_and_so_does_its_end(stage: Stage, slack: FakeSlack, mail: FakeMail) -> None:
    stage.fire()
    stage.deliver()
    stage.resolve()
    stage.deliver()

    assert [(post.path, post.body["channel"]) for post in slack.posted] == [
        ("/api/chat.postMessage", "#ml-oncall"),
        ("/api/chat.postMessage", "#ml-oncall"),
        ("/api/chat.update", "#ml-oncall"),
    ]
    assert "age of churn drifted: PSI 0.5" in slack.posted[0].everything
    assert "https://watch.example.com/drift?model=churn" in slack.posted[0].everything
    assert slack.posted[1].body["thread_ts"] == slack.posted[2].body["ts"] == "1700000000.000001"
    assert "RESOLVED" in slack.posted[2].text
    began, ended = mail.received
    assert (began["To"], began["Subject"]) == ("oncall@example.com", "[WARNING] FeatureDrift: churn, version 1, age")
    assert ended["In-Reply-To"] == began["Message-ID"]
    assert {status for _, _, status in standing(stage)} == {SENT}
    assert metric(stage, 'modelwatch_notifications_total{channel="slack",outcome="sent"}') == 2


def test_nothing_is_sent_twice(stage: Stage, slack: FakeSlack, mail: FakeMail) -> None:
    stage.fire()
    stage.deliver()
    stage.play(0.5, 0.5)
    stage.wait(3600)
    stage.deliver()
    replace(stage, owner="another", _delivery=None).deliver()

    assert (len(slack.posted), len(mail.received)) == (1, 1)


def test_webhook_posts_begin_and_end(engine: Engine, slack: FakeSlack) -> None:
    stage = Stage(engine=engine, settings=settings_for(slack, webhook=True))
    stage.rules = replace(
        stage.rules, routing=replace(stage.rules.routing, receivers=(replace(stage.rules.routing.receivers[0], email_to=()),))
    )
    stage.fire()
    stage.deliver()

    (post,) = slack.posted
    assert post.path == "/services/T000/B000/the-secret-of-the-webhook"
    assert post.body["blocks"][0]["text"]["text"] == "[WARNING] FeatureDrift: churn, version 1, age"
    assert "channel" not in post.body


def test_hostile_names_call_nobody_and_add_no_header(stage: Stage, slack: FakeSlack, mail: FakeMail) -> None:
    name = "<!channel> <https://evil|x> &amp;\r\nBcc: all@example.com\r\n\r\n<script>"
    stage.play(0.5, 0.5, 0.5, feature=name)
    stage.deliver()

    assert "<!channel>" not in slack.posted[0].everything
    assert "<https://evil" not in slack.posted[0].everything
    (received,) = mail.received
    assert received["Bcc"] is None
    assert "Bcc: all@example.com" in received["Subject"]
    body = received.get_body(("html",))
    assert body is not None
    assert "<script>" not in body.get_content()


# ---------------------------------------------------------------------------------------------- faults that pass


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(status=500), "Slack answered 500"),
        (Answer(status=503, body="<html>busy"), "Slack answered 503"),
        (Answer(drop=True), "Slack cannot be reached"),
        (Answer(body='{"ok": false, "error": "internal_error"}'), "Slack answered internal_error"),
    ],
)
def test_fault_that_passes_is_tried_again_with_longer_waits(stage: Stage, slack: FakeSlack, answer: Answer, error: str) -> None:
    slack.script.extend([answer, answer])
    stage.fire()

    stage.deliver()
    first = by_slack(stage)
    stage.wait(11)
    stage.deliver()
    second = by_slack(stage)
    stage.wait(11)
    stage.deliver()

    assert (first.status, first.attempts) == (WAITING, 1)
    assert error in (first.last_error or "")
    assert second.next_attempt_at - second.created_at > first.next_attempt_at - first.created_at
    assert (by_slack(stage).status, by_slack(stage).attempts, len(slack.posted)) == (SENT, 3, 3)


@pytest.mark.parametrize(("headers", "wait"), [({"Retry-After": "40"}, 40.0), ({}, 24.0), ({"Retry-After": "soon"}, 24.0)])
def test_rate_limit_holds_the_channel(stage: Stage, slack: FakeSlack, mail: FakeMail, headers: dict[str, str], wait: float) -> None:
    slack.script.append(Answer(status=429, headers=headers))
    stage.fire()
    stage.deliver()
    stage.resolve()  # twenty seconds, in which nothing may be posted
    stage.deliver()

    assert (len(slack.posted), len(mail.received)) == (1, 2)
    began = stage.items()[0].created_at
    assert by_slack(stage).next_attempt_at - began >= timedelta(seconds=wait)
    assert metric(stage, 'modelwatch_notification_failures_total{channel="slack",reason="rate_limited"}') == 1

    stage.wait(wait)
    stage.deliver()
    stage.wait(2)
    stage.deliver()
    assert [post.path for post in slack.posted[1:]] == ["/api/chat.postMessage", "/api/chat.postMessage", "/api/chat.update"]
    assert "RESOLVED" not in slack.posted[1].text
    assert "RESOLVED" in slack.posted[2].text


def test_page_that_could_not_be_delivered_goes_out_before_its_end(stage: Stage, slack: FakeSlack) -> None:
    slack.script.extend([Answer(status=500)] * 3)
    stage.fire()
    stage.deliver()
    stage.resolve()
    for _ in range(20):
        stage.deliver()
        stage.wait(10)

    posts = [post.text for post in slack.posted[3:] if post.path.endswith("postMessage")]
    assert ["RESOLVED" in text for text in posts] == [False, True]


def test_slow_slack_is_given_up_for_now(stage: Stage, slack: FakeSlack) -> None:
    slack.script.append(Answer(body="ok", delay=3))
    stage.fire()
    delivery = make_delivery(stage, {"slack": SlackWebhook(slack.webhook_url, timeout_seconds=1)})

    while delivery.deliver_next():
        pass

    assert by_slack(stage).last_error == "Slack did not answer in time"


def test_mail_server_that_is_away_does_not_stop_slack(engine: Engine, slack: FakeSlack) -> None:
    with FakeMail() as mail:
        settings = settings_for(slack, mail)
    stage = Stage(engine=engine, settings=settings)
    stage.fire()
    stage.deliver()

    assert [(channel, status) for _, channel, status in standing(stage)] == [("slack", SENT), ("email", WAITING)]
    assert "cannot be reached" in (stage.items()[1].last_error or "")


def test_message_is_given_up_after_a_day_and_that_is_told(stage: Stage, slack: FakeSlack, mail: FakeMail) -> None:
    slack.script.extend([Answer(status=500)] * 1000)
    stage.fire()
    for _ in range(26):
        stage.wait(3600)
        stage.deliver()

    assert by_slack(stage).status is FAILED
    assert metric(stage, 'modelwatch_notifications_total{channel="slack",outcome="failed"}') == 1
    assert len(mail.received) == 1


def test_message_that_only_a_broken_channel_was_to_carry_is_told_by_another(stage: Stage, slack: FakeSlack, mail: FakeMail) -> None:
    slack.script.extend([Answer(status=500)] * 1000)
    stage.rules = replace(
        stage.rules, routing=replace(stage.rules.routing, receivers=(replace(stage.rules.routing.receivers[0], email_to=()),))
    )
    stage.fire()
    for _ in range(15):
        stage.deliver()
        stage.wait(60)

    (received,) = mail.received
    assert received["To"] == "usual@example.com"
    assert received["Subject"].startswith("[NOT DELIVERED] FeatureDrift")
    assert by_slack(stage).status is WAITING


# ---------------------------------------------------------------------------------------------- faults that stay


@pytest.mark.parametrize(
    ("answer", "error", "reason"),
    [
        (Answer(status=404, body="no_service"), "Slack answered 404", "authentication"),
        (Answer(status=403), "Slack answered 403", "authentication"),
        (Answer(status=400, body="invalid_blocks"), "invalid_blocks", "rejected"),
        (Answer(body='{"ok": false, "error": "channel_not_found"}'), "Slack answered channel_not_found", "rejected"),
        (Answer(body='{"ok": false, "error": "invalid_auth"}'), "Slack answered invalid_auth", "authentication"),
        (Answer(status=302, headers={"Location": "/elsewhere"}), "is not followed", "redirected"),
        (Answer(status=307, headers={"Location": "/elsewhere"}), "is not followed", "redirected"),
    ],
)
def test_fault_that_stays_fails_once_and_is_told_by_mail(
    stage: Stage, slack: FakeSlack, mail: FakeMail, answer: Answer, error: str, reason: str
) -> None:
    slack.script.append(answer)
    stage.fire()
    stage.deliver()

    assert by_slack(stage).status is FAILED
    assert error in (by_slack(stage).last_error or "")
    assert len(slack.posted) == 1
    subjects = [str(received["Subject"]) for received in mail.received]
    assert subjects == ["[WARNING] FeatureDrift: churn, version 1, age", "[NOT DELIVERED] slack to oncall does not work"]
    assert metric(stage, f'modelwatch_notification_failures_total{{channel="slack",reason="{reason}"}}') == 1
    assert metric(stage, 'modelwatch_notifications_total{channel="slack",outcome="escalated"}') == 1


def test_broken_channel_is_told_once_an_hour(stage: Stage, slack: FakeSlack, mail: FakeMail) -> None:
    slack.script.extend([Answer(status=404)] * 10)
    for feature in ("a", "b", "c"):
        stage.play(0.5, 0.5, 0.5, feature=feature)
        stage.deliver()

    assert sum("does not work" in str(received["Subject"]) for received in mail.received) == 1


def test_lasting_fault_without_another_channel_is_tried_now_and_then(engine: Engine, slack: FakeSlack) -> None:
    slack.script.append(Answer(status=404))
    stage = Stage(engine=engine, settings=settings_for(slack, webhook=True))
    stage.rules = replace(
        stage.rules, routing=replace(stage.rules.routing, receivers=(replace(stage.rules.routing.receivers[0], email_to=()),))
    )
    stage.fire()
    stage.deliver()
    stage.wait(600)
    stage.deliver()
    assert len(slack.posted) == 1

    stage.wait(301)
    stage.deliver()

    assert by_slack(stage).status is SENT


def test_channel_that_is_not_set_up_says_what_to_set(engine: Engine, mail: FakeMail) -> None:
    stage = Stage(engine=engine, settings=settings_for(mail=mail))
    stage.fire()
    stage.deliver()

    assert "set MODELWATCH_SLACK_WEBHOOK_URL" in (by_slack(stage).last_error or "")
    assert len(mail.received) == 2


def test_message_that_cannot_be_read_is_given_up(stage: Stage) -> None:
    item = OutboxItem(
        dedup_key="k", channel="slack", receiver="r", kind="firing", payload={}, created_at=stage.now, next_attempt_at=stage.now
    )
    with writing(stage.engine) as c:
        outbox.enqueue(c, item)

    stage.deliver()

    assert [item.status for item in stage.items()] == [FAILED]


def test_secrets_reach_neither_the_log_nor_the_database(engine: Engine, slack: FakeSlack, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    slack.script.extend([Answer(status=404), Answer(drop=True), Answer(status=302, headers={"Location": slack.webhook_url})])
    for webhook in (True, False):
        stage = Stage(engine=engine, settings=settings_for(slack, webhook=webhook))
        stage.play(0.5, 0.5, 0.5, feature=f"f{webhook}")
        stage.deliver()
        stage.wait(1000)
        stage.deliver()

    with engine.connect() as c:
        stored = str(c.execute(text("SELECT * FROM outbox")).all())
    assert "secret" not in stored
    assert "secret" not in caplog.text
    assert len(slack.posted) >= 3


# ---------------------------------------------------------------------------------------------- processes that die


DIE = """
import os, signal, sys
from datetime import UTC, datetime, timedelta
from alerts.channels.slack import SlackWebhook
from alerts.deliver import Delivery
from alerts.metrics import AlertMetrics
from storage.engine import create_engine

class Deadly(SlackWebhook):
    def send(self, message, address, *, answers):
        super().send(message, address, answers=answers)
        os.kill(os.getpid(), signal.SIGKILL)

now = datetime.fromisoformat(sys.argv[3])
delivery = Delivery(create_engine(sys.argv[1]), {"slack": Deadly(sys.argv[2])}, usual={}, owner="dying", metrics=AlertMetrics(),
                    clock=lambda: now, pause=lambda seconds: None)
delivery.deliver_next()
"""


def test_kill_between_sending_and_marking_costs_one_duplicate_at_most(stage: Stage, slack: FakeSlack, database_url: str) -> None:
    stage.fire()
    died = subprocess.run([sys.executable, "-c", DIE, database_url, slack.webhook_url, stage.now.isoformat()], check=False)
    assert died.returncode == -signal.SIGKILL
    assert len(slack.posted) == 1

    stage.deliver()
    assert len(slack.posted) == 1, "the claim of the dead process still stands"
    stage.wait(CLAIM_TIME.total_seconds() + 1)
    stage.deliver()
    stage.wait(3600)
    stage.deliver()

    assert len(slack.posted) == 2
    assert by_slack(stage).status is SENT


def test_several_senders_share_the_work_and_send_nothing_twice(stage: Stage, slack: FakeSlack, mail: FakeMail) -> None:
    for _ in range(3):
        for number in range(6):
            stage.point(0.5, feature=f"f{number}")
        stage.evaluate()
        stage.wait(10)
    senders = [replace(stage, owner=f"sender-{number}", _delivery=None) for number in range(4)]
    barrier = Barrier(len(senders))

    def send(sender: Stage) -> None:
        barrier.wait()
        sender.deliver()

    threads = [Thread(target=send, args=(sender,)) for sender in senders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (len(slack.posted), len(mail.received)) == (6, 6)
    assert {status for _, _, status in standing(stage)} == {SENT}


def test_database_that_goes_away_after_sending_costs_no_duplicate(postgresql_url: str, slack: FakeSlack, mail: FakeMail) -> None:
    engine = create_engine(postgresql_url)
    stage = Stage(engine=engine, settings=settings_for(slack, mail))
    stage.fire()
    url = make_url(postgresql_url)
    name, server = url.database, url.set(database="postgres").render_as_string(hide_password=False)

    class Pulls(SlackWebhook):
        """The database goes away while the first message is on its way."""

        pulled = False

        def send(self, message: Message, address: Address, *, answers: str | None) -> Delivered:
            delivered = super().send(message, address, answers=answers)
            if self.pulled:
                return delivered
            self.pulled = True
            with_statement(server, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            with_statement(
                server,
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
            )
            return delivered

    delivery = make_delivery(stage, {"slack": Pulls(slack.webhook_url)})
    with pytest.raises(DatabaseUnavailable):
        delivery.deliver_next()
    with pytest.raises(DatabaseUnavailable):
        delivery.deliver_next()
    with_statement(server, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    stage.wait(CLAIM_TIME.total_seconds() + 1)
    while delivery.deliver_next():
        pass

    assert sum("NOT DELIVERED" not in post.text for post in slack.posted) == 1
    assert by_slack(stage).status is SENT
    engine.dispose()


def test_what_piled_up_behind_a_rate_limit_is_told_in_one_message(stage: Stage, slack: FakeSlack) -> None:
    stage.settings = stage.settings.model_copy(update={"smtp_host": ""})
    slack.script.append(Answer(status=429, headers={"Retry-After": "30"}))
    enqueue_incidents(stage, 1)
    stage.deliver()
    enqueue_incidents(stage, 2, 3, 4)
    stage.deliver()
    assert len(slack.posted) == 1

    stage.wait(31)
    stage.deliver()

    assert len(slack.posted) == 2
    assert "4 incidents" in slack.posted[1].text
    states = [item.status for item in stage.items()]
    assert sorted(states) == [OutboxStatus.MERGED] * 3 + [OutboxStatus.SENT]
    enqueue_incidents(stage, 5)
    stage.deliver()
    assert len(slack.posted) == 3


def test_digest_that_is_refused_loses_nothing(stage: Stage, slack: FakeSlack) -> None:
    slack.script.append(Answer(status=429, headers={"Retry-After": "30"}))
    enqueue_incidents(stage, 1, 2, 3)
    stage.deliver()
    slack.script.append(Answer(status=500))
    stage.wait(31)
    stage.deliver()
    assert all(item.status is WAITING for item in stage.items())

    stage.wait(60)
    stage.deliver()

    assert "3 incidents" in slack.posted[-1].text
    assert all(item.status in (SENT, OutboxStatus.MERGED) for item in stage.items())


def enqueue_incidents(stage: Stage, *numbers: int) -> None:
    """A message of each incident to the Slack channel of oncall, due now."""
    recipient = Recipient(receiver="oncall", channel="slack", address=Address(slack_channel="#ml"))
    with writing(stage.engine) as c:
        for number in numbers:
            message = Message(
                kind=Kind.FIRING, key=f"incident:{number}:1", title=f"Drift {number}", summary="It drifted.", at=stage.now,
                incident=number, incident_key=f"incident:{number}",
            )  # fmt: skip
            outbox.enqueue(c, outbox_item(message, recipient, stage.now))

"""Each channel against a server that speaks its protocol."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import trustme

from alerts.channels.channel import Address, Fault, NotDelivered
from alerts.channels.email import Email, MailServer
from alerts.channels.slack import SlackBot, SlackWebhook
from alerts.messages import Kind, Message
from alerts.settings import AlertsSettings, make_channels
from alerts.testnotify import send_test
from tests.fakes import Answer, FakeMail, FakeSlack
from tests.integration.alerts.stage import certificate_file, secure_settings, settings_for
from tests.ports import free_port
from tests.unit.alerts.rows import NOW

MESSAGE = Message(kind=Kind.FIRING, key="k:firing", title="A: churn", summary="It drifted.", at=NOW, severity="critical")
TO = Address(email_to=("a@example.com", "b@example.com"))


def email(settings: AlertsSettings) -> Email:
    channel = make_channels(settings)["email"]
    assert isinstance(channel, Email)
    return channel


def refused(channel: Email | SlackBot | SlackWebhook, address: Address = TO) -> NotDelivered:
    with pytest.raises(NotDelivered) as caught:
        channel.send(MESSAGE, address, answers=None)
    return caught.value


# ---------------------------------------------------------------------------------------------- email


@pytest.mark.parametrize("tls_at_once", [False, True])
def test_mail_goes_over_verified_tls_with_a_password(authority: trustme.CA, tmp_path: Path, tls_at_once: bool) -> None:
    with FakeMail(authority=authority, tls_at_once=tls_at_once) as mail:
        changes = {"smtp_tls": "tls", "smtp_username": ""} if tls_at_once else {}
        settings = secure_settings(mail, certificate_file(authority, tmp_path), **changes)
        delivered = email(settings).send(MESSAGE, TO, answers=None)

        (received,) = mail.wait_for(1)
    assert received["To"] == "a@example.com, b@example.com"
    assert received["Importance"] == "high"
    assert delivered.message_id == received["Message-ID"]
    assert {part.get_content_type() for part in received.iter_parts()} == {"text/plain", "text/html"}


@pytest.mark.parametrize("tls_at_once", [False, True])
def test_certificate_of_an_unknown_authority_is_refused(authority: trustme.CA, tmp_path: Path, tls_at_once: bool) -> None:
    with FakeMail(authority=authority, tls_at_once=tls_at_once) as mail:
        other = certificate_file(trustme.CA(), tmp_path)
        error = refused(email(secure_settings(mail, other, smtp_tls="tls" if tls_at_once else "starttls")))

        assert error.fault is Fault.CERTIFICATE
        assert "MODELWATCH_SMTP_CA_FILE" in str(error)
        assert mail.received == []


def test_certificate_for_another_host_is_refused(authority: trustme.CA, tmp_path: Path) -> None:
    with FakeMail(authority=authority) as mail:
        settings = secure_settings(mail, certificate_file(authority, tmp_path), smtp_host="localhost")

        assert refused(email(settings)).fault is Fault.CERTIFICATE


def test_bad_password_is_a_lasting_fault_that_names_the_settings(authority: trustme.CA, tmp_path: Path) -> None:
    with FakeMail(authority=authority) as mail:
        settings = secure_settings(mail, certificate_file(authority, tmp_path), smtp_password="wrong")
        error = refused(email(settings))

    assert (error.fault, error.permanent) == (Fault.AUTHENTICATION, True)
    assert "MODELWATCH_SMTP_USERNAME" in str(error)
    assert "wrong" not in str(error)


def test_server_without_starttls_is_not_trusted_with_mail(mail: FakeMail) -> None:
    error = refused(email(settings_for(mail=mail, smtp_tls="starttls")))

    assert error.fault is Fault.REJECTED
    assert "MODELWATCH_SMTP_TLS" in str(error)
    assert mail.received == []


@pytest.mark.parametrize(
    ("reply", "fault"),
    [("451 try later", Fault.SERVER_ERROR), ("552 too large", Fault.REJECTED), ("421 going away", Fault.SERVER_ERROR)],
)
def test_answer_of_the_server_decides_whether_to_try_again(mail: FakeMail, reply: str, fault: Fault) -> None:
    mail.replies.append(reply)

    error = refused(email(settings_for(mail=mail)))

    assert error.fault is fault
    assert reply.partition(" ")[2] in str(error)


def test_refused_address_does_not_keep_the_mail_from_the_others(mail: FakeMail) -> None:
    mail.refused.add("a@example.com")

    delivered = email(settings_for(mail=mail)).send(MESSAGE, TO, answers=None)

    assert delivered.remark == "the mail server took it but not for a@example.com"
    assert len(mail.received) == 1


def test_mail_that_every_address_refuses_is_rejected(mail: FakeMail) -> None:
    mail.refused.update(TO.email_to)

    assert refused(email(settings_for(mail=mail))).fault is Fault.REJECTED


def test_mail_server_that_is_not_there_is_unreachable() -> None:
    server = MailServer(host="127.0.0.1", port=free_port(), sender="watch@example.com", tls="none")

    assert refused(Email(server)).fault is Fault.UNREACHABLE


def test_line_breaks_in_a_title_become_spaces(mail: FakeMail) -> None:
    hostile = replace(MESSAGE, title="A:\r\nBcc: all@example.com\n\nchurn")

    email(settings_for(mail=mail)).send(hostile, TO, answers=None)

    assert mail.received[0]["Subject"] == "[CRITICAL] A: Bcc: all@example.com churn"
    assert mail.received[0]["Bcc"] is None


# ---------------------------------------------------------------------------------------------- slack


def test_redirect_is_not_followed(slack: FakeSlack) -> None:
    slack.script.append(Answer(status=302, headers={"Location": f"{slack.url}/stolen"}))

    error = refused(SlackWebhook(slack.webhook_url), Address())

    assert error.fault is Fault.REDIRECTED
    assert [(post.method, post.path) for post in slack.posted] == [("POST", "/services/T000/B000/the-secret-of-the-webhook")]


def test_rate_limit_is_reported_at_once_with_its_time(slack: FakeSlack) -> None:
    slack.script.append(Answer(status=429, headers={"retry-after": "77"}))

    error = refused(SlackWebhook(slack.webhook_url), Address())

    assert (error.fault, error.retry_after) == (Fault.RATE_LIMITED, timedelta(seconds=77))
    assert len(slack.posted) == 1


@pytest.mark.parametrize("body", ["", "no", "<html>sign in</html>", "\udcff".encode("utf-8", "replace").decode()])
def test_answer_200_that_is_not_ok_is_no_delivery(slack: FakeSlack, body: str) -> None:
    slack.script.append(Answer(body=body))

    assert refused(SlackWebhook(slack.webhook_url), Address()).fault is Fault.REJECTED


def test_endless_answer_is_not_read_to_its_end(slack: FakeSlack) -> None:
    slack.script.append(Answer(body="x" * 5_000_000))

    assert len(str(refused(SlackWebhook(slack.webhook_url), Address()))) < 300


def test_errors_carry_no_address(slack: FakeSlack) -> None:
    url = f"http://127.0.0.1:{free_port()}/services/the-secret"

    error = refused(SlackWebhook(url), Address())

    assert error.fault is Fault.UNREACHABLE
    assert "secret" not in str(error)
    assert error.__cause__ is None


def test_bot_without_a_channel_says_what_to_set(slack: FakeSlack) -> None:
    error = refused(SlackBot("xoxb-x", api_url=slack.api_url), Address())

    assert "MODELWATCH_SLACK_CHANNEL" in str(error)
    assert slack.posted == []


def test_first_message_that_cannot_be_changed_is_only_a_remark(slack: FakeSlack) -> None:
    slack.script.extend(
        [Answer(body='{"ok": true, "channel": "C1", "ts": "2.0"}'), Answer(body='{"ok": false, "error": "cant_update_message"}')]
    )
    bot = SlackBot("xoxb-x", api_url=slack.api_url)

    delivered = bot.send(replace(MESSAGE, kind=Kind.RESOLVED), Address(slack_channel="#a"), answers="C1 1.0")

    assert delivered.message_id == "C1 2.0"
    assert "cant_update_message" in delivered.remark


# ---------------------------------------------------------------------------------------------- a test message


def test_test_message_arrives_and_that_is_said(slack: FakeSlack, mail: FakeMail, tmp_path: Path) -> None:
    settings = settings_for(slack, mail, rules=tmp_path / "rules.yml")

    by_mail, by_slack = send_test(settings, "email"), send_test(settings, "slack")

    assert str(by_mail) == "The test message by email was delivered to usual@example.com."
    assert (by_mail.delivered, by_slack.delivered) == (True, True)
    assert slack.posted[0].body["channel"] == "#usual"
    assert mail.received[0]["Subject"] == "[TEST] Test of this channel"


def test_test_message_that_does_not_arrive_says_why(slack: FakeSlack, tmp_path: Path) -> None:
    slack.script.append(Answer(body='{"ok": false, "error": "invalid_auth"}'))
    settings = settings_for(slack, rules=tmp_path / "rules.yml")

    assert str(send_test(settings, "slack")) == "The test message by slack was not delivered: Slack answered invalid_auth."
    assert str(send_test(settings, "email")) == (
        "The channel email is not set up; set MODELWATCH_SMTP_HOST and MODELWATCH_SMTP_FROM."
    )
    assert "There is no channel or receiver pigeon" in str(send_test(settings, "pigeon"))

"""The demo's Slack and mailbox are real servers, and keep what they receive."""

from __future__ import annotations

import json
import smtplib
from email.message import EmailMessage
from pathlib import Path

import pytest
from slack_sdk import WebClient
from slack_sdk.webhook import WebhookClient

from alerts.settings import AlertsSettings
from alerts.testnotify import send_test
from cli.demo.standins import Inbox, StandIns


def received(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_slack_clients_are_answered_and_messages_kept(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox.jsonl")
    with StandIns(inbox) as servers:
        api = servers.environment["MODELWATCH_SLACK_API_URL"]
        client = WebClient(token="xoxb-demo", base_url=api)
        posted = client.chat_postMessage(channel="#ops", text="FeatureDrift is firing", blocks=[])
        changed = client.chat_update(channel="#ops", ts=str(posted["ts"]), text="resolved")
        hook = WebhookClient(api.replace("/api/", "/services/T/B/x")).send(text="by hook\nmore")

    assert (posted["ok"], changed["ok"], hook.status_code, hook.body) == (True, True, 200, "ok")
    kept = received(inbox.path)
    assert [(message["channel"], message["receiver"], message["title"]) for message in kept] == [
        ("slack", "#ops", "FeatureDrift is firing"),
        ("slack", "#ml-oncall", "by hook"),
    ]


def test_mail_is_kept_with_both_its_parts(tmp_path: Path) -> None:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = "Größe drifted", "a@example.com", "b@example.com"
    message.set_content("plain")
    message.add_alternative("<b>rich</b>", subtype="html")
    inbox = Inbox(tmp_path / "inbox.jsonl")

    with StandIns(inbox) as servers, smtplib.SMTP("127.0.0.1", int(servers.environment["MODELWATCH_SMTP_PORT"])) as client:
        client.send_message(message)

    kept = received(inbox.path)[0]
    assert (kept["channel"], kept["receiver"], kept["title"]) == ("email", "b@example.com", "Größe drifted")
    assert (str(kept["text"]).strip(), str(kept["html"]).strip()) == ("plain", "<b>rich</b>")


@pytest.mark.parametrize("channel", ["slack", "email"])
def test_alerts_service_reaches_them_with_the_demos_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channel: str) -> None:
    monkeypatch.chdir(tmp_path)
    inbox = Inbox(tmp_path / "inbox.jsonl")
    with StandIns(inbox) as servers:
        for name, value in servers.environment.items():
            monkeypatch.setenv(name, value)

        outcome = send_test(AlertsSettings.load(), channel)

    assert outcome.delivered, outcome.sentence
    assert inbox.counts[channel] == 1
    assert not inbox.heard_of("test")  # the other channel has received nothing

"""Settings of the alerts service: what is refused, and what follows from them."""

from pathlib import Path

import pytest

from alerts.receivers import Receiver
from alerts.settings import AlertsSettings, channel_warnings, default_receiver, mail_server, make_channels, usual_addresses
from storage.settings import SettingsError

WEBHOOK = "https://hooks.slack.com/services/T/B/secret"
SMTP = {"smtp_host": "mail.example.com", "smtp_from": "Watch <watch@example.com>", "smtp_to": "a@example.com, B <b@example.com>"}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("slack_webhook_url", "http://hooks.slack.com/services/secret", "must begin with https://"),
        ("slack_webhook_url", "file:///etc/passwd", "must begin with https://"),
        ("slack_api_url", "http://169.254.169.254/", "must begin with https://"),
        ("smtp_from", "nobody", "is not an email address"),
        ("smtp_from", "a@example.com\nBcc: b@example.com", "is not an email address"),
        ("smtp_to", "a@example.com, nobody", "'nobody' is not an email address"),
        ("smtp_tls", "perhaps", "MODELWATCH_SMTP_TLS"),
        ("smtp_ca_file", "/no/such/file.pem", "there is no file /no/such/file.pem"),
        ("smtp_port", 70000, "MODELWATCH_SMTP_PORT"),
        ("dashboard_url", "watch.example.com", "must begin with http"),
        ("evaluation_interval", "0s", "longer than nothing"),
        ("collect_interval", "soon", "'soon' is not a duration"),
    ],
)
def test_bad_value_is_told_without_secrets(name: str, value: object, said: str) -> None:
    with pytest.raises(SettingsError, match=f"MODELWATCH_{name.upper()}") as caught:
        AlertsSettings.load(**{name: value})

    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("address", ["http://127.0.0.1:8000/x", "http://localhost/x", "http://[::1]:9/x", WEBHOOK])
def test_addresses_of_this_machine_and_https_are_accepted(address: str) -> None:
    assert "slack" in make_channels(AlertsSettings.load(slack_webhook_url=address))


def test_secrets_are_not_shown() -> None:
    settings = AlertsSettings.load(slack_webhook_url=WEBHOOK, slack_bot_token="xoxb-hush", smtp_password="hush", **SMTP)

    assert "hush" not in repr(settings)
    assert "secret" not in repr(mail_server(settings))
    assert "secret" not in repr(make_channels(settings))


def test_without_settings_nobody_is_told_and_that_is_said() -> None:
    settings = AlertsSettings.load()

    assert make_channels(settings) == {}
    assert default_receiver(settings) == Receiver(name="default")
    assert any("nobody is told" in warning for warning in channel_warnings(settings, (default_receiver(settings),)))


def test_default_receiver_is_everybody_that_the_settings_know() -> None:
    settings = AlertsSettings.load(slack_webhook_url=WEBHOOK, **SMTP)

    assert default_receiver(settings) == Receiver(name="default", slack=True, email_to=("a@example.com", "b@example.com"))
    assert set(usual_addresses(settings)) == {"slack", "email"}
    assert channel_warnings(settings, (default_receiver(settings),)) == []


def test_channel_that_a_receiver_names_and_that_is_not_set_up_is_a_warning() -> None:
    receiver = Receiver(name="oncall", slack=True, slack_channel="#ml", email_to=("a@example.com",))

    assert len(channel_warnings(AlertsSettings.load(), (receiver,))) == 2
    assert (
        "a webhook posts to its own channel only"
        in channel_warnings(AlertsSettings.load(slack_webhook_url=WEBHOOK, **SMTP), (receiver,))[0]
    )


@pytest.mark.parametrize(("tls", "port"), [("starttls", 587), ("tls", 465), ("none", 25)])
def test_port_of_the_mail_server_follows_from_tls(tls: str, port: int) -> None:
    assert mail_server(AlertsSettings.load(smtp_tls=tls, **SMTP)).port == port


@pytest.mark.parametrize(
    ("changes", "address"),
    [
        ({}, "http://127.0.0.1:8501"),
        ({"host": "0.0.0.0", "dashboard_port": 9}, "http://127.0.0.1:9"),
        ({"host": "::1"}, "http://[::1]:8501"),
        ({"dashboard_url": "https://watch.example.com/"}, "https://watch.example.com"),
    ],
)
def test_dashboard_has_an_address(changes: dict[str, object], address: str) -> None:
    assert AlertsSettings.load(**changes).dashboard == address


def test_rules_file_is_in_the_working_directory() -> None:
    assert AlertsSettings.load().rules == Path("rules.yml")

"""Settings of the alerts service, and what follows from them: its channels, whom it tells, how old a point may be."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from email.utils import getaddresses, parseaddr
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from alerts.channels.alertmanager import Alertmanagers
from alerts.channels.apprise import AppriseServices
from alerts.channels.channel import Address, Channel
from alerts.channels.email import Email, MailServer
from alerts.channels.hosts import HostPolicy, NotAllowed, own_host
from alerts.channels.pagerduty import URL as PAGERDUTY_URL
from alerts.channels.pagerduty import PagerDutyEvents
from alerts.channels.post import Poster
from alerts.channels.secrets import NoSecret, read_secret
from alerts.channels.slack import SlackBot, SlackWebhook
from alerts.channels.slack_client import API_URL, address_problem
from alerts.channels.webhook import Webhooks
from alerts.observations import Freshness
from alerts.receivers import Receiver
from alerts.routes import recipients_of
from storage.settings import Duration, PositiveDuration, Settings

SMTP_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_ADDRESS = re.compile(r"[^\s@<>,;:\"()]+@[A-Za-z0-9.-]+|[^\s@<>,;:\"()]+@\[[0-9A-Fa-f.:]+\]")


class AlertsSettings(Settings):
    """What `modelwatch alert` reads."""

    host: str = Field(
        "127.0.0.1",
        description="Address of the Prometheus exporter; loopback is used instead of any other unless `trusted_network` is set.",
    )
    alerts_port: int = Field(9102, ge=1, le=65535, description="Port of the alerts service's Prometheus exporter.")
    rules: Path = Field(Path("rules.yml"), description="The rules file. Where there is none, the shipped default rules apply.")
    evaluation_interval: PositiveDuration = Field(
        timedelta(seconds=1),
        description="Shortest interval of a group of rules that is honoured; shorter ones are lengthened to it.",
    )
    dashboard_port: int = Field(8501, ge=1, le=65535, description="Port of the dashboard, for the links in messages.")
    dashboard_url: str = Field(
        "",
        description="Address of the dashboard as people reach it, for the links in messages (the default: `host` and `dashboard_port`).",
    )
    collect_interval: PositiveDuration = Field(
        timedelta(minutes=1), description="How often the collector looks for work: three rounds without a point are no data."
    )
    window_lag: Duration = Field(timedelta(seconds=5), description="How long after its end the collector computes a window.")
    restate_labels: Duration = Field(
        timedelta(days=1), description="How late labels may come: for so long an older window with enough labels is judged."
    )
    heartbeat_url: SecretStr = Field(
        SecretStr(""),
        description="Address outside that gets a `POST` while metrics are computed, rules judged and messages delivered. Unset: none.",
    )
    heartbeat_interval: PositiveDuration = Field(timedelta(minutes=1), description="How often the heartbeat is sent.")
    heartbeat_within: PositiveDuration = Field(
        timedelta(minutes=15), description="How long ago collecting and judging may be for a heartbeat to be sent."
    )
    prometheus_url: SecretStr = Field(
        SecretStr(""),
        description="Prometheus that rules with `promql` ask, such as `http://127.0.0.1:9090`. Unset: they cannot be judged.",
    )
    slack_webhook_url: SecretStr = Field(
        SecretStr(""), description="Incoming webhook of Slack: messages go to the one channel that it belongs to."
    )
    slack_bot_token: SecretStr = Field(
        SecretStr(""),
        description="Bot token of Slack (`xoxb-…`): any channel, threads, and first messages that are marked as resolved.",
    )
    slack_channel: str = Field("", description="Slack channel for the bot token where a receiver names none.")
    slack_app_token: SecretStr = Field(
        SecretStr(""),
        description="App-level token of Slack (`xapp-…`, scope connections:write): messages of the bot get buttons, which are heard "
        "through a socket that this service opens.",
    )
    slack_signing_secret: SecretStr = Field(
        SecretStr(""),
        description="Signing secret of the Slack app: messages of the bot get buttons, which Slack sends to `/slack/actions` of this service.",
    )
    slack_api_url: str = Field(API_URL, description="Address of Slack's web API, for the bot token.")
    webhook_hosts: str = Field(
        "",
        description="Hosts that webhooks, Alertmanager and actions may call, with commas: `hooks.example.com`, `*.corp.example.com:8443`, "
        "`http://localhost:9093`. Unset: every public host over https. Private addresses and plain http have to be named.",
    )
    action_commands: bool = Field(False, description="Allows actions of the rules file to run commands on this machine.")
    webhook_ca_file: str = Field("", description="Certificate authority (PEM) to trust for webhooks beside the system's.")
    pagerduty_url: str = Field(PAGERDUTY_URL, description="Address of PagerDuty's events API; another one for its European region.")
    smtp_host: str = Field("", description="Mail server. Unset: no mail.")
    smtp_port: int | None = Field(
        None, ge=1, le=65535, description="Port of the mail server (the default: 587, 465 or 25, as `smtp_tls` says)."
    )
    smtp_tls: Literal["starttls", "tls", "none"] = Field(
        "starttls",
        description="How the way to the mail server is protected; its certificate is verified. `none` is for this machine.",
    )
    smtp_ca_file: str = Field("", description="Certificate authority (PEM) to trust for the mail server beside the system's.")
    smtp_username: str = Field("", description="User at the mail server. Unset: no login.")
    smtp_password: SecretStr = Field(SecretStr(""), description="Password at the mail server.")
    smtp_from: str = Field("", description="Sender of the mails, for example `modelwatch <alerts@example.com>`.")
    smtp_to: str = Field("", description="Addresses that are told where the rules file names no receiver, separated by commas.")

    @field_validator("heartbeat_url")
    @classmethod
    def _check_heartbeat(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value():
            own_host(value.get_secret_value())
        return value

    @field_validator("prometheus_url")
    @classmethod
    def _check_prometheus(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() and not value.get_secret_value().startswith(("http://", "https://")):
            raise ValueError("it must begin with http:// or https://")
        return value

    @field_validator("slack_webhook_url")
    @classmethod
    def _check_webhook(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() and (problem := address_problem(value.get_secret_value())):
            raise ValueError(f"it {problem}")
        return value

    @field_validator("webhook_hosts")
    @classmethod
    def _check_hosts(cls, value: str) -> str:
        HostPolicy.parse(value)
        return value

    @field_validator("slack_api_url")
    @classmethod
    def _check_api(cls, value: str) -> str:
        if problem := address_problem(value):
            raise ValueError(f"it {problem}")
        return value

    @field_validator("smtp_from")
    @classmethod
    def _check_sender(cls, value: str) -> str:
        if value and ("\n" in value or "\r" in value or not _ADDRESS.fullmatch(parseaddr(value)[1])):
            raise ValueError("it is not an email address; write for example modelwatch <alerts@example.com>")
        return value

    @field_validator("smtp_to")
    @classmethod
    def _check_recipients(cls, value: str) -> str:
        for _, address in getaddresses([value]) if value else ():
            if not _ADDRESS.fullmatch(address):
                raise ValueError(f"{address!r} is not an email address; separate several by commas")
        return value

    @field_validator("smtp_ca_file", "webhook_ca_file")
    @classmethod
    def _check_authority(cls, value: str) -> str:
        if value and not Path(value).is_file():
            raise ValueError(f"there is no file {value}")
        return value

    @field_validator("dashboard_url")
    @classmethod
    def _check_dashboard(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("it must begin with http:// or https://")
        return value.rstrip("/")

    @property
    def dashboard(self) -> str:
        """The address of the dashboard, without a slash at its end."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(self.host, self.host)  # noqa: S104  compared, not bound
        host = f"[{host}]" if ":" in host and not host.startswith("[") else host
        return self.dashboard_url or f"http://{host}:{self.dashboard_port}"

    @property
    def mail_addresses(self) -> tuple[str, ...]:
        return tuple(address for _, address in getaddresses([self.smtp_to])) if self.smtp_to else ()

    @property
    def uses_webhook(self) -> bool:
        """Whether Slack is told through the webhook: there is no token, or the token has no channel of its own to go to."""
        return bool(self.slack_webhook_url.get_secret_value()) and not (
            self.slack_bot_token.get_secret_value() and self.slack_channel
        )

    @property
    def hears_slack(self) -> bool:
        """Whether a button in Slack would be heard, through a socket or at the endpoint."""
        return bool(self.slack_app_token.get_secret_value() or self.slack_signing_secret.get_secret_value())

    @property
    def freshness(self) -> Freshness:
        return Freshness(
            collect_interval=self.collect_interval,
            window_lag=self.window_lag,
            rollup=timedelta(seconds=self.rollup_seconds),
            restate_labels=self.restate_labels,
        )


def make_channels(settings: AlertsSettings, receivers: Iterable[Receiver] = ()) -> dict[str, Channel]:
    """The channels that are set up, by name: those of the settings, and those that receivers of the rules file need."""
    channels = _channels_of_receivers(settings, tuple(receivers))
    if settings.uses_webhook:
        channels["slack"] = SlackWebhook(settings.slack_webhook_url.get_secret_value())
    elif token := settings.slack_bot_token.get_secret_value():
        channels["slack"] = SlackBot(
            token, api_url=settings.slack_api_url, default_channel=settings.slack_channel, buttons=settings.hears_slack
        )
    if settings.smtp_host and settings.smtp_from:
        channels["email"] = Email(mail_server(settings))
    return channels


def _channels_of_receivers(settings: AlertsSettings, receivers: tuple[Receiver, ...]) -> dict[str, Channel]:
    poster = poster_of(settings)
    webhooks = {receiver.name: receiver.webhook for receiver in receivers if receiver.webhook}
    services = {receiver.name: receiver.pagerduty for receiver in receivers if receiver.pagerduty}
    alertmanagers = {receiver.name: receiver.alertmanager for receiver in receivers if receiver.alertmanager}
    others = {receiver.name: receiver.apprise for receiver in receivers if receiver.apprise}
    channels: dict[str, Channel] = {}
    if webhooks:
        channels["webhook"] = Webhooks(webhooks, poster)
    if services:
        channels["pagerduty"] = PagerDutyEvents(services, poster, url=settings.pagerduty_url)
    if alertmanagers:
        channels["alertmanager"] = Alertmanagers(alertmanagers, poster)
    if others:
        channels["apprise"] = AppriseServices(others)
    return channels


def poster_of(settings: AlertsSettings) -> Poster:
    """What posts to the hosts that the settings allow."""
    return Poster(policy=HostPolicy.parse(settings.webhook_hosts), ca_file=settings.webhook_ca_file)


def mail_server(settings: AlertsSettings) -> MailServer:
    """The mail server of the settings."""
    return MailServer(
        host=settings.smtp_host,
        port=settings.smtp_port or SMTP_PORTS[settings.smtp_tls],
        sender=settings.smtp_from,
        tls=settings.smtp_tls,
        username=settings.smtp_username,
        password=settings.smtp_password.get_secret_value(),
        ca_file=settings.smtp_ca_file,
    )


def default_receiver(settings: AlertsSettings) -> Receiver:
    """Whom to tell where the rules file names nobody: everybody that the settings know of."""
    channels = make_channels(settings)
    return Receiver(
        name="default",
        slack="slack" in channels and (settings.uses_webhook or bool(settings.slack_channel)),
        email_to=settings.mail_addresses if "email" in channels else (),
    )


def usual_addresses(settings: AlertsSettings) -> dict[str, Address]:
    """Where each channel's messages go when no receiver says it; for the news that another channel is broken."""
    receiver = default_receiver(settings)
    usual = {"slack": Address()} if receiver.slack else {}
    return usual | ({"email": Address(email_to=receiver.email_to)} if receiver.email_to else {})


def channel_warnings(settings: AlertsSettings, receivers: tuple[Receiver, ...]) -> list[str]:
    """What the receivers ask of channels and the settings do not give, each a sentence."""
    channels = make_channels(settings, receivers)
    warnings = [warning for receiver in receivers for warning in _warnings_of(settings, receiver, channels)]
    if not any(recipients_of(receiver) for receiver in receivers):
        warnings.append(
            "nobody is told of alerts, which show on the dashboard only; set MODELWATCH_SLACK_WEBHOOK_URL, or "
            "MODELWATCH_SMTP_HOST, MODELWATCH_SMTP_FROM and MODELWATCH_SMTP_TO"
        )
    return warnings


def _warnings_of(settings: AlertsSettings, receiver: Receiver, channels: Mapping[str, Channel]) -> list[str]:
    where = f'receiver "{receiver.name}"'
    warnings = []
    if receiver.slack and "slack" not in channels:
        warnings.append(f"{where}: slack is not set up; set MODELWATCH_SLACK_WEBHOOK_URL or MODELWATCH_SLACK_BOT_TOKEN")
    if receiver.slack_channel and settings.uses_webhook:
        warnings.append(
            f"{where}: slack: channel {receiver.slack_channel!r} has no effect, a webhook posts to its own channel only; "
            "set MODELWATCH_SLACK_BOT_TOKEN and MODELWATCH_SLACK_CHANNEL to choose"
        )
    if receiver.email_to and "email" not in channels:
        warnings.append(f"{where}: email is not set up; set MODELWATCH_SMTP_HOST and MODELWATCH_SMTP_FROM")
    return [*warnings, *(f"{where}: {problem}" for problem in _target_problems(settings, receiver))]


def _target_problems(settings: AlertsSettings, receiver: Receiver) -> list[str]:
    """Secrets that are not there, and addresses that must not be called."""
    secrets = {
        "webhook: url": receiver.webhook and receiver.webhook.url_secret,
        "webhook: secret": receiver.webhook and receiver.webhook.secret,
        "pagerduty": receiver.pagerduty and receiver.pagerduty.routing_key,
        "apprise": receiver.apprise and receiver.apprise.url,
    }
    problems = []
    for name, secret in secrets.items():
        if secret:
            try:
                read_secret(secret)
            except NoSecret as error:
                problems.append(f"{name}: {error}")
    policy = HostPolicy.parse(settings.webhook_hosts)
    for name, url in (
        ("webhook", receiver.webhook and receiver.webhook.url),
        ("alertmanager", receiver.alertmanager and receiver.alertmanager.url),
    ):
        if url:
            try:
                policy.check(url)
            except NotAllowed as error:
                problems.append(f"{name}: {error}")
    return problems

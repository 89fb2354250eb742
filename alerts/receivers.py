"""Receivers: who can be told, through which channels. The file's text, and the frozen values made of it. Pure.

A secret (a token, an address that contains one) is never in the file: the file names the environment variable or the
file that holds it, and the channel reads it when it is made.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StrictBool, StrictFloat, StrictInt, model_validator

from alerts.yaml_types import Address, Name, PositiveDuration, Text, addresses


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """Where a secret is kept: an environment variable, or a file. Never the secret itself."""

    env: str = ""
    file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A web address that gets every message as JSON, signed where there is a secret. The address is ``url`` or kept as a secret."""

    url: str = ""
    url_secret: Secret | None = None
    secret: Secret | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PagerDuty:
    """A service of PagerDuty (Events API v2)."""

    routing_key: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Alertmanager:
    """An Alertmanager (API v2) that gets every alert, for those who have their routing there."""

    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Apprise:
    """Anything that the library Apprise can reach; its address contains the secret."""

    url: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """Something that is done instead of told. ``confirm``: a person has to agree first. ``most`` of them in ``per``."""

    do: str
    version: str = ""
    weight: float | None = None
    url: str = ""
    secret: Secret | None = None
    command: tuple[str, ...] = ()
    timeout: timedelta = timedelta(minutes=1)
    confirm: bool = True
    dry_run: bool = False
    most: int = 1
    per: timedelta = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """Somebody to tell. ``slack_channel`` "" is the channel of the webhook or of the settings; ``email_to`` () none."""

    name: str
    slack: bool = False
    slack_channel: str = ""
    email_to: tuple[str, ...] = ()
    webhook: Webhook | None = None
    pagerduty: PagerDuty | None = None
    alertmanager: Alertmanager | None = None
    apprise: Apprise | None = None
    actions: tuple[Action, ...] = field(default=())
    send_resolved: bool = True


# ---------------------------------------------------------------------------------------------- as people write it


class SlackText(Text):
    """Where in Slack a receiver is."""

    channel: Name | None = None


class EmailText(Text):
    """Whom a receiver's mail goes to."""

    to: Annotated[list[Address], BeforeValidator(addresses), Field(min_length=1)]


class WebhookText(Text):
    """Where messages go as JSON, and what signs them."""

    url: Name | None = None
    url_env: Name | None = None
    url_file: Name | None = None
    secret_env: Name | None = None
    secret_file: Name | None = None

    @model_validator(mode="after")
    def _one_address(self) -> WebhookText:
        if sum(value is not None for value in (self.url, self.url_env, self.url_file)) != 1:
            raise ValueError("a webhook needs one of `url`, `url_env` (an environment variable) and `url_file`")
        return self


class PagerDutyText(Text):
    """Which of PagerDuty's services is told."""

    routing_key_env: Name | None = None
    routing_key_file: Name | None = None

    @model_validator(mode="after")
    def _one_key(self) -> PagerDutyText:
        if (self.routing_key_env is None) == (self.routing_key_file is None):
            raise ValueError("pagerduty needs `routing_key_env` (an environment variable) or `routing_key_file`")
        return self


class AlertmanagerText(Text):
    """Which Alertmanager is told."""

    url: Name


class AppriseText(Text):
    """Where the address for Apprise is kept."""

    url_env: Name | None = None
    url_file: Name | None = None

    @model_validator(mode="after")
    def _one_address(self) -> AppriseText:
        if (self.url_env is None) == (self.url_file is None):
            raise ValueError("apprise needs `url_env` (an environment variable) or `url_file`; its addresses contain secrets")
        return self


class ActionText(Text):
    """What is done."""

    do: Literal["rollback", "promote", "weight", "webhook", "command"]
    version: Name | None = None
    weight: Annotated[StrictFloat | StrictInt, Field(ge=0, le=1)] | None = None
    url: Name | None = None
    secret_env: Name | None = None
    secret_file: Name | None = None
    command: list[Name] = []
    timeout: PositiveDuration = timedelta(minutes=1)
    confirm: StrictBool = True
    dry_run: StrictBool = False
    most: Annotated[StrictInt, Field(ge=1)] = 1
    per: PositiveDuration = timedelta(hours=1)

    @model_validator(mode="after")
    def _whole(self) -> ActionText:
        needed = {"promote": "version", "weight": "weight", "webhook": "url", "command": "command"}.get(self.do)
        if needed and getattr(self, needed) in (None, []):
            raise ValueError(f"`do: {self.do}` needs `{needed}`")
        return self


class ReceiverText(Text):
    """Somebody to tell, through one channel or several."""

    name: Name
    slack: SlackText | None = None
    email: EmailText | None = None
    webhook: WebhookText | None = None
    pagerduty: PagerDutyText | None = None
    alertmanager: AlertmanagerText | None = None
    apprise: AppriseText | None = None
    actions: list[ActionText] = []
    send_resolved: StrictBool = True

    @property
    def is_empty(self) -> bool:
        """Whether nothing would ever be told or done."""
        ways = (self.slack, self.email, self.webhook, self.pagerduty, self.alertmanager, self.apprise)
        return all(way is None for way in ways) and not self.actions


def receiver_of(text: ReceiverText) -> Receiver:
    """The value that the rest works with."""
    return Receiver(
        name=text.name,
        slack=text.slack is not None,
        slack_channel=(text.slack.channel or "") if text.slack else "",
        email_to=tuple(text.email.to) if text.email else (),
        webhook=_webhook(text.webhook) if text.webhook else None,
        pagerduty=PagerDuty(routing_key=_secret(text.pagerduty.routing_key_env, text.pagerduty.routing_key_file))
        if text.pagerduty
        else None,
        alertmanager=Alertmanager(url=text.alertmanager.url) if text.alertmanager else None,
        apprise=Apprise(url=_secret(text.apprise.url_env, text.apprise.url_file)) if text.apprise else None,
        actions=tuple(_action(action) for action in text.actions),
        send_resolved=text.send_resolved,
    )


def _secret(env: str | None, file: str | None) -> Secret:
    return Secret(env=env or "", file=file or "")


def _given(env: str | None, file: str | None) -> Secret | None:
    return _secret(env, file) if env or file else None


def _webhook(text: WebhookText) -> Webhook:
    return Webhook(
        url=text.url or "",
        url_secret=_given(text.url_env, text.url_file),
        secret=_given(text.secret_env, text.secret_file),
    )


def _action(text: ActionText) -> Action:
    return Action(
        do=text.do,
        version=text.version or "",
        weight=None if text.weight is None else float(text.weight),
        url=text.url or "",
        secret=_given(text.secret_env, text.secret_file),
        command=tuple(text.command),
        timeout=text.timeout,
        confirm=text.confirm,
        dry_run=text.dry_run,
        most=text.most,
        per=text.per,
    )

"""Sends a real message through a channel, or to a receiver, so that a person sees that it arrives."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from alerts.channels.channel import Address, Channel, NotDelivered
from alerts.messages import trial_message
from alerts.receivers import Receiver
from alerts.routes import Recipient, recipients_of
from alerts.rule_files import WatchedRules
from alerts.rules import RulesError
from alerts.settings import AlertsSettings, default_receiver, make_channels

_CONFIGURE = {
    "slack": "set MODELWATCH_SLACK_WEBHOOK_URL, or MODELWATCH_SLACK_BOT_TOKEN and MODELWATCH_SLACK_CHANNEL",
    "email": "set MODELWATCH_SMTP_HOST and MODELWATCH_SMTP_FROM",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TestOutcome:
    """Whether every message was taken, and a sentence for each."""

    __test__ = False

    delivered: bool
    sentence: str

    def __str__(self) -> str:
        return self.sentence


def send_test(settings: AlertsSettings, name: str) -> TestOutcome:
    """Sends a test message where alerts would go: by a channel (``slack``), or to a receiver of the rules file by all of its channels.

    Never raises for what a channel or the settings do.
    """
    known = _receivers(settings)
    channels = make_channels(settings, known)
    told = _told(name, known)
    if not told:
        return TestOutcome(delivered=False, sentence=_unknown(name, known))
    outcomes = [_send(settings, recipient, channels.get(recipient.channel)) for recipient in told]
    return TestOutcome(
        delivered=all(outcome.delivered for outcome in outcomes), sentence="\n".join(outcome.sentence for outcome in outcomes)
    )


def _receivers(settings: AlertsSettings) -> tuple[Receiver, ...]:
    """The receivers of the rules file, and that of the settings where the file has none or cannot be read."""
    fallback = default_receiver(settings)
    try:
        return WatchedRules(settings.rules).rules.routing.receivers or (fallback,)
    except RulesError:
        return (fallback,)


def _told(name: str, known: tuple[Receiver, ...]) -> tuple[Recipient, ...]:
    """Whom a name means: a receiver, else the first receiver that is told by a channel of that name."""
    for receiver in known:
        if receiver.name == name:
            return recipients_of(receiver)
    by_channel = [recipient for receiver in known for recipient in recipients_of(receiver) if recipient.channel == name]
    if not by_channel and name in _CONFIGURE:
        return (Recipient(receiver="default", channel=name, address=Address()),)
    return tuple(by_channel[:1])


def _unknown(name: str, known: tuple[Receiver, ...]) -> str:
    names = sorted({*_CONFIGURE, *(receiver.name for receiver in known), *(r.channel for one in known for r in recipients_of(one))})
    return f"There is no channel or receiver {name}; known are {', '.join(names)}."


def _send(settings: AlertsSettings, recipient: Recipient, channel: Channel | None) -> TestOutcome:
    name = recipient.channel
    if channel is None:
        return TestOutcome(delivered=False, sentence=f"The channel {name} is not set up; {_CONFIGURE[name]}.")
    address = recipient.address
    if name == "email" and not address.email_to:
        address = Address(email_to=settings.mail_addresses)
    try:
        delivered = channel.send(trial_message(datetime.now(UTC), settings.dashboard), address, answers=None)
    except NotDelivered as error:
        return TestOutcome(delivered=False, sentence=f"The test message by {name} was not delivered: {error}.")
    where = ", ".join(address.email_to) or address.slack_channel or address.target
    remark = f", but {delivered.remark}" if delivered.remark else ""
    return TestOutcome(
        delivered=True, sentence=f"The test message by {name} was delivered{f' to {where}' if where else ''}{remark}."
    )

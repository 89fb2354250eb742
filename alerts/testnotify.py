"""Sends a real message through a channel, so that a person sees that it arrives."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from alerts.channels.channel import Address, NotDelivered
from alerts.messages import trial_message
from alerts.routes import recipients
from alerts.rule_files import WatchedRules
from alerts.rules import RulesError
from alerts.settings import AlertsSettings, default_receiver, make_channels

_CONFIGURE = {
    "slack": "set MODELWATCH_SLACK_WEBHOOK_URL, or MODELWATCH_SLACK_BOT_TOKEN and MODELWATCH_SLACK_CHANNEL",
    "email": "set MODELWATCH_SMTP_HOST and MODELWATCH_SMTP_FROM",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TestOutcome:
    """Whether the channel took the message, in a sentence."""

    __test__ = False

    delivered: bool
    sentence: str

    def __str__(self) -> str:
        return self.sentence


def send_test(settings: AlertsSettings, channel: str) -> TestOutcome:
    """Sends a test message where alerts would go. Never raises for what a channel or the settings do."""
    found = make_channels(settings).get(channel)
    if found is None:
        known = "; this version knows slack and email" if channel not in _CONFIGURE else f"; {_CONFIGURE[channel]}"
        return TestOutcome(delivered=False, sentence=f"The channel {channel} is not set up{known}.")
    address = _address(settings, channel)
    try:
        delivered = found.send(trial_message(datetime.now(UTC), settings.dashboard), address, answers=None)
    except NotDelivered as error:
        return TestOutcome(delivered=False, sentence=f"The test message by {channel} was not delivered: {error}.")
    where = (
        f" to {', '.join(address.email_to)}"
        if channel == "email"
        else f" to {address.slack_channel}"
        if address.slack_channel
        else ""
    )
    remark = f", but {delivered.remark}" if delivered.remark else ""
    return TestOutcome(delivered=True, sentence=f"The test message by {channel} was delivered{where}{remark}.")


def _address(settings: AlertsSettings, channel: str) -> Address:
    """Where alerts go by this channel: as the rules file says, else as the settings do."""
    fallback = default_receiver(settings)
    try:
        rules = WatchedRules(settings.rules).rules
    except RulesError:
        return Address(email_to=fallback.email_to)
    told = [recipient.address for recipient in recipients(rules, fallback) if recipient.channel == channel]
    return told[0] if told else Address(email_to=fallback.email_to)

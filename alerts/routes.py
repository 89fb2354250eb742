"""From a receiver to its channels, and from a message to the rows of the outbox. Pure.

Which receiver hears of what, and when, is the business of ``alerts.incidents``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from alerts.channels.channel import Address
from alerts.messages import Message
from alerts.receivers import Receiver
from alerts.rules import RuleSet
from storage.records import OutboxItem

BY_NAME = ("webhook", "pagerduty", "alertmanager", "apprise")
"""Channels that look a receiver's address up by its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """One receiver through one channel."""

    receiver: str
    channel: str
    address: Address


def recipients(rules: RuleSet, fallback: Receiver) -> tuple[Recipient, ...]:
    """Whom the root of the routes tells. ``fallback`` is the receiver made of the settings, for a rules file that names none."""
    chosen = rules.routing.receiver(rules.routing.root.receiver) or fallback
    return recipients_of(chosen)


def recipients_of(receiver: Receiver) -> tuple[Recipient, ...]:
    """The receiver, once for each of its channels. A channel that is made from the rules finds itself by the receiver's name."""
    found = []
    if receiver.slack:
        found.append(Recipient(receiver=receiver.name, channel="slack", address=Address(slack_channel=receiver.slack_channel)))
    if receiver.email_to:
        found.append(Recipient(receiver=receiver.name, channel="email", address=Address(email_to=receiver.email_to)))
    by_name = [channel for channel in BY_NAME if getattr(receiver, channel) is not None]
    found += [Recipient(receiver=receiver.name, channel=channel, address=Address(target=receiver.name)) for channel in by_name]
    if receiver.actions:
        found.append(Recipient(receiver=receiver.name, channel="action", address=Address(target=receiver.name)))
    return tuple(found)


def outbox_key(message_key: str, receiver: str, channel: str) -> str:
    """The key of one message to one receiver through one channel: there is never a second one."""
    return f"{message_key}:{receiver}:{channel}"


def outbox_item(message: Message, recipient: Recipient, now: datetime, *, incident_id: int | None = None) -> OutboxItem:
    """The message as a row of the outbox, due at once; ``incident_id`` where the incident counts it among its messages."""
    return OutboxItem(
        dedup_key=outbox_key(message.key, recipient.receiver, recipient.channel),
        channel=recipient.channel,
        receiver=recipient.receiver,
        kind=message.kind.value,
        payload={"message": message.to_json(), "address": recipient.address.to_json()},
        created_at=now,
        next_attempt_at=now,
        incident_id=incident_id,
    )

"""What every channel does, and how it says that it could not."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Protocol

from alerts.messages import Message


class Fault(StrEnum):
    """Why a message did not arrive; the label ``reason`` of ``modelwatch_notification_failures_total``."""

    RATE_LIMITED = "rate_limited"
    UNREACHABLE = "unreachable"
    SERVER_ERROR = "server_error"
    AUTHENTICATION = "authentication"
    REJECTED = "rejected"
    REDIRECTED = "redirected"
    CERTIFICATE = "certificate"
    NOT_CONFIGURED = "not_configured"


PERMANENT = frozenset({Fault.AUTHENTICATION, Fault.REJECTED, Fault.REDIRECTED, Fault.CERTIFICATE, Fault.NOT_CONFIGURED})
"""Faults that sending the same again soon does not mend: a person has to."""


class NotDelivered(Exception):
    """A channel did not take a message; the text says which answer it gave, without any secret."""

    def __init__(self, fault: Fault, text: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(text)
        self.fault = fault
        self.retry_after = retry_after

    @property
    def permanent(self) -> bool:
        return self.fault in PERMANENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """A channel took a message. ``message_id`` is its name there; ``remark`` is what did not go quite well."""

    message_id: str | None = None
    remark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Whom a message goes to within a channel: a Slack channel ("" for the usual one), mail addresses, or, for the channels
    whose addresses may be secret, the name of the receiver in the rules file, where the channel looks it up.
    """

    slack_channel: str = ""
    email_to: tuple[str, ...] = field(default=())
    target: str = ""

    def to_json(self) -> dict[str, Any]:
        """As the outbox keeps it."""
        return {"slack_channel": self.slack_channel, "email_to": list(self.email_to), "target": self.target}

    @classmethod
    def from_json(cls, payload: dict[str, Any]) -> Address:
        """The address that ``to_json`` wrote."""
        return cls(
            slack_channel=str(payload["slack_channel"]),
            email_to=tuple(map(str, payload["email_to"])),
            target=str(payload["target"]),
        )


class Channel(Protocol):
    """A way to tell somebody. Sends once and never sleeps; retries are the delivery's business."""

    @property
    def name(self) -> str:
        """As in the outbox and in metrics."""

    def send(self, message: Message, address: Address, *, answers: str | None) -> Delivered:
        """Sends the message; ``answers`` is the message id of the one that it continues. Raises NotDelivered."""

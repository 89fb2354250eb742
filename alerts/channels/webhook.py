"""Any web address that takes JSON. Signed as Standard Webhooks says (https://www.standardwebhooks.com) where there is a secret."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from alerts.channels.channel import Address, Delivered, Fault, NotDelivered
from alerts.channels.post import Poster
from alerts.channels.secrets import NoSecret, read_secret
from alerts.messages import Message
from alerts.receivers import Webhook
from alerts.renderings import headline, plain_text

VERSION = 1
SECRET_PREFIX = "whsec_"  # noqa: S105  how such secrets begin, no secret


class Webhooks:
    """Posts each message to the address of its receiver."""

    name = "webhook"

    def __init__(self, targets: Mapping[str, Webhook], poster: Poster, *, clock: Callable[[], float] = time.time) -> None:
        self._targets = targets
        self._poster = poster
        self._clock = clock

    def send(self, message: Message, address: Address, *, answers: str | None) -> Delivered:
        """Posts the message; ``webhook-id`` is its key, by which a receiver knows one that comes twice."""
        target = self._targets.get(address.target)
        if target is None:
            raise NotDelivered(Fault.NOT_CONFIGURED, f"the rules no longer have a webhook for {address.target}")
        try:
            url = read_secret(target.url_secret).value if target.url_secret else target.url
            secret = read_secret(target.secret).value if target.secret else ""
        except NoSecret as error:
            raise NotDelivered(Fault.NOT_CONFIGURED, f"the webhook of {address.target} has no address or secret: {error}") from None
        body = json.dumps(document(message), ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        name = hashlib.sha256(message.key.encode()).hexdigest()[:32]
        headers = {"Content-Type": "application/json", "webhook-id": f"msg_{name}"}
        if secret:
            headers |= signature(secret, headers["webhook-id"], int(self._clock()), body)
        self._poster.post(f"the webhook of {address.target}", url, body, headers)
        return Delivered(message_id=headers["webhook-id"])


def document(message: Message) -> dict[str, Any]:
    """The body of the request (docs/channels.md lists its keys); ``version`` changes where a key changes its meaning."""
    content = message.to_json()
    facts = [{"name": name, "value": value} for name, value in message.facts]
    return {"version": VERSION, "headline": headline(message), "text": plain_text(message), **content, "facts": facts}


def signature(secret: str, message_id: str, at: int, body: bytes) -> dict[str, str]:
    """The headers that prove who sent a body, and when: HMAC-SHA256 over id, seconds since 1970 and body.

    A secret that begins with ``whsec_`` is base64, any other is taken as it is.
    """
    signed = f"{message_id}.{at}.".encode() + body
    digest = hmac.new(_key(secret), signed, hashlib.sha256).digest()
    return {"webhook-timestamp": str(at), "webhook-signature": f"v1,{base64.b64encode(digest).decode()}"}


def _key(secret: str) -> bytes:
    if secret.startswith(SECRET_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
        except binascii.Error:
            raise NotDelivered(Fault.NOT_CONFIGURED, "the webhook's secret begins with whsec_ but is not base64") from None
    return secret.encode()

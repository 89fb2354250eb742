"""Buttons in Slack: who may have pressed which. A press comes signed over HTTP, or through a socket that this side opened.

Slack sends a press again when it hears no answer within three seconds, so that carrying one out twice has to change nothing:
an acknowledgement keeps the first one, a silence that is there already is not made again.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import parse_qs

from sqlalchemy import Connection, Engine

from storage import incidents, silences
from storage.engine import writing
from storage.records import Incident, Silence

LONGEST_AGE = timedelta(minutes=5)
"""An older signature may be a recording (https://docs.slack.dev/authentication/verifying-requests-from-slack)."""
LONGEST_SILENCE_HOURS = 24 * 7

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Press:
    """A button that somebody pressed. ``hours`` is how long to silence (0 for an acknowledgement)."""

    incident: int
    user: str
    hours: int = 0


def genuine(secret: str, headers: Mapping[str, str], body: bytes, now: datetime) -> bool:
    """Whether a request comes from Slack, and lately. Nothing that is in it makes this raise.

    ``headers`` with names in lower case.
    """
    stamp = headers.get("x-slack-request-timestamp", "")
    given = headers.get("x-slack-signature", "")
    if not (secret and stamp.isascii() and stamp.isdigit() and len(stamp) < 12 and given.isascii()):
        return False
    if abs(now.timestamp() - int(stamp)) > LONGEST_AGE.total_seconds():
        return False
    wanted = "v0=" + hmac.new(secret.encode(), b"v0:" + stamp.encode() + b":" + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(wanted, given)


def read_form(body: bytes) -> Press | None:
    """The press in the body of a signed request; None where there is none that this program knows."""
    try:
        payload = json.loads(parse_qs(body.decode())["payload"][0])
    except (UnicodeDecodeError, KeyError, ValueError, RecursionError):
        return None
    return read_payload(payload)


def read_payload(payload: object) -> Press | None:
    """The press in a payload of type ``block_actions``."""
    if not isinstance(payload, Mapping) or payload.get("type") != "block_actions":
        return None
    presses = payload.get("actions")
    user = payload.get("user")
    if not (isinstance(presses, list) and presses and isinstance(presses[0], Mapping) and isinstance(user, Mapping)):
        return None
    words = str(presses[0].get("value", "")).split()
    name = str(user.get("username") or user.get("name") or user.get("id") or "")
    return _press(words, f"slack:{name}"[:200])


def _press(words: list[str], user: str) -> Press | None:
    numbers = [int(word) for word in words[1:] if word.isascii() and word.isdigit() and len(word) < 12]
    match (words[:1], numbers):
        case (["acknowledge"], [incident]):
            return Press(incident=incident, user=user)
        case (["silence"], [incident, hours]) if 0 < hours <= LONGEST_SILENCE_HOURS:
            return Press(incident=incident, user=user, hours=hours)
    return None


def carry_out(engine: Engine, press: Press, now: datetime) -> str:
    """Does what the button says, and returns a sentence about it. Raises DatabaseUnavailable."""
    with writing(engine) as c:
        incident = incidents.get(c, press.incident)
        if incident is None or incident.closed_at is not None:
            return "That incident is over."
        said = _silence(c, incident, press, now) if press.hours else _acknowledge(c, incident, press, now)
    _log.info("%s: %s", press.user, said)
    return said


def _acknowledge(c: Connection, incident: Incident, press: Press, now: datetime) -> str:
    acknowledged = incidents.acknowledge(c, incident.id, by=press.user, note="", now=now)
    return f"Acknowledged by {acknowledged.acked_by if acknowledged else press.user}."


def _silence(c: Connection, incident: Incident, press: Press, now: datetime) -> str:
    """Silences the alerts of the incident: those with its labels. One that would hide everything is not made."""
    matchers = {name: [_literal(value)] for name, value in incident.labels.items() if value}
    if not matchers:
        return "The incident has no labels of its own, so a silence would hide every alert; use `modelwatch alerts silence`."
    ends = now + timedelta(hours=press.hours)
    if not any(found.matchers == matchers and found.ends_at >= ends - timedelta(minutes=1) for found in silences.active(c, now)):
        comment = f"Silenced in Slack: {incident.title}"
        silence = Silence(matchers=matchers, starts_at=now, ends_at=ends, author=press.user, comment=comment, created_at=now)
        silences.add(c, silence)
    return f"Silenced until {ends:%Y-%m-%d %H:%M} UTC by {press.user}."


def _literal(value: str) -> str:
    """A pattern that matches the value only, as far as patterns can: their signs stand for any character."""
    return "".join("?" if sign in "*?" or (sign == "!" and place == 0) else sign for place, sign in enumerate(value))

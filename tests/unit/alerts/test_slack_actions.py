"""Buttons of Slack: what is genuine, and what a press means."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.channels.slack_actions import Press, genuine, read_form, read_payload
from tests.unit.alerts.rows import NOW

SECRET = "the-signing-secret"
BODY = b"payload=%7B%7D"


def signed(body: bytes = BODY, at: int = int(NOW.timestamp()), secret: str = SECRET) -> dict[str, str]:
    digest = hmac.new(secret.encode(), f"v0:{at}:".encode() + body, hashlib.sha256).hexdigest()
    return {"x-slack-request-timestamp": str(at), "x-slack-signature": f"v0={digest}"}


def test_fresh_signature_with_the_secret_is_genuine() -> None:
    assert genuine(SECRET, signed(), BODY, NOW)
    assert genuine(SECRET, signed(), BODY, NOW + timedelta(minutes=4, seconds=59))


@pytest.mark.parametrize(
    ("headers", "body", "minutes"),
    [
        (signed(), BODY, 6),
        (signed(), BODY, -6),
        (signed(), BODY + b" ", 0),
        (signed(secret="another"), BODY, 0),
        ({**signed(), "x-slack-signature": "v0=äöü"}, BODY, 0),
        ({**signed(), "x-slack-request-timestamp": "soon"}, BODY, 0),
        ({**signed(), "x-slack-request-timestamp": "²"}, BODY, 0),
        ({**signed(), "x-slack-request-timestamp": "-1"}, BODY, 0),
        ({}, BODY, 0),
    ],
)
def test_anything_else_is_not(headers: dict[str, str], body: bytes, minutes: int) -> None:
    assert not genuine(SECRET, headers, body, NOW + timedelta(minutes=minutes))


def test_without_a_secret_nothing_is_genuine() -> None:
    assert not genuine("", signed(secret=""), BODY, NOW)


@given(stamp=st.text(), signature=st.text(), body=st.binary())
def test_no_request_makes_the_check_raise(stamp: str, signature: str, body: bytes) -> None:
    assert not genuine(SECRET, {"x-slack-request-timestamp": stamp, "x-slack-signature": signature}, body, NOW)


def payload(value: str, **changes: Any) -> dict[str, Any]:
    return {"type": "block_actions", "user": {"id": "U1", "username": "ada"}, "actions": [{"value": value}], **changes}


@pytest.mark.parametrize(
    ("value", "press"),
    [
        ("acknowledge 7", Press(incident=7, user="slack:ada")),
        ("silence 7 24", Press(incident=7, user="slack:ada", hours=24)),
    ],
)
def test_press_is_read_from_a_payload_and_from_a_form(value: str, press: Press) -> None:
    assert read_payload(payload(value)) == press
    assert read_form(urlencode({"payload": json.dumps(payload(value))}).encode()) == press


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        {},
        payload("acknowledge"),
        payload("acknowledge seven"),
        payload("acknowledge 7 8"),
        payload("silence 7"),
        payload("silence 7 0"),
        payload("silence 7 100000"),
        payload("rollback 7"),
        payload("acknowledge 7", type="view_submission"),
        payload("acknowledge 7", user=None),
        payload("acknowledge 7", actions=[]),
        payload("acknowledge 7", actions=["x"]),
    ],
)
def test_payload_that_means_nothing_is_no_press(content: object) -> None:
    assert read_payload(content) is None


@pytest.mark.parametrize("body", [b"", b"payload=", b"payload=%7B", b"\xff", b"other=1"])
def test_form_that_means_nothing_is_no_press(body: bytes) -> None:
    assert read_form(body) is None

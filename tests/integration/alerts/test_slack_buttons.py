"""Buttons of Slack against a real database, and through a real socket."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine
from websockets.asyncio.server import ServerConnection, serve

from alerts.channels.channel import Address
from alerts.channels.slack import SlackBot
from alerts.channels.slack_actions import Press, carry_out
from alerts.channels.slack_socket import SlackSocket
from alerts.messages import Kind
from storage import audit, incidents, silences
from storage.engine import reading, writing
from storage.records import Incident
from tests.fakes import Answer, FakeSlack
from tests.integration.alerts.test_web_channels import MESSAGE
from tests.unit.alerts.rows import NOW


@pytest.fixture
def incident(engine: Engine) -> Incident:
    return opened(engine)


def opened(engine: Engine, **labels: str) -> Incident:
    with writing(engine) as c:
        return incidents.save(
            c,
            Incident(
                key=f":{labels}", route="", receiver="oncall", labels=labels or {"model": "ch*rn"}, title="churn", severity="",
                opened_at=NOW,
            ),
        )  # fmt: skip


def test_acknowledge_button_twice_is_one_acknowledgement(engine: Engine, incident: Incident) -> None:
    said = [carry_out(engine, Press(incident=incident.id, user=f"slack:{name}"), NOW) for name in ("ada", "bob")]

    assert said == ["Acknowledged by slack:ada.", "Acknowledged by slack:ada."]
    with reading(engine) as c:
        assert [entry.actor for entry in audit.entries(c, target=f"incident {incident.id}")] == ["slack:ada"]


def test_silence_button_twice_is_one_silence_for_the_labels_of_the_incident(engine: Engine, incident: Incident) -> None:
    for later in (0, 20):
        carry_out(engine, Press(incident=incident.id, user="slack:ada", hours=1), NOW + timedelta(seconds=later))

    with reading(engine) as c:
        [silence] = silences.list_silences(c)
    assert silence.matchers == {"model": ["ch?rn"]}
    assert (silence.author, silence.ends_at) == ("slack:ada", NOW + timedelta(hours=1))


def test_button_of_an_incident_that_is_over_does_nothing(engine: Engine, incident: Incident) -> None:
    with writing(engine) as c:
        incidents.save(c, replace(incident, closed_at=NOW))

    assert carry_out(engine, Press(incident=incident.id, user="slack:ada", hours=1), NOW) == "That incident is over."
    with reading(engine) as c:
        assert silences.list_silences(c) == []


def test_incident_of_everything_cannot_be_silenced_by_a_button(engine: Engine) -> None:
    found = opened(engine, model="")

    assert "would hide every alert" in carry_out(engine, Press(incident=found.id, user="slack:ada", hours=1), NOW)


def test_first_message_has_buttons_and_is_kept_up_to_date() -> None:
    with FakeSlack() as slack:
        bot = SlackBot("xoxb-secret", api_url=slack.api_url, default_channel="#ml", buttons=True)
        first = bot.send(MESSAGE, Address(), answers=None)
        bot.send(replace(MESSAGE, kind=Kind.UPDATE, summary="More of it."), Address(), answers=first.message_id)
        bot.send(replace(MESSAGE, kind=Kind.REPEAT), Address(), answers=first.message_id)
        bot.send(replace(MESSAGE, kind=Kind.RESOLVED, summary="Over."), Address(), answers=first.message_id)

    calls = [(posted.path.removeprefix("/api/"), posted.body) for posted in slack.posted]
    assert [name for name, _ in calls] == ["chat.postMessage", *["chat.postMessage", "chat.update"] * 3]
    buttons = [[block for block in body["blocks"] if block["type"] == "actions"] for _, body in calls]
    assert [len(found) for found in buttons] == [1, 0, 1, 0, 1, 0, 0]
    assert [element["value"] for element in buttons[0][0]["elements"]] == ["acknowledge 7", "silence 7 1", "silence 7 24"]
    assert [body.get("reply_broadcast") for name, body in calls if name == "chat.postMessage"] == [None, False, True, False]
    assert calls[2][1]["ts"] == calls[0][1].get("ts", "1700000000.000001")


def test_message_that_cannot_be_changed_any_more_is_told_all_the_same() -> None:
    with FakeSlack() as slack:
        bot = SlackBot("xoxb-secret", api_url=slack.api_url, default_channel="#ml")
        first = bot.send(MESSAGE, Address(), answers=None)
        slack.script.append(
            Answer(body='{"ok": true, "channel": "#ml", "ts": "2.0"}', headers={"Content-Type": "application/json"})
        )
        slack.script.append(Answer(body='{"ok": false, "error": "edit_window_closed"}'))
        delivered = bot.send(replace(MESSAGE, kind=Kind.UPDATE), Address(), answers=first.message_id)

    assert delivered.message_id == "#ml 2.0"
    assert "edit_window_closed" in delivered.remark


# ---------------------------------------------------------------------------------------------- through a socket


class Socket:
    """The far end of a socket: hands out presses, and notes what was acknowledged."""

    def __init__(self) -> None:
        self.to_send: list[dict[str, Any]] = []
        self.heard: list[str] = []
        self.connections = 0
        self.port = 0
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def _serve(self, ready: threading.Event) -> None:
        self._stop, self._loop = asyncio.Event(), asyncio.get_running_loop()
        async with serve(self._talk, "127.0.0.1", 0) as server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            ready.set()
            await self._stop.wait()

    async def _talk(self, connection: ServerConnection) -> None:
        self.connections += 1
        await connection.send(json.dumps({"type": "hello"}))
        for message in self.to_send:
            await connection.send(json.dumps(message))
        async for answer in connection:
            self.heard.append(json.loads(answer)["envelope_id"])

    def stop(self) -> None:
        assert self._loop is not None
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)


@contextmanager
def socket_server(*messages: dict[str, Any]) -> Iterator[Socket]:
    socket, ready = Socket(), threading.Event()
    socket.to_send = list(messages)
    thread = threading.Thread(target=lambda: asyncio.run(socket._serve(ready)), daemon=True)
    thread.start()
    assert ready.wait(10)
    yield socket
    socket.stop()
    thread.join(10)


def envelope(name: str, value: str) -> dict[str, Any]:
    payload = {"type": "block_actions", "user": {"username": "ada"}, "actions": [{"value": value}]}
    return {"envelope_id": name, "type": "interactive", "payload": payload}


def test_press_through_the_socket_acknowledges_the_incident(engine: Engine, incident: Incident) -> None:
    presses = [
        envelope("e1", f"acknowledge {incident.id}"),
        envelope("e2", "nonsense"),
        envelope("e1", f"acknowledge {incident.id}"),
    ]
    with FakeSlack() as slack, socket_server(*presses) as far:
        answer = {"ok": True, "url": f"ws://127.0.0.1:{far.port}/link"}
        slack.script.append(Answer(body=json.dumps(answer), headers={"Content-Type": "application/json"}))
        socket = SlackSocket("xapp-secret", api_url=slack.api_url, engine=engine, clock=lambda: NOW)
        try:
            assert socket.open() == ""
            wait_until(lambda: len(far.heard) == 3)
            wait_until(lambda: acked_by(engine, incident) is not None)
        finally:
            socket.close()

    assert sorted(far.heard) == ["e1", "e1", "e2"]
    assert acked_by(engine, incident) == "slack:ada"


def test_token_that_slack_does_not_take_is_said_without_telling_it(engine: Engine) -> None:
    with FakeSlack() as slack:
        slack.script.append(Answer(body='{"ok": false, "error": "invalid_auth"}', headers={"Content-Type": "application/json"}))
        socket = SlackSocket("xapp-secret", api_url=slack.api_url, engine=engine, clock=lambda: NOW)
        try:
            said = socket.open()
        finally:
            socket.close()

    assert "MODELWATCH_SLACK_APP_TOKEN" in said
    assert "xapp-secret" not in said


def acked_by(engine: Engine, incident: Incident) -> str | None:
    with reading(engine) as c:
        found = incidents.get(c, incident.id)
    assert found is not None
    return found.acked_by


def wait_until(condition: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)

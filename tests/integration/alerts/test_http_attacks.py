"""Callers of the alerts service who mean harm, or who never come to the point."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine

from alerts import http_limits
from alerts.http import make_app, serving
from storage import keys, silences
from storage.engine import reading, writing
from storage.records import Scope
from tests.ports import free_port
from tests.unit.alerts.rows import NOW

SILENCE = {"matchers": {"model": "churn"}, "minutes": 60, "comment": "hush"}


@pytest.fixture
def port(sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(http_limits, "PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr(http_limits, "MOST_CONNECTIONS", 20)
    app, port = make_app(sqlite_engine, CollectorRegistry(), clock=lambda: NOW), free_port()
    with serving(app, "127.0.0.1", port, trusted=False, variable="MODELWATCH_ALERTS_PORT"):
        yield port


@pytest.fixture
def client(port: int) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as made:
        yield made


@pytest.fixture
def reader(sqlite_engine: Engine) -> dict[str, str]:
    with writing(sqlite_engine) as c:
        return {"Authorization": f"Bearer {keys.create_key(c, Scope.READ, '', NOW)}"}


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1000) == b""
    except ConnectionError:
        return True


@pytest.mark.parametrize(
    "path", ["/v1/silences", "/v1/silences/preview", "/v1/incidents/1/ack", "/v1/actions/1/confirm", "/slack/actions"]
)
def test_huge_body_is_refused_before_it_is_read_whoever_sends_it(client: httpx.Client, reader: dict[str, str], path: str) -> None:
    body = json.dumps({"x": "x" * 400_000}).encode()

    answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
    in_parts = client.post(path, content=iter([body[:200_000], body[200_000:]]), headers={"Content-Type": "application/json"})

    assert (answer.status_code, in_parts.status_code) == (413, 413)
    assert answer.json() == {"error": "The request is too large."}


def test_head_that_never_ends_is_cut_off(port: int) -> None:
    with connected(port) as slow:
        slow.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
        began = time.monotonic()
        while time.monotonic() - began < 0.8:
            slow.sendall(b"X: y\r\n")
            time.sleep(0.2)

        assert is_closed(slow)
        assert time.monotonic() - began < 10


def test_body_that_never_ends_is_cut_off(port: int) -> None:
    with connected(port) as slow:
        slow.sendall(b"POST /v1/silences HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")

        assert b" 408 " in slow.recv(1000)


def test_many_connections_leave_the_files_of_the_process_alone(port: int, client: httpx.Client) -> None:
    slow = [connected(port) for _ in range(60)]

    try:
        refused = 0
        for connection in slow[20:]:
            refused += is_closed(connection)
        assert refused == 40
        time.sleep(1.5)
        assert client.get("/health").status_code == 200
    finally:
        for connection in slow:
            connection.close()


def test_large_head_is_refused(port: int) -> None:
    with connected(port) as greedy:
        greedy.sendall(b"GET /metrics HTTP/1.1\r\nX: " + b"y" * 70_000)

        assert b" 400 " in greedy.recv(1000)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/incidents/1/ack"),
        ("PUT", "/v1/silences"),
        ("PATCH", "/v1/silences/1"),
        ("GET", "/v1/silences/1"),
        ("DELETE", "/v1/incidents/1/ack"),
        ("POST", "/metrics"),
        ("TRACE", "/v1/alerts"),
    ],
)
def test_no_other_method_does_anything(client: httpx.Client, method: str, path: str) -> None:
    assert client.request(method, path).status_code == 405


@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"])
def test_no_header_changes_the_method(client: httpx.Client, sqlite_engine: Engine, reader: dict[str, str], header: str) -> None:
    answer = client.get("/v1/silences", headers={**reader, header: "POST"})

    assert answer.status_code == 200
    with reading(sqlite_engine) as c:
        assert silences.list_silences(c) == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/silences", SILENCE),
        ("DELETE", "/v1/silences/1", None),
        ("POST", "/v1/incidents/1/ack", {}),
        ("POST", "/v1/actions/1/confirm", {}),
        ("POST", "/v1/actions/1/refuse", {}),
    ],
)
def test_narrow_key_changes_nothing(
    client: httpx.Client, reader: dict[str, str], method: str, path: str, body: dict[str, object] | None
) -> None:
    assert client.request(method, path, json=body).status_code == 401
    assert client.request(method, path, json=body, headers=reader).status_code == 403


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""])
def test_page_of_another_site_cannot_make_a_browser_silence_alerts(client: httpx.Client, sqlite_engine: Engine, kind: str) -> None:
    """Without keys the service trusts its machine; a browser on it may send such a body without asking first, JSON not."""
    headers = {"Content-Type": kind} if kind else {}

    answer = client.post("/v1/silences", content=json.dumps(SILENCE).encode(), headers=headers)

    assert answer.status_code == 422
    with reading(sqlite_engine) as c:
        assert silences.list_silences(c) == []


def test_deeply_nested_json_is_an_answer_and_no_crash(client: httpx.Client) -> None:
    body = b"[" * 100_000 + b"]" * 100_000

    answer = client.post("/v1/silences", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code in (400, 422)
    assert client.get("/health").status_code == 200


@pytest.mark.parametrize("text", ["\\u0000", "\\ud800"])
def test_text_that_cannot_be_stored_is_no_fault_of_the_service(engine: Engine, text: str) -> None:
    app, port = make_app(engine, CollectorRegistry(), clock=lambda: NOW), free_port()
    body = json.dumps({**SILENCE, "comment": "a?b"}).replace("?", text).encode()
    with serving(app, "127.0.0.1", port, trusted=False, variable="MODELWATCH_ALERTS_PORT"):
        answer = httpx.post(
            f"http://127.0.0.1:{port}/v1/silences", content=body, headers={"Content-Type": "application/json"}, timeout=30
        )

    assert answer.status_code == 422, answer.text

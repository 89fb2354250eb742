"""The alerts service over HTTP, against a real database and through a real socket."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter
from sqlalchemy import Engine

from alerts.http import make_app, serving
from storage import alerts, audit, incidents, keys
from storage.engine import reading, writing
from storage.records import AlertState, Incident, Scope
from storage.settings import SettingsError
from tests.ports import free_port
from tests.unit.alerts.rows import make_alert

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
SECRET = "slack-signing-secret"


@pytest.fixture
def client(engine: Engine) -> Iterator[httpx.Client]:
    registry, port = CollectorRegistry(), free_port()
    Counter("tried", "A counter.", registry=registry).inc()
    app = make_app(engine, registry, signing_secret=SECRET, clock=lambda: NOW)
    http = httpx.Client(base_url=f"http://127.0.0.1:{port}")
    with serving(app, "127.0.0.1", port, trusted=False, variable="MODELWATCH_ALERTS_PORT"), http:
        yield http


@pytest.fixture
def incident(engine: Engine) -> Incident:
    with writing(engine) as c:
        alerts.save_alert(c, make_alert(AlertState.FIRING, labels={"model": "churn"}))
        return incidents.save(
            c,
            Incident(
                key="k", route="", receiver="oncall", labels={"model": "churn"}, title="churn", severity="", opened_at=NOW
            ),
        )  # fmt: skip


def keys_of(engine: Engine) -> dict[Scope, dict[str, str]]:
    with writing(engine) as c:
        return {scope: {"Authorization": f"Bearer {keys.create_key(c, scope, '', NOW)}"} for scope in Scope}


def test_metrics_and_health_need_no_key(client: httpx.Client, engine: Engine) -> None:
    keys_of(engine)

    assert "tried_total 1.0" in client.get("/metrics").text
    assert client.get("/health").json() == {"status": "healthy"}


def test_incident_is_listed_acknowledged_and_silenced(client: httpx.Client, engine: Engine, incident: Incident) -> None:
    [listed] = client.get("/v1/incidents").json()
    acknowledged = client.post(f"/v1/incidents/{incident.id}/ack", json={"by": "ada", "note": "on it"}).json()
    preview = client.post("/v1/silences/preview", json={"model": "ch*"}).json()
    made = client.post("/v1/silences", json={"matchers": {"model": "ch*"}, "minutes": 30, "comment": "backfill", "by": "ada"})
    ended = client.delete(f"/v1/silences/{made.json()['id']}", params={"by": "bob"}).json()

    assert listed["title"] == "churn"
    assert (acknowledged["acked_by"], acknowledged["ack_note"]) == ("ada", "on it")
    assert ([alert["rule"] for alert in preview["hidden"]], preview["others"]) == (["FeatureDrift"], 0)
    assert made.status_code == 201
    assert made.json()["ends_at"] == "2026-03-02T12:30:00Z"
    assert ended["ended_by"] == "bob"
    assert client.get("/v1/silences").json() == []
    assert [alert["state"] for alert in client.get("/v1/alerts").json()] == ["firing"]


def test_once_there_is_a_key_each_call_needs_its_scope_and_the_audit_names_it(
    client: httpx.Client, engine: Engine, incident: Incident
) -> None:
    given = keys_of(engine)
    change = {"by": "ada", "note": ""}

    assert client.get("/v1/incidents").status_code == 401
    assert client.get("/v1/incidents", headers={"Authorization": "Bearer mw_x_y"}).status_code == 401
    assert client.get("/v1/incidents", headers=given[Scope.PREDICT]).status_code == 403
    assert client.get("/v1/incidents", headers=given[Scope.READ]).status_code == 200
    assert client.post(f"/v1/incidents/{incident.id}/ack", json=change, headers=given[Scope.READ]).status_code == 403
    assert client.post(f"/v1/incidents/{incident.id}/ack", json=change, headers=given[Scope.ADMIN]).status_code == 200
    with reading(engine) as c:
        [entry] = audit.entries(c, target=f"incident {incident.id}")
    assert entry.actor.startswith("ada (key:")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("POST", "/v1/incidents/999/ack", {"by": "ada"}, 422, "There is no open incident 999"),
        ("POST", "/v1/incidents/x/ack", {}, 422, "The request is not right."),
        ("POST", "/v1/silences", {"matchers": {}, "minutes": 1, "comment": "x"}, 422, "The request is not right."),
        ("POST", "/v1/silences", {"matchers": {"model": "*"}, "minutes": 1, "comment": "x"}, 422, "would hide every alert"),
        ("POST", "/v1/silences", {"matchers": {"model": "a"}, "minutes": -1, "comment": "x"}, 422, "The request is not right."),
        ("POST", "/v1/silences", {"matchers": {"model": "a"}, "minutes": 1, "comment": "x", "ever": 1}, 422, "not right"),
        ("DELETE", "/v1/silences/999", None, 422, "There is no silence 999"),
        ("POST", "/v1/actions/999/confirm", {}, 422, "Action 999 does not exist"),
        ("POST", "/v1/actions/999/explode", {}, 404, "confirmed or refused"),
        ("GET", "/v1/alerts?state=odd", None, 422, "The request is not right."),
        ("GET", "/nothing", None, 404, "Not Found."),
    ],
)
def test_what_cannot_be_is_one_sentence(
    client: httpx.Client, method: str, path: str, body: dict[str, Any] | None, status: int, said: str
) -> None:
    answer = client.request(method, path, json=body)

    assert answer.status_code == status, answer.text
    assert said in answer.json()["error"]


def test_unreadable_body_is_400(client: httpx.Client) -> None:
    answer = client.post("/v1/silences", content=b"{", headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()["error"]) == (400, "The request is not right.")


def form(incident: Incident) -> bytes:
    payload = {"type": "block_actions", "user": {"username": "ada"}, "actions": [{"value": f"acknowledge {incident.id}"}]}
    return urlencode({"payload": json.dumps(payload)}).encode()


def signed(body: bytes, at: datetime = NOW) -> dict[str, str]:
    stamp = str(int(at.timestamp()))
    digest = hmac.new(SECRET.encode(), f"v0:{stamp}:".encode() + body, hashlib.sha256).hexdigest()
    return {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": f"v0={digest}"}


def test_button_of_slack_is_carried_out_when_it_is_signed(client: httpx.Client, engine: Engine, incident: Incident) -> None:
    keys_of(engine)
    body = form(incident)

    assert client.post("/slack/actions", content=body, headers=signed(body)).status_code == 200
    with reading(engine) as c:
        found = incidents.get(c, incident.id)
    assert found is not None
    assert found.acked_by == "slack:ada"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        signed(b"other"),
        signed(b"payload=x", NOW - timedelta(minutes=6)),
        {"X-Slack-Request-Timestamp": "soon", "X-Slack-Signature": "v0=x"},
    ],
)
def test_button_that_is_not_signed_is_401_and_nothing_else(client: httpx.Client, headers: dict[str, str]) -> None:
    assert client.post("/slack/actions", content=b"payload=x", headers=headers).status_code == 401


def test_body_without_end_is_refused(client: httpx.Client) -> None:
    assert client.post("/slack/actions", content=b"x" * 300_000, headers=signed(b"x")).status_code == 413


def test_service_listens_until_the_block_ends_and_names_a_taken_port(sqlite_engine: Engine) -> None:
    app, port = make_app(sqlite_engine, CollectorRegistry()), free_port()
    with serving(app, "127.0.0.1", port, trusted=False, variable="MODELWATCH_ALERTS_PORT"):
        assert httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
        taken = serving(app, "127.0.0.1", port, trusted=False, variable="MODELWATCH_ALERTS_PORT")
        with pytest.raises(SettingsError, match="MODELWATCH_ALERTS_PORT"), taken:
            pass
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/health")

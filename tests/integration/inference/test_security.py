"""API keys over real requests: who needs one, what each scope opens, and how soon a revoked one is shut out."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from inference import security
from inference.security import require_keys
from inference.settings import InferenceSettings
from storage import keys
from storage.engine import writing
from storage.records import Scope
from storage.settings import SettingsError
from tests.factories import NOW
from tests.integration.inference.serving import ROW, eventually, register_cancer, serving, settings_for, with_client


@pytest.fixture
def settings(engine: Engine, home: Path) -> InferenceSettings:
    settings = settings_for(engine, home)
    register_cancer(engine, settings)
    return settings


def make_key(engine: Engine, scope: Scope) -> str:
    with writing(engine) as c:
        return keys.create_key(c, scope, "test", NOW)


CALLS: dict[str, tuple[str, str, Any]] = {
    "predict": ("POST", "/v1/models/cancer/predict", {"instances": [ROW]}),
    "short": ("POST", "/predict", {"features": ROW}),
    "labels": ("POST", "/v1/models/cancer/labels", {"labels": []}),
    "log": ("POST", "/v1/models/cancer/log", {"predictions": []}),
    "unknown": ("POST", "/v1/models/nope/predict", {"instances": [ROW]}),
    "models": ("GET", "/v1/models", None),
    "prediction": ("GET", "/v1/predictions/x", None),
    "health": ("GET", "/health", None),
    "ready": ("GET", "/ready", None),
    "metrics": ("GET", "/metrics", None),
}


async def statuses(client: httpx.AsyncClient, key: str | None) -> dict[str, int]:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return {
        name: (await client.request(method, path, json=body, headers=headers)).status_code
        for name, (method, path, body) in CALLS.items()
    }


def test_without_any_key_loopback_is_open(settings: InferenceSettings) -> None:
    found = with_client(settings, lambda client: statuses(client, None))

    assert set(found.values()) == {200, 404}


def test_each_scope_opens_its_calls_and_those_before_it(engine: Engine, settings: InferenceSettings) -> None:
    predict, read, admin = (make_key(engine, scope) for scope in (Scope.PREDICT, Scope.READ, Scope.ADMIN))
    open_calls = {"health": 200, "ready": 200, "metrics": 200}
    closed = dict.fromkeys(CALLS, 401) | open_calls
    working = dict.fromkeys(CALLS, 200) | {"unknown": 404, "prediction": 404}

    async def story(client: httpx.AsyncClient) -> list[dict[str, int]]:
        return [await statuses(client, key) for key in (None, "nonsense", predict[:-1] + "x", predict, read, admin)]

    none, nonsense, wrong, with_predict, with_read, with_admin = with_client(settings, story)

    assert none == nonsense == wrong == closed
    assert with_predict == working | {"models": 403, "prediction": 403}
    assert with_read == with_admin == working


def test_the_refusal_says_how_to_send_a_key(engine: Engine, settings: InferenceSettings) -> None:
    make_key(engine, Scope.READ)

    async def story(client: httpx.AsyncClient) -> httpx.Response:
        return await client.post("/predict", json={"features": ROW})

    answer = with_client(settings, story)

    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert "Authorization: Bearer" in answer.json()["error"]


def test_a_revoked_key_is_shut_out_soon(engine: Engine, settings: InferenceSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "REMEMBER_SECONDS", 0.2)
    make_key(engine, Scope.READ)
    text = make_key(engine, Scope.PREDICT)

    async def story() -> None:
        async with serving(settings) as (client, _):

            async def status() -> int:
                answer = await client.post("/predict", json={"features": ROW}, headers={"Authorization": f"Bearer {text}"})
                return answer.status_code

            async def is_shut_out() -> bool:
                return await status() == 401

            assert await status() == 200
            with writing(engine) as c:
                assert keys.revoke(c, text.split("_")[1], NOW)
            await eventually(is_shut_out)

    asyncio.run(story())


def test_the_first_key_closes_the_port(engine: Engine, settings: InferenceSettings) -> None:
    async def story() -> None:
        async with serving(settings) as (client, _):
            assert (await client.get("/v1/models")).status_code == 200
            make_key(engine, Scope.READ)

            async def is_closed() -> bool:
                return (await client.get("/v1/models")).status_code == 401

            await eventually(is_closed)

    asyncio.run(story())


def test_revoking_the_last_key_does_not_open_the_port_again(engine: Engine, settings: InferenceSettings) -> None:
    text = make_key(engine, Scope.READ)
    with writing(engine) as c:
        assert keys.revoke(c, text.split("_")[1], NOW)

    async def story() -> int:
        async with serving(settings) as (client, _):
            return (await client.get("/v1/models")).status_code

    assert asyncio.run(story()) == 401


def test_a_port_that_others_reach_needs_a_key_to_start(engine: Engine, home: Path) -> None:
    public = settings_for(engine, home, host="0.0.0.0")

    with pytest.raises(SettingsError, match=r"MODELWATCH_HOST is 0\.0\.0\.0"):
        require_keys(engine, public)
    require_keys(engine, settings_for(engine, home, host="0.0.0.0", trusted_network=True))
    make_key(engine, Scope.PREDICT)
    require_keys(engine, public)


def test_a_port_that_others_reach_is_closed_also_when_the_database_was_away_at_start(engine: Engine, home: Path) -> None:
    settings = settings_for(engine, home, host="0.0.0.0")
    register_cancer(engine, settings)

    found = with_client(settings, lambda client: statuses(client, None))

    assert {found[name] for name in ("predict", "labels", "models")} == {401}

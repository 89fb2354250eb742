"""Following the database: new versions and deployments come into force under load, faults touch nobody else."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

from inference.app import UNKNOWN_MODEL_SECONDS
from inference.settings import InferenceSettings
from storage import deployments, registry
from storage.engine import create_engine, reading, writing
from storage.migrate import upgrade
from tests.factories import NOW
from tests.integration.inference.serving import ROW, eventually, register_cancer, register_people, serving, settings_for

PREDICT = "/v1/models/cancer/predict"
BODY = {"instances": [ROW]}


@pytest.fixture
def settings(engine: Engine, home: Path) -> InferenceSettings:
    return settings_for(engine, home, poll_seconds=0.5)


def promote(engine: Engine, version: str) -> None:
    with writing(engine) as c:
        deployments.promote(c, "cancer", version, actor="ana", reason="better", now=NOW)


async def version_of(client: httpx.AsyncClient) -> str:
    return str((await client.post(PREDICT, json=BODY)).json()["predictions"][0]["version"])


def test_a_change_of_version_takes_effect_within_two_seconds_without_a_failed_request(
    engine: Engine, settings: InferenceSettings
) -> None:
    register_cancer(engine, settings)
    seen: list[tuple[float, int, str]] = []

    async def load(client: httpx.AsyncClient, until: asyncio.Event) -> None:
        while not until.is_set():
            answer = await client.post(PREDICT, json=BODY)
            seen.append((time.monotonic(), answer.status_code, answer.json()["predictions"][0]["version"]))
            await asyncio.sleep(0.001)

    async def story() -> tuple[float, float]:
        async with serving(settings) as (client, _):
            stop = asyncio.Event()
            loads = [asyncio.create_task(load(client, stop)) for _ in range(4)]
            await eventually(lambda: _is(len(seen) > 20))
            await asyncio.to_thread(register_cancer, engine, settings, penalty=0.01)
            await asyncio.to_thread(promote, engine, "2")
            first_change = time.monotonic()
            await eventually(lambda: _is(seen[-1][2] == "2"))
            await asyncio.to_thread(promote, engine, "1")
            second_change = time.monotonic()
            await eventually(lambda: _is(seen[-1][2] == "1"))
            stop.set()
            await asyncio.gather(*loads)
            return first_change, second_change

    first_change, second_change = asyncio.run(story())

    assert {status for _, status, _ in seen} == {200}
    assert min(at for at, _, version in seen if version == "2") - first_change < 2
    assert min(at for at, _, version in seen if version == "1" and at > second_change + 1e-6) - second_change < 2
    late = [version for at, _, version in seen if first_change + 2 < at < second_change]
    assert set(late) <= {"2"}


async def _is(value: bool) -> bool:
    return value


def test_a_model_registered_later_is_served_and_an_archived_version_is_not(engine: Engine, settings: InferenceSettings) -> None:
    async def story() -> None:
        async with serving(settings) as (client, _):
            assert (await client.post(PREDICT, json=BODY)).status_code == 404
            assert (await client.get("/ready")).json() == {"status": "ready"}
            await asyncio.to_thread(register_cancer, engine, settings)
            await asyncio.to_thread(register_cancer, engine, settings, penalty=0.1)
            await eventually(lambda: _answers(client, {**BODY, "version": "2"}, 200))
            with writing(engine) as c:
                registry.archive_version(c, "cancer", "2", NOW)
            await eventually(lambda: _answers(client, {**BODY, "version": "2"}, 404))
            assert await version_of(client) == "1"

    asyncio.run(story())


def test_a_model_answers_the_first_request_after_its_registration(engine: Engine, settings: InferenceSettings) -> None:
    slow = settings.model_copy(update={"poll_seconds": 60.0})

    async def story() -> int:
        async with serving(slow) as (client, _):
            await asyncio.to_thread(register_cancer, engine, slow)
            await asyncio.sleep(UNKNOWN_MODEL_SECONDS)  # the look at the start was not long ago
            return (await client.post(PREDICT, json=BODY)).status_code

    assert asyncio.run(story()) == 200


async def _answers(client: httpx.AsyncClient, body: object, status: int) -> bool:
    return (await client.post(PREDICT, json=body)).status_code == status


def test_a_broken_file_is_reported_and_changes_nothing_for_others(engine: Engine, settings: InferenceSettings) -> None:
    register_cancer(engine, settings)
    register_people(engine, settings)
    broken = register_cancer(engine, settings, penalty=0.1)
    (settings.models_folder / broken.path).unlink()

    async def story() -> list[object]:
        async with serving(settings) as (client, app):
            await asyncio.to_thread(promote, engine, "2")
            app.runtime.catalogue.poll()
            ready = await client.get("/ready")
            pinned = await client.post(PREDICT, json={**BODY, "version": "2"})
            people = await client.post("/v1/models/people/predict", json={"instances": [[30, 1.0, True, "north"]]})
            shown = (await client.get("/v1/models/cancer")).json()
            return [
                await version_of(client),
                ready.status_code,
                ready.json()["problems"],
                pinned.status_code,
                people.status_code,
                shown,
            ]

    version, ready, problems, pinned, people, shown = asyncio.run(story())

    assert (version, ready, pinned, people) == ("1", 200, 503, 200)
    assert "cannot be read" in str(problems)
    assert "cannot be read" in shown["versions"][1]["state"]  # type: ignore[index]


def test_predictions_go_on_while_the_database_is_away(sqlite_engine: Engine, home: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = settings_for(sqlite_engine, home, poll_seconds=0.05)
    register_cancer(sqlite_engine, settings)
    sqlite_engine.dispose()
    database, away = home / "modelwatch.db", home / "away.db"

    async def story() -> list[httpx.Response]:
        async with serving(settings) as (client, app):
            database.rename(away)
            database.mkdir()  # what is there cannot be opened
            app.runtime.engine.dispose()
            await eventually(lambda: _is(app.runtime.catalogue.database_problem is not None))
            answers = [await client.post(PREDICT, json=BODY), await client.get("/ready")]
            answers.append(await client.post("/v1/models/cancer/labels", json={"labels": [{"id": "a", "label": 1}]}))
            database.rmdir()
            away.rename(database)
            await eventually(lambda: _is(app.runtime.catalogue.database_problem is None))
            return [*answers, await client.get("/ready")]

    predict, ready, labels, ready_again = asyncio.run(story())

    assert (predict.status_code, ready.status_code, ready_again.json()) == (200, 200, {"status": "ready"})
    assert "cannot be used" in ready.json()["problems"][0]
    assert (labels.status_code, "retry-after" in labels.headers) == (503, True)
    assert sum("cannot be used" in record.message for record in caplog.records if record.name == "inference.catalogue") == 1


def test_a_sidecar_that_starts_before_its_database_becomes_ready(home: Path) -> None:
    url = f"sqlite:///{home / 'later' / 'modelwatch.db'}"
    settings = InferenceSettings.load(home=home, database_url=url, poll_seconds=0.05)

    async def story() -> None:
        async with serving(settings) as (client, _):
            before, predict = await client.get("/ready"), await client.post(PREDICT, json=BODY)
            assert (before.status_code, predict.status_code) == (503, 503)
            assert before.json()["reasons"]
            engine = create_engine(url)
            await asyncio.to_thread(upgrade, engine)
            await asyncio.to_thread(register_cancer, engine, settings)
            await eventually(lambda: _answers(client, BODY, 200))
            assert (await client.get("/ready")).json() == {"status": "ready"}
            engine.dispose()

    asyncio.run(story())


def test_deployments_are_not_read_in_a_request(engine: Engine, settings: InferenceSettings) -> None:
    register_cancer(engine, settings)
    statements: list[str] = []

    async def story() -> None:
        from sqlalchemy import event

        async with serving(settings_for(engine, settings.home, poll_seconds=2)) as (client, app):
            app.runtime.catalogue.stop()
            event.listen(app.runtime.engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
            for _ in range(20):
                assert await version_of(client) == "1"

    asyncio.run(story())

    assert statements == []
    with reading(engine) as c:
        assert deployments.newest_id(c) > 0

"""What was answered is in SQL, once, however often the sidecar is killed under load."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, func, select

from storage.engine import reading
from storage.schema import predictions, rollups
from tests.acceptance.sidecar_process import SidecarProcess, sidecar
from tests.integration.inference.serving import ROW, register_cancer, settings_for

CALLERS = 8


@pytest.mark.acceptance
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("workers", "kills"), [(1, 20), (2, 3)])
def test_ids_of_all_answers_equal_the_ids_in_sql_after_kills(
    sqlite_engine: Engine, home: Path, sqlite_url: str, workers: int, kills: int
) -> None:
    settings = settings_for(sqlite_engine, home)
    register_cancer(sqlite_engine, settings)

    with sidecar(home, sqlite_url, workers=str(workers)) as process:
        answered, sent = asyncio.run(_load_with_kills(process, kills))
        _wait_for_rows(sqlite_engine, len(answered))
        stored = _stored(sqlite_engine)

    assert len(answered) > kills * CALLERS
    assert max(answered.values()) == 1
    assert answered.keys() <= stored.keys()
    # A caller whose connection broke does not know whether its request counts; it sent the id, so it may ask.
    assert stored.keys() <= sent
    with reading(sqlite_engine) as c:
        assert c.scalar(select(func.sum(rollups.c.rows)).where(rollups.c.kind == "predictions")) == len(stored)


async def _load_with_kills(process: SidecarProcess, kills: int) -> tuple[Counter[str], set[str]]:
    answered: Counter[str] = Counter()
    sent: set[str] = set()
    stop = asyncio.Event()
    async with httpx.AsyncClient(base_url=process.url, timeout=10) as client:
        callers = [asyncio.create_task(_call(client, number, answered, sent, stop)) for number in range(CALLERS)]
        choose = random.Random(7)
        for _ in range(kills):
            before = answered.total()
            async with asyncio.timeout(60):
                while answered.total() < before + CALLERS * 4:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(choose.uniform(0, 0.2))
            await asyncio.to_thread(process.kill)
            await asyncio.to_thread(process.start)
        stop.set()
        await asyncio.gather(*callers)
    return answered, sent


async def _call(client: httpx.AsyncClient, number: int, answered: Counter[str], sent: set[str], stop: asyncio.Event) -> None:
    count = 0
    while not stop.is_set():
        count += 1
        rows = 1 + count % 3
        ids = [f"{number}-{count}-{row}" for row in range(rows)]
        sent.update(ids)
        try:
            answer = await client.post("/v1/models/cancer/predict", json={"instances": [ROW] * rows, "ids": ids})
        except httpx.TransportError:
            await asyncio.sleep(0.02)
            continue
        if answer.status_code == 200:
            answered.update(row["id"] for row in answer.json()["predictions"])
        await asyncio.sleep(0.002)


def _wait_for_rows(engine: Engine, least: int, seconds: float = 240) -> None:
    """Until all that was answered is there, and the number no longer grows."""
    deadline = time.monotonic() + seconds
    last = -1
    while time.monotonic() < deadline:
        count = len(_stored(engine))
        if count >= least and count == last:
            return
        last = count
        time.sleep(1)


def _stored(engine: Engine) -> Counter[str]:
    with reading(engine) as c:
        return Counter(c.scalars(select(predictions.c.id)))

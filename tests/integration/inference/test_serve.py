"""The server process: its port, its workers, its end."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, func, select

from inference.serve import environment_of, open_listener
from inference.settings import InferenceSettings
from storage.engine import reading
from storage.schema import predictions
from storage.settings import SettingsError
from tests.acceptance.sidecar_process import SidecarProcess, sidecar
from tests.integration.inference.serving import ROW, register_cancer, settings_for
from tests.ports import free_port


def test_a_port_in_use_is_told_with_its_variable(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()

        with pytest.raises(SettingsError, match="set MODELWATCH_INFERENCE_PORT to a free one"):
            open_listener(InferenceSettings(home=home, inference_port=taken.getsockname()[1]))


def test_an_address_of_another_machine_is_told(home: Path) -> None:
    for host in ("192.0.2.1", "no such host"):
        with pytest.raises(SettingsError, match=r"MODELWATCH_HOST|cannot listen on"):
            open_listener(InferenceSettings(home=home, host=host, inference_port=free_port()))


def test_workers_read_the_settings_that_the_command_was_given(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = InferenceSettings.load(
        home=home, database_url="sqlite:////x.db", workers=3, spool_max_bytes="5MiB", trusted_network=True, drain_seconds=0.5
    )

    for name, value in environment_of(given).items():
        monkeypatch.setenv(name, value)

    assert InferenceSettings.load() == given


def test_sigterm_says_not_ready_first_and_uploads_what_is_left(sqlite_engine: Engine, home: Path, sqlite_url: str) -> None:
    register_cancer(sqlite_engine, settings_for(sqlite_engine, home))

    with sidecar(home, sqlite_url, drain_seconds="1.5") as process:
        _predict(process, 50)
        assert process.process is not None
        process.process.terminate()
        statuses = _ready_until_closed(process)
        status = process.process.wait(60)

    assert status == 0
    assert statuses[-1] == 503
    with reading(sqlite_engine) as c:
        assert c.scalar(select(func.count()).select_from(predictions)) == 50


def _ready_until_closed(process: SidecarProcess) -> list[int]:
    statuses = []
    while True:
        try:
            statuses.append(httpx.get(f"{process.url}/ready", timeout=5).status_code)
        except httpx.TransportError:
            return statuses
        time.sleep(0.05)


def _predict(process: SidecarProcess, times: int) -> None:
    for _ in range(times):  # a connection each, so that all workers get some
        assert httpx.post(f"{process.url}/predict", json={"features": ROW}).status_code == 200


def test_a_scrape_of_any_worker_shows_all_and_never_less(sqlite_engine: Engine, home: Path, sqlite_url: str) -> None:
    register_cancer(sqlite_engine, settings_for(sqlite_engine, home))

    with sidecar(home, sqlite_url, workers="2") as process:
        _predict(process, 40)
        _await_scrapes(process, {"model_predictions_total": 40, "modelwatch_spool_records_total": 40})
        scrapes = [_scrape(process) for _ in range(20)]
        workers = {int(path.stem.rsplit("-", 1)[1]) for path in (home / "spool").glob("worker-*.json")}
        os.kill(min(workers), 9)
        process.wait_until_ready()
        after = [_scrape(process) for _ in range(20)]
        process.terminate()

    assert len(workers) == 2
    assert {scrape["model_predictions_total"] for scrape in scrapes} == {40}
    assert {scrape["modelwatch_spool_records_total"] for scrape in scrapes} == {40}
    assert {scrape["model_predictions_total"] for scrape in after} == {40}


def _await_scrapes(process: SidecarProcess, expected: dict[str, float], seconds: float = 60) -> None:
    """Until every worker has published what it counted, which it does once a second: any of them may answer a scrape."""
    deadline = time.monotonic() + seconds
    while not all(expected.items() <= _scrape(process).items() for _ in range(10)):
        assert time.monotonic() < deadline, _scrape(process)
        time.sleep(0.1)


def _scrape(process: SidecarProcess) -> dict[str, float]:
    text = httpx.get(f"{process.url}/metrics").text
    return {sample.name: sample.value for family in text_string_to_metric_families(text) for sample in family.samples}

"""The collector as a process: it starts, exports, survives its database, and stops."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine

from collector.metrics import Exporter
from collector.outcome import now_utc
from collector.schedule import run
from collector.settings import CollectorSettings
from storage import deployments, jobs, metrics
from storage.engine import create_engine, reading, writing
from storage.records import JobRun
from storage.service import exporting
from storage.settings import SettingsError
from tests.integration.collector.test_jobs import Bench
from tests.integration.collector.traffic import label, predictions, register, send, settings_for
from tests.ports import free_port

START = "import collector.schedule as s, collector.settings as c, logging; logging.basicConfig(level='INFO'); raise SystemExit(s.run(c.CollectorSettings.load()))"


def eventually(check: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} seconds: {what}")
        time.sleep(0.05)


def scraped(port: int) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample by name and labels; empty while nothing listens."""
    try:
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10, trust_env=False).text
    except httpx.TransportError:
        return {}
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@contextmanager
def process(url: str, home: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """A collector with windows of two seconds, ended with SIGKILL at the latest."""
    environment = {
        **os.environ,
        "MODELWATCH_HOME": str(home),
        "MODELWATCH_DATABASE_URL": url,
        "MODELWATCH_COLLECTOR_PORT": str(port),
        "MODELWATCH_WINDOWS": "2s",
        "MODELWATCH_ROLLUP_SECONDS": "1",
        "MODELWATCH_COLLECT_INTERVAL": "1s",
        "MODELWATCH_WINDOW_LAG": "100ms",
    }
    child = subprocess.Popen([sys.executable, "-c", START], env=environment, stderr=subprocess.PIPE, text=True, cwd=home)
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        child.communicate()


def job_run(engine: Engine) -> JobRun | None:
    with reading(engine) as c:
        return jobs.get_run(c, "statistics_2s")


def test_it_works_exports_and_stops_cleanly(database_url: str, engine: Engine, home: Path) -> None:
    port = free_port()
    with writing(engine) as c:
        register(c)
        deployments.promote(c, "churn", "1", actor="ana", reason="first", now=now_utc())

    with process(database_url, home, port) as child:
        eventually(lambda: (run := job_run(engine)) is not None and run.succeeded_at is not None, "the job has run")
        eventually(
            lambda: ("modelwatch_job_last_success_timestamp_seconds", (("job", "statistics_2s"),)) in scraped(port), "scraped"
        )
        found = scraped(port)
        child.send_signal(signal.SIGTERM)
        errors = child.communicate(timeout=60)[1]

    assert child.returncode == 0, errors
    assert "Traceback" not in errors
    assert found["modelwatch_collector_up", ()] == 1
    assert found["modelwatch_collector_database_up", ()] == 1
    assert ("host_memory_percent", ()) in found
    assert ("host_network_sent_bytes_total", ()) in found


def test_a_killed_collector_is_replaced(database_url: str, engine: Engine, home: Path) -> None:
    with process(database_url, home, free_port()) as first:
        eventually(lambda: job_run(engine) is not None, "the first has run")
        first.kill()
        first.wait(60)
    before = job_run(engine)
    assert before is not None

    def went_on() -> bool:
        found = job_run(engine)
        return found is not None and found.started_at > before.started_at

    with process(database_url, home, free_port()):
        eventually(went_on, "the second goes on once the lease of the first has run out")


def test_it_waits_for_a_database_that_is_away(home: Path) -> None:
    port = free_port()
    away = f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/nothing"

    with process(away, home, port) as child:
        eventually(lambda: ("modelwatch_collector_database_up", ()) in scraped(port), "the exporter is up")
        found = scraped(port)
        child.send_signal(signal.SIGINT)
        errors = child.communicate(timeout=60)[1]

    assert child.returncode == 0
    assert found["modelwatch_collector_database_up", ()] == 0
    assert errors.count("Waiting for it.") == 1
    assert "Traceback" not in errors


def test_a_port_in_use_is_one_sentence(sqlite_url: str, home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(SettingsError, match=f"Port {port} of 127.0.0.1 is taken .* MODELWATCH_COLLECTOR_PORT"):
            run(settings_for(sqlite_url, home, collector_port=port))


def test_a_database_that_goes_away_is_logged_once_each_way(
    sqlite_url: str, sqlite_engine: Engine, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(sqlite_engine, settings_for(sqlite_url, home))
    caplog.set_level("INFO")
    away = create_engine(f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/nothing")
    at = bench.now + timedelta(seconds=6)

    bench.runner.engine = away
    assert not bench.run(at)
    assert not bench.run(at)
    bench.runner.engine = sqlite_engine
    assert bench.run(at)
    assert bench.run(at)
    away.dispose()

    assert caplog.text.count("Trying again at the next tick") == 1
    assert caplog.text.count("the database answers again") == 1


def test_the_exporter_shows_the_newest_points_of_one_window(engine: Engine, database_url: str, home: Path) -> None:
    settings = settings_for(database_url, home, windows="5m,1h", collector_port=free_port())
    with writing(engine) as c:
        register(c)
    bench = Bench(engine, settings)
    sent = predictions(bench.now - timedelta(minutes=5), 300, 600, income=1.0)
    send(engine, sent)
    label(engine, sent, right=0.8, at=bench.now)
    for name in ("statistics_5m", "statistics_1h"):
        assert bench.run(bench.now + timedelta(seconds=6), name)
        bench.now -= timedelta(seconds=6)

    exporter = Exporter(engine=engine, settings=settings, job_names=list(bench.jobs), clock=lambda: bench.now)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(exporter)
    with exporting(registry, "127.0.0.1", settings.collector_port, trusted=False, variable="MODELWATCH_COLLECTOR_PORT"):
        found = scraped(settings.collector_port)

    churn = (("model", "churn"), ("version", "1"))
    income = (("feature", "income"), *churn)
    with reading(engine) as c:
        (psi,) = metrics.latest_points(c, "drift_psi", window_seconds=300, since=bench.now)[1:2]
    assert psi.feature == "income"
    assert (
        found["model_drift_score", (("feature", "income"), ("model", "churn"), ("statistic", "psi"), ("version", "1"))] == psi.value
    )
    assert found["model_drift_detected", income] == 1
    assert found["model_drift_detected", (("feature", "age"), *churn)] == 0
    assert found["model_accuracy", churn] == pytest.approx(0.8)
    assert found["model_performance", (("metric", "recall"), *churn)] <= 1
    assert ("model_latency_seconds", (("model", "churn"), ("quantile", "0.99"), ("version", "1"))) in found
    assert ("model_drift_threshold", (("feature", "age"), ("model", "churn"), ("statistic", "ks"), ("version", "1"))) in found
    assert ("modelwatch_job_last_success_timestamp_seconds", (("job", "statistics_1h"),)) in found


def test_a_version_that_went_quiet_disappears_from_the_exporter(engine: Engine, database_url: str, home: Path) -> None:
    settings = settings_for(database_url, home)
    with writing(engine) as c:
        register(c)
    bench = Bench(engine, settings)
    send(engine, predictions(bench.now - timedelta(minutes=5), 300, 600))
    bench.run(bench.now + timedelta(seconds=6))
    exporter = Exporter(engine=engine, settings=settings, job_names=[], clock=lambda: bench.now + timedelta(hours=1))

    families = {family.name: family.samples for family in exporter.collect()}

    assert families["model_drift_score"] == []


def test_settings_are_checked_at_the_start() -> None:
    with pytest.raises(SettingsError, match="MODELWATCH_WINDOWS"):
        CollectorSettings.load(windows="90s")

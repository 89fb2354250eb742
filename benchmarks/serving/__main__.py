"""`python -m benchmarks.serving`: single rows on an ONNX logistic regression with ten features.

Three servers run at the same time, each on one worker of uvicorn with uvloop and httptools; one after the other is put
under load, in rounds, so that whatever else the machine does hits all of them. Medians over the rounds are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from skl2onnx import to_onnx
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

from benchmarks.serving import load
from inference.registration import register
from inference.settings import InferenceSettings
from storage.engine import create_engine
from storage.migrate import upgrade

RESULTS = Path(__file__).parent.parent / "results"
FEATURES = 10
SEED = 20261121


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One server under test."""

    name: str
    factory: str
    path: str
    body: str
    environment: dict[str, str] = field(hash=False)


def main() -> int:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="modelwatch-benchmark-") as folder, ExitStack() as stack:
        home = Path(folder)
        model = _register_model(home)
        servers = [stack.enter_context(_running(subject, home)) for subject in _subjects(model)]
        stack.enter_context(_uploader(home))
        loads = _measure(servers, arguments.connections, arguments.rounds, arguments.seconds, home)
    summary = _summary(loads)
    _show(summary, arguments.connections)
    _write(summary, arguments)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds over all servers and connection counts")
    parser.add_argument("--seconds", type=int, default=3, help="seconds per measurement")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16, 64])
    return parser.parse_args()


def _register_model(home: Path) -> Path:
    features, target = make_classification(5000, FEATURES, random_state=SEED)
    frame = pd.DataFrame(features, columns=[f"feature_{index}" for index in range(FEATURES)])
    frame.assign(target=target).to_parquet(home / "reference.parquet")
    model = LogisticRegression().fit(features, target)
    path = home / "model.onnx"
    path.write_bytes(to_onnx(model, features[:1].astype(np.float32), options={"zipmap": False}).SerializeToString())
    settings = InferenceSettings(home=home)
    engine = create_engine(settings.database)
    upgrade(engine)
    register(
        engine,
        settings,
        "bench",
        path,
        reference=home / "reference.parquet",
        target="target",
        actor="benchmark",
        now=datetime.now(UTC),
    )
    engine.dispose()
    return path


def _subjects(model: Path) -> list[Subject]:
    row = [round(float(value), 6) for value in make_classification(1, FEATURES, random_state=SEED + 1)[0][0]]
    named = {f"feature_{index}": value for index, value in enumerate(row)}
    sidecar = "benchmarks.serving.sidecar:create"
    predict, instances = "/v1/models/bench/predict", json.dumps({"instances": [named]})
    features = json.dumps({"features": row})
    return [
        Subject(name="sidecar, logging", factory=sidecar, path=predict, body=instances, environment={"LOGGING": "on"}),
        Subject(name="sidecar, no logging", factory=sidecar, path=predict, body=instances, environment={"LOGGING": "off"}),
        Subject(name="sidecar /predict, logging", factory=sidecar, path="/predict", body=features, environment={"LOGGING": "on"}),
        Subject(
            name="plain FastAPI",
            factory="benchmarks.serving.plain:create",
            path="/predict",
            body=features,
            environment={"MODEL": str(model)},
        ),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A subject that runs."""

    subject: Subject
    url: str
    process: psutil.Process

    def cpu_seconds(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One server under one load; its processor time per request is steadier than its rate where the machine is shared."""

    load: load.Load
    cpu_us: float


@contextmanager
def _running(subject: Subject, home: Path) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        subject.factory,
        "--factory",
        "--port",
        str(port),
        "--loop",
        "uvloop",
        "--http",
        "httptools",
    ]
    environment = {**os.environ, "MODELWATCH_HOME": str(home), **subject.environment}
    with _child([*command, "--no-access-log", "--log-level", "warning"], environment) as process:
        url = f"http://127.0.0.1:{port}{subject.path}"
        _wait_until_answered(url, subject.body)
        yield Server(subject=subject, url=url, process=psutil.Process(process.pid))


@contextmanager
def _uploader(home: Path) -> Iterator[None]:
    """What runs beside a sidecar that logs; its work is part of the price."""
    code = "from inference.settings import InferenceSettings; from inference.uploader import run; run(InferenceSettings.load())"
    with _child([sys.executable, "-c", code], {**os.environ, "MODELWATCH_HOME": str(home)}):
        yield


@contextmanager
def _child(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, env=environment)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_answered(url: str, body: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            request = urllib.request.Request(url, body.encode(), {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=5):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


Measurements = dict[tuple[str, int], list[Measurement]]


def _measure(servers: list[Server], connections: list[int], rounds: int, seconds: int, folder: Path) -> Measurements:
    found: Measurements = defaultdict(list)
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("measuring", total=rounds * len(servers) * len(connections))
        for server in servers:
            _put_under_load(server, 16, 1, folder)  # warm up
        for number in range(rounds):
            # Rotated, so that no server always follows the same neighbour.
            order = servers[number % len(servers) :] + servers[: number % len(servers)]
            for count in connections:
                for server in order:
                    found[server.subject.name, count].append(_put_under_load(server, count, seconds, folder))
                    progress.advance(task)
    return found


def _put_under_load(server: Server, connections: int, seconds: int, folder: Path) -> Measurement:
    before = server.cpu_seconds()
    seen = load.run(server.url, server.subject.body, connections=connections, seconds=seconds, folder=folder)
    used = server.cpu_seconds() - before
    return Measurement(load=seen, cpu_us=used / (seen.requests_per_second * seen.seconds) * 1e6)


def _summary(measurements: Measurements) -> list[dict[str, object]]:
    return [
        {
            "server": name,
            "connections": count,
            "requests_per_second": round(statistics.median(item.load.requests_per_second for item in items)),
            "rounds": [round(item.load.requests_per_second) for item in items],
            "p99_ms": round(statistics.median(item.load.p99_ms for item in items), 2),
            "cpu_us": round(statistics.median(item.cpu_us for item in items), 1),
            "errors": sum(item.load.errors for item in items),
        }
        for (name, count), items in measurements.items()
    ]


RATIOS = (
    ("logging / no logging", "sidecar, logging", "sidecar, no logging"),
    ("sidecar, logging / plain", "sidecar, logging", "plain FastAPI"),
    ("sidecar /predict, logging / plain", "sidecar /predict, logging", "plain FastAPI"),
)


def _show(summary: list[dict[str, object]], connections: list[int]) -> None:
    rates = _table(f"Requests per second by {load.generator()}, median of the rounds", "requests_per_second", summary, connections)
    _add_ratios(rates, "requests_per_second", summary, connections)
    latencies = _table("99th percentile of the latency, ms", "p99_ms", summary, connections)
    costs = _table("Processor time of the server per request, µs", "cpu_us", summary, connections)
    _add_ratios(costs, "cpu_us", summary, connections)
    for table in (rates, latencies, costs):
        Console().print(table)
    errors = sum(int(str(row["errors"])) for row in summary)
    if errors:
        print(f"{errors} requests failed: the figures are not to be trusted.")


def _table(title: str, figure: str, summary: list[dict[str, object]], connections: list[int]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("server")
    for count in connections:
        table.add_column(f"{count} connections", justify="right")
    for name in dict.fromkeys(str(row["server"]) for row in summary):
        table.add_row(name, *(f"{_figure(summary, name, count, figure):,.1f}" for count in connections))
    return table


def _add_ratios(table: Table, figure: str, summary: list[dict[str, object]], connections: list[int]) -> None:
    for label, one, other in RATIOS:
        ratios = (_figure(summary, one, count, figure) / _figure(summary, other, count, figure) for count in connections)
        table.add_row(label, *(f"{ratio:.2f}" for ratio in ratios), style="bold")


def _figure(summary: list[dict[str, object]], server: str, connections: int, figure: str) -> float:
    return next(float(str(row[figure])) for row in summary if (row["server"], row["connections"]) == (server, connections))


def _write(summary: list[dict[str, object]], arguments: argparse.Namespace) -> None:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "serving.json"
    content = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "generator": load.generator(),
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "machine": {"python": platform.python_version(), "cores": os.cpu_count(), "load_average": os.getloadavg()[0]},
        "results": summary,
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"Written to {path}.")


if __name__ == "__main__":
    sys.exit(main())

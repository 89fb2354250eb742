"""A real Prometheus scrapes a running stack, and every panel of the Grafana dashboard finds its data there.

One stack and one Prometheus serve all tests of this file; both run on free ports of this machine.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import joblib
import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.linear_model import LogisticRegression

from tests.ports import free_port

ROOT = Path(__file__).parents[2]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "grafana" / "dashboards" / "modelwatch.json").read_text(encoding="utf-8"))
PROMETHEUS = shutil.which("prometheus")
PORTS = {"modelwatch-inference": "INFERENCE", "modelwatch-collector": "COLLECTOR", "modelwatch-alerts": "ALERTS"}
VARIABLES = {"$model": ".+", "$version": ".+", "$__rate_interval": "15s", "${datasource}": "prometheus"}

pytestmark = pytest.mark.acceptance


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    title: str
    expression: str
    may_be_empty: bool

    def __str__(self) -> str:
        return self.title


def panels(dashboard: Mapping[str, Any]) -> list[Panel]:
    """One entry per query. A panel that says what an empty answer means (`noValue`) may have one."""
    return [
        Panel(
            title=f"{panel['title']} {target['refId']}",
            expression=substitute(target["expr"]),
            may_be_empty="noValue" in panel["fieldConfig"]["defaults"],
        )
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
    ]


def substitute(expression: str) -> str:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    environment: dict[str, str]
    inference: httpx.Client
    prometheus: httpx.Client

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an instant query. Raises where Prometheus refuses the expression."""
        answer = self.prometheus.get("/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
        series: list[dict[str, Any]] = answer["data"]["result"]
        return series

    def metrics_of(self, job: str) -> str:
        return httpx.get(f"http://127.0.0.1:{self.environment[f'MODELWATCH_{PORTS[job]}_PORT']}/metrics").text


def await_condition(what: str, condition: Callable[[], bool], *, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if condition():
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"after {seconds:.0f} s still not true: {what}")


@contextmanager
def running(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[None]:
    """The process and what it started, in a group of their own, ended with the block."""
    with log.open("w") as output:
        process = subprocess.Popen(
            command, env=dict(environment), cwd=log.parent, stdout=output, stderr=output, start_new_session=True
        )
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def modelwatch(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "cli.main", *arguments]


def environment_of(home: Path) -> dict[str, str]:
    """Everything in seconds, on ports that are free."""
    services = ("INFERENCE", "COLLECTOR", "ALERTS", "DASHBOARD")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("MODELWATCH_")},
        **{f"MODELWATCH_{service}_PORT": str(free_port()) for service in services},
        "MODELWATCH_HOME": str(home / "data"),
        "MODELWATCH_ROLLUP_SECONDS": "1",
        "MODELWATCH_WINDOWS": "5s,30s",
        "MODELWATCH_COLLECT_INTERVAL": "1s",
        "MODELWATCH_WINDOW_LAG": "1s",
    }


def register(home: Path, environment: Mapping[str, str]) -> None:
    """The model `shop`, version 1: two features, two classes, fitted on 400 rows."""
    rng = np.random.default_rng(7)
    table = pd.DataFrame({"age": rng.normal(40, 10, 400), "spend": rng.exponential(30, 400)})
    target = (table["age"] + rng.normal(0, 5, 400) > 40).astype(int)
    joblib.dump(LogisticRegression().fit(table, target), home / "shop.joblib")
    table.assign(bought=target).to_csv(home / "reference.csv", index=False)
    for arguments in (
        ("db", "upgrade"),
        ("models", "register", "shop", "shop.joblib", "--reference", "reference.csv", "--target", "bought", "--allow-pickle"),
    ):
        done = subprocess.run(modelwatch(*arguments), env=dict(environment), cwd=home, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def send_traffic(client: httpx.Client, rng: np.random.Generator) -> None:
    """Fifty predictions, half of them drifted out of the reference's range, their labels, and one bad request."""
    instances = [{"age": float(rng.normal(75, 30)), "spend": float(rng.exponential(30))} for _ in range(50)]
    answer = client.post("/v1/models/shop/predict", json={"instances": instances})
    answer.raise_for_status()
    labels = [
        {"id": one["id"], "label": int(instance["age"] > 40)}
        for one, instance in zip(answer.json()["predictions"], instances, strict=True)
    ]
    client.post("/v1/models/shop/labels", json={"labels": labels}).raise_for_status()
    client.post("/v1/models/shop/predict", json={"instances": [{"age": "old"}]})


def prometheus_configuration(environment: Mapping[str, str]) -> dict[str, Any]:
    """The shipped configuration with this stack's addresses and a quicker pulse."""
    configuration: dict[str, Any] = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    configuration["rule_files"] = [str(ROOT / "prometheus" / "rules.yml")]
    configuration["scrape_configs"] = [job for job in configuration["scrape_configs"] if job["job_name"] in PORTS]
    for job in configuration["scrape_configs"]:
        port = environment[f"MODELWATCH_{PORTS[job['job_name']]}_PORT"]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
    return configuration


def prometheus_command(home: Path, port: int) -> list[str]:
    assert PROMETHEUS is not None, "Prometheus is missing; `make test` installs it"
    return [
        PROMETHEUS,
        f"--config.file={home / 'prometheus.yml'}",
        f"--storage.tsdb.path={home / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("stack")
    environment = environment_of(home)
    register(home, environment)
    (home / "prometheus.yml").write_text(yaml.safe_dump(prometheus_configuration(environment)), encoding="utf-8")
    port = free_port()
    rng = np.random.default_rng(11)

    with ExitStack() as context:
        context.enter_context(running(modelwatch("up", "--no-dashboard"), environment, home / "stack.log"))
        context.enter_context(running(prometheus_command(home, port), environment, home / "prometheus.log"))
        stack = Stack(
            environment=environment,
            inference=context.enter_context(
                httpx.Client(base_url=f"http://127.0.0.1:{environment['MODELWATCH_INFERENCE_PORT']}", timeout=10)
            ),
            prometheus=context.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10)),
        )
        await_condition("the sidecar is ready", lambda: stack.inference.get("/ready").status_code == 200)
        await_condition("Prometheus is ready", lambda: stack.prometheus.get("/-/ready").status_code == 200)

        def data_has_come() -> bool:
            send_traffic(stack.inference, rng)
            wanted = ("rate(model_predictions_total[15s])", "model_drift_detected", "model_accuracy", "model_latency_seconds")
            return len(stack.query("up == 1")) == len(PORTS) and all(stack.query(name) for name in wanted)

        await_condition("drift, accuracy and latency are in Prometheus", data_has_come, seconds=180)
        yield stack


def test_all_three_services_are_scraped_without_errors(stack: Stack) -> None:
    assert {series["metric"]["job"]: series["value"][1] for series in stack.query("up")} == dict.fromkeys(PORTS, "1")


@pytest.mark.parametrize("panel", panels(DASHBOARD), ids=str)
def test_panel_finds_its_data(stack: Stack, panel: Panel) -> None:
    """Awaited, because a scrape that fails under load takes a target's series away until the next one."""
    if panel.may_be_empty:
        stack.query(panel.expression)  # fails where Prometheus refuses it
        return
    await_condition(f"{panel.expression} has a value", lambda: bool(stack.query(panel.expression)), seconds=60)


@pytest.mark.parametrize("variable", ["model", "version"])
def test_variable_offers_what_there_is(stack: Stack, variable: str) -> None:
    definition = next(one["definition"] for one in DASHBOARD["templating"]["list"] if one["name"] == variable)
    parsed = re.fullmatch(r"label_values\((.+), (\w+)\)", substitute(definition))

    assert parsed is not None
    assert {series["metric"][parsed[2]] for series in stack.query(parsed[1])} == {"shop" if variable == "model" else "1"}


def test_recording_rules_have_values(stack: Stack) -> None:
    groups = yaml.safe_load((ROOT / "prometheus" / "rules.yml").read_text(encoding="utf-8"))["groups"]
    recorded = [rule["record"] for group in groups for rule in group["rules"] if "record" in rule]

    for name in recorded:
        await_condition(f"{name} has a value", lambda name=name: bool(stack.query(name)), seconds=60)  # type: ignore[misc]


def test_no_rule_fails_to_evaluate(stack: Stack) -> None:
    groups = stack.prometheus.get("/api/v1/rules").json()["data"]["groups"]

    assert {rule["name"]: rule["lastError"] for group in groups for rule in group["rules"] if rule.get("lastError")} == {}


@pytest.mark.parametrize("job", sorted(PORTS))
def test_every_exported_name_is_documented(stack: Stack, job: str) -> None:
    text = (ROOT / "docs" / "prometheus.md").read_text(encoding="utf-8")
    exported = set(re.findall(r"^# TYPE ((?:model|modelwatch|host)_\w+) (?!unknown)", stack.metrics_of(job), re.MULTILINE))
    exported = {name for name in exported if not name.endswith("_created")}

    assert exported
    assert sorted(name for name in exported if f"`{name}`" not in text) == []

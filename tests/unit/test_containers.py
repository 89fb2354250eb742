"""The image and the compose file name only what the repository has, and keep the hardening they promise."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from cli.main import app
from cli.setting_names import known_names

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OWN = sorted(name for name, service in SERVICES.items() if service["image"].startswith("modelwatch:"))
LONG_RUNNING = sorted(name for name in SERVICES if name not in {"secrets", "migrate"})


def copied_from_context() -> list[str]:
    """Sources of the COPY lines that come from the repository and not from another stage."""
    lines = [line.split()[1:-1] for line in DOCKERFILE.splitlines() if line.startswith("COPY ") and "--from" not in line]
    return [source for sources in lines for source in sources]


@pytest.mark.parametrize("source", copied_from_context())
def test_image_copies_what_exists_and_is_not_ignored(source: str) -> None:
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()

    assert (ROOT / source).exists()
    assert f"!{source}" in allowed


def test_image_holds_every_package_of_the_wheel() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"^packages = \[(.*)\]$", pyproject, re.MULTILINE)

    assert listed is not None
    assert set(re.findall(r'"(\w+)"', listed[1])) <= set(copied_from_context())


def test_image_is_pinned_locked_and_not_root() -> None:
    assert all(re.match(r"FROM python:\d+\.\d+\.\d+-slim", line) for line in DOCKERFILE.splitlines() if line.startswith("FROM"))
    assert "--require-hashes --requirement requirements.lock" in DOCKERFILE
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]


@pytest.mark.parametrize("name", OWN)
def test_own_services_run_commands_that_exist(name: str) -> None:
    service = SERVICES[name]
    if "entrypoint" in service:
        script = service["entrypoint"][1]
        assert (ROOT / "deploy" / script.removeprefix("/opt/modelwatch/")).is_file()
        return

    command: Any = get_command(app)
    for word in service["command"]:
        command = command.commands[word]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_services_are_hardened_and_limited(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"mem_limit", "cpus", "pids_limit"} <= set(service)
    assert re.search(r":v?\d+\.\d+", service["image"]), "an image is pinned by its version"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_ports_are_published_on_loopback_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_secret_stands_in_the_compose_file(name: str) -> None:
    environment = SERVICES[name].get("environment", {})
    secret = [
        key for key in environment if re.search(r"PASSWORD|TOKEN|WEBHOOK|DATABASE_URL|SECRET", key) and not key.endswith("_FILE")
    ]

    assert secret == []


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_health_checks_read_the_body(name: str) -> None:
    test = SERVICES[name]["healthcheck"]["test"]
    reads_the_body = "healthcheck.py" in " ".join(test) or "grep" in test[-1]

    assert reads_the_body or test[1] in {"pg_isready", "/mailpit"}


@pytest.mark.parametrize("name", OWN)
def test_environment_names_settings_that_exist(name: str) -> None:
    variables = [key.removesuffix("_FILE") for key in SERVICES[name].get("environment", {})]

    assert (
        sorted(
            key.removeprefix("MODELWATCH_").lower()
            for key in variables
            if key.removeprefix("MODELWATCH_").lower() not in known_names()
        )
        == []
    )


def test_services_wait_for_the_migrated_database() -> None:
    for name in ("inference", "collector", "alerts", "dashboard"):
        assert SERVICES[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_docker_compose_accepts_the_file() -> None:
    assert shutil.which("docker-compose"), "docker-compose is missing; `make test` installs it"
    done = subprocess.run(["docker-compose", "config"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert set(yaml.safe_load(done.stdout)["services"]) == set(SERVICES)


class _Answers(BaseHTTPRequestHandler):
    """Answers every path with 200: /ready with JSON, all others with a page, as Streamlit does."""

    def do_GET(self) -> None:
        body = json.dumps({"status": "ready"}) if self.path == "/ready" else "<!doctype html>\n<p>not ok</p>"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the base class gave it
        pass


@pytest.fixture
def address() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("path", "pattern", "code"),
    [("/ready", '"status": ?"ready"', 0), ("/_stcore/health", "^ok$", 1), ("/metrics", "^modelwatch_collector_up 1", 1)],
)
def test_health_check_judges_the_body_and_not_the_status(address: str, path: str, pattern: str, code: int) -> None:
    script = ROOT / "deploy" / "image" / "healthcheck.py"
    done = subprocess.run([sys.executable, script, address + path, pattern], capture_output=True, text=True, check=False)

    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


def test_health_check_of_a_dead_service_fails_with_one_line() -> None:
    script = ROOT / "deploy" / "image" / "healthcheck.py"
    done = subprocess.run([sys.executable, script, "http://127.0.0.1:1/", "ok"], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def test_passwords_are_made_once_and_kept(tmp_path: Path) -> None:
    script = ROOT / "deploy" / "image" / "make_secrets.py"
    subprocess.run([sys.executable, script, tmp_path], check=True)
    first = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    subprocess.run([sys.executable, script, tmp_path], check=True)

    assert {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()} == first
    assert sorted(str(path.relative_to(tmp_path)) for path in first) == ["database/password", "database/url", "grafana/password"]
    assert first[tmp_path / "database" / "password"] in first[tmp_path / "database" / "url"]

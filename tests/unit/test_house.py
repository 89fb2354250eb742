"""Rules of the house that no other tool checks: lock files, licence, scripts, Prometheus files, the Grafana dashboard."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "requirements-dev.lock")
REGISTRY_HOSTS = re.compile("|".join((r"pypi\.(?:org|python)", r"python" + r"hosted\.org", r"npm" + r"js\.", r"crates\." + r"io")))


@cache
def tracked() -> tuple[Path, ...]:
    """Files of the repository: what git knows, or all that is no build product where there is no git."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0 and done.stdout:
        return tuple(path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file())
    folders = (
        "storage",
        "inference",
        "collector",
        "alerts",
        "dashboard",
        "cli",
        "tests",
        "docs",
        "deploy",
        "prometheus",
        "grafana",
    )
    return tuple(path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix != ".pyc")


def locked(lock: str) -> dict[str, set[str]]:
    """Versions by package; a package has several where Python versions differ."""
    versions: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9._-]+)==(\S+)", (ROOT / lock).read_text(encoding="utf-8"), re.MULTILINE):
        versions.setdefault(name, set()).add(version)
    return versions


# ---------------------------------------------------------------------------------------------- packages


def test_no_file_names_a_package_registry() -> None:
    texts = {path: path.read_bytes().decode("utf-8", "replace") for path in tracked() if path.suffix not in {".png", ".parquet"}}

    assert [str(path.relative_to(ROOT)) for path, text in texts.items() if REGISTRY_HOSTS.search(text)] == []


def test_there_is_no_lock_file_with_addresses() -> None:
    assert "uv.lock" not in {path.name for path in tracked()}
    assert all("://" not in (ROOT / lock).read_text(encoding="utf-8") for lock in LOCKS)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_hashes(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    entries = re.split(r"^(?=[a-z0-9._-]+==)", text, flags=re.MULTILINE)

    assert [entry.split()[0] for entry in entries if entry.strip() and "--hash=sha256:" not in entry] == []


def test_both_locks_agree() -> None:
    run, development = locked("requirements.lock"), locked("requirements-dev.lock")

    assert {name: versions for name, versions in run.items() if development.get(name) != versions} == {}


def test_locks_hold_all_that_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]

    assert missing(project["dependencies"] + extras["build"], "requirements.lock") == []
    assert missing(extras["dev"], "requirements-dev.lock") == []


def missing(requirements: list[str], lock: str) -> list[str]:
    names = [re.split(r"[\[<>=;~! ]", requirement, maxsplit=1)[0] for requirement in requirements]
    return [name for name in names if name not in locked(lock)]


def test_licence_is_the_one_that_is_declared() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")

    assert tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["license"] == "Apache-2.0"
    assert "Version 2.0, January 2004" in text
    assert len(text) > 11_000, "the full text, not a summary"


# ---------------------------------------------------------------------------------------------- scripts


@pytest.mark.parametrize("script", ["run", "check.sh", "environment.sh", "system-packages.sh"])
def test_script_can_be_run_and_parses(script: str) -> None:
    path = ROOT / ".ci" / script
    done = subprocess.run(["bash", "-n", path], capture_output=True, text=True, check=False)

    assert path.stat().st_mode & 0o111
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("target", ["demo", "up", "test", "check", "bench"])
def test_make_target_is_short_and_takes_arguments(target: str) -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    found = re.search(rf"^{target}:.*\n((?:\t.+\n)+)", text, re.MULTILINE)

    assert found is not None
    assert len(found[1].splitlines()) <= 2
    assert target == "check" or "$(ARGS)" in found[1]


def test_set_up_prints_nothing_to_standard_output() -> None:
    done = subprocess.run([ROOT / ".ci" / "environment.sh"], capture_output=True, text=True, check=False)

    assert done.returncode != 0, "it wants the name of a lock file"
    assert done.stdout == ""


def test_unfit_python_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "environment").mkdir()
    (tmp_path / "environment" / "environment.sh").write_bytes((ROOT / ".ci" / "environment.sh").read_bytes())
    command = ["bash", "environment/environment.sh", "requirements.lock"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHON": "no-such-python"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode != 0
    assert "modelwatch needs Python 3.11 or newer" in done.stderr
    assert not (tmp_path / ".venv").exists()


# ---------------------------------------------------------------------------------------------- Prometheus and Grafana


@pytest.mark.parametrize(
    "arguments",
    [("check", "config", "prometheus.yml"), ("check", "rules", "rules.yml"), ("test", "rules", "rules_test.yml")],
    ids=" ".join,
)
def test_promtool_accepts_the_files(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(["promtool", *arguments], cwd=ROOT / "prometheus", capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_prometheus_alert_is_tested() -> None:
    groups = yaml.safe_load((ROOT / "prometheus" / "rules.yml").read_text(encoding="utf-8"))["groups"]
    tests = yaml.safe_load((ROOT / "prometheus" / "rules_test.yml").read_text(encoding="utf-8"))["tests"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}

    assert alerts == {case["alertname"] for test in tests for case in test.get("alert_rule_test", [])}


def test_prometheus_scrapes_the_services_of_the_compose_file() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    jobs = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    targets = [
        target for job in jobs for static in job["static_configs"] for target in static["targets"] if "127.0.0.1" not in target
    ]

    for target in targets:
        name, port = target.split(":")
        assert f"127.0.0.1:{port}:{port}" in services[name]["ports"]


def grafana() -> dict[str, Any]:
    dashboard: dict[str, Any] = json.loads((ROOT / "grafana" / "dashboards" / "modelwatch.json").read_text(encoding="utf-8"))
    return dashboard


def test_panels_have_distinct_ids_and_do_not_overlap() -> None:
    panels = grafana()["panels"]
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_panels_ask_the_chosen_data_source() -> None:
    sources = [panel["datasource"]["uid"] for panel in grafana()["panels"] if panel["type"] != "row"]

    assert set(sources) == {"${datasource}"}


def test_panels_ask_only_for_documented_metrics() -> None:
    documented = set(
        re.findall(r"`((?:model|modelwatch|host)_[a-z0-9_]+)`", (ROOT / "docs" / "prometheus.md").read_text(encoding="utf-8"))
    )
    asked = {
        name
        for panel in grafana()["panels"]
        for target in panel.get("targets", [])
        for name in re.findall(r"\b(?:model|modelwatch|host)_[a-z0-9_]+", re.sub(r'"[^"]*"', "", target["expr"]))
    }

    assert sorted(asked - documented - {f"{name}_bucket" for name in documented}) == []


def test_provisioning_finds_the_dashboards_and_the_data_source() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    provider = yaml.safe_load((ROOT / "grafana" / "provisioning" / "dashboards" / "modelwatch.yml").read_text(encoding="utf-8"))[
        "providers"
    ][0]
    source = yaml.safe_load((ROOT / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text(encoding="utf-8"))[
        "datasources"
    ][0]

    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in services["grafana"]["volumes"]
    assert source["uid"] == next(one for one in grafana()["templating"]["list"] if one["type"] == "datasource")["current"]["value"]

"""`modelwatch alerts test-rules`, `replay` and `import`, and the routes of `check`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from alerts.rule_files import DEFAULT_RULES
from storage.engine import reading, writing
from storage.metrics import write_points
from storage.outbox import counts
from storage.records import MetricPoint
from tests.integration.cli.conftest import Run

DATA = Path(__file__).parents[2] / "data" / "prometheus"
NOW = datetime.now(UTC).replace(second=0, microsecond=0)
RULES = """
groups:
  - name: g
    rules:
      - {alert: Drift, metric: drift_psi, where: {feature: "*"}, when: "> 0.2", labels: {severity: critical}}
routes: {receiver: oncall, escalate: [{after: 1h, receiver: lead}]}
receivers:
  - {name: oncall, slack: {channel: "#ml"}}
  - {name: lead, email: {to: [lead@example.com]}}
"""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yml"
    path.write_text(RULES, encoding="utf-8")
    return path


def drift(engine: Engine, value: float, hours: range) -> None:
    points = [
        MetricPoint(
            at=NOW - timedelta(hours=hour, minutes=-minute),
            name="drift_psi",
            value=value,
            model="churn",
            version="1",
            feature="age",
            window_seconds=3600,
        )
        for hour in hours
        for minute in range(60)
    ]
    with writing(engine) as c:
        write_points(c, points)


def test_check_shows_the_way_of_each_alert(run_command: Run, rules: Path) -> None:
    shown = run_command("alerts", "check", rules)
    [file] = json.loads(run_command("alerts", "check", rules, "--json").out)["files"]

    assert "-> routes: tells oncall (slack #ml)" in shown.out
    assert "by model; first after 30s, changes every 5m, reminders every 4h; escalates to lead after 1h" in shown.out
    assert "slack is not set up" in shown.out
    [route] = file["rules"][0]["routes"]
    assert (route["receiver"], route["group_by"], route["escalates"]) == ("oncall", ["model"], ["lead after 1h"])


def test_shipped_tests_run(run_command: Run) -> None:
    shown = run_command("alerts", "test-rules", DEFAULT_RULES.with_name("default_rules_test.yml"))

    assert shown.status == 0
    assert "FAILED" not in shown.out


def test_test_that_fails_is_status_one_and_a_wrong_file_two(run_command: Run, rules: Path, tmp_path: Path) -> None:
    test = tmp_path / "rules_test.yml"
    test.write_text(
        "rules: rules.yml\ntests: [{series: [{metric: drift_psi, labels: {feature: age}, values: 0.3x5}],"
        " alerts: [{at: 5m, expect: []}]}]",
        encoding="utf-8",
    )
    failed = run_command("alerts", "test-rules", test)
    as_json = run_command("alerts", "test-rules", test, "--json")
    test.write_text("rules: rules.yml\ntests: [{seris: []}]", encoding="utf-8")
    wrong = run_command("alerts", "test-rules", test)

    assert (failed.status, as_json.status, wrong.status) == (1, 1, 2)
    assert "found, not expected: firing Drift{feature=age, severity=critical}" in failed.out
    assert json.loads(as_json.out)["files"][0]["tests"][0]["ok"] is False
    assert "test number 1: unknown key 'seris'" in wrong.err


def test_replay_says_what_would_have_been_told_and_tells_nobody(on_database: Run, engine: Engine, rules: Path) -> None:
    drift(engine, 0.1, range(10, 15))
    drift(engine, 0.4, range(7, 10))
    drift(engine, 0.1, range(1, 7))

    shown = on_database("alerts", "replay", rules, "--since", "1d", "--compare")
    found = json.loads(on_database("alerts", "replay", rules, "--since", "1d", "--compare", "--json").out)

    assert shown.status == 0, shown.err
    assert [(one["kind"], one["receiver"], one["is_page"]) for one in found["told"]] == [
        ("firing", "oncall", True),
        ("escalation", "lead", True),
        ("resolved", "oncall", False),
        ("resolved", "lead", False),
    ]
    assert [load["messages"] for load in found["receivers"]] == [2, 2]
    assert found["in_force"]["source"].endswith("rules.yml")
    assert "Drift: churn, version 1, age" in shown.out
    assert "nobody had silenced" in shown.err
    with reading(engine) as c:
        assert not any(counts(c).values())


def test_replay_from_the_future_is_refused(run_command: Run, rules: Path) -> None:
    assert run_command("alerts", "replay", rules, "--since", "1h", "--until", "2h").status == 2
    assert "neither a time" in run_command("alerts", "replay", rules, "--until", "soon").err


def test_import_writes_a_file_that_passes_the_check(run_command: Run, tmp_path: Path) -> None:
    made = tmp_path / "made.yml"
    arguments = ("alerts", "import", DATA / "rules.yml", "--alertmanager", DATA / "alertmanager.yml")
    done = run_command(*arguments, "-o", made)
    printed = run_command(*arguments)
    again = run_command(*arguments, "-o", made)

    assert (done.status, printed.status, again.status) == (0, 0, 2)
    assert "Not carried over: " in done.err
    assert done.out == ""
    assert printed.out == made.read_text(encoding="utf-8")
    assert run_command("alerts", "check", made).status == 0
    assert "cannot be written (File exists)" in again.err


def test_import_of_something_else_is_a_sentence(run_command: Run, tmp_path: Path) -> None:
    done = run_command("alerts", "import", tmp_path / "missing.yml")

    assert done.status == 1
    assert "missing.yml: it cannot be read (No such file or directory)" in done.err

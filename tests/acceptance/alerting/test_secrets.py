"""Secrets stay where they were put: not in the log at DEBUG, the database, the metrics, or any answer, whatever goes wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, inspect, text

from storage import metrics
from storage.engine import reading, writing
from storage.records import MetricPoint
from tests.acceptance.alerting.timeline import Process
from tests.fakes import LOOPBACK, Answer, FakeMail, FakeSlack

pytestmark = pytest.mark.acceptance

SECRETS = {
    "MODELWATCH_SLACK_BOT_TOKEN": "xoxb-SECRET-of-the-bot",
    "MODELWATCH_SLACK_SIGNING_SECRET": "SECRET-that-signs-buttons",
    "MODELWATCH_SMTP_PASSWORD": "SECRET-of-the-mail-server",
    "HOOK_SECRET": "SECRET-that-signs-hooks",
    "ROUTING_KEY": "SECRET-routing-key-of-pagerduty",
}
RULES = """
groups:
  - name: all
    interval: 200ms
    rules:
      - {alert: Drift, metric: drift_psi, where: {feature: "*"}, when: "> 0.2"}
      - {alert: Broken, metric: drift_psi, where: {feature: "*"}, when: "> 0.2", annotations: {summary: "{{ nothing }}"}}
receivers:
  - name: everybody
    slack: {channel: "#ml"}
    email: {to: [oncall@example.com]}
    webhook: {url_env: HOOK_URL, secret_env: HOOK_SECRET}
    pagerduty: {routing_key_env: ROUTING_KEY}
    apprise: {url_env: APPRISE_URL}
    alertmanager: {url: "ALERTMANAGER"}
routes: {receiver: everybody, group_by: ["..."], group_wait: 0s, group_interval: 1s}
"""
FAULTS = (
    Answer(status=500, body="no"),
    Answer(status=302, headers={"Location": "http://localhost/elsewhere"}),
    Answer(status=401, body="who are you"),
    Answer(status=404, body="<html>nobody</html>"),
    Answer(drop=True),
    Answer(status=200, body='{"ok": false, "error": "invalid_auth"}', headers={"Content-Type": "application/json"}),
    Answer(status=429, headers={"Retry-After": "1"}),
    Answer(status=400, body="bad"),
)


def dump(engine: Engine) -> str:
    """Every value of every table."""
    with reading(engine) as c:
        tables = inspect(engine).get_table_names()
        return "\n".join(str(tuple(row)) for name in tables for row in c.execute(text(f'SELECT * FROM "{name}"')))


def test_no_secret_is_told_anywhere(sqlite_engine: Engine, home: Path) -> None:
    with FakeSlack() as outside, FakeMail() as mail:
        mail.replies.append("451 4.3.0 later")
        host = outside.url.removeprefix("http://")
        process = Process(folder=home, environment=_environment(outside, mail))
        process.rules.write_text(RULES.replace("ALERTMANAGER", f"http://{host}"), encoding="utf-8")
        outside.script.extend([*FAULTS, *FAULTS])
        process.start()
        try:
            process.wait_until_up()
            for feature in ("age", "fare", "city"):
                _point(sqlite_engine, feature)
            outside.wait_for(len(FAULTS) + 4, 60)
            mail.wait_for(1, 60)
            process.wait_until(lambda: "ROUTING" not in process.metrics() and "401" in process.log)
            answers = [process.metrics()] + [
                str(process.call("GET", path))
                for path in ("/v1/alerts", "/v1/incidents?every=true", "/v1/silences", "/v1/actions", "/openapi.json", "/health")
            ]
            assert process.stop() == 0
        finally:
            process.kill()
    said = {"log": process.log, "database": dump(sqlite_engine), "answers": "\n".join(answers)}

    assert "Could not tell everybody by" in said["log"]
    assert "Drift" in said["database"]
    for place, content in said.items():
        assert "SECRET" not in content, f"{place}: {content[max(0, content.index('SECRET') - 300) :][:500]}"


def _environment(outside: FakeSlack, mail: FakeMail) -> dict[str, str]:
    host = outside.url.removeprefix("http://")
    return SECRETS | {
        "MODELWATCH_LOG_LEVEL": "DEBUG",
        "MODELWATCH_EVALUATION_INTERVAL": "200ms",
        "MODELWATCH_SLACK_API_URL": outside.api_url,
        "MODELWATCH_WEBHOOK_HOSTS": f"http://{host}",
        "MODELWATCH_PAGERDUTY_URL": f"{outside.url}/v2/enqueue",
        "MODELWATCH_SMTP_HOST": LOOPBACK,
        "MODELWATCH_SMTP_PORT": str(mail.port),
        "MODELWATCH_SMTP_TLS": "none",
        "MODELWATCH_SMTP_FROM": "watch@example.com",
        "MODELWATCH_HEARTBEAT_URL": f"{outside.url}/SECRET-heartbeat",
        "HOOK_URL": f"{outside.url}/SECRET-hook?token=SECRET-query",
        "APPRISE_URL": f"json://user:SECRET-password@{host}/SECRET-path",
    }


def _point(engine: Engine, feature: str) -> None:
    point = MetricPoint(
        at=datetime.now(UTC),
        name="drift_psi",
        value=0.5,
        model="churn",
        version="1",
        feature=feature,
        window_seconds=60,
        n_current=500,
    )
    with writing(engine) as c:
        metrics.write_points(c, [point])

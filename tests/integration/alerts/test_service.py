"""The alerts service as a process of its own, in real time."""

from __future__ import annotations

import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from storage import alerts, incidents, metrics, silences
from storage.engine import create_engine, reading, writing
from storage.records import AlertRow, MetricPoint, Silence
from tests.fakes import FakeMail, FakeSlack
from tests.integration.alerts.stage import RULES, start_service
from tests.ports import free_port
from tests.prometheus import running_prometheus

QUICK_RULES = RULES.replace("interval: 10s", "interval: 200ms").replace("for: 20s", "for: 1s").replace("for: 10s", "for: 500ms")


class Service:
    """A service on its own folder, with what it says and what it serves."""

    def __init__(self, url: str, folder: Path, slack: FakeSlack, mail: FakeMail) -> None:
        self.folder = folder
        self.log = folder / "alert.log"
        self.rules = folder / "rules.yml"
        self.rules.write_text(QUICK_RULES, encoding="utf-8")
        self.port = free_port()
        self.environment = {
            "MODELWATCH_HOME": str(folder / "home"),
            "MODELWATCH_DATABASE_URL": url,
            "MODELWATCH_ALERTS_PORT": str(self.port),
            "MODELWATCH_EVALUATION_INTERVAL": "200ms",
            "MODELWATCH_SLACK_WEBHOOK_URL": slack.webhook_url,
            "MODELWATCH_SMTP_HOST": "127.0.0.1",
            "MODELWATCH_SMTP_PORT": str(mail.port),
            "MODELWATCH_SMTP_TLS": "none",
            "MODELWATCH_SMTP_FROM": "watch@example.com",
        }

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        process = start_service(self.environment, self.folder, self.log)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            return str(answer.read().decode())

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8") if self.log.exists() else ""

    def serves(self, line: str) -> bool:
        try:
            return line in self.metrics().splitlines()
        except OSError:
            return False


@pytest.fixture
def service(database_url: str, tmp_path: Path, slack: FakeSlack, mail: FakeMail) -> Service:
    return Service(database_url, tmp_path, slack, mail)


@pytest.fixture
def sqlite_service(sqlite_url: str, tmp_path: Path, slack: FakeSlack, mail: FakeMail) -> Service:
    return Service(sqlite_url, tmp_path, slack, mail)


def point(engine: Engine, value: float, feature: str = "age") -> None:
    with writing(engine) as c:
        metrics.write_points(
            c,
            [
                MetricPoint(
                    at=datetime.now(UTC),
                    name="drift_psi",
                    value=value,
                    model="churn",
                    version="1",
                    feature=feature,
                    window_seconds=60,
                    n_current=500,
                    threshold=0.2,
                )
            ],
        )


def the_alert(engine: Engine) -> AlertRow | None:
    with reading(engine) as c:
        rows = alerts.load_alerts(c)
    return rows[0] if rows else None


def await_that(what: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def state(engine: Engine) -> str:
    row = the_alert(engine)
    return row.state.value if row else ""


def test_service_fires_tells_resolves_and_stops(service: Service, engine: Engine, slack: FakeSlack, mail: FakeMail) -> None:
    point(engine, 0.5)
    with service.running() as process:
        await_that(lambda: service.serves("modelwatch_alerts_up 1.0"))
        slack.wait_for(1)
        mail.wait_for(1)
        await_that(lambda: service.serves('modelwatch_alerts{rule="FeatureDrift",state="firing"} 1.0'))
        await_that(lambda: service.serves('modelwatch_incidents{state="open"} 1.0'))
        assert service.serves('modelwatch_alerts_suppressed{reason="silence"} 0.0')
        point(engine, 0.01)
        posted, received = slack.wait_for(2), mail.wait_for(2)

        assert "RESOLVED" in posted[1].text
        assert received[1]["In-Reply-To"] == received[0]["Message-ID"]
        assert state(engine) == "resolved"
        # Counted after the server has accepted the mail, so a moment after it was received.
        await_that(lambda: service.serves('modelwatch_notifications_total{channel="email",outcome="sent"} 2.0'))
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert "secret" not in service.said()


def test_service_reminds_until_somebody_takes_care_and_a_silence_hides_what_comes(
    sqlite_service: Service, sqlite_engine: Engine, slack: FakeSlack
) -> None:
    routes = "routes: {receiver: oncall, group_wait: 1s, group_interval: 1s, repeat_interval: 3s}"
    sqlite_service.rules.write_text(f"{QUICK_RULES.split('routes:')[0]}{routes}", encoding="utf-8")
    point(sqlite_engine, 0.5)
    point(sqlite_engine, 0.5, feature="income")
    with sqlite_service.running():
        began, reminded = slack.wait_for(2)
        with writing(sqlite_engine) as c:
            (incident,) = incidents.load_open(c)
            incidents.acknowledge(c, incident.id, by="ada", note="on it", now=datetime.now(UTC))
        acknowledged = slack.wait_for(3)[2]
        with writing(sqlite_engine) as c:
            now = datetime.now(UTC)
            matchers = {"feature": ["plan"]}
            silence = Silence(
                matchers=matchers, starts_at=now, ends_at=now + timedelta(hours=1), author="ada", comment="", created_at=now
            )
            silences.add(c, silence)
        point(sqlite_engine, 0.5, feature="plan")
        await_that(lambda: sqlite_service.serves('modelwatch_alerts_suppressed{reason="silence"} 1.0'))
        assert sqlite_service.serves('modelwatch_incidents{state="acknowledged"} 1.0')
        time.sleep(3.5)  # longer than the reminders were apart: that nothing comes cannot be awaited
        assert len(slack.posted) == 3
        point(sqlite_engine, 0.01)
        point(sqlite_engine, 0.01, feature="income")
        await_that(lambda: "RESOLVED" in slack.posted[-1].text)

    assert "2 alerts for churn version 1: FeatureDrift age, income" in began.text
    assert "STILL FIRING" in reminded.text
    assert "ada takes care of it: on it" in acknowledged.text


def test_killed_service_takes_up_a_pending_alert_where_it_was(
    sqlite_service: Service, sqlite_engine: Engine, slack: FakeSlack
) -> None:
    sqlite_service.rules.write_text(QUICK_RULES.replace("for: 1s", "for: 18s"), encoding="utf-8")
    point(sqlite_engine, 0.5)
    with sqlite_service.running() as process:
        await_that(lambda: state(sqlite_engine) == "pending")
        process.send_signal(signal.SIGKILL)
        process.wait()
    pending = the_alert(sqlite_engine)

    with sqlite_service.running():
        slack.wait_for(1, 40)

    fired = the_alert(sqlite_engine)
    assert pending is not None
    assert fired is not None
    assert fired.pending_at == pending.pending_at
    assert fired.fired_at is not None
    assert 18 <= (fired.fired_at - pending.pending_at).total_seconds() < 30 if pending.pending_at else False


def test_bad_rules_keep_the_old_ones_until_they_are_mended(
    sqlite_service: Service, sqlite_engine: Engine, slack: FakeSlack
) -> None:
    with sqlite_service.running():
        await_that(lambda: sqlite_service.serves("modelwatch_rules_last_reload_successful 1.0"))
        sqlite_service.rules.write_text("groups: [", encoding="utf-8")
        await_that(lambda: sqlite_service.serves("modelwatch_rules_last_reload_successful 0.0"))
        assert "The rules that were in force stay so" in sqlite_service.said()
        point(sqlite_engine, 0.5)
        slack.wait_for(1)

        sqlite_service.rules.write_text(QUICK_RULES.replace("FeatureDrift", "Renamed"), encoding="utf-8")
        slack.wait_for(3)
    with reading(sqlite_engine) as c:
        assert {row.rule: row.state.value for row in alerts.load_alerts(c)} == {"FeatureDrift": "resolved", "Renamed": "firing"}


ASKING = """
groups:
  - name: asked
    interval: 200ms
    rules:
      - alert: Asked
        promql: 'label_replace(vector(3), "model", "churn", "", "")'
        when: "> 1"
      - {alert: Wrong, promql: "sum("}
      - {alert: Failing, metric: rules_unjudged, when: "> 0"}
"""


def test_service_asks_prometheus_and_tells_of_a_query_that_it_refuses(
    sqlite_service: Service, sqlite_engine: Engine, slack: FakeSlack, tmp_path: Path
) -> None:
    sqlite_service.rules.write_text(ASKING, encoding="utf-8")
    with running_prometheus(tmp_path) as url:
        sqlite_service.environment["MODELWATCH_PROMETHEUS_URL"] = url
        with sqlite_service.running():
            slack.wait_for(2)
    with reading(sqlite_engine) as c:
        found = {row.rule: (row.state.value, row.value, row.labels) for row in alerts.load_alerts(c)}
    name = f"prometheus {url.removeprefix('http://')}"
    assert found == {"Asked": ("firing", 3.0, {"model": "churn"}), "Failing": ("firing", 1.0, {"segment": f"source={name}"})}


def test_two_services_on_one_database_tell_once(
    service: Service, engine: Engine, slack: FakeSlack, mail: FakeMail, tmp_path: Path
) -> None:
    other = Service(service.environment["MODELWATCH_DATABASE_URL"], tmp_path, slack, mail)
    other.log = tmp_path / "other.log"
    with service.running(), other.running():
        await_that(lambda: service.serves("modelwatch_alerts_up 1.0") and other.serves("modelwatch_alerts_up 1.0"))
        point(engine, 0.5)
        slack.wait_for(1)
        mail.wait_for(1)
        point(engine, 0.01)
        slack.wait_for(2)
        mail.wait_for(2)
        await_that(lambda: service.serves("modelwatch_notifications_waiting 0.0"))

    assert (len(slack.posted), len(mail.received)) == (2, 2)


def test_service_outlives_a_database_that_goes_away(postgresql_url: str, tmp_path: Path, slack: FakeSlack, mail: FakeMail) -> None:
    from sqlalchemy import make_url

    from tests.conftest import with_statement

    url = make_url(postgresql_url)
    server, name = url.set(database="postgres").render_as_string(hide_password=False), url.database
    service = Service(postgresql_url, tmp_path, slack, mail)
    with service.running():
        await_that(lambda: service.serves("modelwatch_alerts_up 1.0") and "Judging" in service.said())
        with_statement(server, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        with_statement(server, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        await_that(lambda: "Waiting for it" in service.said())
        with_statement(server, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")

        engine = create_engine(postgresql_url)
        point(engine, 0.5)
        slack.wait_for(1)
        engine.dispose()
    assert "Traceback" not in service.said()


def test_port_in_use_is_one_sentence(sqlite_service: Service, slack: FakeSlack) -> None:
    sqlite_service.environment["MODELWATCH_ALERTS_PORT"] = slack.url.rpartition(":")[2]

    with sqlite_service.running() as process:
        assert process.wait(60) == 1

    last = sqlite_service.said().strip().splitlines()[-1]
    assert last.startswith("storage.settings.SettingsError: Port ")
    assert "MODELWATCH_ALERTS_PORT" in last


def test_bad_rules_at_the_start_are_one_sentence(sqlite_service: Service) -> None:
    sqlite_service.rules.write_text("groups: [{name: a, rules: [{alert: A, metric: drift_psi, when: 5}]}]", encoding="utf-8")

    with sqlite_service.running() as process:
        assert process.wait(60) == 1

    assert 'rules.yml: group "a": rule "A": when: 5 has no comparison' in sqlite_service.said().strip().splitlines()[-1]

"""When a heartbeat is due, and when it has to stop."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine

from alerts.channels.hosts import HostPolicy, own_host
from alerts.channels.post import Poster
from alerts.watchdog import Cycle, Watchdog, trouble
from storage import jobs
from storage.engine import writing
from storage.records import JobRun
from tests.fakes import Answer, FakeSlack
from tests.unit.alerts.rows import NOW

WITHIN = timedelta(minutes=15)


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("cycle", "said"),
    [
        (Cycle(collected_at=ago(14), evaluated_at=ago(14), waiting_since=None), ""),
        (Cycle(collected_at=ago(1), evaluated_at=ago(1), waiting_since=ago(9)), ""),
        (Cycle(collected_at=ago(16), evaluated_at=ago(1), waiting_since=None), "the collector has finished nothing within 15m"),
        (Cycle(collected_at=None, evaluated_at=ago(1), waiting_since=None), "the collector has finished nothing within 15m"),
        (Cycle(collected_at=ago(1), evaluated_at=ago(16), waiting_since=None), "no rules were judged within 15m"),
        (Cycle(collected_at=ago(1), evaluated_at=None, waiting_since=None), "no rules were judged within 15m"),
        (Cycle(collected_at=ago(1), evaluated_at=ago(1), waiting_since=ago(11)), "a message has been waiting for 11m"),
    ],
)
def test_heartbeat_needs_a_whole_cycle(cycle: Cycle, said: str) -> None:
    assert trouble(cycle, within=WITHIN, now=NOW) == said


def test_heartbeat_stops_with_the_collector_and_when_nobody_hears_it(sqlite_engine: Engine) -> None:
    now = NOW
    with FakeSlack() as server:
        poster = Poster(policy=own_host(server.url), timeout=2)
        dog = Watchdog(
            sqlite_engine, f"{server.url}/ping/secret", poster, within=WITHIN, evaluated_at=lambda: now, clock=lambda: now
        )
        assert not dog.beat()
        with writing(sqlite_engine) as c:
            jobs.record_run(
                c, JobRun(name="statistics_1h", started_at=now, finished_at=now, succeeded_at=now, error=None, done_until=now)
            )
        assert dog.beat()
        server.script.append(Answer(status=500))
        assert not dog.beat()
        now += timedelta(minutes=20)
        assert not dog.beat()

    assert [posted.path for posted in server.posted] == ["/ping/secret", "/ping/secret"]


def test_address_of_the_heartbeat_may_be_called_and_nothing_else() -> None:
    policy = own_host("http://localhost:8080/ping")

    assert policy.check("http://localhost:8080/other").hostname == "localhost"
    assert policy == HostPolicy(("http://localhost:8080",))
    with pytest.raises(ValueError, match="not a web address"):
        own_host("localhost")

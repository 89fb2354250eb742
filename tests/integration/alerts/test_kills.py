"""kill -9 between every two steps of judging and telling: at least once always, and at most one message twice for each kill."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

import alerts.deliver
import alerts.evaluate
import alerts.timers
from alerts.lifecycle import OPEN
from alerts.rules import parse_rules
from alerts.settings import make_channels
from storage import failpoints
from storage.engine import create_engine
from storage.records import OutboxStatus
from tests.fakes import FakeSlack
from tests.integration.alerts.stage import RULES, Stage, make_delivery, settings_for

AT_ONCE = RULES.replace("for: 20s", "for: 0s").replace("for: 10s", "for: 0s").replace("    email: {to: [oncall@example.com]}\n", "")
"""Fires and ends at once, and only Slack is told."""
JUDGING = ("gathered", "alerts_saved", "dispatched", "evaluated")
TELLING = ("claimed", "sent", "marked")


def in_a_process(work: Callable[[], None]) -> int:
    """Does the work in a child of this process; its id. The child is gone when the work is."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)


def ended_by(child: int) -> int:
    """The signal that ended the child, 0 for none."""
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


@pytest.fixture
def stage(engine: Engine, slack: FakeSlack) -> Stage:
    return Stage(engine=engine, settings=settings_for(slack), rules=parse_rules(AT_ONCE, "rules.yml"))


def go_on(stage: Stage, *, die_at: str = "") -> None:
    """A process of its own judges once and tells everything, or dies where it is told to."""

    def work() -> None:
        failpoints.arm(f"{die_at}:kill")
        engine = create_engine(stage.engine.url.render_as_string(hide_password=False))
        mine = Stage(engine=engine, settings=stage.settings, rules=stage.rules, owner=f"pid {os.getpid()}", now=stage.now)
        mine.evaluate()
        mine.deliver()

    assert ended_by(in_a_process(work)) == (signal.SIGKILL if die_at else 0)
    stage.wait(61)  # leases and claims of who died run out


def told(slack: FakeSlack) -> list[str]:
    posts = [request for request in slack.posted if request.path.endswith("chat.postMessage")]
    return ["resolved" if "RESOLVED" in request.text else "firing" for request in posts]


@pytest.mark.parametrize("place", [*JUDGING, *TELLING])
def test_killed_between_two_steps_tells_all_and_repeats_at_most_what_it_was_sending(
    stage: Stage, slack: FakeSlack, place: str
) -> None:
    times = 2 if place == "sent" else 1  # it was told, and nobody knows
    for value, kind in ((0.5, "firing"), (0.01, "resolved")):
        before = len(told(slack))
        stage.point(value)
        go_on(stage, die_at=place)
        stage.point(value)
        go_on(stage)
        stage.point(value)
        go_on(stage)

        assert told(slack)[before:] == [kind] * times

    assert [item.status for item in stage.items()] == [OutboxStatus.SENT] * 2
    assert [row.state.value for row in stage.alerts()] == ["resolved"]


# ---------------------------------------------------------------------------------------------- two engines

HOOK = "the-hook"
TWO = f"""
groups:
  - name: drift
    interval: 1s
    rules:
      - {{alert: FeatureDrift, metric: drift_psi, where: {{feature: "*"}}, when: "> 0.2"}}
receivers: [{{name: oncall, webhook: {{url: "URL/{HOOK}"}}}}]
routes: {{receiver: oncall, group_by: ["..."], group_wait: 0s, group_interval: 1s}}
"""
FEATURES = [f"feature {n}" for n in range(12)]
SECONDS = 8.0


def test_two_engines_that_are_killed_again_and_again_lose_nothing(engine: Engine, slack: FakeSlack) -> None:
    host = slack.url.removeprefix("http://")
    stage = Stage(
        engine=engine,
        settings=settings_for(webhook_hosts=f"http://{host}"),
        rules=parse_rules(TWO.replace("URL", slack.url), "rules.yml"),
    )
    dice = random.Random(4)
    children = [in_a_process(lambda: _serve(stage)) for _ in range(2)]
    kills = 0
    end = time.monotonic() + SECONDS
    try:
        while time.monotonic() < end:
            stage.now = datetime.now(UTC)
            for feature in dice.sample(FEATURES, 4):
                stage.point(dice.choice((0.5, 0.01)), feature=feature)
            time.sleep(dice.uniform(0.1, 0.6))
            if dice.random() < 0.5:
                victim = dice.randrange(2)
                os.kill(children[victim], signal.SIGKILL)
                os.waitpid(children[victim], 0)
                kills += 1
                children[victim] = in_a_process(lambda: _serve(stage))
        for feature in FEATURES:
            stage.now = datetime.now(UTC)
            stage.point(0.01, feature=feature)
        _await_calm(stage)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    heard = Counter(request.headers["webhook-id"] for request in slack.posted)
    items = stage.items()
    assert kills >= 3
    assert len(items) > 20
    assert {item.message_id for item in items} == set(heard)
    assert len({item.message_id for item in items}) == len(items)
    assert sum(times - 1 for times in heard.values()) <= kills
    kinds = Counter(item.kind for item in items)
    assert kinds["firing"] == kinds["resolved"]  # every alert that began was told, and so was its end


def _serve(stage: Stage) -> None:
    """What the service does, in one thread, with claims and leases that run out soon."""
    for module in (alerts.evaluate, alerts.timers):
        module.LEASE_TIME = timedelta(seconds=0.5)  # type: ignore[attr-defined]
    alerts.deliver.CLAIM_TIME = timedelta(seconds=3)
    engine = create_engine(stage.engine.url.render_as_string(hide_password=False))
    mine = Stage(engine=engine, settings=stage.settings, rules=stage.rules, owner=f"pid {os.getpid()}")
    delivery = make_delivery(mine, make_channels(stage.settings, stage.rules.routing.receivers))
    while True:
        mine.now = datetime.now(UTC)
        mine.evaluate()
        mine.tend()
        while delivery.deliver_next():
            mine.now = datetime.now(UTC)
        time.sleep(0.02)


def _await_calm(stage: Stage) -> None:
    deadline = time.monotonic() + 60
    while True:
        waiting = stage.items(OutboxStatus.WAITING)
        unfinished = [row for row in stage.alerts() if row.state in OPEN]
        if not waiting and not unfinished:
            return
        assert time.monotonic() < deadline, (waiting, unfinished)
        time.sleep(0.1)

"""What people hear, and when: the process of a user, on real time, with Slack, webhooks and mail that answer well and badly."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from storage import jobs, outbox
from storage.engine import create_engine, writing
from storage.records import JobRun, OutboxItem, OutboxStatus
from tests.acceptance.alerting.timeline import Inbox, Mailboxes, Outside, Play, Process, Scenario, play_all, rules_file
from tests.fakes import LOOPBACK, Answer, FakeMail

pytestmark = pytest.mark.acceptance

NOT_OK = Answer(body='{"ok": false, "error": "channel_not_found"}', headers={"Content-Type": "application/json"})


def limited(retry_after: str = "") -> Answer:
    headers = {"Retry-After": retry_after} if retry_after else {}
    return Answer(status=429, body='{"ok": false, "error": "ratelimited"}', headers=headers | {"Content-Type": "application/json"})


# ---------------------------------------------------------------------------------------------- incidents


def grouping(play: Play) -> None:
    play.point(0.5, "age", "fare")
    play.want("firing", "age", "fare", between=(2, 5))
    play.want("repeat", "age", "fare", between=(3, 11))  # eight after the first was written, which came later
    play.point(0.5, "city")
    play.want("update", "city", between=(0, 6))
    play.point(0.01, "age", "fare", "city")
    play.want("resolved", between=(0, 7))


def parts_of_an_end(play: Play) -> None:
    """Of two problems one ends: the message says which, and the end comes with the other one."""
    play.point(0.5, "age", "fare")
    play.want("firing", "age", "fare", between=(0, 3))
    play.want("firing", "age", "fare", between=(-3, 3), by="email")
    play.point(0.01, "fare")
    play.want("update", "fare", between=(0, 6))
    play.want("update", "fare", between=(-3, 3), by="email")
    play.point(0.01, "age")
    play.want("resolved", between=(0, 6))
    play.want("resolved", between=(-3, 3), by="email")


def silenced(play: Play) -> None:
    """A silence while it fires stops repeats, and the end of what was announced is told all the same."""
    play.point(0.5, "age")
    play.want("firing", between=(0, 3))
    matchers = {"model": play.name}
    play.process.call("POST", "/v1/silences", {"matchers": matchers, "minutes": 10, "comment": "we know", "by": "ada"})
    play.quiet(7)
    play.point(0.01, "age")
    play.want("resolved", between=(0, 4))


def silenced_before(play: Play) -> None:
    """What begins and ends under a silence is never told."""
    play.process.call("POST", "/v1/silences", {"matchers": {"model": play.name}, "minutes": 10, "comment": "a test", "by": "ada"})
    play.point(0.5, "age")
    play.quiet(3)
    play.point(0.01, "age")
    play.quiet(3)


def inhibited(play: Play) -> None:
    """While the endpoint is down nobody hears of its drift; afterwards they do."""
    play.point(0.9, "", name="error_rate")
    play.want("firing", "Down", between=(0, 3))
    play.point(0.5, "age")
    play.quiet(4)
    play.point(0.0, "", name="error_rate")
    play.want("resolved", "Down", between=(0, 4))
    play.want("firing", "age", between=(-2, 5))


def acknowledged(play: Play) -> None:
    """An acknowledgement is told, and stops repeats and escalation."""
    play.point(0.5, "age")
    play.want("firing", between=(0, 3))
    play.process.call("POST", f"/v1/incidents/{play.incident()}/ack", {"by": "ada", "note": "on it"})
    play.happened()
    play.want("acknowledged", "ada", between=(0, 3))
    play.quiet(8)
    play.point(0.01, "age")
    play.want("resolved", between=(0, 4))


def escalated(play: Play) -> None:
    """Where nobody acknowledges the next receiver is told, and hears of the end as well."""
    play.point(0.5, "age")
    play.want("firing", between=(0, 3))
    play.want("escalation", between=(-1, 6), to="boss")
    play.point(0.01, "age")
    play.want("resolved", between=(0, 4))
    play.want("resolved", between=(-3, 4), to="boss")


# ---------------------------------------------------------------------------------------------- channels


def failing_beside_good(play: Play) -> None:
    """A channel with errors of its server is tried again; the good one beside it hears nothing of that."""
    play.answer_next()
    play.extra["failing_slack"].answers.extend([Answer(status=500), Answer(status=503)])
    play.point(0.5, "age")
    play.want("firing", between=(0, 3), by="webhook")
    play.want("firing", between=(-3, 3), to="failing_slack", taken=False)
    play.want("firing", between=(3, 8), to="failing_slack", taken=False)
    play.want("firing", between=(7, 13), to="failing_slack")
    play.quiet(1)
    play.point(0.01, "age")
    play.want("resolved", between=(0, 4), by="webhook")
    play.want("resolved", between=(-3, 4), to="failing_slack")


def not_ok(play: Play) -> None:
    """A channel that Slack does not know is given up at once, and the other way tells so, once."""
    play.extra["unknown_slack"].answers.extend([NOT_OK, NOT_OK])
    play.point(0.5, "age")
    play.want("firing", between=(-1, 3), to="unknown_slack", taken=False)
    play.want("firing", between=(-3, 3), by="webhook")
    play.want("undelivered", "channel_not_found", between=(-3, 4), by="webhook")
    play.point(0.01, "age")
    play.want("resolved", between=(0, 4), by="webhook")
    play.want("resolved", between=(-3, 4), to="unknown_slack", taken=False)
    play.quiet(2)


def held(play: Play) -> None:
    """After 429 nothing is sent before Retry-After; what piled up meanwhile comes as one."""
    play.answer_next(limited("9"))
    play.point(0.5, "age")
    play.want("firing", between=(0, 3), taken=False)
    sent = play.mark
    play.point(0.5, "fare")
    time.sleep(2.5)
    play.point(0.5, "city")
    play.mark = sent
    play.want("digest", "3 incidents", "age", "fare", "city", between=(9, 12))
    play.point(0.01, "age", "fare", "city")
    for _ in range(3):
        play.want("resolved", between=(0, 6))


def held_without_word(play: Play) -> None:
    """429 without Retry-After holds for half a minute, less up to a fifth."""
    play.answer_next(limited())
    play.point(0.5, "age")
    play.want("firing", between=(0, 3), taken=False)
    play.want("firing", between=(24, 33))


def redirected(play: Play) -> None:
    """A redirect is an error, not a way; the mail says that the webhook does not work."""
    play.answer_next(Answer(status=302, headers={"Location": f"{play.outside.url}/hooks/elsewhere"}))
    play.point(0.5, "age")
    play.want("firing", between=(0, 3), by="webhook", taken=False)
    play.want("firing", between=(-3, 3), by="email")
    play.want("undelivered", "points to another address", between=(-3, 3), by="email")


def dropped(play: Play) -> None:
    """A connection that is cut off is tried again after the other side had time to recover."""
    play.answer_next(Answer(drop=True))
    play.point(0.5, "age")
    play.want("firing", between=(0, 3), by="webhook", taken=False)
    play.want("firing", between=(4, 14), by="webhook")


RULE = "for: 0s"
ROUTE = "group_by: [model], group_wait: 0s, group_interval: 2s, repeat_interval: 1h"
INCIDENTS = (
    Scenario(
        play=grouping,
        rule=RULE,
        route="group_by: [model], group_wait: 2s, group_interval: 4s, repeat_interval: 8s",
        channels="slack: {channel: '#grouping'}",
    ),
    Scenario(
        play=parts_of_an_end,
        rule=RULE,
        route=ROUTE,
        channels="slack: {channel: '#parts_of_an_end'}, email: {to: [parts_of_an_end@example.com]}",
    ),
    Scenario(
        play=silenced,
        rule=RULE,
        route=ROUTE.replace("1h", "3s"),
        channels="slack: {channel: '#silenced'}",
    ),
    Scenario(play=silenced_before, rule=RULE, route=ROUTE, channels="slack: {channel: '#silenced_before'}"),
    Scenario(
        play=inhibited,
        rule="for: 0s}\n      - {alert: Down, metric: error_rate, where: {model: inhibited}, when: '> 0.5', labels: {severity: critical}",
        route=ROUTE.replace("[model]", "[alert]"),
        channels="slack: {channel: '#inhibited'}",
    ),
    Scenario(
        play=acknowledged,
        rule=RULE,
        route=ROUTE.replace("1h", "4s") + ", escalate: [{after: 8s, receiver: head}]",
        channels="slack: {channel: '#acknowledged'}",
        more_receivers="\n  - {name: head, slack: {channel: '#head'}}",
        extra=("head",),
    ),
    Scenario(
        play=escalated,
        rule=RULE,
        route=ROUTE + ", escalate: [{after: 4s, receiver: boss}]",
        channels="slack: {channel: '#escalated'}",
        more_receivers="\n  - {name: boss, slack: {channel: '#boss'}}",
        extra=("boss",),
    ),
    Scenario(
        play=failing_beside_good,
        rule=RULE,
        route=ROUTE,
        channels="slack: {channel: '#failing_slack'}, webhook: {url: '{hooks}/failing_beside_good'}",
        extra=("failing_slack",),
    ),
    Scenario(
        play=not_ok,
        rule=RULE,
        route=ROUTE,
        channels="slack: {channel: '#unknown_slack'}, webhook: {url: '{hooks}/not_ok'}",
        extra=("unknown_slack",),
    ),
    Scenario(
        play=held,
        rule=RULE,
        route=ROUTE.replace("[model]", "[model, feature]"),
        channels="slack: {channel: '#held'}",
    ),
    Scenario(play=held_without_word, rule=RULE, route=ROUTE, channels="slack: {channel: '#held_without_word'}"),
    Scenario(
        play=redirected,
        rule=RULE,
        route=ROUTE,
        channels="webhook: {url: '{hooks}/redirected'}, email: {to: [redirected@example.com]}",
        extra=("elsewhere",),
    ),
    Scenario(play=dropped, rule=RULE, route=ROUTE, channels="webhook: {url: '{hooks}/dropped'}"),
)


# ---------------------------------------------------------------------------------------------- the process itself


RESTARTED = threading.Event()


def killed_while_pending(play: Play) -> None:
    """`for` goes on where it was when the process was killed."""
    play.point(0.5, "age")
    begun = play.mark
    _restart(play)
    play.mark = begun
    play.want("firing", between=(21, 25), by="webhook")


def killed_while_firing(play: Play) -> None:
    """What fired before the process was killed is not told again, and its end is."""
    play.point(0.5, "age")
    play.want("firing", between=(0, 3), by="webhook")
    RESTARTED.wait(60)
    play.quiet(1)
    play.point(0.01, "age")
    play.want("resolved", between=(0, 20), by="webhook")


def _restart(play: Play) -> None:
    time.sleep(5)
    play.process.kill()
    play.process.start()
    RESTARTED.set()


def slow(play: Play) -> None:
    """Who answers too late may have heard it: it is told again, as at-least-once wants, and then no more."""
    play.answer_next(Answer(delay=11, body="ok"))
    play.point(0.5, "age")
    play.want("firing", between=(0, 3), by="webhook")
    play.want("firing", between=(14, 24), by="webhook")


def reloaded(play: Play) -> None:
    """A bad file changes nothing but a metric; a good one takes force."""
    good = play.process.rules.read_text(encoding="utf-8")
    play.process.rules.write_text("groups: [", encoding="utf-8")
    play.process.wait_until(lambda: "modelwatch_rules_last_reload_successful 0.0" in play.process.metrics())
    play.point(0.5, "age")
    play.want("firing", "Drift_reloaded", between=(0, 3))
    play.process.rules.write_text(good.replace("Drift_reloaded", "Renamed"), encoding="utf-8")
    play.happened()
    play.want("resolved", "Drift_reloaded", "rule was removed", between=(0, 5))
    play.want("firing", "Renamed", between=(-3, 5))
    play.process.wait_until(lambda: "modelwatch_rules_last_reload_successful 1.0" in play.process.metrics())


def stuck(play: Play) -> None:
    """The heartbeat goes out after a whole cycle, and not while a message has been waiting for long."""
    beats = play.outside.beats
    assert not beats  # the collector has not finished anything yet
    now = datetime.now(UTC)
    with writing(play.engine) as c:
        jobs.record_run(c, JobRun(name="statistics", started_at=now, finished_at=now, succeeded_at=now))
    play.process.wait_until(lambda: beats)
    with writing(play.engine) as c:
        outbox.enqueue(c, _old_message(now))
    time.sleep(2)
    known = len(beats)
    time.sleep(3)
    assert len(beats) == known, "the heartbeat goes on while a message is stuck"
    with writing(play.engine) as c:
        (item,) = [one for one in outbox.list_items(c, status=OutboxStatus.WAITING) if one.dedup_key == "stuck"]
        outbox.mark_failed(c, item.id, error="given up")
    play.process.wait_until(lambda: len(beats) > known)


def _old_message(now: datetime) -> OutboxItem:
    return OutboxItem(
        dedup_key="stuck",
        kind="test",
        channel="slack",
        receiver="stuck",
        payload={},
        created_at=now - timedelta(minutes=11),
        next_attempt_at=now + timedelta(hours=1),
    )


KILLED = (
    Scenario(play=killed_while_pending, rule="for: 21s", route=ROUTE, channels="webhook: {url: '{hooks}/killed_while_pending'}"),
    Scenario(play=killed_while_firing, rule=RULE, route=ROUTE, channels="webhook: {url: '{hooks}/killed_while_firing'}"),
)
OTHERS = (
    Scenario(play=reloaded, rule=RULE, route=ROUTE.replace("[model]", "['...']"), channels="slack: {}"),
    Scenario(play=slow, rule=RULE, route=ROUTE, channels="webhook: {url: '{hooks}/slow'}"),
    Scenario(play=stuck, rule=RULE, route=ROUTE, channels="webhook: {url: '{hooks}/stuck'}"),
)
TIMELINES = {"incidents": INCIDENTS, "killed": KILLED, "others": OTHERS}


# ---------------------------------------------------------------------------------------------- played side by side


@dataclass(frozen=True, kw_only=True)
class Played:
    """What became of the scenarios, and of the processes that they were played on."""

    failures: dict[str, BaseException]
    rest: dict[str, list[object]]
    exits: dict[str, int]
    logs: dict[str, str]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory, sqlite_template: bytes) -> Played:
    """All timelines, each on a process and a database of its own, at the same time."""
    RESTARTED.clear()
    found = Played(failures={}, rest={}, exits={}, logs={})
    folder = tmp_path_factory.mktemp("timelines")
    threads = [threading.Thread(target=_timeline, args=(name, folder, sqlite_template, found)) for name in TIMELINES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def _timeline(name: str, folder: Path, template: bytes, found: Played) -> None:
    scenarios = TIMELINES[name]
    home = folder / name
    home.mkdir()
    (home / "modelwatch.db").write_bytes(template)
    inboxes = {one: Inbox() for scenario in scenarios for one in (scenario.name, *scenario.extra)}
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(home / "authority.pem"))
    engine = create_engine(f"sqlite:///{home / 'modelwatch.db'}")
    with ExitStack() as stack:
        outside = stack.enter_context(Outside(inboxes))
        mail = stack.enter_context(Mailboxes(inboxes, authority=authority))
        stack.callback(engine.dispose)
        process = Process(folder=home, environment=_environment(name, home, outside, mail))
        process.rules.write_text(rules_file(scenarios, outside.url), encoding="utf-8")
        process.start()
        stack.callback(process.kill)
        try:
            process.wait_until_up()
            plays = {
                one.name: Play(
                    name=one.name, process=process, engine=engine, outside=outside, inbox=inboxes[one.name], extra=inboxes
                )
                for one in scenarios
            }
            found.failures.update(play_all(scenarios, plays))
            time.sleep(2)
            found.exits[name] = process.stop()
        except BaseException as error:  # noqa: BLE001  told by the tests of its scenarios
            found.failures.update({scenario.name: error for scenario in scenarios})
        found.logs[name] = process.log
    found.rest.update({one: list(inbox.rest) for one, inbox in inboxes.items()})


def _environment(name: str, home: Path, outside: Outside, mail: FakeMail) -> dict[str, str]:
    slack = (
        {"MODELWATCH_SLACK_BOT_TOKEN": "xoxb-the-token-of-the-bot", "MODELWATCH_SLACK_API_URL": outside.api_url}
        if name == "incidents"
        else {"MODELWATCH_SLACK_WEBHOOK_URL": f"{outside.url}/services/T000/B000/reloaded"}
    )
    return slack | {
        "MODELWATCH_EVALUATION_INTERVAL": "200ms",
        "MODELWATCH_WEBHOOK_HOSTS": f"http://{LOOPBACK}:{outside.url.rpartition(':')[2]}",
        "MODELWATCH_SMTP_HOST": LOOPBACK,
        "MODELWATCH_SMTP_PORT": str(mail.port),
        "MODELWATCH_SMTP_TLS": "starttls",
        "MODELWATCH_SMTP_CA_FILE": str(home / "authority.pem"),
        "MODELWATCH_SMTP_USERNAME": FakeMail.USERNAME,
        "MODELWATCH_SMTP_PASSWORD": FakeMail.PASSWORD,
        "MODELWATCH_SMTP_FROM": "watch@example.com",
        "MODELWATCH_HEARTBEAT_URL": f"{outside.url}/heartbeat",
        "MODELWATCH_HEARTBEAT_INTERVAL": "500ms",
    }


@pytest.mark.parametrize("scenario", [one for timeline in TIMELINES.values() for one in timeline], ids=lambda one: one.name)
def test_each_message_comes_in_its_time_and_no_other(played: Played, scenario: Scenario) -> None:
    if scenario.name in played.failures:
        raise played.failures[scenario.name]

    assert {one: played.rest[one] for one in (scenario.name, *scenario.extra)} == {
        one: [] for one in (scenario.name, *scenario.extra)
    }


def test_processes_stop_cleanly_and_log_no_fault(played: Played) -> None:
    assert played.exits == dict.fromkeys(TIMELINES, 0)
    assert [name for name, log in played.logs.items() if "Traceback" in log] == []


def test_logs_hold_no_secret(played: Played) -> None:
    said = "".join(played.logs.values())

    assert "xoxb-the-token-of-the-bot" not in said
    assert FakeMail.PASSWORD not in said
    assert "/services/T000" not in said
    assert "/heartbeat" not in said

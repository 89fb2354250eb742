"""Rules over points in a database: states, their log and the messages, together or not at all."""

from dataclasses import replace
from datetime import timedelta
from threading import Barrier, Thread
from typing import Any

import pytest

from alerts.dispatch import desk_for
from alerts.evaluate import LEASE_TIME, evaluate_group, give_up_lease, renew, resolve_orphans
from alerts.lifecycle import Observation
from alerts.messages import Message
from alerts.observations import observe
from alerts.receivers import Receiver
from alerts.rules import Rule, parse_rules
from storage import alerts, leases, outbox
from storage.engine import reading, writing
from storage.records import AlertState
from tests.integration.alerts.stage import QUICK, RULES, Stage


def messages(stage: Stage) -> list[tuple[str, str]]:
    return [(item.kind, item.channel) for item in stage.items()]


def test_alert_goes_pending_fires_recovers_and_resolves(stage: Stage) -> None:
    assert stage.play(0.05, 0.5, 0.5, 0.5, 0.15, 0.05, 0.05, 0.05) == ["", "p", "p", "f", "f", "r", "r", "r"]

    (alert,) = stage.alerts()
    assert alert.state is AlertState.RESOLVED
    assert alert.labels == {"model": "churn", "version": "1", "feature": "age", "severity": "warning"}
    with reading(stage.engine) as c:
        events = alerts.list_events(c)[::-1]
    assert [(event.from_state.value, event.to_state.value) for event in events] == [
        ("inactive", "pending"),
        ("pending", "firing"),
        ("firing", "recovering"),
        ("recovering", "resolved"),
    ]
    assert events[1].reason == "PSI 0.5 > 0.2, for 20s or longer"
    assert messages(stage) == [("firing", "slack"), ("firing", "email"), ("resolved", "slack"), ("resolved", "email")]


def test_restart_in_the_middle_keeps_how_long_it_has_held(stage: Stage) -> None:
    assert stage.play(0.5, 0.5) == ["p", "p"]
    (pending,) = stage.alerts()

    restarted = replace(stage, owner="another", _delivery=None)
    restarted.wait(LEASE_TIME.total_seconds())

    assert restarted.play(0.5) == ["f"]
    assert restarted.alerts()[0].pending_at == pending.pending_at


def test_series_of_one_rule_have_states_of_their_own(stage: Stage) -> None:
    for _ in range(3):
        stage.point(0.5)
        stage.point(0.01, feature="income")
        stage.point(0.5, version="2")
        stage.evaluate()
        stage.wait(10)

    assert [(row.labels["version"], row.labels["feature"]) for row in stage.alerts()] in (
        [("1", "age"), ("2", "age")],
        [("2", "age"), ("1", "age")],
    )


def test_no_data_keeps_the_alert_and_a_replaced_version_ends_it(stage: Stage) -> None:
    stage.fire()
    stage.wait(300)
    stage.evaluate()
    assert [(row.state.value, row.health.value) for row in stage.alerts()] == [("firing", "no_data")]

    assert stage.play(0.01, 0.01, 0.01, version="2")[-1] == "r"

    assert stage.alerts()[0].reason == "the series ended, others of the model go on"
    assert [item.kind for item in stage.items()] == ["firing", "firing", "resolved", "resolved"]


def test_too_few_samples_neither_fire_nor_resolve(stage: Stage) -> None:
    assert stage.play(0.9, 0.9, 0.9, n_current=99) == ["", "", ""]
    stage.fire()
    assert stage.play(0.0, 0.0, n_current=99) == ["f", "f"]


def test_alerts_of_a_removed_rule_resolve_and_tell(stage: Stage) -> None:
    stage.fire()
    other = parse_rules(RULES.replace("FeatureDrift", "Other"), "rules.yml")

    evaluation = resolve_orphans(stage.engine, other, replace(stage, rules=other).desk, owner=stage.owner, now=stage.now)

    assert evaluation is not None
    assert [row.state for row in stage.alerts()] == [AlertState.RESOLVED]
    assert "its rule was removed" in Message.from_json(stage.items()[-1].payload["message"]).summary


def test_state_and_messages_are_written_together_or_not_at_all(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.play(0.5, 0.5)
    stage.point(0.5)
    before = stage.alerts()

    def full(*_: object, **__: object) -> bool:
        raise OSError("disk full")

    monkeypatch.setattr(outbox, "enqueue", full)
    with pytest.raises(OSError, match="disk full"):
        stage.evaluate()

    assert stage.alerts() == before
    monkeypatch.undo()
    stage.evaluate()
    assert [row.state for row in stage.alerts()] == [AlertState.FIRING]
    assert len(stage.items()) == 2


def test_rule_that_cannot_be_judged_leaves_the_others_alone(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.fire()
    text = RULES.replace("receivers:", "      - {alert: Second, metric: drift_psi, when: '> 0.3'}\nreceivers:")
    stage.rules = parse_rules(text, "rules.yml")
    real = observe

    def broken(rule: Rule, *args: Any, **kwargs: Any) -> list[Observation]:
        if rule.name == "FeatureDrift":
            raise ZeroDivisionError
        return real(rule, *args, **kwargs)

    monkeypatch.setattr("alerts.evaluate.observe", broken)
    stage.point(0.5)
    stage.evaluate()

    found = {row.rule: (row.state.value, row.health.value) for row in stage.alerts()}
    assert found == {"FeatureDrift": ("firing", "error"), "Second": ("firing", "ok")}


# ---------------------------------------------------------------------------------------------- several engines


def test_one_engine_judges_at_a_time(stage: Stage) -> None:
    other = replace(stage, owner="two")

    assert stage.evaluate() is not None
    assert other.evaluate() is None
    assert not renew(stage.engine, owner="two", now=stage.now)

    other.wait(LEASE_TIME.total_seconds() + 1)
    assert other.evaluate() is not None


def test_lease_that_is_given_up_is_free_at_once(stage: Stage) -> None:
    stage.evaluate()
    give_up_lease(stage.engine, owner=stage.owner, now=stage.now)

    assert renew(stage.engine, owner="two", now=stage.now)


def test_two_engines_at_once_write_each_message_once(stage: Stage) -> None:
    stage.play(0.5, 0.5)
    stage.point(0.5)
    give_up_lease(stage.engine, owner=stage.owner, now=stage.now)
    barrier = Barrier(4)
    results: list[object] = []

    def judge(owner: str) -> None:
        engine = replace(stage, owner=owner)
        barrier.wait()
        results.append(engine.evaluate())

    threads = [Thread(target=judge, args=(f"engine-{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(result is not None for result in results) == 1
    assert messages(stage) == [("firing", "slack"), ("firing", "email")]


def test_engine_that_was_overtaken_while_paused_writes_nothing(stage: Stage) -> None:
    stage.play(0.5, 0.5)
    stage.point(0.5)
    woken_late = replace(stage)
    with writing(stage.engine) as c:
        assert leases.acquire(c, "alerts", "two", ttl=timedelta(hours=1), now=stage.now + timedelta(minutes=1))

    assert woken_late.evaluate() is None
    assert [row.state for row in stage.alerts()] == [AlertState.PENDING]


def test_group_without_points_writes_nothing(stage: Stage) -> None:
    desk = desk_for(stage.rules, Receiver(name="default"), dashboard="", freshness=QUICK)

    evaluation = evaluate_group(stage.engine, stage.rules.groups[0], desk, owner="one", now=stage.now)

    assert evaluation is not None
    assert (evaluation.transitions, stage.alerts(), stage.items()) == ((), [], [])


def test_labels_that_come_late_are_judged_in_the_window_that_has_enough(stage: Stage) -> None:
    text = (
        RULES.replace("drift_psi", "accuracy")
        .replace('"> 0.2"', '"< 0.8"')
        .replace('"< 0.1"', '">= 0.8"')
        .replace("for: 20s", "for: 0s")
    )
    stage.rules = parse_rules(text, "rules.yml")
    stage.point(0.5, name="accuracy", feature="", n_current=400)
    stage.wait(1800)
    stage.point(0.95, name="accuracy", feature="", n_current=4)

    stage.evaluate()

    assert [(row.state, row.n_current) for row in stage.alerts()] == [(AlertState.FIRING, 400)]


def test_shortest_window_is_judged_and_a_stopped_collector_is_no_reason_to_judge_a_longer_one(stage: Stage) -> None:
    stage.point(0.01, window_seconds=60)
    stage.point(0.9, window_seconds=86400)

    for seconds in (0, 120, 600, 3600):
        stage.wait(seconds)
        stage.evaluate()

    assert stage.alerts() == []


def test_named_window_is_judged(stage: Stage) -> None:
    stage.rules = parse_rules(RULES.replace("for: 20s", "window: 1d"), "rules.yml")
    stage.point(0.01, window_seconds=60)
    stage.point(0.9, window_seconds=86400)

    stage.evaluate()

    assert [(row.state, row.window_seconds) for row in stage.alerts()] == [(AlertState.FIRING, 86400)]

"""What people read of an incident: one alert as itself, many as a bounded list, and the likely cause."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from alerts.causes import likely_cause
from alerts.incident_messages import MOST_LINES, Sources, incident_message
from alerts.incidents import Notice
from alerts.messages import Kind, Message, message_for
from alerts.titles import LONGEST_TITLE, incident_title, worst_first, worst_severity
from storage.records import AlertRow, AlertState, Deployment, Incident, Mode
from tests.unit.alerts.rows import NOW, make_alert, make_rule

RULE = make_rule(
    annotations={
        "summary": "{{ feature }} drifted: PSI {{ value }}",
        "description": "{{ n }} predictions",
        "runbook_url": "https://wiki.example.com/{{ alert }}",
    }
)
HOUR = timedelta(hours=1)


def alert(feature: str = "age", state: AlertState = AlertState.FIRING, **changes: Any) -> AlertRow:
    labels = {"model": "churn", "version": "2", "feature": feature, "severity": changes.pop("severity", "warning")}
    if state is AlertState.RESOLVED:
        changes = {"resolved_at": NOW + HOUR, "reason": "PSI 0.04 < 0.1", **changes}
    return make_alert(state, fingerprint=feature, labels=labels, **changes)


def incident(*told: str, **changes: Any) -> Incident:
    return Incident(
        key=":oncall:model=churn",
        route="",
        receiver="oncall",
        labels={"model": "churn"},
        title=changes.pop("title", "3 alerts for churn version 2: FeatureDrift age, income, plan"),
        severity="warning",
        opened_at=NOW,
        number=1,
        told=dict.fromkeys(told, "firing"),
        id=7,
        **changes,
    )


def message(kind: Kind, about: Incident, rows: list[AlertRow], *, ends: bool = True, **alerts: tuple[str, ...]) -> Message:
    notice = Notice(kind=kind, number=1, recipients=("oncall",), **alerts)
    sources = Sources(
        alerts={row.fingerprint: row for row in rows},
        rules={RULE.name: RULE},
        dashboard="https://watch.example.com",
        now=NOW + HOUR,
    )
    made, problems = incident_message(about, notice, sources, ends=ends)
    assert problems == ()
    return made


def test_one_alert_reads_as_the_alert_itself() -> None:
    found = message(Kind.FIRING, incident("age"), [alert()], new=("age",))

    alone, _ = message_for(alert(), RULE, dashboard="https://watch.example.com", now=NOW + HOUR)
    told = ("title", "summary", "description", "facts", "dashboard_url", "runbook_url", "severity", "kind")
    assert {name: getattr(found, name) for name in told} == {name: getattr(alone, name) for name in told}
    assert (found.key, found.incident, found.incident_key) == ("incident:7:1", 7, f":oncall:model=churn@{NOW.isoformat()}")
    assert found.labels == {**alert().labels, "alert": "FeatureDrift"}
    (line,) = found.lines
    assert (line.state, line.fingerprint, line.detail) == ("firing", "age", "age drifted: PSI 0.3457")
    assert (line.starts_at, line.ends_at) == (NOW.isoformat(), "")


def test_end_of_one_alert_reads_as_before() -> None:
    found = message(Kind.RESOLVED, incident("age"), [alert("age", AlertState.RESOLVED)], ended=("age",))

    assert found.summary == "Resolved after 1h: PSI 0.04 < 0.1."
    assert found.lines[0].ends_at == (NOW + HOUR).isoformat()


@pytest.mark.parametrize(
    ("kind", "summary"),
    [
        (Kind.REPEAT, "Still firing after 1h. age drifted: PSI 0.3457"),
        (Kind.ESCALATION, "Nobody has acknowledged this for 1h. age drifted: PSI 0.3457"),
        (Kind.ACKNOWLEDGED, "ada takes care of it: retraining. age drifted: PSI 0.3457"),
    ],
)
def test_reminders_say_why_they_come(kind: Kind, summary: str) -> None:
    about = incident("age", acked_at=NOW, acked_by="ada", ack_note="retraining")

    assert message(kind, about, [alert()], still=("age",)).summary == summary


def test_several_alerts_say_how_many_and_which_is_the_worst() -> None:
    rows = [alert("age"), alert("income", severity="critical"), alert("plan", AlertState.RESOLVED)]
    found = message(Kind.UPDATE, incident("age", "income", "plan"), rows, new=("income",), still=("age",), ended=("plan",))

    assert found.title == "3 alerts for churn version 2: FeatureDrift age, income, plan"
    assert found.summary == "2 alerts fire (1 new, 1 over). Worst: income drifted: PSI 0.3457"
    assert [(line.state, line.fingerprint) for line in found.lines] == [("new", "income"), ("firing", "age"), ("resolved", "plan")]
    facts = dict(found.facts)
    assert (facts["Incident"], facts["Firing"], facts["Over"], facts["Version"]) == ("7", "2", "1", "2")
    assert found.labels == {"model": "churn", "version": "2", "alert": "FeatureDrift"}
    link = urlsplit(found.dashboard_url)
    query = {name: values[0] for name, values in parse_qs(link.query).items()}
    assert (link.path, query["model"], query["version"]) == ("/drift", "churn", "2")
    assert "feature" not in query
    assert query["from"] == "2026-03-01T11:25:00Z"
    assert found.runbook_url == "https://wiki.example.com/FeatureDrift"


def test_receiver_without_ends_reads_of_none() -> None:
    rows = [alert("age"), alert("plan", AlertState.RESOLVED)]
    found = message(Kind.UPDATE, incident("age", "plan"), rows, ends=False, new=("age",), ended=("plan",))

    assert [line.fingerprint for line in found.lines] == ["age"]
    assert "over" not in found.summary


def test_end_of_several_says_how_many_there_were() -> None:
    rows = [alert("age", AlertState.RESOLVED), alert("plan", AlertState.RESOLVED)]
    found = message(Kind.RESOLVED, incident("age", "income", "plan"), rows, ended=("age", "plan"))

    assert found.summary == "All 3 alerts are over after 1h."
    assert found.title.startswith("3 alerts for churn")
    assert dict(found.facts)["Resolved"] == "2026-03-01 13:00:00 UTC"


def test_end_of_an_alert_that_is_pending_again_is_told_as_an_end() -> None:
    again = replace(alert("age", AlertState.RESOLVED), state=AlertState.PENDING)
    found = message(Kind.UPDATE, incident("age", "plan"), [again, alert("plan")], still=("plan",), ended=("age",))

    assert [(line.fingerprint, line.state) for line in found.lines] == [("plan", "firing"), ("age", "resolved")]


def test_ten_thousand_alerts_become_one_message_of_bounded_size() -> None:
    names = [f"feature_{number:05}" for number in range(10_000)]
    rows = [alert(name) for name in names]
    found = message(Kind.FIRING, incident(*names, title=incident_title(rows)), rows, new=tuple(names))

    assert (len(found.lines), found.more) == (MOST_LINES, 10_000 - MOST_LINES)
    assert (
        found.title == "10,000 alerts for churn version 2: FeatureDrift feature_00000, feature_00001, feature_00002 and 9,997 more"
    )
    assert len(json.dumps(found.to_json())) < 20_000
    assert Message.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_alert_that_is_no_longer_known_does_not_stop_the_message() -> None:
    found = message(Kind.RESOLVED, incident("gone"), [], ended=("gone",))

    assert found.title
    assert found.lines == ()


def test_broken_template_of_one_line_is_reported_once() -> None:
    rule = make_rule(annotations={"summary": "{{ nothing }}"})
    notice = Notice(kind=Kind.FIRING, number=1, recipients=("oncall",), new=("age", "plan"))
    sources = Sources(
        alerts={row.fingerprint: row for row in (alert("age"), alert("plan"))}, rules={rule.name: rule}, dashboard="", now=NOW
    )
    found, problems = incident_message(incident("age", "plan"), notice, sources)

    assert len(problems) == 1
    assert "alerts check" in found.note
    assert found.lines[0].detail == "PSI 0.3457 > 0.2"


# ---------------------------------------------------------------------------------------------- titles


@pytest.mark.parametrize(
    ("rows", "title"),
    [
        ([alert("age")], "FeatureDrift: churn, version 2, age"),
        ([alert("income"), alert("age")], "2 alerts for churn version 2: FeatureDrift age, income"),
        (
            [make_alert(rule="A", labels={"model": "m"}), make_alert(rule="B", labels={"model": "m", "version": "1"})],
            "2 alerts for m: A; B version 1",
        ),
        ([make_alert(rule="A", labels={"model": "m"}), make_alert(rule="A", labels={"model": "n"})], "2 alerts: A m, n"),
        ([make_alert(rule=name, labels={}) for name in "ABCDEF"], "6 alerts: A; B; C and 3 more"),
    ],
)
def test_title_says_what_and_where(rows: list[AlertRow], title: str) -> None:
    assert incident_title(rows) == title


def test_title_is_short_whatever_the_names() -> None:
    assert len(incident_title([alert("x" * 300), alert("y" * 300)])) == LONGEST_TITLE


def test_worst_comes_first() -> None:
    rows = [
        alert("a", severity="info"),
        alert("b", severity="warning", fired_at=NOW + HOUR),
        alert("c"),
        alert("d", severity="page"),
    ]

    assert [row.fingerprint for row in worst_first(rows)] == ["d", "c", "b", "a"]
    assert worst_severity(rows) == "page"
    assert worst_severity([]) == ""


# ---------------------------------------------------------------------------------------------- causes


def deployment(minutes_before: float, **changes: Any) -> Deployment:
    given: dict[str, Any] = {
        "model": "churn",
        "mode": Mode.SINGLE,
        "champion": "2",
        "challenger": None,
        "weight": 0.0,
        "salt": "",
        "at": NOW - timedelta(minutes=10 + minutes_before),  # the alert began ten minutes ago
        "actor": "ada",
        "action": "promote",
        "reason": "",
        **changes,
    }
    return Deployment(**given)


@pytest.mark.parametrize(
    ("deployments", "cause"),
    [
        ([], None),
        ([deployment(4)], "Likely cause: version 2 of churn was promoted by ada, 4m before."),
        ([deployment(4, action="rollback", champion="1")], "Likely cause: churn was rolled back to version 1 by ada, 4m before."),
        (
            [deployment(4, action="deploy", mode=Mode.CANARY, challenger="3", weight=0.1, actor="")],
            "Likely cause: version 3 of churn got 10% of the traffic in a canary, 4m before.",
        ),
        (
            [deployment(8, id=1), deployment(2, id=2, champion="3")],
            "Likely cause: version 3 of churn was promoted by ada, 2m before.",
        ),
        ([deployment(10)], "Likely cause: version 2 of churn was promoted by ada, 10m before."),
        ([deployment(10.1)], None),  # two windows of five minutes are ten minutes
        ([deployment(-1)], None),  # after it began
    ],
)
def test_deployment_shortly_before_is_named(deployments: list[Deployment], cause: str | None) -> None:
    assert likely_cause([alert()], deployments, NOW) == cause


def test_long_windows_look_back_further() -> None:
    assert likely_cause([alert(window_seconds=3600)], [deployment(119)], NOW) is not None
    assert likely_cause([alert(window_seconds=3600)], [deployment(121)], NOW) is None


def test_cause_is_said_until_the_end() -> None:
    about = incident("age", cause="Likely cause: version 2 was promoted.")

    assert (
        message(Kind.FIRING, about, [alert()], new=("age",)).summary
        == "age drifted: PSI 0.3457. Likely cause: version 2 was promoted."
    )
    assert "cause" not in message(Kind.RESOLVED, about, [alert("age", AlertState.RESOLVED)], ended=("age",)).summary

"""Labels that somebody chose to do harm, from the evaluation to each channel: they call nobody, forge nothing, and stop nothing."""

from __future__ import annotations

import json
from csv import reader as csv_reader
from email import message_from_bytes, policy
from io import StringIO

import pandas as pd
import pytest

from alerts.channels.alertmanager import alerts_of
from alerts.channels.email import compose
from alerts.channels.pagerduty import event
from alerts.channels.slack_blocks import blocks, fallback_text
from alerts.channels.webhook import document
from alerts.grouping import incident_key
from alerts.incident_messages import Sources, incident_message
from alerts.incidents import Notice
from alerts.messages import Kind, Message
from alerts.promql import parse_result
from alerts.routing import Route
from alerts.rules import RulesError, parse_rules
from dashboard.page import csv
from storage.records import Incident
from tests.fakes import FakeMail, FakeSlack
from tests.integration.alerts.stage import RULES, Stage
from tests.unit.alerts.rows import NOW, make_alert, make_rule

PAGERDUTY_LIMIT = 512_000
HOSTILE = {
    "call everybody": "<!channel> <!here> <@U1> <https://evil.example|click>",
    "script": "<script>alert(1)</script><img src=x onerror=alert(1)>\" onload='x",
    "header": "a\r\nBcc: evil@example.com\r\n\r\nforged",
    "right to left": "\u202eabc\u2066def",
    "endless": "x" * 100_000,
    "endless control characters": "<&>" * 30_000,
    "endless and wide": "é漢😀" * 30_000,
    "half characters": "a\ud800b\udfff",
    "nul": "a\x00b\x07\x1b[2J",
    "line ends of other kinds": "a\u2028b\u2029c\x85d",
    "template": "{{ 7 * 7 }}{% raw %}",
}
NAMES = list(HOSTILE)


def message(text: str, alerts: int = 1) -> Message:
    """The message of an incident whose alerts have the text in every label and reason."""
    rows = [
        make_alert(
            fingerprint=f"{n:016x}",
            labels={"model": text, "version": text, "feature": f"{text} {n}", "segment": text, "severity": "warning"},
            reason=f"PSI of {text}",
        )
        for n in range(alerts)
    ]
    annotations = {
        "summary": "{{ feature }} of {{ model }}",
        "description": "{{ labels }}",
        "runbook_url": "https://r/{{ feature }}",
    }
    rule = make_rule(annotations=annotations)
    told = {row.fingerprint: "firing" for row in rows}
    incident = Incident(
        key="k", route="", receiver="r", labels={}, title="t", severity="warning", opened_at=NOW, id=1, number=1, told=told
    )
    sources = Sources(
        alerts={row.fingerprint: row for row in rows}, rules={rule.name: rule}, dashboard="https://d.example", now=NOW
    )
    return incident_message(incident, Notice(kind=Kind.FIRING, number=1, recipients=("r",), new=tuple(told)), sources)[0]


@pytest.fixture(params=[1, 30], ids=["one alert", "many alerts"])
def number(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.mark.parametrize("name", NAMES)
def test_message_keeps_the_limits_of_every_service(name: str, number: int) -> None:
    found = message(HOSTILE[name], number)

    for block in blocks(found):
        texts = [block["text"], *block.get("fields", [])] if "text" in block else block.get("fields", [])
        assert all(len(one["text"]) <= 3000 for one in texts)
    assert len(json.dumps(blocks(found))) < 100_000
    assert len(json.dumps(event(found), ensure_ascii=False).encode()) < PAGERDUTY_LIMIT
    assert len(json.dumps(document(found), ensure_ascii=False).encode()) < PAGERDUTY_LIMIT
    assert len(json.dumps(alerts_of(found), ensure_ascii=False).encode()) < PAGERDUTY_LIMIT
    assert len(json.dumps(found.to_json()).encode()) < PAGERDUTY_LIMIT
    assert len(compose(found, sender="w@example.com", to=("a@example.com",)).as_bytes()) < PAGERDUTY_LIMIT


@pytest.mark.parametrize("name", NAMES)
def test_slack_calls_nobody(name: str, number: int) -> None:
    found = message(HOSTILE[name], number)

    said = json.dumps([*blocks(found), fallback_text(found)], ensure_ascii=False)

    for call in ("<!", "<@", "<#", "<https://evil"):
        assert call not in said


@pytest.mark.parametrize("name", NAMES)
def test_mail_has_no_header_and_no_markup_of_others(name: str, number: int) -> None:
    found = message(HOSTILE[name], number)

    mail = message_from_bytes(compose(found, sender="w@example.com", to=("a@example.com",)).as_bytes(), policy=policy.default)

    assert mail["Bcc"] is None
    assert mail["To"] == "a@example.com"
    assert str(mail["Subject"]).isprintable()
    page = mail.get_body(("html",))
    assert page is not None
    text = page.get_content()
    for markup in ("<script", "<img src=x", "javascript:"):
        assert markup not in text


def test_key_of_an_incident_fits_an_index() -> None:
    alert = make_alert(labels={"model": "x" * 5000, "version": "1"})
    other = make_alert(labels={"model": "x" * 5000 + "y", "version": "1"})
    route = Route(path="", receiver="oncall", group_by=("model", "version"))

    key, labels = incident_key(route, alert)

    assert len(key) < 600
    assert key != incident_key(route, other)[0]
    assert labels["model"] == "x" * 5000


def test_answer_of_prometheus_holds_only_what_can_be_stored() -> None:
    series = json.loads('{"metric": {"job": "a\\ud800b\\u0000c"}, "value": [1772366400, "2.5"]}')

    (sample,) = parse_result([series])

    assert sample.labels == {"job": "a?b\ufffdc"}


@pytest.mark.parametrize("text", ["\\ud800", "\\0"])
def test_rules_file_with_text_that_cannot_be_stored_is_refused(text: str) -> None:
    with pytest.raises(RulesError, match="cannot be stored"):
        parse_rules(RULES.replace("severity: warning", f'severity: "{text}"'), "rules.yml")


def test_table_for_a_spreadsheet_runs_no_formula() -> None:
    made = csv(
        pd.DataFrame({"name": ["=cmd|'/c calc'!A0", "+1", "-1", "@x", "\tx", "\r=x", "fine"], "value": [1, 2, 3, 4, 5, 6, -7]})
    )

    _, *rows = csv_reader(StringIO(made.decode("utf-8-sig"), newline=""))
    assert [name[:1] for name, _ in rows] == ["'", "'", "'", "'", "'", "'", "f"]
    assert rows[-1] == ["fine", "-7"]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("half characters", "nul")])
def test_hostile_series_is_told_like_any_other(stage: Stage, slack: FakeSlack, mail: FakeMail, name: str) -> None:
    """From the point in the database to what Slack and the mail server get. The two that are left out cannot be stored."""
    text = HOSTILE[name][:600]  # PostgreSQL's key of a point takes no more
    stage.rules = parse_rules(
        RULES.replace('model: churn, feature: "*"', 'feature: "*"').replace('["..."]', "[model, feature]"), "r"
    )
    for value in (0.5, 0.5, 0.5, 0.01, 0.01):
        stage.point(value, feature=text, model=text[:100])
        stage.point(value, feature="fine")
        stage.evaluate()
        stage.wait(10)
    stage.deliver()

    posts = [one for one in slack.posted if one.path.endswith("chat.postMessage")]
    assert len(posts) == 4
    assert len(mail.received) == 4
    assert all(call not in one.everything for one in posts for call in ("<!channel", "<@U1", "<https://evil"))

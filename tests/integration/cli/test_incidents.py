"""`modelwatch alerts ack`, `silence` and the like on both databases."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from storage import actions, alerts, audit, incidents
from storage.engine import reading, writing
from storage.records import ActionRow, ActionState, AlertState, Incident
from tests.integration.cli.conftest import Run
from tests.unit.alerts.rows import make_alert

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def incident(engine: Engine) -> Incident:
    """An open incident, and two firing alerts of churn, and one of another model."""
    with writing(engine) as c:
        for number, (model, feature) in enumerate((("churn", "age"), ("churn", "income"), ("fraud", "amount"))):
            labels = {"model": model, "version": "1", "feature": feature}
            alerts.save_alert(c, make_alert(AlertState.FIRING, fingerprint=f"f{number}", labels=labels))
        return incidents.save(
            c,
            Incident(
                key="k",
                route="",
                receiver="oncall",
                labels={"model": "churn"},
                title="2 alerts for churn",
                severity="warning",
                opened_at=NOW,
                told={"f0": "firing", "f1": "firing"},
                number=1,
            ),
        )


def test_incident_is_listed_and_acknowledged(on_database: Run, incident: Incident, engine: Engine) -> None:
    assert "2 alerts for churn" in on_database("alerts", "incidents").out
    said = on_database("alerts", "ack", incident.id, "--note", "on it", "--by", "ada").out

    assert said == f"Incident {incident.id} (2 alerts for churn) is acknowledged by ada.\n"
    [listed] = json.loads(on_database("alerts", "incidents", "--json").out)
    assert (listed["acked_by"], listed["ack_note"], listed["firing"]) == ("ada", "on it", 2)


def test_silence_shows_what_it_hides_is_listed_and_ended(on_database: Run, incident: Incident, engine: Engine) -> None:
    only_shown = on_database("alerts", "silence", "model=churn", "--for", "2h", "--comment", "backfill", "--dry-run").out
    assert json.loads(on_database("alerts", "silences", "--json").out) == []
    done = on_database("alerts", "silence", "model=churn", "--for", "2h", "--comment", "backfill", "--by", "ada").out

    for shown in (only_shown, done):
        assert "feature=age" in shown
        assert "feature=amount" not in shown
        assert "1 other active alerts are not hidden." in shown
    [listed] = json.loads(on_database("alerts", "silences", "--json").out)
    assert (listed["matchers"], listed["author"], listed["comment"]) == ({"model": ["churn"]}, "ada", "backfill")
    assert "model=churn" in on_database("alerts", "silences").out
    assert on_database("alerts", "unsilence", listed["id"], "--by", "bob").out == f"Silence {listed['id']} is over.\n"
    assert on_database("alerts", "silences").out == "No silence is in force; --all shows the others.\n"
    with reading(engine) as c:
        entries = audit.entries(c, target=f"silence {listed['id']}")
    assert [(entry.actor, entry.action) for entry in entries] == [("bob", "unsilence"), ("ada", "silence")]


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("ack", 999), 1, "There is no open incident 999"),
        (("unsilence", 999), 1, "There is no silence 999"),
        (("confirm", 999), 1, "Action 999 does not exist"),
        (("silence", "model=*", "--for", "1h", "--comment", "x"), 1, "would hide every alert"),
        (("silence", "model=churn", "--for", "1h", "--comment", " "), 1, "needs a comment"),
        (("silence", "model=churn", "--for", "400d", "--comment", "x"), 1, "90 days at most"),
        (("silence", "churn", "--for", "1h", "--comment", "x"), 1, "'churn' is not a matcher"),
        (("silence", "model=churn", "--for", "soon", "--comment", "x"), 2, "--for: 'soon'"),
        (("silence", "model=churn", "--for", "1h"), 2, "--comment"),
    ],
)
def test_what_cannot_be_is_said(on_database: Run, arguments: tuple[object, ...], status: int, sentence: str) -> None:
    found = on_database("alerts", *arguments)

    assert (found.status, sentence in found.err) == (status, True), found


def test_action_is_confirmed_once(on_database: Run, engine: Engine) -> None:
    with writing(engine) as c:
        row = ActionRow(
            dedup_key="d",
            incident_id=None,
            receiver="guard",
            what="rollback",
            model="churn",
            details={},
            state=ActionState.PROPOSED,
            reason="",
            created_at=NOW - timedelta(minutes=1),
        )
        stored = actions.propose(c, row)

    assert on_database("alerts", "confirm", stored.id, "--by", "ada").out == (
        f"Action {stored.id} (rollback of churn) is confirmed by ada.\n"
    )
    again = on_database("alerts", "refuse", stored.id)
    assert (again.status, "is confirmed" in again.err) == (1, True)
    [listed] = json.loads(on_database("alerts", "actions", "--json").out)
    assert (listed["state"], listed["decided_by"]) == ("confirmed", "ada")
    assert "rollback" in on_database("alerts", "actions").out

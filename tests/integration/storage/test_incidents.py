"""Incidents and silences in SQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from storage import audit, incidents, silences
from storage.engine import reading, writing
from storage.records import Incident, Silence

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def incident(key: str = ":model=churn") -> Incident:
    return Incident(
        key=key, route="", receiver="oncall", labels={"model": "churn"}, title="churn", severity="warning", opened_at=NOW
    )


def silence(hours: int = 2) -> Silence:
    return Silence(
        matchers={"model": ["churn"]},
        starts_at=NOW,
        ends_at=NOW + timedelta(hours=hours),
        author="ada",
        comment="retraining",
        created_at=NOW,
    )


def test_incident_is_read_as_it_was_stored(engine: Engine) -> None:
    with writing(engine) as c:
        stored = incidents.save(c, replace(incident(), told={"f1": "firing"}, recipients=["oncall"], due_at=NOW, number=1))
        incidents.save(c, replace(stored, number=2))

    with reading(engine) as c:
        assert incidents.load_open(c) == [replace(stored, number=2)]
        assert incidents.get(c, stored.id) == replace(stored, number=2)


def test_a_key_has_one_open_incident_and_a_new_one_once_that_is_over(engine: Engine) -> None:
    with writing(engine) as c:
        first = incidents.save(c, incident())
    with pytest.raises(IntegrityError), writing(engine) as c:
        incidents.save(c, incident())
    with writing(engine) as c:
        incidents.save(c, replace(first, closed_at=NOW + timedelta(hours=1)))
        second = incidents.save(c, incident())

    with reading(engine) as c:
        assert [found.id for found in incidents.load_open(c)] == [second.id]
        assert [found.id for found in incidents.list_incidents(c)] == [second.id, first.id]


def test_first_acknowledgement_stays_and_is_audited(engine: Engine) -> None:
    with writing(engine) as c:
        stored = incidents.save(c, incident())
        first = incidents.acknowledge(c, stored.id, by="ada", note="on it", now=NOW)
        again = incidents.acknowledge(c, stored.id, by="bob", note="me too", now=NOW + timedelta(minutes=1))

    assert first == again
    assert first is not None
    assert (first.acked_by, first.ack_note, first.acked_at) == ("ada", "on it", NOW)
    with reading(engine) as c:
        [entry] = audit.entries(c, target=f"incident {stored.id}")
    assert (entry.actor, entry.action, entry.reason) == ("ada", "acknowledge", "on it")


def test_incident_that_is_over_cannot_be_acknowledged(engine: Engine) -> None:
    with writing(engine) as c:
        stored = incidents.save(c, replace(incident(), closed_at=NOW))
        assert incidents.acknowledge(c, stored.id, by="ada", note="", now=NOW) is None
        assert incidents.acknowledge(c, stored.id + 1, by="ada", note="", now=NOW) is None


def test_silence_is_in_force_from_its_start_until_its_end(engine: Engine) -> None:
    with writing(engine) as c:
        stored = silences.add(c, silence())

    with reading(engine) as c:
        assert silences.active(c, NOW - timedelta(seconds=1)) == []
        assert silences.active(c, NOW) == [stored]
        assert silences.active(c, stored.ends_at) == []


def test_silence_ended_early_says_by_whom(engine: Engine) -> None:
    later = NOW + timedelta(minutes=5)
    with writing(engine) as c:
        stored = silences.add(c, silence())
        ended = silences.end(c, stored.id, by="bob", now=later)
        assert silences.end(c, stored.id, by="eve", now=later) is None

    assert ended == replace(stored, ends_at=later, ended_by="bob")
    with reading(engine) as c:
        assert silences.active(c, later) == []
        assert [(entry.actor, entry.action) for entry in audit.entries(c, target=f"silence {stored.id}")] == [
            ("bob", "unsilence"),
            ("ada", "silence"),
        ]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [({"matchers": {}}, "without matchers"), ({"ends_at": NOW}, "end after it starts"), ({"author": " "}, "author")],
)
def test_senseless_silence_is_refused(sqlite_engine: Engine, changes: dict[str, object], problem: str) -> None:
    with writing(sqlite_engine) as c, pytest.raises(ValueError, match=problem):
        silences.add(c, replace(silence(), **changes))  # type: ignore[arg-type]

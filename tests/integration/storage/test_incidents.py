"""Incidents and silences in SQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from storage import audit, incidents, outbox, silences
from storage.engine import reading, writing
from storage.records import Incident, OutboxItem, Silence

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


def test_outlook_is_when_the_next_open_incident_is_due_and_which_are_acknowledged(engine: Engine) -> None:
    later = NOW + timedelta(minutes=5)
    with writing(engine) as c:
        assert incidents.outlook(c) == incidents.Outlook(due_at=None, acked=())
        first = incidents.save(c, replace(incident("a"), due_at=later))
        incidents.save(c, replace(incident("b"), due_at=NOW))
        incidents.save(c, replace(incident("c"), due_at=NOW - timedelta(hours=1), closed_at=NOW))
        incidents.acknowledge(c, first.id, by="ada", note="", now=NOW)

    with reading(engine) as c:
        assert incidents.outlook(c) == incidents.Outlook(due_at=NOW, acked=((first.id, NOW),))


def test_lift_of_an_acknowledgement_is_on_record(engine: Engine) -> None:
    later = NOW + timedelta(minutes=5)
    with writing(engine) as c:
        stored = incidents.save(c, replace(incident(), acked_at=NOW, acked_by="ada"))
        other = incidents.save(c, incident("other"))
        for at in (NOW, later):
            incidents.record_lift(c, stored, now=at)

    with reading(engine) as c:
        assert incidents.lifted_at(c, [stored.id, other.id]) == {stored.id: later}
        assert incidents.lifted_at(c, []) == {}
        assert audit.entries(c, target=f"incident {stored.id}")[0].details == {"acked_by": "ada", "acked_at": NOW.isoformat()}


def test_first_message_to_each_receiver_through_each_channel_is_found(engine: Engine) -> None:
    item = OutboxItem(
        dedup_key="", channel="slack", receiver="r", kind="firing", payload={}, created_at=NOW, next_attempt_at=NOW, incident_id=7
    )
    keys = [("1", "slack", "r"), ("2", "email", "r"), ("3", "slack", "r"), ("4", "slack", "s")]
    with writing(engine) as c:
        for key, channel, receiver in keys:
            outbox.enqueue(c, replace(item, dedup_key=key, channel=channel, receiver=receiver))
        outbox.enqueue(c, replace(item, dedup_key="5", channel="apprise", incident_id=8))

    with reading(engine) as c:
        assert [found.dedup_key for found in incidents.first_messages(c, 7)] == ["1", "2", "4"]

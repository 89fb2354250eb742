"""Messages are claimed by one sender at a time and stay until they are sent or given up."""

from __future__ import annotations

import threading
from datetime import timedelta

from sqlalchemy import Connection, Engine

from storage.engine import reading, writing
from storage.outbox import claim_due, counts, enqueue, hold_channel, list_items, mark_failed, mark_sent, postpone, retry_at
from storage.records import OutboxItem, OutboxStatus
from tests.factories import at


def item(number: int, *, due: float = 0, channel: str = "slack", receiver: str = "oncall") -> OutboxItem:
    return OutboxItem(
        dedup_key=f"key{number}",
        channel=channel,
        receiver=receiver,
        kind="firing",
        payload={"number": number, "text": "Überwachung ☃", "nothing": None},
        created_at=at(),
        next_attempt_at=at(due),
    )


def claim(c: Connection, owner: str = "a", seconds: float = 0, limit: int = 10) -> list[str]:
    items = claim_due(c, owner=owner, now=at(seconds), hold=timedelta(seconds=30), limit=limit)
    return [found.dedup_key for found in items]


def ids(c: Connection) -> dict[str, int]:
    return {found.dedup_key: found.id for found in list_items(c)}


def test_a_message_is_enqueued_once_per_key(engine: Engine) -> None:
    with writing(engine) as c:
        assert enqueue(c, item(1)) is True
        assert enqueue(c, item(1)) is False
        mark_sent(c, ids(c)["key1"], now=at())
        assert enqueue(c, item(1)) is False

        assert len(list_items(c)) == 1


def test_a_message_comes_back_as_it_was(engine: Engine) -> None:
    with writing(engine) as c:
        enqueue(c, item(1))
        [found] = claim_due(c, owner="a", now=at(), hold=timedelta(seconds=1), limit=1)

    assert found.payload == item(1).payload
    assert (found.status, found.attempts, found.next_attempt_at) == (OutboxStatus.WAITING, 0, at())


def test_due_messages_are_claimed_the_longest_due_first(engine: Engine) -> None:
    with writing(engine) as c:
        for number, due in enumerate((5, 0, 99, 3)):
            enqueue(c, item(number, due=due))

        assert claim(c, seconds=10, limit=2) == ["key1", "key3"]
        assert claim(c, "b", seconds=10) == ["key0"]
        assert claim(c, "b", seconds=10) == []


def test_a_claim_that_ran_out_can_be_taken_over(engine: Engine) -> None:
    with writing(engine) as c:
        enqueue(c, item(1))

        assert claim(c, "a", 0) == ["key1"]
        assert claim(c, "b", 29) == []
        assert claim(c, "b", 30) == ["key1"]


def test_a_sent_message_is_never_claimed_again(engine: Engine) -> None:
    with writing(engine) as c:
        enqueue(c, item(1))
        claim(c)
        mark_sent(c, ids(c)["key1"], now=at(1), message_id="ts.1")

        assert claim(c, seconds=9999) == []
        [found] = list_items(c, status=OutboxStatus.SENT)
    assert (found.sent_at, found.message_id, found.attempts, found.last_error) == (at(1), "ts.1", 1, None)


def test_a_failed_attempt_is_due_again_later_and_counted(engine: Engine) -> None:
    with writing(engine) as c:
        enqueue(c, item(1))
        claim(c)
        retry_at(c, ids(c)["key1"], at=at(60), error="timeout")

        assert claim(c, "b", 59) == []
        [found] = claim_due(c, owner="b", now=at(60), hold=timedelta(seconds=1), limit=5)
    assert (found.attempts, found.last_error) == (1, "timeout")


def test_a_message_given_up_stays_as_failed(engine: Engine) -> None:
    with writing(engine) as c:
        enqueue(c, item(1))
        mark_failed(c, ids(c)["key1"], error="no such channel")

        assert claim(c, seconds=9999) == []
        assert [found.last_error for found in list_items(c, status="failed")] == ["no such channel"]
        assert counts(c) == {OutboxStatus.WAITING: 0, OutboxStatus.SENT: 0, OutboxStatus.FAILED: 1, OutboxStatus.MERGED: 0}


def test_a_message_that_was_postponed_has_lost_no_attempt(engine: Engine) -> None:
    with writing(engine) as c:
        enqueue(c, item(1))
        claim(c)
        postpone(c, ids(c)["key1"], until=at(60), error="waits for another")

        assert claim(c, "b", 59) == []
        [found] = claim_due(c, owner="b", now=at(60), hold=timedelta(seconds=1), limit=5)
    assert (found.attempts, found.last_error) == (0, "waits for another")


def test_what_was_sent_stays_sent_whatever_a_late_sender_says(engine: Engine) -> None:
    with writing(engine) as c:
        enqueue(c, item(1))
        number = ids(c)["key1"]
        claim(c, "slow", 0)
        claim(c, "quick", 30)
        mark_sent(c, number, now=at(31))
        mark_failed(c, number, error="timeout")
        retry_at(c, number, at=at(40), error="timeout")

        [found] = list_items(c)
    assert (found.status, found.attempts, found.last_error) == (OutboxStatus.SENT, 1, None)


def test_a_held_channel_gets_nothing_before_its_time_and_loses_no_attempt(engine: Engine) -> None:
    with writing(engine) as c:
        enqueue(c, item(1))
        enqueue(c, item(2, due=500))
        enqueue(c, item(3, receiver="others"))
        enqueue(c, item(4, channel="email"))
        claim(c)
        hold_channel(c, "slack", "oncall", until=at(100), error="rate limited")

        assert claim(c, "b", 99) == ["key3", "key4"]  # their claims ran out; key1 is held
        found = {waiting.dedup_key: waiting for waiting in list_items(c)}
        assert claim(c, "b", 100) == ["key1"]
    assert (found["key1"].next_attempt_at, found["key1"].last_error, found["key1"].attempts) == (at(100), "rate limited", 0)
    assert found["key2"].next_attempt_at == at(500)
    assert found["key3"].last_error is None


def test_senders_at_once_get_each_message_once(engine: Engine) -> None:
    with writing(engine) as c:
        for number in range(60):
            enqueue(c, item(number))
    claimed: list[str] = []
    together = threading.Barrier(4)

    def run(owner: str) -> None:
        together.wait(60)
        while True:
            with writing(engine) as c:
                found = claim(c, owner, limit=7)
            if not found:
                return
            claimed.extend(found)

    threads = [threading.Thread(target=run, args=(f"sender{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(claimed) == sorted(f"key{number}" for number in range(60))


def test_senders_do_not_wait_for_each_other_on_postgresql(postgresql_engine: Engine) -> None:
    with writing(postgresql_engine) as c:
        enqueue(c, item(1))
        enqueue(c, item(2))

    with writing(postgresql_engine) as first, writing(postgresql_engine) as second:
        assert claim(first, "a", limit=1) == ["key1"]
        assert claim(second, "b") == ["key2"]
    with reading(postgresql_engine) as c:
        assert counts(c)[OutboxStatus.WAITING] == 2

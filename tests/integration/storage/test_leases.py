"""A lease has one holder at a time, and its epoch tells holders apart."""

from __future__ import annotations

import threading
from datetime import timedelta

from sqlalchemy import Connection, Engine

from storage.engine import writing
from storage.leases import acquire, release, still_held
from storage.records import Lease
from tests.factories import at


def take(c: Connection, owner: str, seconds: float = 0) -> Lease | None:
    return acquire(c, "drift", owner, ttl=timedelta(seconds=10), now=at(seconds))


def taken(c: Connection, owner: str, seconds: float = 0) -> Lease:
    lease = take(c, owner, seconds)
    assert lease is not None
    return lease


def test_a_lease_is_refused_to_others_until_it_runs_out(engine: Engine) -> None:
    with writing(engine) as c:
        lease = taken(c, "a")

        assert lease == Lease(name="drift", owner="a", epoch=1, expires_at=at(10))
        assert take(c, "b", 9.9) is None
        assert take(c, "b", 10) == Lease(name="drift", owner="b", epoch=2, expires_at=at(20))
        assert take(c, "a", 11) is None


def test_renewing_keeps_the_epoch(engine: Engine) -> None:
    with writing(engine) as c:
        taken(c, "a")

        assert taken(c, "a", 5) == Lease(name="drift", owner="a", epoch=1, expires_at=at(15))
        assert taken(c, "a", 99).epoch == 1


def test_a_holder_that_was_overtaken_holds_no_more(engine: Engine) -> None:
    with writing(engine) as c:
        old = taken(c, "a")
        assert still_held(c, old, at(9))
        assert not still_held(c, old, at(10))
        taken(c, "b", 10)
        again = taken(c, "a", 20)

        assert not still_held(c, old, at(21))
        assert still_held(c, again, at(21))
        assert again.epoch == 3


def test_a_released_lease_is_free_at_once_with_a_new_epoch(engine: Engine) -> None:
    with writing(engine) as c:
        first = taken(c, "a")
        release(c, first)
        second = taken(c, "b", 1)
        release(c, first)

        assert second.epoch == 2
        assert still_held(c, second, at(2))
        assert not still_held(c, first, at(0))


def test_leases_of_different_names_are_independent(engine: Engine) -> None:
    with writing(engine) as c:
        taken(c, "a")

        assert acquire(c, "other", "b", ttl=timedelta(seconds=10), now=at()) is not None


def test_of_owners_that_race_one_wins(engine: Engine) -> None:
    owners = [f"owner{number}" for number in range(8)]
    won: list[Lease] = []
    for _round in range(3):
        together = threading.Barrier(len(owners))

        def run(owner: str, together: threading.Barrier = together, seconds: float = _round * 10.0) -> None:
            together.wait(60)
            with writing(engine) as c:
                lease = take(c, owner, seconds)
            if lease is not None:
                won.append(lease)

        threads = [threading.Thread(target=run, args=(f"{owner}-{_round}",)) for owner in owners]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert [lease.epoch for lease in won] == [1, 2, 3]

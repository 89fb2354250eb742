"""Requests of one turn of the event loop share a write; each hears its own outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from inference.turns import Item, Turns


class Log:
    """Takes what is appended and refuses the payload ``no``."""

    def __init__(self) -> None:
        self.writes: list[list[Item]] = []

    def append_all(self, items: Sequence[Item]) -> list[Exception | None]:
        self.writes.append(list(items))
        return [ValueError("refused") if payload == b"no" else None for payload, _ in items]


async def answered(turns: Turns, payload: bytes) -> str:
    try:
        await turns.add(payload, 1)
    except ValueError as error:
        return str(error)
    return "taken"


def test_requests_of_one_turn_share_a_write_and_hear_their_own_outcome() -> None:
    log = Log()

    async def crowd() -> list[str]:
        turns = Turns(log.append_all)
        return await asyncio.gather(*(answered(turns, payload) for payload in (b"a", b"no", b"b")))

    assert asyncio.run(crowd()) == ["taken", "refused", "taken"]
    assert log.writes == [[(b"a", 1), (b"no", 1), (b"b", 1)]]


def test_requests_of_different_turns_do_not_wait_for_each_other() -> None:
    log = Log()

    async def one_after_the_other() -> None:
        turns = Turns(log.append_all)
        await answered(turns, b"first")
        await answered(turns, b"second")

    asyncio.run(one_after_the_other())

    assert log.writes == [[(b"first", 1)], [(b"second", 1)]]


def test_cancelled_request_takes_no_other_with_it() -> None:
    log = Log()

    async def crowd() -> list[str | BaseException]:
        turns = Turns(log.append_all)
        tasks = [asyncio.create_task(answered(turns, payload)) for payload in (b"gone", b"stays")]
        asyncio.get_running_loop().call_soon(tasks[0].cancel)  # after both have asked, before the write is told of
        return await asyncio.gather(*tasks, return_exceptions=True)

    gone, stays = asyncio.run(crowd())

    assert isinstance(gone, asyncio.CancelledError)
    assert stays == "taken"
    assert log.writes == [[(b"gone", 1), (b"stays", 1)]]


def test_every_request_of_the_turn_hears_of_a_fault() -> None:
    def broken(items: Sequence[Item]) -> list[Exception | None]:
        raise ValueError("broken")

    async def crowd() -> list[str]:
        turns = Turns(broken)
        return await asyncio.gather(*(answered(turns, payload) for payload in (b"a", b"b")))

    assert asyncio.run(crowd()) == ["broken", "broken"]

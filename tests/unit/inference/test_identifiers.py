"""Ids: valid UUIDv7, ascending, never twice."""

from __future__ import annotations

import uuid

from inference.identifiers import IdMaker


def test_ids_are_uuids_of_version_7_with_the_time_in_front() -> None:
    text = IdMaker().make(1_790_000_000_123)

    parsed = uuid.UUID(text)

    assert (parsed.version, parsed.variant, str(parsed)) == (7, uuid.RFC_4122, text)
    assert parsed.int >> 80 == 1_790_000_000_123


def test_ids_ascend_also_when_the_clock_goes_back() -> None:
    maker = IdMaker()

    ids = [maker.make(1000), *maker.make_many(5), maker.make(999), maker.make(1001), maker.make(1000)]

    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)


def test_many_ids_are_as_many_as_asked_for() -> None:
    maker = IdMaker()

    ids = maker.make_many(2000)

    assert len(ids) == len(set(ids)) == 2000
    assert maker.make_many(1)[0] > ids[-1]


def test_processes_in_the_same_millisecond_make_different_ids() -> None:
    ids = [text for _ in range(50) for text in _of_one_process()]

    assert len(set(ids)) == len(ids)


def _of_one_process() -> list[str]:
    maker = IdMaker()
    return [maker.make(1_790_000_000_000) for _ in range(200)]

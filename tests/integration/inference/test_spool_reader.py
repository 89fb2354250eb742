"""Reading spool folders that are being written, were left behind, or were damaged."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from inference import segments, spool_folder
from inference.segments import SEGMENT_HEAD_BYTES, SegmentName
from inference.spool import Spool
from inference.spool_reader import Batch, Position, SpoolReader

PAYLOADS = [b"one", b"two two", b"three three three", b"four", b"five five"]
NAME = SegmentName(1_790_000_000_000_000, b"\x1f\x3a\x99\xc0")


@contextmanager
def writer(folder: Path) -> Iterator[Spool]:
    spool = Spool.open(folder, free_floor=0)
    try:
        yield spool
    finally:
        spool.close()


def segment_bytes(payloads: list[bytes] = PAYLOADS, name: SegmentName = NAME) -> bytes:
    return segments.segment_head(name) + b"".join(segments.frame(name.marker, payload) for payload in payloads)


def left_behind(folder: Path, content: bytes, name: SegmentName = NAME) -> Path:
    """A segment whose writer is gone."""
    folder.mkdir(exist_ok=True)
    path = folder / str(name)
    path.write_bytes(content)
    return path


def batches(folder: Path, *, read_bytes: int = 1024**2) -> list[Batch]:
    """All there is to read; finished segments are gone afterwards."""
    reader = SpoolReader(folder, read_bytes=read_bytes, writer_check_seconds=0)
    position: Position | None = None
    found = []
    while batch := reader.read(position):
        found.append(batch)
        position = Position(str(batch.segment), batch.end)
        if batch.is_finished:
            reader.discard(batch.segment)
        assert len(found) < 1000
    return found


def payloads_of(found: list[Batch]) -> list[bytes]:
    return [payload for batch in found for payload in batch.payloads]


def test_segment_left_behind_is_read_and_finished(tmp_path: Path) -> None:
    left_behind(tmp_path, segment_bytes())

    found = batches(tmp_path)

    assert payloads_of(found) == PAYLOADS
    assert found[-1].is_finished
    assert spool_folder.segment_names(tmp_path) == []


@pytest.mark.parametrize("read_bytes", [30, 40, 64, 100])
def test_small_reads_find_the_same(tmp_path: Path, read_bytes: int) -> None:
    left_behind(tmp_path, segment_bytes())

    assert payloads_of(batches(tmp_path, read_bytes=read_bytes)) == PAYLOADS


def test_frame_longer_than_a_read_is_found_also_while_its_writer_lives(tmp_path: Path) -> None:
    with writer(tmp_path) as spool:
        spool.append(b"long" * 1000)

        batch = SpoolReader(tmp_path, read_bytes=100).read(None)

        assert batch is not None
        assert batch.payloads == [b"long" * 1000]


def test_reading_goes_on_at_the_position(tmp_path: Path) -> None:
    left_behind(tmp_path, segment_bytes())
    reader = SpoolReader(tmp_path, read_bytes=60, writer_check_seconds=0)
    first = reader.read(None)
    assert first is not None

    second = reader.read(Position(str(first.segment), first.end))

    assert second is not None
    assert payloads_of([first, second]) == PAYLOADS[: len(first.payloads) + len(second.payloads)]
    assert second.start == first.end


def test_position_in_another_segment_does_not_hide_what_is_there(tmp_path: Path) -> None:
    left_behind(tmp_path, segment_bytes())
    later = SegmentName(NAME.sequence + 1, b"\x01\x02\x03\x04")

    batch = SpoolReader(tmp_path, writer_check_seconds=0).read(Position(str(later), 10**6))

    assert batch is not None
    assert payloads_of([batch]) == PAYLOADS


def test_position_beyond_the_end_finishes_the_segment(tmp_path: Path) -> None:
    left_behind(tmp_path, segment_bytes())

    batch = SpoolReader(tmp_path, writer_check_seconds=0).read(Position(str(NAME), 10**6))

    assert batch is not None
    assert batch.is_finished
    assert batch.payloads == []


def test_tail_of_a_living_writer_is_waited_for(tmp_path: Path) -> None:
    with writer(tmp_path) as spool:
        spool.append(b"whole")
        path = next(tmp_path.glob("*.spool"))
        whole = path.stat().st_size
        name = spool_folder.segment_names(tmp_path)[0]
        torn = segments.frame(name.marker, b"in the middle of being written")
        with path.open("ab") as file:
            file.write(torn[:-4])
        reader = SpoolReader(tmp_path, writer_check_seconds=0)

        assert reader.read(Position(str(name), whole)) is None
        with path.open("ab") as file:
            file.write(torn[-4:])
        batch = reader.read(Position(str(name), whole))

        assert batch is not None
        assert payloads_of([batch]) == [b"in the middle of being written"]


def test_tail_of_a_dead_writer_is_cut(tmp_path: Path) -> None:
    left_behind(tmp_path, segment_bytes()[:-3])

    found = batches(tmp_path)

    assert payloads_of(found) == PAYLOADS[:-1]
    assert found[-1].is_finished
    assert found[-1].gaps[-1][1] == found[-1].end


def test_tail_of_an_older_segment_is_cut_although_a_writer_lives(tmp_path: Path) -> None:
    left_behind(tmp_path, segment_bytes()[:-3])

    with writer(tmp_path) as spool:
        spool.append(b"new")
        found = batches(tmp_path)

    assert payloads_of(found) == [*PAYLOADS[:-1], b"new"]


def test_damage_in_the_middle_is_skipped_and_kept_aside(tmp_path: Path) -> None:
    content = bytearray(segment_bytes())
    damaged = content.index(b"two two")
    content[damaged : damaged + 3] = b"???"
    left_behind(tmp_path, bytes(content))

    found = batches(tmp_path)
    gaps = [(batch.segment, gap) for batch in found for gap in batch.gaps]

    assert payloads_of(found) == [payload for payload in PAYLOADS if payload != b"two two"]
    left_behind(tmp_path, bytes(content))
    reader = SpoolReader(tmp_path)
    for segment, (start, end) in gaps:
        assert reader.quarantine(segment, start, end) == end - start
    kept = [path.read_bytes() for path in (tmp_path / "quarantine").iterdir()]
    assert kept == [segments.frame(NAME.marker, b"two two").replace(b"two two", b"??? two")]


def test_segment_whose_head_was_cut_off_is_finished(tmp_path: Path) -> None:
    for length in range(SEGMENT_HEAD_BYTES + 1):
        folder = tmp_path / str(length)
        left_behind(folder, segment_bytes()[:length])

        assert payloads_of(batches(folder)) == [], length
        assert spool_folder.segment_names(folder) == [], length


def test_damaged_head_costs_no_record(tmp_path: Path) -> None:
    for position in range(SEGMENT_HEAD_BYTES):
        folder = tmp_path / str(position)
        content = bytearray(segment_bytes())
        content[position] ^= 0xFF
        left_behind(folder, bytes(content))

        assert payloads_of(batches(folder)) == PAYLOADS, position


def test_any_damage_leaves_only_true_records_and_an_empty_folder(tmp_path: Path) -> None:
    dice = random.Random(7)
    for attempt in range(300):
        content = bytearray(segment_bytes())
        for _ in range(dice.randint(1, 4)):
            start = dice.randrange(len(content))
            end = min(start + dice.randint(1, 30), len(content))
            content[start:end] = dice.choice([b"", bytes(end - start), dice.randbytes(end - start), dice.randbytes(7)])
        left_behind(tmp_path, bytes(content))

        found = payloads_of(batches(tmp_path, read_bytes=dice.choice([30, 100, 10_000])))

        assert found == [payload for payload in PAYLOADS if payload in found], attempt
        assert spool_folder.segment_names(tmp_path) == []


def test_segment_dropped_by_its_writer_is_no_error(tmp_path: Path) -> None:
    path = left_behind(tmp_path, segment_bytes())
    reader = SpoolReader(tmp_path, read_bytes=60, writer_check_seconds=0)
    first = reader.read(None)
    assert first is not None

    path.unlink()

    assert reader.read(Position(str(first.segment), first.end)) is None
    reader.discard(first.segment)


def test_folder_that_is_not_there_or_holds_other_files_is_empty(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("not ours")

    assert SpoolReader(tmp_path / "missing").read(None) is None
    assert SpoolReader(tmp_path).read(None) is None
    assert (tmp_path / "other.txt").exists()

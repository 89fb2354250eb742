"""Reading a segment never raises, never returns what was not written, and loses only what the damage touches."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference import segments
from inference.segments import FRAME_HEAD, SegmentName, parse_name, scan

MARKER = b"\x1f\x3a\x99\xc0"
PAYLOADS = [b"first", b"", b"third, which is longer", b"\x00" * 12, b"last"]


def written(payloads: list[bytes] = PAYLOADS, marker: bytes = MARKER) -> bytes:
    return b"".join(segments.frame(marker, payload) for payload in payloads)


def frame_ranges() -> list[tuple[int, int]]:
    ends = [0]
    for payload in PAYLOADS:
        ends.append(ends[-1] + FRAME_HEAD.size + len(payload))
    return list(pairwise(ends))


def untouched(start: int, end: int) -> list[bytes]:
    """The payloads whose frames lie wholly outside ``[start, end)``."""
    return [payload for payload, (first, last) in zip(PAYLOADS, frame_ranges(), strict=True) if last <= start or first >= end]


def test_name_holds_time_and_marker_and_sorts_by_time() -> None:
    name = SegmentName(1_790_000_000_000_000, MARKER)

    assert parse_name(str(name)) == name
    assert name.created_at == 1_790_000_000.0
    assert str(name) < str(SegmentName(1_790_000_000_000_001, b"\x00\x00\x00\x01"))


@pytest.mark.parametrize(
    "text", ["lock", "writer", "1-1f3a99c0.v1.spool", f"{1:016d}-1f3a99c0.v2.spool", f"{1:016d}-1F3A99C0.v1.spool"]
)
def test_other_files_are_no_segments(text: str) -> None:
    assert parse_name(text) is None


@given(st.lists(st.binary(max_size=50)), st.integers(0, 10**9), st.booleans())
def test_what_was_written_is_read(payloads: list[bytes], offset: int, final: bool) -> None:
    data = written(payloads)

    found = scan(data, MARKER, offset=offset, final=final)

    assert found.payloads == payloads
    assert found.gaps == []
    assert found.end == offset + len(data)
    ends = [*found.starts[1:], found.end]
    assert [data[start - offset : end - offset] for start, end in zip(found.starts, ends, strict=False)] == [
        written([payload]) for payload in payloads
    ]


def whole_before(cut: int) -> list[bytes]:
    """The payloads whose frames end at ``cut`` or before."""
    return [payload for payload, (_, end) in zip(PAYLOADS, frame_ranges(), strict=True) if end <= cut]


def test_torn_tail_is_waited_for_while_the_writer_lives() -> None:
    for cut in range(len(written())):
        found = scan(written()[:cut], MARKER, offset=0, final=False)

        assert found.payloads == whole_before(cut), cut
        assert found.gaps == [], cut
        assert found.end == len(written(whole_before(cut))), cut


def test_torn_tail_is_a_gap_when_the_writer_is_gone() -> None:
    for cut in range(len(written())):
        start = len(written(whole_before(cut)))

        found = scan(written()[:cut], MARKER, offset=0, final=True)

        assert found.payloads == whole_before(cut), cut
        assert found.gaps == ([(start, cut)] if cut > start else []), cut
        assert found.end == cut


@pytest.mark.parametrize("bits", [0x01, 0x80, 0xFF])
def test_flipped_byte_loses_only_its_frame(bits: int) -> None:
    for position in range(len(written())):
        data = bytearray(written())
        data[position] ^= bits

        found = scan(bytes(data), MARKER, offset=0, final=True)

        assert found.payloads == untouched(position, position + 1), position
        assert len(found.gaps) == 1, position
        assert found.gaps[0][0] <= position < found.gaps[0][1]


@pytest.mark.parametrize("length", [1, 4, 13, 40])
def test_zeroed_range_loses_only_its_frames(length: int) -> None:
    for start in range(len(written())):
        end = min(start + length, len(written()))
        data = written()[:start] + bytes(end - start) + written()[end:]

        found = scan(data, MARKER, offset=0, final=True)

        assert set(untouched(start, end)) <= set(found.payloads), start
        assert found.payloads == [payload for payload in PAYLOADS if payload in found.payloads], start


@pytest.mark.parametrize("length", [1, 5, 20])
def test_removed_bytes_lose_only_their_frames(length: int) -> None:
    for start in range(len(written())):
        end = min(start + length, len(written()))

        found = scan(written()[:start] + written()[end:], MARKER, offset=0, final=True)

        assert found.payloads == untouched(start, end), start


def test_inserted_bytes_lose_only_the_frame_that_they_split() -> None:
    for position in range(len(written()) + 1):
        found = scan(written()[:position] + b"garbage" + written()[position:], MARKER, offset=0, final=True)

        assert found.payloads == [
            payload for payload, (start, end) in zip(PAYLOADS, frame_ranges(), strict=True) if not start < position < end
        ], position


@given(st.binary(max_size=400), st.booleans())
def test_noise_holds_no_frames(noise: bytes, final: bool) -> None:
    found = scan(noise, MARKER, offset=0, final=final)

    assert found.payloads == []
    assert found.end == (len(noise) if final else 0)


def test_payload_that_looks_like_a_frame_of_another_segment_is_not_read_as_one() -> None:
    forged = segments.frame(b"evil", b"a prediction that was never made")
    data = bytearray(written([forged, b"after"]))
    data[4] ^= 0xFF  # the length of the frame around it

    found = scan(bytes(data), MARKER, offset=0, final=True)

    assert found.payloads == [b"after"]


def test_length_above_the_limit_is_damage() -> None:
    head = FRAME_HEAD.pack(MARKER, segments.MAX_PAYLOAD_BYTES + 1, 0)

    found = scan(head + written([b"after"]), MARKER, offset=0, final=True)

    assert found.payloads == [b"after"]


def test_head_belongs_to_its_name() -> None:
    name = SegmentName(1_790_000_000_000_000, MARKER)
    other = SegmentName(1_790_000_000_000_000, b"\x00\x01\x02\x03")

    assert segments.has_head(segments.segment_head(name) + b"more", name)
    assert not segments.has_head(segments.segment_head(other), name)
    assert not segments.has_head(segments.segment_head(name)[:-1], name)

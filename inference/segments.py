"""The file format of the spool: names, frames, and how to find what is whole in damaged bytes. Pure.

A segment is a header and then frames: marker, length, checksum, payload. The marker is four random bytes, new for
each segment and written in its name too, so that no payload can hold something that reads as a frame, and a damaged
header costs nothing. The checksum covers the payload and, as its start, the length plus one: zeros are no frame.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

MAX_PAYLOAD_BYTES = 64 * 1024 * 1024
"""A longer frame is not written, and a length above it is damage."""

FRAME_HEAD = struct.Struct("<4sII")
_HEAD_BYTES, _unpack_head = FRAME_HEAD.size, FRAME_HEAD.unpack_from  # looked up once, not for each frame
_SEGMENT_HEAD = struct.Struct("<8s4sd")
_CHECKSUM = struct.Struct("<I")
_MAGIC = b"MWSPOOL1"
SEGMENT_HEAD_BYTES = _SEGMENT_HEAD.size + _CHECKSUM.size
_NAME = re.compile(r"(\d{16})-([0-9a-f]{8})\.v1\.spool")


@dataclass(frozen=True, slots=True)
class SegmentName:
    """``0001790000000000-1f3a99c0.v1.spool``: microseconds since 1970 when it was created, its marker, its format.

    Another format gets another ending, which this code does not list and so leaves alone.
    """

    sequence: int
    marker: bytes

    def __str__(self) -> str:
        return f"{self.sequence:016d}-{self.marker.hex()}.v1.spool"

    @property
    def created_at(self) -> float:
        """Unix seconds."""
        return self.sequence / 1e6


def parse_name(text: str) -> SegmentName | None:
    """The name of a segment, None for any other file."""
    match = _NAME.fullmatch(text)
    return SegmentName(int(match[1]), bytes.fromhex(match[2])) if match else None


class Scan(NamedTuple):
    """What was found: the payloads of whole frames, damaged ranges ``[start, end)``, and where reading goes on."""

    payloads: list[bytes]
    starts: list[int]
    """Where in the segment the frame of each payload begins."""
    gaps: list[tuple[int, int]]
    end: int


def segment_head(name: SegmentName) -> bytes:
    """The first bytes of a segment."""
    head = _SEGMENT_HEAD.pack(_MAGIC, name.marker, name.created_at)
    return head + _CHECKSUM.pack(crc32(head))


def has_head(data: bytes, name: SegmentName) -> bool:
    """Whether ``data`` begins with the header that belongs to ``name``."""
    return data[:SEGMENT_HEAD_BYTES] == segment_head(name)


def frame(marker: bytes, payload: bytes) -> bytes:
    """``payload`` as it stands in a segment."""
    length = len(payload)
    return FRAME_HEAD.pack(marker, length, crc32(payload, length + 1)) + payload


def scan(data: bytes, marker: bytes, *, offset: int, final: bool) -> Scan:
    """The frames in ``data``, which stands at ``offset`` of its segment.

    Unless ``final`` it stops before the first thing that is not a whole frame: the writer may be in the middle of
    it. ``final`` says that the data runs to the end of a segment nobody writes any more: then whatever is no frame
    is damage, and reading goes on at the next whole frame.
    """
    found = Scan([], [], [], 0)
    position = 0
    while True:
        position = _read_frames(data, marker, position, offset, found)
        if not final or position >= len(data):
            break
        resume = _next_frame(data, marker, position + 1)
        found.gaps.append((offset + position, offset + resume))
        position = resume
    return found._replace(end=offset + position)


def _read_frames(data: bytes, marker: bytes, position: int, offset: int, found: Scan) -> int:
    """Adds the whole frames that follow each other from ``position`` on; returns where they end."""
    payloads, starts = found.payloads, found.starts
    last = len(data) - _HEAD_BYTES
    while position <= last:
        # As in _payload, spelled out: this is done for every record.
        mark, length, checksum = _unpack_head(data, position)
        end = position + _HEAD_BYTES + length
        payload = data[position + _HEAD_BYTES : end]
        if mark != marker or len(payload) != length or length > MAX_PAYLOAD_BYTES or crc32(payload, length + 1) != checksum:
            break
        payloads.append(payload)
        starts.append(offset + position)
        position = end
    return position


def _payload(data: bytes, marker: bytes, position: int) -> bytes | None:
    """What the whole frame at ``position`` holds; None when there is none."""
    start = position + _HEAD_BYTES
    if start > len(data):
        return None
    found, length, checksum = _unpack_head(data, position)
    if found != marker or length > MAX_PAYLOAD_BYTES:
        return None
    payload = data[start : start + length]
    return payload if len(payload) == length and crc32(payload, length + 1) == checksum else None


def _next_frame(data: bytes, marker: bytes, position: int) -> int:
    """Where the next whole frame begins; the end of the data when there is none."""
    while (position := data.find(marker, position)) >= 0:
        if _payload(data, marker, position) is not None:
            return position
        position += 1
    return len(data)

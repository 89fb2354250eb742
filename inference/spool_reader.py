"""Reads a spool folder while it is written, and after any damage to it: never raises for bad bytes, never skips good ones."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from inference import segments, spool_folder
from inference.segments import Scan, SegmentName

READ_BYTES = 4 * 1024**2
"""At once: some 13,000 rows of 20 features, and about 35 MB of memory while they are stored."""
WRITER_CHECK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Position:
    """Up to where a folder was read: an offset in a segment. Before any reading: None instead of a Position."""

    segment: str
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one read found in one segment: the payloads of whole frames, and the damaged ranges between them, ``[start, end)``."""

    segment: SegmentName
    start: int
    end: int
    payloads: list[bytes]
    starts: list[int]
    """Where the frame of each payload begins."""
    gaps: list[tuple[int, int]]
    is_finished: bool
    """Nothing comes after ``end``, now or later: the segment can go once what it held is stored."""


class SpoolReader:
    """Reads the segments of one folder in order; several readers of a folder do not disturb each other."""

    def __init__(self, folder: Path, *, read_bytes: int = READ_BYTES, writer_check_seconds: float = WRITER_CHECK_SECONDS) -> None:
        self.folder = folder
        self._read_bytes = read_bytes
        self._writer_check_seconds = writer_check_seconds
        self._next_writer_check = 0.0

    def read(self, position: Position | None) -> Batch | None:
        """What comes next in the oldest segment; None when there is nothing new.

        ``position`` counts for the segment that it names. Any other that is still there is read from its start:
        what it holds may have been stored before, and then its ids are known there.
        """
        names = spool_folder.segment_names(self.folder)
        if not names:
            return None
        name = names[0]
        offset = position.offset if position and position.segment == str(name) else 0
        # The order matters: only after the folder was listed can "the writer is gone" make the last segment final.
        if len(names) > 1:
            return self._read_segment(name, offset, is_final=True)
        return self._read_segment(name, offset, is_final=False) or self._read_if_abandoned(name, offset)

    def quarantine(self, segment: SegmentName, start: int, end: int) -> int:
        """Keep the damaged bytes of a segment aside for a person; returns how many there were."""
        data = _read(self.folder / str(segment), start, end - start)
        path = quarantine_folder(self.folder) / f"{segment}-{start}-{end}.bytes"
        if not path.exists():
            spool_folder.write_atomically(path, data)
        return len(data)

    def discard(self, segment: SegmentName) -> None:
        """Unlink a segment that is finished and stored."""
        (self.folder / str(segment)).unlink(missing_ok=True)

    def _read_if_abandoned(self, name: SegmentName, offset: int) -> Batch | None:
        now = time.monotonic()
        if now < self._next_writer_check:
            return None
        self._next_writer_check = now + self._writer_check_seconds
        if not spool_folder.is_writer_gone(self.folder):
            return None
        return self._read_segment(name, offset, is_final=True)

    def _read_segment(self, name: SegmentName, offset: int, *, is_final: bool) -> Batch | None:
        path = self.folder / str(name)
        try:
            found = self._scan(path, name, offset, is_final=is_final)
            size = path.stat().st_size
        except FileNotFoundError:
            return None  # its writer dropped it
        if not is_final and not found.payloads:
            return None
        return Batch(
            segment=name,
            start=offset,
            end=found.end,
            payloads=found.payloads,
            starts=found.starts,
            gaps=found.gaps,
            is_finished=is_final and found.end >= size,
        )

    def _scan(self, path: Path, name: SegmentName, offset: int, *, is_final: bool) -> Scan:
        """The next frames; only where none follows is the whole rest of the file looked at, a long or a damaged frame."""
        data = _read(path, offset, self._read_bytes)
        found = _scan_from(data, name, offset, is_final=False)
        is_whole = len(data) < self._read_bytes
        if found.payloads or (is_whole and not is_final):
            return found
        data = _read(path, offset, segments.MAX_PAYLOAD_BYTES * 4)
        return _scan_from(data, name, offset, is_final=is_final)


def quarantine_folder(folder: Path) -> Path:
    """Where the folder keeps what could not be read or stored; made when missing."""
    path = folder / spool_folder.QUARANTINE_FOLDER
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def _scan_from(data: bytes, name: SegmentName, offset: int, *, is_final: bool) -> Scan:
    """As ``segments.scan``, past the segment's header; a damaged header is a gap like any other."""
    if offset == 0 and segments.has_head(data, name):
        start = segments.SEGMENT_HEAD_BYTES
        return segments.scan(data[start:], name.marker, offset=start, final=is_final)
    return segments.scan(data, name.marker, offset=offset, final=is_final)


def _read(path: Path, offset: int, length: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        length = min(length, max(os.fstat(descriptor).st_size - offset, 0))
        return os.pread(descriptor, length, offset)
    finally:
        os.close(descriptor)

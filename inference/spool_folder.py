"""What lies in a spool folder beside the frames: which segments there are, who writes it, how much it holds.

::

    spool/0/lock                                    held by the process that writes here, for as long as it lives
    spool/0/writer                                  the folder's name in SQL
    spool/0/0001790000000000-1f3a99c0.v1.spool      a segment
    spool/0/quarantine/                             what could not be read or stored, kept for a person to look at
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import time
import uuid
from contextlib import suppress
from pathlib import Path

from inference import segments
from inference.segments import SegmentName, parse_name

LOCK_FILE = "lock"
WRITER_FILE = "writer"
QUARANTINE_FOLDER = "quarantine"


class SpoolInUse(Exception):
    """Another process writes this folder."""


def segment_names(folder: Path) -> list[SegmentName]:
    """The segments of a folder, oldest first; empty when it is not there."""
    try:
        found = [parse_name(entry.name) for entry in os.scandir(folder)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted((name for name in found if name), key=lambda name: name.sequence)


def new_segment_name(after: SegmentName | None) -> SegmentName:
    """A name that sorts after the one before it, also when the clock was set back."""
    sequence = time.time_ns() // 1000
    return SegmentName(max(sequence, after.sequence + 1) if after else sequence, _new_marker())


def _new_marker() -> bytes:
    while True:
        marker = secrets.token_bytes(4)
        if len(set(marker)) == 4:  # a marker of one repeated byte would be found in runs of it
            return marker


def writer_id(folder: Path) -> str:
    """The name under which a folder's position and counts stand in SQL, unique over all hosts; made when missing."""
    path = folder / WRITER_FILE
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        text = ""
    if re.fullmatch(r"[0-9a-f]{32}", text):
        return text
    text = uuid.uuid4().hex
    write_atomically(path, f"{text}\n".encode())
    return text


def take_lock(path: Path) -> int:
    """A descriptor that holds the lock until it is closed or the process ends. Raises SpoolInUse."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    # Twice, because the uploader holds the lock for microseconds to see whether the writer lives.
    for pause in (0.002, 0.0):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(pause)
        else:
            return descriptor
    os.close(descriptor)
    raise SpoolInUse(f"Another process holds {path}.")


def is_writer_gone(folder: Path) -> bool:
    """Whether no living process writes the folder."""
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def write_atomically(path: Path, content: bytes, *, durable: bool = True) -> None:
    """The whole file or nothing; when ``durable`` also if the power fails."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        if durable:
            os.fsync(descriptor)
    temporary.replace(path)
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the disk confirm which files the folder holds."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def bytes_in(folder: Path, names: list[SegmentName]) -> int:
    """Size of those of the segments that are still there."""
    used = 0
    for name in names:
        with suppress(FileNotFoundError):
            used += (folder / str(name)).stat().st_size
    return used


def worker_folders(root: Path) -> list[Path]:
    """The folders under ``root`` that writers have or had; empty when it is not there."""
    try:
        return sorted(Path(entry.path) for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []


def count_frames(path: Path, name: SegmentName) -> int:
    """The frames of a segment, whoever wrote it."""
    return len(segments.scan(path.read_bytes(), name.marker, offset=0, final=True).payloads)

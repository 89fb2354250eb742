"""The append-only log between a request and SQL: what was appended is on this disk whatever happens to the process.

Bytes only; it knows nothing of predictions. One process writes a folder (a lock says so), the uploader reads all
folders. The files are described in ``inference.segments``, the promises in docs/durability.md.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Literal, NamedTuple, TypeAlias
from zlib import crc32

from inference import segments, spool_folder
from inference.segments import FRAME_HEAD, MAX_PAYLOAD_BYTES, SEGMENT_HEAD_BYTES, SegmentName
from inference.spool_folder import SpoolInUse
from storage.failpoints import reach

__all__ = ["Spool", "SpoolFailed", "SpoolFull", "SpoolInUse", "SpoolState", "SpoolUnavailable", "open_worker_spool"]

Durability: TypeAlias = Literal["process", "power"]
WhenFull: TypeAlias = Literal["reject", "serve_unlogged", "drop_oldest"]

COPIES_BYTES = 64 * 1024**2
"""What is kept in memory of payloads that the disk has not confirmed; beyond it a failed fsync cannot be repaired."""
REFRESH_SECONDS = 0.5
RETRY_SECONDS = 1.0
FULL_DISK_SECONDS = 5.0
"""How long a disk that refused a write counts as full; it may say that it has space all the same (quotas)."""

_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_logger = logging.getLogger(__name__)
_fdatasync: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)
_pack = FRAME_HEAD.pack


class SpoolUnavailable(Exception):
    """A record was not taken. ``serve_unlogged``: the operator chose to answer all the same."""

    def __init__(self, message: str, *, serve_unlogged: bool = False) -> None:
        super().__init__(message)
        self.serve_unlogged = serve_unlogged


class SpoolFull(SpoolUnavailable):
    """There is no room for a record: the cap is reached or the disk is full. Later it may fit."""


class SpoolFailed(SpoolUnavailable):
    """The disk does not take what is written, or the spool is closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolState:
    """Figures of one writer; the totals count predictions since it was opened."""

    bytes: int
    """What lies in the folder: segments not yet uploaded, and the one being written."""
    oldest_at: float | None
    """Unix seconds at which the oldest finished segment was begun; None when all finished ones are uploaded."""
    records_total: int
    dropped_total: int
    """Served unlogged, or dropped for newer ones."""
    rejected_total: int
    writable: bool
    reason: str | None
    """Why it is not writable, as one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    durability: Durability
    when_full: WhenFull
    max_bytes: int
    segment_bytes: int
    segment_seconds: float
    free_floor: int
    sync_seconds: float
    counted_folder: Path | None
    sync: Callable[[int], None]


class _Waiting(NamedTuple):
    payload: bytes
    records: int
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[None]


class Spool:
    """The writer of one folder. ``append`` may be called from any thread; one thread of its own syncs.

    ``process``: a record is with the kernel when ``append`` returns, and on the disk within ``sync_seconds``.
    ``power``: a record is on the disk when ``append_durable`` returns.
    """

    def __init__(self, folder: Path, lock: int, options: _Options) -> None:
        self.folder = folder
        self.durability = options.durability
        self.when_full = options.when_full
        self._options = options
        self._counted = options.counted_folder or folder
        self._folder_lock = lock

        self._lock = threading.Lock()
        self._name: SegmentName | None = None
        self._marker = b""
        self._descriptor = -1
        self._offset = 0
        self._begun = 0.0
        self._limit = -1  # the one number that append compares with: beyond it there is something to decide
        self._retired: list[int] = []
        self._unsynced: list[bytes] = []
        self._copies_complete = True
        self._closed = False
        self._failure: str | None = None
        self._retry_failure_at = 0.0
        self._full: str | None = None
        self._full_until = 0.0
        self._wanted = 0

        self._budget = 0  # bytes that may still be appended, as of the offset _charged
        self._charged = 0
        self._appended = 0
        self._own_bytes = 0  # as looked up when _appended was _own_since
        self._own_since = 0
        self._oldest_at: float | None = None
        self._records = 0
        self._records_before = 0
        self._records_in: dict[SegmentName, int] = {}
        self._dropped = 0
        self._rejected = 0

        self._waiting: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._stop = threading.Event()
        self._next_refresh = 0.0
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        durability: Durability = "process",
        max_bytes: int = 2 * 1024**3,
        when_full: WhenFull = "reject",
        segment_bytes: int = 16 * 1024**2,
        segment_seconds: float = 60.0,
        free_floor: int = 64 * 1024**2,
        sync_seconds: float = 0.1,
        counted_folder: Path | None = None,
        sync: Callable[[int], None] = _fdatasync,
    ) -> Spool:
        """Take the folder and begin a new segment.

        ``max_bytes`` caps what lies in all folders of ``counted_folder`` (default: this folder alone), ``free_floor``
        is left free on the disk, a segment ends at ``segment_bytes`` or ``segment_seconds``. ``sync`` is fdatasync;
        tests pass one that fails. Raises SpoolInUse, SpoolFull or OSError.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        options = _Options(
            durability=durability,
            when_full=when_full,
            max_bytes=max_bytes,
            segment_bytes=segment_bytes,
            segment_seconds=segment_seconds,
            free_floor=free_floor,
            sync_seconds=sync_seconds,
            counted_folder=counted_folder,
            sync=sync,
        )
        spool = cls(folder, spool_folder.take_lock(folder / spool_folder.LOCK_FILE), options)
        try:
            spool._start()
        except BaseException:
            os.close(spool._folder_lock)
            raise
        return spool

    # ------------------------------------------------------------------------------------------ appending

    def append(self, payload: bytes, records: int = 1) -> None:
        """Write one payload that stands for ``records`` predictions; it survives the process from here on.

        Raises SpoolFull or SpoolFailed, and then the payload is not in the spool; ValueError when it is over 64 MiB.
        """
        length = len(payload)
        checksum = crc32(payload, length + 1)
        with self._lock:
            if self._offset + length > self._limit:
                self._make_room(length, records)
            frame = _pack(self._marker, length, checksum) + payload
            try:
                written = os.write(self._descriptor, frame)
            except OSError as error:
                written = self._write_again(payload, records, 0, error)
            else:
                if written != len(frame):
                    written = self._write_again(payload, records, written, None)
            self._offset += written
            self._records += records
            self._unsynced.append(payload)

    def append_all(self, items: Sequence[tuple[bytes, int]]) -> list[Exception | None]:
        """As one ``append`` after the other, but with one write where they fit; a refused one has its exception in its place."""
        with self._lock:
            taken = self._append_at_once(items)
        return [None] * taken + [self._try_append(payload, records) for payload, records in items[taken:]]

    async def append_durable(self, payload: bytes, records: int = 1) -> None:
        """As ``append``; with durability ``power`` it returns when the disk has confirmed the payload."""
        if self.durability == "process":
            self.append(payload, records)
            return
        if self._closed:
            raise self._refusal(SpoolFailed, "The spool is closed.", records)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.put(_Waiting(payload, records, loop, future))
        await future

    def state(self) -> SpoolState:
        """The figures as of now; costs no system call."""
        reason = "The spool is closed." if self._closed else self._failure or self._full
        return SpoolState(
            bytes=self._own_bytes + self._appended + self._offset - self._charged - self._own_since,
            oldest_at=self._oldest_at,
            records_total=self._records,
            dropped_total=self._dropped,
            rejected_total=self._rejected,
            writable=reason is None,
            reason=reason,
        )

    def close(self) -> None:
        """Sync what was appended and release the folder. A second call does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._set_limit()
        self._stop.set()
        self._waiting.put(None)
        self._thread.join()
        self._sync()
        with self._lock:
            if self._offset == SEGMENT_HEAD_BYTES:
                with suppress(OSError):
                    (self.folder / str(self._name)).unlink()
            for descriptor in (*self._retired, self._descriptor):
                os.close(descriptor)
        os.close(self._folder_lock)

    # ------------------------------------------------------------------------------------------ room, with the lock held

    def _append_at_once(self, items: Sequence[tuple[bytes, int]]) -> int:
        """How many of the items were taken: all, none where there is something to decide, or what a full disk took whole."""
        frames = [segments.frame(self._marker, payload) for payload, _ in items]
        size = sum(map(len, frames))
        if self._offset + size - FRAME_HEAD.size > self._limit:
            return 0
        try:
            written = os.write(self._descriptor, b"".join(frames))
        except OSError:
            return 0
        taken, whole = len(frames), size
        while whole > written:
            taken -= 1
            whole -= len(frames[taken])
        # A whole frame stays, because the uploader may have read it by now; what follows the last one is cut off.
        self._offset += whole
        self._records += sum(records for _, records in items[:taken])
        self._unsynced += [payload for payload, _ in items[:taken]]
        if written > whole:
            with suppress(OSError):
                self._cut_back(written - whole)
        return taken

    def _make_room(self, length: int, records: int) -> None:
        """The rare part of append: end a segment, or say why there is no room."""
        if length > MAX_PAYLOAD_BYTES:
            raise ValueError(f"A spool record of {length:,} bytes is over the limit of {MAX_PAYLOAD_BYTES:,}: split it.")
        if self._closed or self._failure:
            raise self._refusal(SpoolFailed, self._failure or "The spool is closed.", records)
        size = length + FRAME_HEAD.size
        self._settle()
        while self._budget < size:
            if self.when_full != "drop_oldest" or not self._drop_oldest():
                self._set_full(f"The spool {self._counted} is full: its cap is reached or the disk has too little left.", size)
                raise self._refusal(SpoolFull, self._full or "", records)
        if self._offset + size > self._options.segment_bytes and self._offset > SEGMENT_HEAD_BYTES:
            try:
                self._rotate()
            except OSError as error:
                raise self._refused(error, size, records) from error
        self._set_limit()

    def _write_again(self, payload: bytes, records: int, written: int, error: OSError | None) -> int:
        """After a failed or short write: cut the torn frame off, then drop old segments for it, or refuse it.

        Returns the bytes written. A full disk takes part of a frame first and reports ENOSPC at the next write.
        """
        frame = b""
        while not frame or written != len(frame):
            problem = error or OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            try:
                self._cut_back(written)
            except OSError as failed:
                problem = failed
            drop = self.when_full == "drop_oldest" and problem.errno in _FULL_ERRNOS
            if not drop or not self._drop_oldest():
                raise self._refused(problem, len(payload) + FRAME_HEAD.size, records)
            frame = segments.frame(self._marker, payload)
            try:
                written, error = os.write(self._descriptor, frame), None
            except OSError as failed:
                written, error = 0, failed
        return written

    def _cut_back(self, written: int) -> None:
        if not written:
            return
        try:
            os.ftruncate(self._descriptor, self._offset)
        except OSError:
            # The torn frame stays where it is, as the tail of a finished segment: the reader skips it.
            _logger.warning("A torn frame could not be cut off %s.", self._name)
            self._rotate()

    def _refused(self, error: OSError, size: int, records: int) -> SpoolUnavailable:
        if error.errno not in _FULL_ERRNOS:
            return self._refusal(SpoolFailed, f"The spool {self.folder} cannot be written ({error.strerror}).", records)
        self._full_until = time.monotonic() + FULL_DISK_SECONDS
        self._set_full(f"The disk of the spool {self.folder} is full ({error.strerror}).", size)
        return self._refusal(SpoolFull, self._full or "", records)

    def _refusal(self, kind: type[SpoolUnavailable], message: str, records: int) -> SpoolUnavailable:
        serve_unlogged = self.when_full == "serve_unlogged"
        if serve_unlogged:
            self._dropped += records
        else:
            self._rejected += records
        return kind(message, serve_unlogged=serve_unlogged)

    def _set_full(self, reason: str | None, wanted: int = 0) -> None:
        if (reason is None) != (self._full is None):
            _logger.warning("%s", reason or f"The spool {self.folder} has room again.")
        self._full, self._wanted = reason, wanted

    def _drop_oldest(self) -> bool:
        """Unlink the oldest finished segment of this folder; False when there is none."""
        names = [name for name in spool_folder.segment_names(self.folder) if name != self._name]
        if not names and self._name and self._offset > SEGMENT_HEAD_BYTES:
            names = [self._name]
            try:
                self._rotate()
            except OSError:
                return False
        return any(self._drop(name) for name in names)

    def _drop(self, name: SegmentName) -> bool:
        path = self.folder / str(name)
        try:
            size = path.stat().st_size
            # Who wrote a segment knows its predictions; of one that was found only the frames can be counted.
            records = self._records_in.pop(name, None) or spool_folder.count_frames(path, name)
            path.unlink()
        except FileNotFoundError:
            return False  # the uploader was quicker
        self._dropped += records
        self._budget += size
        self._own_bytes -= size
        self._set_limit()
        _logger.warning("Dropped %d predictions with %s: the spool is full.", records, path)
        return True

    def _settle(self) -> None:
        """Charge what was appended since the last call."""
        grown = self._offset - self._charged
        self._appended += grown
        self._budget -= grown
        self._charged = self._offset

    def _set_limit(self) -> None:
        self._settle()
        room = min(self._options.segment_bytes, self._offset + self._budget)
        self._limit = -1 if self._closed or self._failure else room - FRAME_HEAD.size

    def _rotate(self) -> None:
        """Begin a new segment; the thread syncs and closes the one before. Raises OSError, and then nothing changed."""
        name = spool_folder.new_segment_name(self._name)
        path = self.folder / str(name)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if os.write(descriptor, segments.segment_head(name)) != SEGMENT_HEAD_BYTES:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            os.close(descriptor)
            path.unlink()
            raise
        reach("in_rotation")
        self._settle()
        if self._name and self._descriptor >= 0:
            self._retired.append(self._descriptor)
            self._records_in[self._name] = self._records - self._records_before
        self._name, self._marker, self._descriptor = name, name.marker, descriptor
        self._offset, self._charged, self._begun = SEGMENT_HEAD_BYTES, 0, time.monotonic()
        self._records_before = self._records
        if sum(map(len, self._unsynced)) > COPIES_BYTES:
            self._unsynced, self._copies_complete = [], False
        self._set_limit()

    # ------------------------------------------------------------------------------------------ the thread

    def _start(self) -> None:
        spool_folder.writer_id(self.folder)
        existing = spool_folder.segment_names(self.folder)
        self._name = existing[-1] if existing else None
        try:
            self._rotate()
        except OSError as error:
            if error.errno not in _FULL_ERRNOS:
                raise
            raise SpoolFull(f"The disk of the spool {self.folder} is full ({error.strerror}).") from error
        spool_folder.sync_folder(self.folder)
        spool_folder.sync_folder(self.folder.parent)
        self._refresh()
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            group = self._next_group()
            refusals = self.append_all([(item.payload, item.records) for item in group]) if group else []
            failure = self._sync()
            _resolve(group, [refusal or failure for refusal in refusals])
            try:
                self._look_after(time.monotonic())
            except OSError as error:
                _logger.warning("The spool %s could not be looked after (%s); trying again.", self.folder, error.strerror)
        group = [item for item in self._queued() if item is not None]
        _resolve(group, [SpoolFailed("The spool is closed.") for _ in group])

    def _next_group(self) -> list[_Waiting]:
        if self.durability == "process":
            self._stop.wait(self._options.sync_seconds)
            return []
        try:
            first = self._waiting.get(timeout=self._options.sync_seconds)
        except Empty:
            return []
        return [item for item in (first, *self._queued()) if item is not None]

    def _queued(self) -> Iterator[_Waiting | None]:
        with suppress(Empty):
            for _ in range(4096):
                yield self._waiting.get_nowait()

    def _try_append(self, payload: bytes, records: int) -> Exception | None:
        try:
            self.append(payload, records)
        except (SpoolUnavailable, ValueError) as error:
            return error
        return None

    def _sync(self) -> SpoolFailed | None:
        """Have the disk confirm all that was appended so far; only this thread syncs and closes descriptors."""
        with self._lock:
            payloads, self._unsynced = self._unsynced, []
            complete, self._copies_complete = self._copies_complete, True
            retired, self._retired = self._retired, []
            current = self._descriptor
        if payloads or retired or not complete:
            reach("before_sync")
            try:
                for descriptor in (*retired, current):
                    self._options.sync(descriptor)
                if retired:
                    spool_folder.sync_folder(self.folder)
            except OSError as error:
                self._repair(payloads, error, complete=complete)
            reach("after_sync")
        for descriptor in retired:
            os.close(descriptor)
        return SpoolFailed(self._failure, serve_unlogged=self.when_full == "serve_unlogged") if self._failure else None

    def _repair(self, payloads: Sequence[bytes], error: OSError, *, complete: bool) -> None:
        """Write what the disk did not confirm into a new segment.

        After a failed fsync the kernel marks the pages clean, so that a second fsync on the same file succeeds and
        means nothing. What then reaches SQL twice has the same ids.
        """
        _logger.error("The disk did not confirm a write to the spool %s (%s); writing it again.", self.folder, error.strerror)
        if not complete:
            _logger.error("Some unconfirmed records of %s are no longer in memory: a power failure would lose them.", self.folder)
        with self._lock:
            waiting = [*payloads, *self._unsynced]
            self._unsynced = []
            try:
                self._rotate()
                self._forget_retired()
                self._rewrite(waiting)
            except OSError as second:
                self._unsynced = waiting
                self._retry_failure_at = time.monotonic() + RETRY_SECONDS
                self._failure = f"The disk does not confirm what is written to the spool {self.folder} ({second.strerror})."
            else:
                self._failure = None
            self._set_limit()

    def _forget_retired(self) -> None:
        for descriptor in self._retired:
            os.close(descriptor)
        self._retired = []

    def _rewrite(self, payloads: Sequence[bytes]) -> None:
        for payload in payloads:
            frame = segments.frame(self._marker, payload)
            if os.write(self._descriptor, frame) != len(frame):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._offset += len(frame)
        self._options.sync(self._descriptor)
        spool_folder.sync_folder(self.folder)

    def _look_after(self, now: float) -> None:
        if self._failure and now >= self._retry_failure_at:
            self._repair([], OSError(errno.EIO, "trying again"), complete=True)
        if not self._full and now < self._next_refresh:
            return
        self._next_refresh = now + REFRESH_SECONDS
        self._refresh()
        with self._lock:
            if self._full and self._budget >= self._wanted and now >= self._full_until:
                self._set_full(None)
            is_old = now - self._begun >= self._options.segment_seconds
            if is_old and self._offset > SEGMENT_HEAD_BYTES and not self._failure:
                self._begun = now  # where the disk is full, the next attempt comes as late as this one did
                self._rotate()

    def _refresh(self) -> None:
        """Look how much lies on the disk: the uploader and other workers change it too."""
        with self._lock:
            self._settle()
            before, current = self._appended, self._name
        names = spool_folder.segment_names(self.folder)
        own = spool_folder.bytes_in(self.folder, names)
        used = own if self._counted == self.folder else _bytes_under(self._counted)
        disk = os.statvfs(self.folder)
        with self._lock:
            self._settle()
            room = min(self._options.max_bytes - used, disk.f_bavail * disk.f_frsize - self._options.free_floor)
            self._budget = room - (self._appended - before)
            self._own_bytes, self._own_since = own, before
            self._oldest_at = min((name.created_at for name in names if name != current), default=None)
            self._records_in = {name: self._records_in[name] for name in names if name in self._records_in}
            self._set_limit()


def open_worker_spool(
    root: Path,
    *,
    durability: Durability = "process",
    max_bytes: int = 2 * 1024**3,
    when_full: WhenFull = "reject",
    segment_bytes: int = 16 * 1024**2,
    free_floor: int = 64 * 1024**2,
) -> Spool:
    """The first of ``root/0``, ``root/1`` … that no living process writes. ``max_bytes`` caps all of them together."""
    for number in range(10_000):
        try:
            return Spool.open(
                root / str(number),
                durability=durability,
                max_bytes=max_bytes,
                when_full=when_full,
                segment_bytes=segment_bytes,
                free_floor=free_floor,
                counted_folder=root,
            )
        except SpoolInUse:
            continue
    raise SpoolInUse(f"All spool folders under {root} are in use.")


def _bytes_under(root: Path) -> int:
    return sum(spool_folder.bytes_in(folder, spool_folder.segment_names(folder)) for folder in spool_folder.worker_folders(root))


def _resolve(group: Sequence[_Waiting], outcomes: Sequence[Exception | None]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[None], Exception | None]]] = {}
    for item, outcome in zip(group, outcomes, strict=True):
        by_loop.setdefault(item.loop, []).append((item.future, outcome))
    for loop, futures in by_loop.items():
        with suppress(RuntimeError):  # the loop has ended meanwhile; nobody waits
            loop.call_soon_threadsafe(_set_results, futures)


def _set_results(futures: list[tuple[asyncio.Future[None], Exception | None]]) -> None:
    for future, error in futures:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

"""From the spool into SQL, in a process of its own beside the sidecar: exactly once, whatever dies in between.

Rows and position commit together, a segment is unlinked after the commit that holds the last of it. Reading a batch
again is harmless, because ids are unique and only rows that were really inserted are counted.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from sqlalchemy import Engine

from inference import spool_folder
from inference.folder_upload import FolderUpload, Hindered, Tally
from inference.settings import InferenceSettings
from inference.spool_folder import SpoolInUse
from inference.spool_reader import READ_BYTES, WRITER_CHECK_SECONDS
from inference.upload_status import SERVER_VARIABLE, UploadStatus, read_status, write_status
from storage.engine import DatabaseUnavailable
from storage.migrate import SchemaMismatch, open_database
from storage.records import Layout
from storage.segment_fields import NO_SEGMENTS, SegmentFields

LOCK_FILE = "uploader.lock"
LOCK_SECONDS = 0.5
LEAST_PAUSE_SECONDS = 0.05
MOST_PAUSE_SECONDS = 0.25
IDLE_PAUSE_SECONDS = 0.2
FIRST_BACK_OFF_SECONDS = 0.1
MOST_BACK_OFF_SECONDS = 5.0
DRAIN_SECONDS = 10.0
STATUS_SECONDS = 1.0
NICENESS = 5
"""The server beside it comes first where processors are scarce; the spool holds what waits."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadReport:
    """What one pass over all folders did."""

    inserted: int
    duplicates: int
    quarantined: int
    more: bool
    """There is probably more to read at once."""
    hindrance: str | None
    """Why something could not be uploaded, as one sentence."""

    @property
    def is_idle(self) -> bool:
        return not (self.inserted or self.duplicates or self.quarantined or self.more)


class Uploader:
    """Uploads every folder under ``root``, whether its writer lives or not."""

    def __init__(
        self,
        engine: Engine,
        root: Path,
        *,
        bucket_seconds: int = 60,
        read_bytes: int = READ_BYTES,
        writer_check_seconds: float = WRITER_CHECK_SECONDS,
        segments: SegmentFields = NO_SEGMENTS,
    ) -> None:
        self._engine = engine
        self._root = root
        self._bucket_seconds = bucket_seconds
        self._read_bytes = read_bytes
        self._writer_check_seconds = writer_check_seconds
        self._segments = segments
        self._layouts: dict[tuple[str, str], Layout] = {}
        self._uploads: dict[Path, FolderUpload] = {}
        self.status = msgspec.structs.replace(read_status(root), pid=os.getpid(), database="unknown", hindrance=None)

    def step(self, now: datetime) -> UploadReport:
        """One batch from each folder. A fault of one folder's disk leaves the others going, a database's stops all."""
        tally = Tally()
        more = False
        hindrance: str | None = None
        is_database_away = False
        for folder in spool_folder.worker_folders(self._root):
            try:
                more |= self._upload(folder).step(now, tally)
            except (DatabaseUnavailable, SchemaMismatch, Hindered) as error:
                is_database_away, hindrance = True, str(error)
                self._uploads.clear()
                self._layouts.clear()
                break
            except OSError as error:
                hindrance = f"The spool folder {folder} cannot be read or cleared ({error.strerror})."
                self._uploads.pop(folder, None)
        self._note(tally, hindrance, now, is_database_away=is_database_away)
        return UploadReport(
            inserted=tally.inserted, duplicates=tally.duplicates, quarantined=tally.quarantined, more=more, hindrance=hindrance
        )

    def _upload(self, folder: Path) -> FolderUpload:
        upload = self._uploads.get(folder)
        if upload is None:
            upload = self._uploads[folder] = FolderUpload(
                self._engine,
                folder,
                bucket_seconds=self._bucket_seconds,
                layouts=self._layouts,
                read_bytes=self._read_bytes,
                writer_check_seconds=self._writer_check_seconds,
                segments=self._segments,
            )
        return upload

    def _note(self, tally: Tally, hindrance: str | None, now: datetime, *, is_database_away: bool) -> None:
        old = self.status
        if (hindrance is None) != (old.hindrance is None):
            _logger.warning("%s", hindrance or "Uploading predictions goes on.")
        if tally.quarantined:
            _logger.error(
                "%d predictions or damaged ranges could not be stored; they are kept in %s/*/quarantine.",
                tally.quarantined,
                self._root,
            )
        self.status = UploadStatus(
            at=now.timestamp(),
            pid=old.pid,
            database="unavailable" if is_database_away else "ok" if tally.transactions else old.database,
            hindrance=hindrance,
            uploaded_total=old.uploaded_total + tally.inserted,
            duplicates_total=old.duplicates_total + tally.duplicates,
            quarantined_total=old.quarantined_total + tally.quarantined,
            torn_total=old.torn_total + tally.torn,
            last_commit_at=now.timestamp() if tally.inserted or tally.duplicates else old.last_commit_at,
        )


def run(settings: InferenceSettings) -> int:
    """Upload until SIGTERM, SIGINT or the end of the parent process, then what is left, for ten seconds at most.

    A second uploader of one spool waits quietly until the first is gone. An unreachable database is waited for.
    """
    root = settings.spool_folder
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    ending = _Ending(parent=int(os.environ.get(SERVER_VARIABLE, os.getppid())))
    with _as_process(ending), suppress(_Stopped), _only_uploader(root, ending):
        engine = _open_database(settings, root, ending)
        try:
            uploader = Uploader(engine, root, bucket_seconds=settings.rollup_seconds, segments=settings.segment_fields)
            _upload_until_stopped(uploader, root, ending)
        finally:
            engine.dispose()
    return 0


class _Stopped(Exception):
    """The process was asked to end while it waited."""


class _Ending:
    """Whether the process was asked to end, or lost its parent."""

    def __init__(self, parent: int) -> None:
        self._parent = parent
        self._asked = threading.Event()

    @property
    def is_due(self) -> bool:
        return self._asked.is_set() or os.getppid() != self._parent

    def ask(self, *_: object) -> None:
        """As a signal handler."""
        self._asked.set()

    def wait(self, seconds: float) -> None:
        """Sleep, but not longer than until the end is asked for."""
        self._asked.wait(seconds)


def _upload_until_stopped(uploader: Uploader, root: Path, ending: _Ending) -> None:
    back_off = FIRST_BACK_OFF_SECONDS
    deadline: float | None = None
    next_status = 0.0
    while True:
        began = time.monotonic()
        if deadline is None and ending.is_due:
            deadline = began + DRAIN_SECONDS
        report = uploader.step(datetime.now(UTC))
        ended = time.monotonic()
        is_last = deadline is not None and (report.is_idle or report.hindrance is not None or ended > deadline)
        if is_last or ended >= next_status:
            _write_status(root, uploader.status)
            next_status = ended + STATUS_SECONDS
        if is_last:
            return
        if report.hindrance is not None:
            ending.wait(back_off)
            back_off = min(back_off * 2, MOST_BACK_OFF_SECONDS)
            continue
        back_off = FIRST_BACK_OFF_SECONDS
        if deadline is None and not report.more:
            ending.wait(_pause(report, ended - began))


def _pause(report: UploadReport, seconds: float) -> float:
    """Longer after more work, so that batches grow under load and about a fifth of a core is taken."""
    if report.is_idle:
        return IDLE_PAUSE_SECONDS
    return min(max(4 * seconds, LEAST_PAUSE_SECONDS), MOST_PAUSE_SECONDS)


def _open_database(settings: InferenceSettings, root: Path, ending: _Ending) -> Engine:
    """Wait for a database that is there and current. Raises _Stopped."""
    back_off = FIRST_BACK_OFF_SECONDS
    said = ""
    while not ending.is_due:
        try:
            return open_database(settings.database)
        except (DatabaseUnavailable, SchemaMismatch) as error:
            hindrance = str(error)
        if hindrance != said:
            _logger.warning("%s Predictions wait in %s meanwhile.", hindrance, root)
            said = hindrance
        known = read_status(root)
        _write_status(
            root, msgspec.structs.replace(known, at=time.time(), pid=os.getpid(), database="unavailable", hindrance=hindrance)
        )
        ending.wait(back_off)
        back_off = min(back_off * 2, MOST_BACK_OFF_SECONDS)
    raise _Stopped


@contextmanager
def _only_uploader(root: Path, ending: _Ending) -> Iterator[None]:
    """Hold the lock of the spool, once it is free. Raises _Stopped."""
    while not ending.is_due:
        try:
            descriptor = spool_folder.take_lock(root / LOCK_FILE)
        except SpoolInUse:
            ending.wait(LOCK_SECONDS)
            continue
        try:
            yield
        finally:
            os.close(descriptor)
        return
    raise _Stopped


@contextmanager
def _as_process(ending: _Ending) -> Iterator[None]:
    """Signals end the run and the processor goes to others first; neither where it runs in a thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with suppress(OSError):
        os.nice(NICENESS)
    before = {number: signal.signal(number, ending.ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _write_status(root: Path, status: UploadStatus) -> None:
    with suppress(OSError):  # a full disk must not stop the uploader, which is what empties it
        write_status(root, status)

"""Uploads one spool folder: a batch of frames becomes rows, counts and a position in one transaction.

A row that no database takes is searched out by halving and kept in the folder's ``quarantine``; the others go on.
"""

from __future__ import annotations

import base64
import gc
import sys
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from inference import log_record, spool_folder
from inference.log_record import BadRecord, LogRecord
from inference.spool_reader import READ_BYTES, WRITER_CHECK_SECONDS, Batch, Position, SpoolReader, quarantine_folder
from storage.batches import PredictionBatch
from storage.counting import MisfitRows
from storage.engine import DatabaseUnavailable, first_line, reading, writing
from storage.failpoints import reach
from storage.migrate import SchemaMismatch, require_current
from storage.predictions import RecordReceipt, UnknownVersion, record_batches
from storage.records import Layout, PredictionRow
from storage.registry import LayoutLookup
from storage.segment_fields import NO_SEGMENTS, SegmentFields
from storage.spools import load_position, save_position

PATIENCE = 30
"""Failures without one success, none of them the plain fault of a row, after which the database is to blame."""


BYTES_AT_ONCE = 256 * 1024
"""Of records, some 800 rows of 20 features: what is made of them stays in the processor's cache from one step to the next."""


class Hindered(Exception):
    """Nothing can be stored at present, through no fault of the rows; the message says why."""


class Rejected(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line of a quarantine file: a row that no database takes, or a record that is none, and why."""

    reason: str
    row: PredictionRow | None = None
    offset: int | None = None
    record: str | None = None
    """What stood at ``offset`` of the segment, in base64."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What was done; counted at once, so that it is right also when the next transaction fails."""

    inserted: int = 0
    duplicates: int = 0
    quarantined: int = 0
    torn: int = 0
    transactions: int = 0

    def add(self, receipt: RecordReceipt, *, rejected: int) -> None:
        """A transaction has committed."""
        self.inserted += receipt.inserted
        self.duplicates += receipt.duplicates
        self.quarantined += rejected
        self.transactions += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """Part of what goes into one transaction: rows, and what will not become any."""

    rows: PredictionBatch
    rejected: list[Rejected]


class FolderUpload:
    """Begins where SQL says that the last one ended. After an exception of ``step`` make a new one."""

    def __init__(
        self,
        engine: Engine,
        folder: Path,
        *,
        bucket_seconds: int,
        layouts: dict[tuple[str, str], Layout],
        read_bytes: int = READ_BYTES,
        writer_check_seconds: float = WRITER_CHECK_SECONDS,
        segments: SegmentFields = NO_SEGMENTS,
    ) -> None:
        self._engine = engine
        self._folder = folder
        self._bucket_seconds = bucket_seconds
        self._layouts = layouts
        self._segments = segments
        self._read_bytes = read_bytes
        self._reader = SpoolReader(folder, read_bytes=read_bytes, writer_check_seconds=writer_check_seconds)
        self._writer = ""
        self._position: Position | None = None

    def step(self, now: datetime, tally: Tally) -> bool:
        """Upload the next batch, if there is one; returns whether more is probably waiting.

        Raises DatabaseUnavailable, SchemaMismatch, Hindered or OSError; what was committed before stays counted.
        """
        if not self._writer and not self._find_position(tally):
            return False
        with _without_garbage_collection():
            return self._upload(now, tally)

    def _upload(self, now: datetime, tally: Tally) -> bool:
        batch = self._reader.read(self._position)
        if batch is None:
            return False
        for start, end in batch.gaps:
            self._reader.quarantine(batch.segment, start, end)
        self._store(batch, now, tally)
        self._position = Position(str(batch.segment), batch.end)
        torn = sum(batch.is_finished and end == batch.end for _, end in batch.gaps)
        tally.torn += torn
        tally.quarantined += len(batch.gaps) - torn
        if batch.is_finished:
            reach("before_unlink")
            self._reader.discard(batch.segment)
        return batch.is_finished or batch.end - batch.start >= self._read_bytes // 2

    def _find_position(self, tally: Tally) -> bool:
        if not spool_folder.segment_names(self._folder):
            return False
        writer = spool_folder.writer_id(self._folder)
        with reading(self._engine) as c:
            found = load_position(c, writer)
        tally.transactions += 1
        self._position = Position(*found) if found else None
        self._writer = writer
        return True

    # ------------------------------------------------------------------------------------------ storing

    def _store(self, batch: Batch, now: datetime, tally: Tally) -> None:
        try:
            self._commit(batch, _pieces(batch), now, tally)
        except Exception as error:
            if not _may_be_a_row(error):
                raise
            require_current(self._engine)
            rejected = []
            for piece in _pieces(batch, bytes_at_once=sys.maxsize):  # one, or none where there are no records
                rejected += piece.rejected + self._isolate(piece.rows, tally)
            self._commit(batch, [_Piece(rows=log_record.batch([]), rejected=rejected)], now, tally)

    def _commit(self, batch: Batch, pieces: Iterable[_Piece], now: datetime, tally: Tally) -> None:
        with writing(self._engine) as c:
            receipt, rejected = self._insert(c, pieces)
            reach("after_insert")
            if rejected:
                self._keep_aside(f"{batch.segment}-{batch.start}.jsonl", rejected)
            save_position(c, self._writer, str(batch.segment), batch.end, now)
        reach("after_commit")
        tally.add(receipt, rejected=len(rejected))

    def _insert(self, c: Connection, pieces: Iterable[_Piece]) -> tuple[RecordReceipt, list[Rejected]]:
        """Rows of versions that are not registered are told apart here, since there may be many of them."""
        layout_of = LayoutLookup(c, self._layouts)
        rejected: list[Rejected] = []

        def known() -> Iterator[PredictionBatch]:
            for piece in pieces:
                rows, strangers = _by_whether_known(piece.rows, layout_of)
                rejected.extend(piece.rejected + strangers)
                yield rows

        receipt = record_batches(
            c, known(), layout_of, writer=self._writer, bucket_seconds=self._bucket_seconds, segments=self._segments
        )
        return receipt, rejected

    def _isolate(self, rows: PredictionBatch, tally: Tally) -> list[Rejected]:
        """Store the rows part by part and return those that cannot be.

        Raises Hindered when none can, unless the database said plainly that the rows are at fault.
        """
        rejected: list[Rejected] = []
        some_stored = False
        odd: list[Exception] = []
        parts = [range(len(rows))]
        while parts:
            part = parts.pop()
            try:
                with writing(self._engine) as c:
                    receipt, strangers = self._insert(c, [_Piece(rows=rows.take(part), rejected=[])])
            except Exception as error:
                if not _may_be_a_row(error):
                    raise
                if not _is_plainly_a_row(error):
                    odd.append(error)
                if len(part) > 1:
                    parts += [part[len(part) // 2 :], part[: len(part) // 2]]
                else:
                    rejected.append(Rejected(reason=_reason(error), row=rows.row(part[0])))
                if odd and not some_stored and (len(odd) >= PATIENCE or not parts):
                    raise Hindered(f"The database takes no predictions ({_reason(error)}).") from error
            else:
                rejected += strangers
                some_stored = some_stored or len(strangers) < len(part)
                tally.add(receipt, rejected=0)
        return rejected

    def _keep_aside(self, name: str, rejected: Sequence[Rejected]) -> None:
        lines = b"".join(msgspec.json.encode(item) + b"\n" for item in rejected)
        spool_folder.write_atomically(quarantine_folder(self._folder) / name, lines)


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """A batch is some hundred thousand lists and no cycles: looking through them again and again finds nothing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _pieces(batch: Batch, bytes_at_once: int = BYTES_AT_ONCE) -> Iterator[_Piece]:
    """What the records of a batch hold, about so many bytes of them at a time; a record is not divided."""
    start = 0
    while start < len(batch.starts):
        end = bisect_left(batch.starts, batch.starts[start] + bytes_at_once, lo=start + 1)
        yield _piece(batch.payloads[start:end], batch.starts[start:end])
        start = end


def _piece(payloads: Sequence[bytes], starts: Sequence[int]) -> _Piece:
    try:
        return _Piece(rows=log_record.read(payloads), rejected=[])
    except BadRecord:
        records: list[LogRecord] = []
        rejected: list[Rejected] = []
    for payload, start in zip(payloads, starts, strict=True):
        try:
            records.append(log_record.decode(payload))
        except BadRecord as error:
            rejected.append(Rejected(reason=str(error), offset=start, record=base64.b64encode(payload).decode()))
    return _Piece(rows=log_record.batch(records), rejected=rejected)


def _by_whether_known(rows: PredictionBatch, layout_of: LayoutLookup) -> tuple[PredictionBatch, list[Rejected]]:
    """The rows whose versions are registered, and the others as rejected."""
    names = rows.columns["model"], rows.columns["version"]
    unknown = _unknown_versions(layout_of, set(zip(*names, strict=True)))
    if not unknown:
        return rows, []
    known: list[int] = []
    rejected: list[Rejected] = []
    for index, name in enumerate(zip(*names, strict=True)):
        if name in unknown:
            rejected.append(Rejected(reason=unknown[name], row=rows.row(index)))
        else:
            known.append(index)
    return rows.take(known), rejected


def _unknown_versions(layout_of: LayoutLookup, names: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    unknown = {}
    for model, version in names:
        try:
            layout_of(model, version)
        except UnknownVersion as error:
            unknown[model, version] = str(error)
    return unknown


def _may_be_a_row(error: Exception) -> bool:
    """Whether other rows might do where these failed."""
    if isinstance(error, DatabaseUnavailable):
        # PostgreSQL's "program limit exceeded", as for an id too long for an index, comes as an operational error.
        original = getattr(error.__cause__, "orig", None)
        return str(getattr(original, "sqlstate", None) or "").startswith("54")
    return not isinstance(error, Hindered | SchemaMismatch | OSError)


def _is_plainly_a_row(error: Exception) -> bool:
    return isinstance(error, DataError | IntegrityError | MisfitRows | UnknownVersion | ValueError)


def _reason(error: Exception) -> str:
    return first_line(error) if isinstance(error, DBAPIError) else str(error) or type(error).__name__

"""Uploads one spool folder: a batch of frames becomes rows, counts and a position in one transaction.

A row that no database takes is searched out by halving and kept in the folder's ``quarantine``; the others go on.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import msgspec
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from inference import log_record, spool_folder
from inference.failpoints import reach
from inference.log_record import BadRecord
from inference.segments import SegmentName
from inference.spool_reader import READ_BYTES, WRITER_CHECK_SECONDS, Batch, Position, SpoolReader, quarantine_folder
from storage.engine import DatabaseUnavailable, first_line, reading, writing
from storage.migrate import SchemaMismatch, require_current
from storage.predictions import MisfitRows, RecordReceipt, UnknownVersion, record_predictions
from storage.records import Layout, PredictionRow
from storage.registry import LayoutLookup
from storage.spools import load_position, save_position

ROWS_AT_ONCE = 5000
PATIENCE = 30
"""Failures without one success, none of them the plain fault of a row, after which the database is to blame."""


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
class _Chunk:
    """What goes into one transaction; ``end`` is the position in the segment after it."""

    start: int
    end: int
    rows: list[PredictionRow]
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
    ) -> None:
        self._engine = engine
        self._folder = folder
        self._bucket_seconds = bucket_seconds
        self._layouts = layouts
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
        batch = self._reader.read(self._position)
        if batch is None:
            return False
        for start, end in batch.gaps:
            self._reader.quarantine(batch.segment, start, end)
        for chunk in _chunks(batch):
            self._store(batch.segment, chunk, now, tally)
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

    def _store(self, segment: SegmentName, chunk: _Chunk, now: datetime, tally: Tally) -> None:
        try:
            self._commit(segment, chunk, now, tally)
        except Exception as error:
            if not _may_be_a_row(error):
                raise
            require_current(self._engine)
            rejected = self._isolate(chunk.rows, tally)
            self._commit(segment, replace(chunk, rows=[], rejected=chunk.rejected + rejected), now, tally)

    def _commit(self, segment: SegmentName, chunk: _Chunk, now: datetime, tally: Tally) -> None:
        with writing(self._engine) as c:
            receipt, rejected = self._insert(c, chunk.rows)
            reach("after_insert")
            rejected = chunk.rejected + rejected
            if rejected:
                self._keep_aside(f"{segment}-{chunk.start}.jsonl", rejected)
            save_position(c, self._writer, str(segment), chunk.end, now)
        reach("after_commit")
        tally.add(receipt, rejected=len(rejected))

    def _insert(self, c: Connection, rows: Sequence[PredictionRow]) -> tuple[RecordReceipt, list[Rejected]]:
        """Rows of versions that are not registered are told apart here, since there may be many of them."""
        layout_of = LayoutLookup(c, self._layouts)
        unknown = _unknown_versions(layout_of, rows)
        rejected = [
            Rejected(reason=unknown[row.model, row.version], row=row) for row in rows if (row.model, row.version) in unknown
        ]
        known = [row for row in rows if (row.model, row.version) not in unknown] if unknown else rows
        receipt = record_predictions(c, known, layout_of, writer=self._writer, bucket_seconds=self._bucket_seconds)
        return receipt, rejected

    def _isolate(self, rows: list[PredictionRow], tally: Tally) -> list[Rejected]:
        """Store the rows part by part and return those that cannot be.

        Raises Hindered when none can, unless the database said plainly that the rows are at fault.
        """
        rejected: list[Rejected] = []
        some_stored = False
        odd: list[Exception] = []
        parts = [rows]
        while parts:
            part = parts.pop()
            try:
                with writing(self._engine) as c:
                    receipt, strangers = self._insert(c, part)
            except Exception as error:
                if not _may_be_a_row(error):
                    raise
                if not _is_plainly_a_row(error):
                    odd.append(error)
                if len(part) > 1:
                    parts += [part[len(part) // 2 :], part[: len(part) // 2]]
                else:
                    rejected.append(Rejected(reason=_reason(error), row=part[0]))
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


def _chunks(batch: Batch) -> Iterator[_Chunk]:
    """The batch in transactions of about ROWS_AT_ONCE; a record is not divided."""
    rows: list[PredictionRow] = []
    rejected: list[Rejected] = []
    start = batch.start
    for frame in batch.frames:
        try:
            more = log_record.rows(log_record.decode(frame.payload))
        except BadRecord as error:
            record = base64.b64encode(frame.payload).decode()
            rejected.append(Rejected(reason=str(error), offset=frame.start, record=record))
            continue
        if rows and len(rows) + len(more) > ROWS_AT_ONCE:
            yield _Chunk(start=start, end=frame.start, rows=rows, rejected=rejected)
            rows, rejected, start = [], [], frame.start
        rows += more
    if batch.frames or batch.gaps:
        yield _Chunk(start=start, end=batch.end, rows=rows, rejected=rejected)


def _unknown_versions(layout_of: LayoutLookup, rows: Sequence[PredictionRow]) -> dict[tuple[str, str], str]:
    unknown = {}
    for model, version in {(row.model, row.version) for row in rows}:
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

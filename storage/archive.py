"""Old predictions with their labels: from the database into Parquet files, one per model, version and day.

A file is on the disk, whole and confirmed, and named in ``archives`` with its digest before the first of its rows is
deleted; the rows that go are those that the file holds, read from it. A process that dies leaves a file too many, or a
file whose rows are partly deleted still, which the next run goes on with.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Connection, Engine, Select, and_, delete, insert, or_, select, update

from storage.archived import AT_ONCE, Archive, ArchiveError, digest_of, open_archives
from storage.dialects import among
from storage.engine import reading, writing
from storage.records import PredictionRow
from storage.resolution import DAY
from storage.retention import RawDay
from storage.schema import archives, labels, predictions

_TIME = pa.timestamp("us", tz="UTC")
_TYPES = {"at": _TIME, "label_at": _TIME, "label_received_at": _TIME, "score": pa.float64(), "latency_ms": pa.float64()}
_LABEL = ("label", "label_at", "label_received_at")
SCHEMA = pa.schema([(name, _TYPES.get(name, pa.string())) for name in (*PredictionRow.__struct_fields__, *_LABEL)])
"""The columns of a file: those of the table ``predictions``, then the label where there was one."""


def archive_day(engine: Engine, day: RawDay, folder: Path, *, now: datetime, keep: Callable[[], None]) -> Archive | None:
    """Writes the day's predictions to a file under ``folder`` and deletes them; None where there were none to write.

    ``keep`` is called again and again, and may raise to stop. A prediction whose label is not counted yet, and one whose
    label comes while the file is written, stay for the next time. Raises ArchiveError.
    """
    with _explained(folder):
        written = _write(engine, day, folder, keep)
    if written is None:
        return None
    with writing(engine) as c:
        values = {"model": day.model, "version": day.version, "day": day.day, "created_at": now, **written}
        number = c.execute(insert(archives).values(values).returning(archives.c.id)).scalar_one()
    archive = Archive(id=number, removed_at=None, **values)
    remove_archived(engine, archive, now=now, keep=keep)
    return archive


def remove_archived(engine: Engine, archive: Archive, *, now: datetime, keep: Callable[[], None]) -> None:
    """Deletes what the file holds from the database; safe to repeat. Raises ArchiveError where the file is not as it was."""
    with open_archives([archive]) as reader:
        for batch in reader.batches(["id", "label"]):
            keep()
            known = dict(zip(batch["id"].to_pylist(), batch["label"].is_valid().to_pylist(), strict=True))
            with writing(engine) as c:
                _delete(c, archive.model, known)
    with writing(engine) as c:
        c.execute(update(archives).where(archives.c.id == archive.id).values(removed_at=now))


# ---------------------------------------------------------------------------------------------- the file


def _write(engine: Engine, day: RawDay, folder: Path, keep: Callable[[], None]) -> dict[str, Any] | None:
    place = folder / _folder_name(day.model) / _folder_name(day.version)
    place.mkdir(parents=True, exist_ok=True)
    draft = place / f".{uuid.uuid4().hex}.part"
    try:
        rows, known = _write_rows(engine, day, draft, keep)
        if not rows:
            return None
        digest = digest_of(draft)
        # The digest in the name keeps two processes with different rows from overwriting each other's file.
        path = (place / f"{day.day:%Y-%m-%d}-{digest[:12]}.parquet").resolve()
        size = draft.stat().st_size
        draft.replace(path)
        _sync(place)
    finally:
        draft.unlink(missing_ok=True)
    return {"path": str(path), "digest": digest, "rows": rows, "labels": known, "size_bytes": size}


def _write_rows(engine: Engine, day: RawDay, path: Path, keep: Callable[[], None]) -> tuple[int, int]:
    rows = known = 0
    with path.open("xb") as file, pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer, reading(engine) as c:
        with c.execute(_rows_of(day), execution_options={"yield_per": AT_ONCE}) as found:
            for part in found.mappings().partitions():
                keep()
                writer.write_batch(pa.RecordBatch.from_pylist([dict(row) for row in part], schema=SCHEMA))
                rows += len(part)
                known += sum(row["label"] is not None for row in part)
        writer.close()
        file.flush()
        os.fsync(file.fileno())
    return rows, known


def _rows_of(day: RawDay) -> Select[*tuple[Any, ...]]:
    mine = and_(labels.c.prediction_id == predictions.c.id, labels.c.model == predictions.c.model)
    label = (labels.c.label, labels.c.at.label("label_at"), labels.c.received_at.label("label_received_at"))
    return (
        select(*(predictions.c[name] for name in PredictionRow.__struct_fields__), *label)
        .join(labels, mine, isouter=True)
        .where(
            predictions.c.model == day.model,
            predictions.c.version == day.version,
            predictions.c.at >= day.day,
            predictions.c.at < day.day + timedelta(seconds=DAY),
            or_(labels.c.prediction_id.is_(None), labels.c.counted.is_(True)),
        )
        .order_by(predictions.c.at, predictions.c.id)
    )


def _delete(c: Connection, model: str, known: dict[str, bool]) -> None:
    """Deletes the predictions, and the labels of those that had one; leaves what got its label since."""
    of_model = labels.c.model == model
    labelled = set(c.scalars(select(labels.c.prediction_id).where(of_model, among(c, labels.c.prediction_id, known))))
    gone = [row for row, had_label in known.items() if had_label or row not in labelled]
    c.execute(delete(predictions).where(among(c, predictions.c.id, gone)))
    c.execute(delete(labels).where(of_model, among(c, labels.c.prediction_id, [row for row in gone if known[row]])))


def _folder_name(name: str) -> str:
    """The name of a model or version as that of a folder, whatever signs it has."""
    return quote(name, safe="").replace(".", "%2E", 1) if name.startswith(".") else quote(name, safe="")


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ArchiveError(
            f"An archive cannot be written under {folder} ({reason}). No row was deleted; make room, or name another folder."
        ) from error

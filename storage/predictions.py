"""Predictions into the database, counted in the same transaction: rows for people, rollups for speed.

The rows that were really inserted, and only those, are counted, so a batch may be sent again after a crash at any point.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, RowMapping, Select, select, text

from storage.dialects import among, is_postgresql
from storage.jsontext import dump, storable, storable_text
from storage.labels import count_waiting_labels
from storage.layouts import count_latency, count_predictions
from storage.records import Label, Layout, PredictionCounts, PredictionRow, RollupKind, Status
from storage.rollups import LayoutOf, RollupKey, add_prediction_counts, bucket_start
from storage.schema import labels, predictions, versions

_NAMES = PredictionRow.__struct_fields__
_COLUMNS = [predictions.c[name] for name in _NAMES]
_AT_ONCE = 5000
_WITHOUT_OFFSET = len("2026-03-02 12:00:00.000000")  # the text that SQLAlchemy's DateTime reads and writes


class UnknownVersion(Exception):
    """Predictions or labels name a version that is not registered; the message names it."""


class MisfitRows(Exception):
    """Predictions do not fit the layout of their version; the message says whose. Nothing of their batch may be kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordReceipt:
    """``inserted`` rows are new; ``duplicates`` were in the database, or came earlier in the same batch."""

    inserted: int
    duplicates: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPrediction:
    """A prediction with the label that came for it, if one did."""

    row: PredictionRow
    label: Label | None


def record_predictions(
    c: Connection, rows: Sequence[PredictionRow], layout_of: LayoutOf, *, writer: str, bucket_seconds: int
) -> RecordReceipt:
    """Inserts the rows that are new and counts them, with the labels that came before them, in the caller's transaction.

    On an exception (UnknownVersion, MisfitRows, or one of the database) the caller must roll back.
    """
    inserted: list[PredictionRow] = []
    for start in range(0, len(rows), _AT_ONCE):
        inserted += _insert_new(c, rows[start : start + _AT_ONCE])
    count_rows(c, inserted, layout_of, writer=writer, bucket_seconds=bucket_seconds)
    if inserted:
        count_waiting_labels(c, inserted, layout_of, writer=writer, bucket_seconds=bucket_seconds)
    return RecordReceipt(inserted=len(inserted), duplicates=len(rows) - len(inserted))


def count_rows(c: Connection, rows: Iterable[PredictionRow], layout_of: LayoutOf, *, writer: str, bucket_seconds: int) -> None:
    """Adds the rows, wherever they come from, to the rollups. Raises UnknownVersion, MisfitRows."""
    for key, group in _groups(rows, layout_of, writer, bucket_seconds):
        add_prediction_counts(c, key, _count(group, layout_of(key.model, key.version)))


def get_prediction(c: Connection, prediction_id: str) -> StoredPrediction | None:
    """One prediction by its id."""
    if "\0" in prediction_id:  # no id that was stored has one, and PostgreSQL refuses to look
        return None
    row = c.execute(select(*_COLUMNS).where(predictions.c.id == prediction_id)).mappings().one_or_none()
    if row is None:
        return None
    query = select(labels).where(labels.c.prediction_id == prediction_id, labels.c.model == row["model"])
    label = c.execute(query).one_or_none()
    known = None if label is None else Label(prediction_id=label.prediction_id, label=label.label, at=label.at)
    return StoredPrediction(row=_row(row), label=known)


def list_predictions(
    c: Connection,
    model: str,
    *,
    version: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    limit: int = 100,
) -> list[PredictionRow]:
    """The newest predictions first, with ``start <= at < end``."""
    # Version by version, because the index is (model, version, at).
    names = [version] if version is not None else c.scalars(select(versions.c.version).where(versions.c.model == model)).all()
    found = [_row(row) for name in names for row in c.execute(_newest(model, name, start, end, limit)).mappings()]
    return sorted(found, key=lambda row: (row.at, row.id), reverse=True)[:limit]


def _newest(model: str, version: str, start: datetime | None, end: datetime | None, limit: int) -> Select[Any]:
    query = select(*_COLUMNS).where(predictions.c.model == model, predictions.c.version == version)
    if start is not None:
        query = query.where(predictions.c.at >= start)
    if end is not None:
        query = query.where(predictions.c.at < end)
    return query.order_by(predictions.c.at.desc(), predictions.c.id.desc()).limit(limit)


def _row(row: RowMapping) -> PredictionRow:
    return PredictionRow(**row)


# ---------------------------------------------------------------------------------------------- inserting


def _insert_new(c: Connection, rows: Sequence[PredictionRow]) -> list[PredictionRow]:
    unique: dict[str, PredictionRow] = {}
    for row in rows:
        unique.setdefault(row.id, row)
    return _insert_postgresql(c, unique) if is_postgresql(c) else _insert_sqlite(c, unique)


_SQLITE = f"INSERT INTO predictions ({', '.join(_NAMES)}) VALUES ({', '.join('?' * len(_NAMES))})"  # noqa: S608 - fixed names


def _insert_sqlite(c: Connection, unique: dict[str, PredictionRow]) -> list[PredictionRow]:
    """The transaction holds SQLite's only write lock, so what is absent now is absent until its end.

    Looking first and inserting with one prepared statement is several times faster than RETURNING.
    """
    known = set(c.scalars(select(predictions.c.id).where(among(c, predictions.c.id, unique))))
    new = [row for row in unique.values() if row.id not in known]
    if new:
        c.exec_driver_sql(_SQLITE, [_sqlite_values(row) for row in new])
    return new


def _sqlite_values(row: PredictionRow) -> tuple[Any, ...]:
    row_id, at, *others = msgspec.structs.astuple(row)
    at = at if at.tzinfo is UTC else at.astimezone(UTC)
    return (row_id, at.isoformat(" ", "microseconds")[:_WITHOUT_OFFSET], *others)


_TEXT = "text"
_TYPES = {"at": "timestamptz", "score": "float8", "latency_ms": "float8"}
_JSON = ("features", "probabilities")
_POSTGRESQL = text(
    f"INSERT INTO predictions ({', '.join(_NAMES)}) "  # noqa: S608 - fixed names
    f"SELECT {', '.join(f'CAST({name} AS jsonb)' if name in _JSON else name for name in _NAMES)} "
    f"FROM json_to_recordset(CAST(:rows AS json)) AS new({', '.join(f'{name} {_TYPES.get(name, _TEXT)}' for name in _NAMES)}) "
    "ORDER BY id "  # so that two writers with rows in common wait for each other instead of locking up
    "ON CONFLICT (id) DO NOTHING RETURNING id"
)


def _insert_postgresql(c: Connection, unique: dict[str, PredictionRow]) -> list[PredictionRow]:
    """One parameter, a JSON array of all rows: cheaper to make and to send than a parameter per value."""
    payload = _encode(unique.values())
    if "\\u0000" in payload or "\\ud" in payload:
        cleaned = (_without_what_postgresql_refuses(row) for row in unique.values())
        unique = {row.id: row for row in cleaned}
        payload = _encode(unique.values())
    return [unique[row_id] for row_id in c.scalars(_POSTGRESQL, {"rows": payload}).all()]


def _encode(rows: Iterable[PredictionRow]) -> str:
    return msgspec.json.encode(list(rows)).decode()


def _without_what_postgresql_refuses(row: PredictionRow) -> PredictionRow:
    values = {name: storable_text(value) for name in _NAMES if isinstance(value := getattr(row, name), str)}
    return msgspec.structs.replace(row, **values | {name: dump(json.loads(values[name])) for name in _JSON if name in values})


# ---------------------------------------------------------------------------------------------- counting


def _groups(
    rows: Iterable[PredictionRow], layout_of: LayoutOf, writer: str, bucket_seconds: int
) -> list[tuple[RollupKey, list[PredictionRow]]]:
    groups: dict[tuple[str, str, str, int], list[PredictionRow]] = defaultdict(list)
    for row in rows:
        groups[row.model, row.version, row.role, int(row.at.timestamp() // bucket_seconds)].append(row)
    return [
        (
            RollupKey(
                model=model,
                version=version,
                role=role,
                segment="",
                kind=RollupKind.PREDICTIONS,
                start=bucket_start(group[0].at, bucket_seconds),
                seconds=bucket_seconds,
                writer=writer,
                layout_id=layout_of(model, version).id,
            ),
            group,
        )
        for (model, version, role, _), group in sorted(groups.items())
    ]


def _count(group: Collection[PredictionRow], layout: Layout) -> PredictionCounts:
    succeeded = [row for row in group if row.status == Status.OK]
    try:
        features = _decoded([row.features for row in succeeded])
        counts = count_predictions(layout, features, [row.score for row in succeeded], [row.prediction for row in succeeded])
    except (ValueError, TypeError, RecursionError) as error:
        row = succeeded[0]
        raise MisfitRows(
            f"Predictions of version {row.version} of {row.model}, among them {row.id}, do not fit its features ({error})."
        ) from error
    counts.rows = len(group)
    counts.errors = sum(row.status == Status.ERROR for row in group)
    counts.timeouts = sum(row.status == Status.TIMEOUT for row in group)
    counts.latency = count_latency([row.latency_ms for row in group])
    return counts


def _decoded(texts: Sequence[str]) -> list[list[Any]]:
    try:
        return msgspec.json.decode(f"[{','.join(texts)}]")  # type: ignore[no-any-return]
    except msgspec.DecodeError:  # json is not as strict: it takes half of a surrogate pair
        return [storable(json.loads(text)) for text in texts]

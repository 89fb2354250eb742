"""Labels: what really happened. One row each, and rolled up beside the predictions they belong to.

A label may come before its prediction. The flag ``counted`` turns true in the transaction that adds the label to a
rollup, and whoever turns it does the adding, so each label is counted once: by ``record_labels`` where the prediction is
there, else by ``record_predictions`` when it comes, else by ``sweep_labels`` (two transactions of PostgreSQL that each
bring one half do not see each other). Labels of failed predictions are marked as counted, but there is nothing to add.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

import msgspec
from sqlalchemy import Connection, and_, exists, select, update

from storage.class_probabilities import is_of_many
from storage.dialects import among, insert
from storage.jsontext import storable_text
from storage.layouts import count_labels
from storage.records import Label, LabelCounts, LabelReceipt, Layout, RollupKind, Status
from storage.rollups import LayoutOf, RollupKey, add_label_counts, bucket_start
from storage.schema import labels, predictions
from storage.segment_fields import NO_SEGMENTS, SegmentFields
from storage.segments import SegmentCounting

_AT_ONCE = 2000


class Pair(Protocol):
    """A prediction that succeeded, with its label."""

    @property
    def model(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def at(self) -> datetime: ...
    @property
    def prediction(self) -> str | None: ...
    @property
    def score(self) -> float | None: ...
    @property
    def probabilities(self) -> str | None: ...
    @property
    def label(self) -> str: ...
    @property
    def received_at(self) -> datetime: ...
    @property
    def segment(self) -> str: ...


def record_labels(
    c: Connection,
    model: str,
    new: Sequence[Label],
    layout_of: LayoutOf,
    *,
    writer: str,
    bucket_seconds: int,
    now: datetime,
    segments: SegmentFields = NO_SEGMENTS,
) -> LabelReceipt:
    """Stores the labels of a model's predictions, and counts those whose prediction is there.

    The first label of a prediction stays; any further one is a duplicate. A label for a prediction of another model is
    unknown to this one. The text of a label must be canonical (``storage.layouts.category_text``).
    """
    accepted = duplicates = counted = 0
    for start in range(0, len(new), _AT_ONCE):
        part = new[start : start + _AT_ONCE]
        ids = _insert_new(c, model, part, now)
        accepted += len(ids)
        duplicates += len(part) - len(ids)
        counted += _count(c, ids, layout_of, writer, bucket_seconds, segments)
    return LabelReceipt(accepted=accepted, duplicates=duplicates, unknown=accepted - counted)


def sweep_labels(
    c: Connection,
    layout_of: LayoutOf,
    *,
    writer: str,
    bucket_seconds: int,
    limit: int = 5000,
    segments: SegmentFields = NO_SEGMENTS,
) -> int:
    """Counts labels that were left uncounted though their prediction is there; returns how many. Several may sweep at once."""
    left = (
        select(labels.c.prediction_id)
        .join(predictions, and_(predictions.c.id == labels.c.prediction_id, predictions.c.model == labels.c.model))
        .where(labels.c.counted.is_(False))
        .limit(limit)
        .with_for_update(of=labels, skip_locked=True)
    )
    return _count(c, c.scalars(left).all(), layout_of, writer, bucket_seconds, segments)


def count_waiting_labels(
    c: Connection,
    ids: Sequence[str],
    layout_of: LayoutOf,
    *,
    writer: str,
    bucket_seconds: int,
    segments: SegmentFields = NO_SEGMENTS,
) -> None:
    """Counts the labels that came before the predictions with these ids, which are in the database by now."""
    if c.execute(select(labels.c.prediction_id).where(labels.c.counted.is_(False)).limit(1)).one_or_none() is not None:
        _count(c, ids, layout_of, writer, bucket_seconds, segments)


def _insert_new(c: Connection, model: str, new: Sequence[Label], now: datetime) -> list[str]:
    first = {storable_text(label.prediction_id): label for label in reversed(new)}
    # In the order of the ids, so that two senders of the same labels wait for each other instead of locking up.
    rows = [
        {"prediction_id": prediction_id, "model": model, "label": storable_text(label.label), "at": label.at, "received_at": now}
        for prediction_id, label in sorted(first.items())
    ]
    if not rows:
        return []
    statement = (
        insert(c, labels).on_conflict_do_nothing(index_elements=["prediction_id", "model"]).returning(labels.c.prediction_id)
    )
    return list(c.scalars(statement, rows))


def _count(
    c: Connection, ids: Sequence[str], layout_of: LayoutOf, writer: str, bucket_seconds: int, segments: SegmentFields
) -> int:
    """Marks the labels whose prediction is there as counted, adds them to the rollups, returns how many."""
    if not ids:
        return 0
    same = and_(predictions.c.id == labels.c.prediction_id, predictions.c.model == labels.c.model)
    mark = (
        update(labels)
        .where(among(c, labels.c.prediction_id, ids), labels.c.counted.is_(False), exists().where(same))
        .values(counted=True)
        .returning(labels.c.prediction_id)
    )
    marked = c.scalars(mark).all()
    if marked:
        _add(c, marked, layout_of, writer, bucket_seconds, segments)
    return len(marked)


def _add(c: Connection, ids: Sequence[str], layout_of: LayoutOf, writer: str, bucket_seconds: int, segments: SegmentFields) -> None:
    pairs = (
        select(
            predictions.c.model,
            predictions.c.version,
            predictions.c.role,
            predictions.c.at,
            predictions.c.prediction,
            predictions.c.score,
            predictions.c.segment,
            predictions.c.probabilities,
            labels.c.label,
            labels.c.received_at,
        )
        .join(labels, and_(labels.c.prediction_id == predictions.c.id, labels.c.model == predictions.c.model))
        .where(among(c, predictions.c.id, ids), predictions.c.status == Status.OK.value)
    )
    count_pairs(c, c.execute(pairs), layout_of, writer=writer, bucket_seconds=bucket_seconds, segments=segments)


def count_pairs(
    c: Connection,
    pairs: Iterable[Pair],
    layout_of: LayoutOf,
    *,
    writer: str,
    bucket_seconds: int,
    segments: SegmentFields = NO_SEGMENTS,
) -> None:
    """Adds labelled predictions, wherever they come from, to the rollups."""
    groups: dict[tuple[str, str, str, datetime], list[Pair]] = defaultdict(list)
    for row in pairs:
        groups[row.model, row.version, row.role, bucket_start(row.at, bucket_seconds)].append(row)
    counting = SegmentCounting(c, segments)
    for (model, version, role, start), group in sorted(groups.items()):
        layout = layout_of(model, version)
        key = RollupKey(
            model=model,
            version=version,
            role=role,
            segment="",
            kind=RollupKind.LABELS,
            start=start,
            seconds=bucket_seconds,
            writer=writer,
            layout_id=layout.id,
        )
        add_label_counts(c, key, _count_group(layout, group))
        for segment, indices in sorted(counting.places(model, [row.segment for row in group]).items()):
            add_label_counts(c, replace(key, segment=segment), _count_group(layout, [group[index] for index in indices]))


def _count_group(layout: Layout, group: Sequence[Pair]) -> LabelCounts:
    return count_labels(
        layout,
        [row.score for row in group],
        [row.prediction for row in group],
        [row.label for row in group],
        [max((row.received_at - row.at).total_seconds(), 0.0) for row in group],
        [_probabilities(row.probabilities) for row in group] if is_of_many(layout) else None,
    )


def _probabilities(text: str | None) -> list[float | None] | None:
    """None where there are none, or they are not a list of numbers."""
    try:
        return None if text is None else msgspec.json.decode(text, type=list[float | None])
    except msgspec.DecodeError:
        return None

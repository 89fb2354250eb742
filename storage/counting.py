"""Predictions into counts per version, role, segment and bucket of time, by the thousand and in one transaction.

What is counted is gathered as columns of numbers and texts first: to sort and to look up a column costs nearly the same
for a thousand values as for twenty thousand.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, TypeAlias

import msgspec
import numpy as np
from sqlalchemy import Connection

from storage.batches import PredictionBatch
from storage.jsontext import storable
from storage.layouts import add_predictions, category_text, count_columns, count_latency, numbers
from storage.records import Floats, Layout, PredictionCounts, RollupKind, Scalar, Status
from storage.rollups import LayoutOf, RollupKey, add_prediction_counts
from storage.segment_fields import SegmentFields
from storage.segments import SegmentCounting

GATHERED_ROWS = 20_000
"""So many at once are counted: some 4 MB of numbers for 20 features."""

_Column: TypeAlias = Floats | Sequence[str | None]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEEDED = ("id", "version", "segment", "status", "score", "prediction", "latency_ms")


class MisfitRows(Exception):
    """Predictions do not fit the layout of their version; the message says whose. Nothing of their batch may be kept."""


@dataclass(slots=True, kw_only=True)
class _Gathered:
    """Predictions of one key that are still to be counted; each list holds the columns of one batch after the other."""

    statuses: list[str] = field(default_factory=list)
    latencies_ms: list[Floats] = field(default_factory=list)
    features: list[list[_Column]] = field(default_factory=list)
    """Of those that succeeded, as the two that follow."""
    scores: list[Floats] = field(default_factory=list)
    predictions: list[str | None] = field(default_factory=list)


class PredictionCounting:
    """Counts within one transaction: ``add`` any number of batches, then ``write``."""

    def __init__(self, c: Connection, layout_of: LayoutOf, *, writer: str, bucket_seconds: int, segments: SegmentFields) -> None:
        self._connection = c
        self._layout_of = layout_of
        self._writer = writer
        self._bucket_seconds = bucket_seconds
        self._segments = SegmentCounting(c, segments)
        self._gathered: dict[RollupKey, _Gathered] = defaultdict(_Gathered)
        self._gathered_rows = 0
        self._totals: dict[RollupKey, PredictionCounts] = {}

    def add(self, batch: PredictionBatch) -> None:
        """Count the predictions. Raises UnknownVersion, MisfitRows."""
        for key, group in self._groups(batch):
            layout = self._layout_of(key.model, key.version)
            _gather(self._gathered[key], group, layout)
            for segment, indices in self._segments.places(key.model, group.columns["segment"]).items():
                _gather(self._gathered[replace(key, segment=segment)], group.take(indices), layout)
        self._gathered_rows += len(batch)
        if self._gathered_rows >= GATHERED_ROWS:
            self._count()

    def write(self) -> None:
        """Add the counts to the stored ones: one write per rollup, however many batches count into it."""
        self._count()
        for key in sorted(self._totals, key=lambda key: (key.model, key.version, key.role, key.start, key.segment)):
            add_prediction_counts(self._connection, key, self._totals[key])
        self._totals.clear()

    def _count(self) -> None:
        for key, gathered in self._gathered.items():
            counts = _counted(gathered, self._layout_of(key.model, key.version))
            self._totals[key] = add_predictions(self._totals[key], counts) if key in self._totals else counts
        self._gathered.clear()
        self._gathered_rows = 0

    def _groups(self, batch: PredictionBatch) -> list[tuple[RollupKey, PredictionBatch]]:
        buckets = batch.at_us // (self._bucket_seconds * 1_000_000)
        return [
            (
                RollupKey(
                    model=model,
                    version=version,
                    role=role,
                    segment="",
                    kind=RollupKind.PREDICTIONS,
                    start=_EPOCH + timedelta(seconds=bucket * self._bucket_seconds),
                    seconds=self._bucket_seconds,
                    writer=self._writer,
                    layout_id=self._layout_of(model, version).id,
                ),
                group,
            )
            for (model, version, role, bucket), group in _by_key(batch, buckets.tolist())
        ]


def _by_key(batch: PredictionBatch, buckets: list[int]) -> list[tuple[tuple[str, str, str, int], PredictionBatch]]:
    """The batch, with what counting needs of it, by model, version, role and bucket."""
    names = batch.columns["model"], batch.columns["version"], batch.columns["role"], buckets
    needed = replace(batch, columns={name: batch.columns[name] for name in _NEEDED}, values=_values(batch))
    distinct = set(zip(*names, strict=True))
    if len(distinct) == 1:  # the usual case: one version in one minute
        return [(distinct.pop(), needed)]
    places: dict[tuple[str, str, str, int], list[int]] = {key: [] for key in distinct}
    for index, key in enumerate(zip(*names, strict=True)):
        places[key].append(index)
    return [(key, needed.take(indices)) for key, indices in places.items()]


def _values(batch: PredictionBatch) -> list[list[Any]]:
    return batch.values if batch.values is not None else _decoded(batch.columns["features"])


def _decoded(texts: Sequence[str]) -> list[list[Any]]:
    try:
        return msgspec.json.decode(f"[{','.join(texts)}]")  # type: ignore[no-any-return]
    except msgspec.DecodeError:  # json is not as strict: it takes half of a surrogate pair
        return [storable(json.loads(text)) for text in texts]


# ---------------------------------------------------------------------------------------------- gathering


def _gather(gathered: _Gathered, group: PredictionBatch, layout: Layout) -> None:
    statuses = group.columns["status"]
    all_good = statuses.count(Status.OK) == len(group)
    good = group if all_good else group.take([index for index, status in enumerate(statuses) if status == Status.OK])
    if len(good):
        gathered.features.append(_feature_columns(good, layout))
        gathered.scores.append(numbers(good.columns["score"]))
        gathered.predictions += good.columns["prediction"]
    gathered.statuses += statuses
    gathered.latencies_ms.append(numbers(group.columns["latency_ms"]))


def _feature_columns(batch: PredictionBatch, layout: Layout) -> list[_Column]:
    """The features column by column, as their JSON texts have them: there a number that is not finite is null."""
    width = len(layout.features)
    try:
        rows = batch.values or []
        if set(map(len, rows)) != {width}:
            raise ValueError(f"they are {width} values for each prediction")
        flat = list(chain.from_iterable(rows))
        return [
            _texts(flat[place::width]) if bins.is_categorical else _finite(flat[place::width])
            for place, bins in enumerate(layout.features)
        ]
    except (ValueError, TypeError, RecursionError) as error:
        raise MisfitRows(
            f"Predictions of version {batch.columns['version'][0]} of {layout.model}, among them {batch.ids[0]}, "
            f"do not fit its features ({error})."
        ) from error


def _finite(column: list[Scalar]) -> Floats:
    values = np.fromiter(column, np.float64, len(column))  # takes a None as NaN, and less time than np.asarray
    values[np.isinf(values)] = np.nan
    return values


def _texts(column: list[Scalar]) -> Sequence[str | None]:
    if set(map(type, column)) <= {str, type(None)}:
        return column  # type: ignore[return-value]  # as the line above has seen
    return [
        None if value is None or (isinstance(value, float) and not math.isfinite(value)) else category_text(value)
        for value in column
    ]


# ---------------------------------------------------------------------------------------------- counting


def _counted(gathered: _Gathered, layout: Layout) -> PredictionCounts:
    columns = [_joined(parts) for parts in zip(*gathered.features, strict=True)] or [()] * len(layout.features)
    scores = np.concatenate(gathered.scores) if gathered.scores else ()
    counts = count_columns(layout, columns, scores, gathered.predictions)
    counts.rows = len(gathered.statuses)
    counts.errors = gathered.statuses.count(Status.ERROR)
    counts.timeouts = gathered.statuses.count(Status.TIMEOUT)
    counts.latency = count_latency(np.concatenate(gathered.latencies_ms))
    return counts


def _joined(parts: Sequence[Any]) -> _Column:
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    return list(chain.from_iterable(parts))

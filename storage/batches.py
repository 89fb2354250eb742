"""Predictions as columns: what comes by the thousand is inserted and counted column by column. Pure.

An object per prediction, and a look at each of its fields, cost more time than the database takes for the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from storage.records import Ints, PredictionRow, Scalar

NAMES = PredictionRow.__struct_fields__
"""The columns of ``predictions``, in the order in which this package writes them."""

_PLAIN = tuple(name for name in NAMES if name != "at")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BLANK = ord(" ")
_BETWEEN_DATE_AND_TIME = len("2026-03-02")


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionBatch:
    """One entry of each list per prediction.

    ``at_us``: int64 (n,), microseconds since 1970. ``columns``: the other fields of ``PredictionRow`` by name.
    ``values``: what the texts in ``features`` hold, where the maker of the batch has it at hand.
    """

    at_us: Ints
    columns: dict[str, list[Any]]
    values: list[list[Scalar]] | None = None

    def __len__(self) -> int:
        return len(self.at_us)

    @property
    def ids(self) -> list[str]:
        return self.columns["id"]

    def take(self, indices: Sequence[int]) -> PredictionBatch:
        """The predictions at these places, in this order."""
        return PredictionBatch(
            at_us=self.at_us[np.asarray(indices, np.intp)],
            columns={name: [column[index] for index in indices] for name, column in self.columns.items()},
            values=None if self.values is None else [self.values[index] for index in indices],
        )

    def row(self, index: int) -> PredictionRow:
        """One prediction as a value of its own."""
        at = _EPOCH + timedelta(microseconds=int(self.at_us[index]))
        return PredictionRow(at=at, **{name: column[index] for name, column in self.columns.items()})

    def rows(self) -> list[PredictionRow]:
        """All predictions, each as a value of its own."""
        return [self.row(index) for index in range(len(self))]


def as_batch(rows: Sequence[PredictionRow]) -> PredictionBatch:
    """The rows as columns."""
    microsecond = timedelta(microseconds=1)
    return PredictionBatch(
        at_us=np.array([(row.at - _EPOCH) // microsecond for row in rows], np.int64),
        columns={name: [getattr(row, name) for row in rows] for name in _PLAIN},
    )


def first_of_each_id(batch: PredictionBatch) -> PredictionBatch:
    """The batch without predictions whose id came before in it."""
    if len(set(batch.ids)) == len(batch):
        return batch
    first: dict[str, int] = {}
    for index, prediction_id in enumerate(batch.ids):
        first.setdefault(prediction_id, index)
    return batch.take(list(first.values()))


def in_order_of_ids(batch: PredictionBatch) -> PredictionBatch:
    """The batch sorted by id; ids of this project's own making mostly are."""
    ids = batch.ids
    if ids == sorted(ids):
        return batch
    return batch.take(sorted(range(len(batch)), key=ids.__getitem__))


def time_texts(at_us: Ints) -> list[str]:
    """``2026-03-02 12:00:00.000000`` in UTC for each time.

    >>> time_texts(np.array([1_772_452_800_000_000]))
    ['2026-03-02 12:00:00.000000']
    """
    texts = np.datetime_as_string(at_us.astype("datetime64[us]"))
    if len(texts):  # four bytes a character: the T of all of them is one column, and so replaced at once
        texts.view(np.uint32).reshape(len(texts), -1)[:, _BETWEEN_DATE_AND_TIME] = _BLANK
    found: list[str] = texts.tolist()
    return found

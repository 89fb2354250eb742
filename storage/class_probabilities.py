"""The probabilities of more than two classes, counted when their label comes: by class, bin and whether it was the label. Pure.

The score of such a model is the largest probability alone, which does not say how the others were. Log loss and Brier
score are sums over rows, so they are kept exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from storage.records import Bins, Floats, Ints, Layout

MOST_CLASSES = 20
"""Classes up to which each has a histogram of its own; a model with more keeps the sums, and what its largest probability meant."""
PROBABILITY_BINS = 60
CLIP = float(np.finfo(np.float64).eps)
"""Probabilities are kept this far from 0 and 1 in the log loss, as scikit-learn does."""
LOSSES = 5
"""Rows with probabilities, sum of log losses, of their squares, sum of Brier scores, of their squares."""

Probabilities = Sequence[Sequence[float | None] | None]
"""One list per row in the order of the classes; None where the model gave none."""


def is_of_many(layout: Layout) -> bool:
    """Whether the model has more than two classes."""
    return len(layout.classes) > 2


# ---------------------------------------------------------------------------------------------- bins


def probability_bins(classes: Sequence[str], probabilities: Probabilities | None) -> tuple[Bins, ...]:
    """The bins of each class, from the reference's probabilities; none for two classes, for too many, or without probabilities."""
    if not 2 < len(classes) <= MOST_CLASSES or probabilities is None:
        return ()
    rows = _matrix(probabilities, len(classes))
    if not len(rows):
        return ()
    return tuple(Bins(name=name, edges=_edges(column)) for name, column in zip(classes, rows.T, strict=True))


def _edges(values: Floats) -> tuple[float, ...]:
    """Half of the edges share out the rows that are to be expected of the class, half the others, so that rare classes have theirs.

    A row with the probability p is expected p times. Of few distinct values each is an edge, else there are
    ``PROBABILITY_BINS`` of them: where too few differ, the widest bins are halved.
    """
    distinct = np.unique(values)
    if distinct.size < PROBABILITY_BINS:
        return tuple(distinct.tolist())
    ordered, inner = np.sort(values), np.arange(PROBABILITY_BINS // 2) / (PROBABILITY_BINS // 2)
    found: set[float] = set()
    for weights in (np.clip(ordered, 0, 1), np.clip(1 - ordered, 0, 1)):
        reached = np.cumsum(weights)
        places = np.searchsorted(reached, inner * reached[-1])
        found |= set(ordered[np.minimum(places, ordered.size - 1)].tolist())
    while len(found) < PROBABILITY_BINS:
        width, low = max((high - low, low) for low, high in pairwise([0.0, *sorted(found), 1.0]))
        found.add(low + width / 2)
    return tuple(sorted(found))


def bin_numbers(layout: Layout) -> list[int]:
    """How many bins each class has: one below its first edge, then one from each edge on."""
    return [len(bins.edges) + 1 for bins in layout.probabilities]


def by_class(layout: Layout, probabilities: Ints) -> list[Ints]:
    """The counts of ``LabelCounts.probabilities``, one array int64 (bins, 2) per class; empty where they are not kept."""
    numbers = bin_numbers(layout)
    return np.split(probabilities, np.cumsum(numbers)[:-1]) if numbers else []


# ---------------------------------------------------------------------------------------------- counting


def count_probabilities(layout: Layout, probabilities: Probabilities, actual: Ints) -> tuple[Ints, Floats]:
    """The histograms int64 (sum of all bins, 2) and the sums float64 (LOSSES,); ``actual`` is the class of each row.

    Rows without probabilities, or whose label is no class of the model, are left out.
    """
    classes = len(layout.classes)
    known = [row if label < classes else None for row, label in zip(probabilities, actual.tolist(), strict=True)]
    usable, rows = _usable(known, classes)
    label = actual[usable]
    is_label = label[:, None] == np.arange(classes)
    log = -np.log(np.clip(rows[np.arange(len(rows)), label], CLIP, 1 - CLIP))
    brier = np.square(rows - is_label).sum(axis=1)
    sums = np.array([len(rows), log.sum(), np.square(log).sum(), brier.sum(), np.square(brier).sum()])
    counts = np.zeros((sum(bin_numbers(layout)), 2), np.int64)
    for place, bins in enumerate(layout.probabilities):
        at = np.searchsorted(np.asarray(bins.edges), rows[:, place], side="right") + sum(bin_numbers(layout)[:place])
        np.add.at(counts, (at, is_label[:, place].astype(np.int64)), 1)
    return counts, sums


def _matrix(probabilities: Probabilities, classes: int) -> Floats:
    return _usable(probabilities, classes)[1]


def _usable(probabilities: Probabilities, classes: int) -> tuple[Ints, Floats]:
    """The places of the rows that have a probability for every class, and these, float64 (rows, classes)."""
    given = [place for place, row in enumerate(probabilities) if row is not None and len(row) == classes]
    rows = np.array([probabilities[place] for place in given], np.float64).reshape(len(given), classes)
    is_whole = (np.isfinite(rows) & (rows >= 0) & (rows <= 1 + 1e-6)).all(axis=1)
    return np.array(given, np.int64)[is_whole], rows[is_whole]

"""Label counts as the four arrays that tables keep, and back. Pure: what is in which is said by ``storage.rollups``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from storage.records import Floats, Ints, LabelCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelArrays:
    """``bins``, ``classes`` int64 and ``moments`` float64, each (n,); delays stay as they are."""

    bins: Ints
    moments: Floats
    classes: Ints


def arrays_of(counts: LabelCounts) -> LabelArrays:
    """What the columns hold: of each two parts at least one is empty, or both are known from the layout."""
    return LabelArrays(
        bins=np.concatenate([counts.score_by_class.ravel(), counts.probabilities.ravel()]),
        moments=np.concatenate([counts.residuals, counts.losses]),
        classes=np.concatenate([counts.confusion.ravel(), counts.errors]),
    )


def counts_of(like: LabelCounts, rows: int, arrays: LabelArrays, delay: Ints) -> LabelCounts:
    """The counts that ``arrays_of`` laid out, with the shapes of ``like``."""
    scores, probabilities = np.split(arrays.bins, [like.score_by_class.size])
    residuals, losses = np.split(arrays.moments, [like.residuals.size])
    confusion, errors = np.split(arrays.classes, [like.confusion.size])
    return LabelCounts(
        rows=rows,
        score_by_class=scores.reshape(like.score_by_class.shape),
        confusion=confusion.reshape(like.confusion.shape),
        residuals=residuals,
        delay=delay,
        errors=errors,
        probabilities=probabilities.reshape(like.probabilities.shape),
        losses=losses,
    )

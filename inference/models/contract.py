"""What every loaded model can do, whatever file it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from storage.records import Scalar, Signature, Task


class ModelError(Exception):
    """A model file cannot be used; the message says why and what to do."""


class PredictionFailed(Exception):
    """A call of the model ended without predictions for these rows; the message says why, without their data."""


@dataclass(slots=True, kw_only=True)
class Outputs:
    """The predictions for n rows, in their order.

    ``predictions``: n class labels (as the model spells them) or numbers. ``probabilities``: n lists in the order of
    the model's classes, or None where the model gives none. ``scores``: n floats: the probability of the last class
    of two, the largest probability of more, or the predicted number.
    """

    predictions: list[Any]
    probabilities: list[list[float]] | None
    scores: list[float]


class LoadedModel(Protocol):
    """A model that is ready to answer. Safe to call from one thread at a time."""

    def predict(self, rows: Sequence[Sequence[Scalar]]) -> Outputs:
        """Predictions for rows whose values stand in the order of the signature, None where missing.

        Raises PredictionFailed.
        """


class ModelFile(Protocol):
    """A parsed model file that does not know yet which columns it will be fed.

    ``feature_names`` and ``width`` are None, and ``labels`` empty, where the file does not say.
    """

    @property
    def task(self) -> Task: ...

    @property
    def feature_names(self) -> tuple[str, ...] | None: ...

    @property
    def width(self) -> int | None: ...

    @property
    def labels(self) -> tuple[Scalar, ...]: ...

    def plan(self, signature: Signature, labels: tuple[Scalar, ...], rows: Sequence[Sequence[Scalar]]) -> dict[str, Any]:
        """How to feed this model, decided once on the reference ``rows``; JSON that ``bind`` takes back."""

    def bind(self, signature: Signature, labels: tuple[Scalar, ...], plan: dict[str, Any]) -> LoadedModel:
        """The model, ready for rows of ``signature``. Raises ModelError when they cannot be fed to it."""


def scores_of(probabilities: list[list[float]]) -> list[float]:
    """One number per row: the probability of the last class of two, the largest of more."""
    if probabilities and len(probabilities[0]) == 2:
        return [row[1] for row in probabilities]
    return [max(row) for row in probabilities]


def scores_of_labels(predictions: list[Any], labels: tuple[Scalar, ...]) -> list[float]:
    """Scores of a classifier without probabilities: certainty, of the last class where there are two."""
    if len(labels) == 2:
        return [1.0 if prediction == labels[1] else 0.0 for prediction in predictions]
    return [1.0] * len(predictions)

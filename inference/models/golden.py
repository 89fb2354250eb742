"""Golden rows: a few rows of the reference and the answers to them, repeated whenever the version is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from inference.models.contract import LoadedModel, Outputs, PredictionFailed
from storage.records import Scalar, Task, Version

GOLDEN_ROWS = 5
GOLDEN_TOLERANCE = 1e-3
"""Of a score: libraries of another version round otherwise, and nothing more."""


def golden_of(rows: Sequence[tuple[Scalar, ...]], outputs: Outputs) -> dict[str, Any]:
    """Rows from all over the reference with their answers, as JSON."""
    picked = sorted({round(position) for position in np.linspace(0, len(rows) - 1, GOLDEN_ROWS)})
    return {
        "rows": [list(rows[index]) for index in picked],
        "predictions": [outputs.predictions[index] for index in picked],
        "scores": [outputs.scores[index] for index in picked],
    }


def golden_problem(version: Version, model: LoadedModel) -> str | None:
    """A sentence when the model does not answer its golden rows as it did at registration."""
    golden = version.details.get("golden") or {}
    if not golden.get("rows"):
        return None
    try:
        outputs = model.predict([tuple(row) for row in golden["rows"]])
    except PredictionFailed as error:
        return f"Version {version.version} of {version.model} no longer predicts ({error}); register it again on this machine."
    is_close = bool(np.allclose(outputs.scores, golden["scores"], rtol=GOLDEN_TOLERANCE, atol=GOLDEN_TOLERANCE))
    is_equal = version.signature.task is Task.REGRESSION or outputs.predictions == golden["predictions"]
    if is_close and is_equal:
        return None
    return (
        f"Version {version.version} of {version.model} answers its golden rows otherwise than at registration; install the library "
        "versions it was registered with, or register it again."
    )

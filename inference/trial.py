"""What a model does on its reference before it becomes a version: whether it predicts, how quick, and how well."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn import metrics as quality

from inference.models.contract import LoadedModel, ModelError, ModelFile, Outputs, PredictionFailed
from inference.signature import SignatureError, column_texts, feature_columns, learn_features, table_rows
from storage.layouts import category_text
from storage.records import Scalar, Signature, Task
from storage.tables import read_table

TIMED_CALLS = 31


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The reference as values: rows in the order of the signature, and the target's texts where there is one."""

    frame: pd.DataFrame
    signature: Signature
    rows: list[tuple[Scalar, ...]]
    targets: list[str | None] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What the model did on its reference."""

    outputs: Outputs
    plan: dict[str, Any]
    labels: tuple[Scalar, ...]
    cost_us: float
    row_cost_us: float
    performance: dict[str, float]


def learn(file: ModelFile, path: Path, target: str | None) -> Reference:
    """The reference in ``path``, as the model file needs it. Raises TableError or SignatureError."""
    frame = read_table(path)
    frame = frame.rename(columns=str)
    columns = feature_columns(list(frame.columns), target, file.feature_names, file.width)
    features = learn_features(frame, columns)
    signature = Signature(task=file.task, features=features, target=target)
    targets = None if target is None else column_texts(frame[target])
    return Reference(frame=frame, signature=signature, rows=table_rows(frame, features), targets=targets)


def try_model(file: ModelFile, reference: Reference) -> tuple[Reference, Trial]:
    """The reference with the model's classes, and how the model did on it. Raises ModelError or SignatureError."""
    labels = file.labels
    signature = replace(reference.signature, classes=tuple(map(category_text, labels)))
    plan = file.plan(signature, labels, reference.rows)
    outputs = _predict(file.bind(signature, labels, plan), reference.rows)
    if file.task is Task.CLASSIFICATION:
        labels = _complete_labels(labels, outputs, reference)
        signature = replace(signature, classes=tuple(map(category_text, labels)))
        _check_target(reference, signature.classes)
        plan = file.plan(signature, labels, reference.rows)
        outputs = _predict(file.bind(signature, labels, plan), reference.rows)
    model = file.bind(signature, labels, plan)
    reference = replace(reference, signature=signature)
    return reference, Trial(
        outputs=outputs,
        plan=plan,
        labels=labels,
        cost_us=_median_us(model, reference.rows, 1, TIMED_CALLS),
        row_cost_us=_median_us(model, reference.rows, 1000, 3),
        performance=_performance(reference, outputs),
    )


def _predict(model: LoadedModel, rows: Sequence[Sequence[Scalar]]) -> Outputs:
    try:
        outputs = model.predict(rows)
    except PredictionFailed as error:
        cause = f": {_first_line(error.__cause__)}" if error.__cause__ else ""
        raise ModelError(
            f"The model cannot predict its reference ({error}{cause}); check that the reference has the columns and types that the model was trained on."
        ) from error
    if len(outputs.predictions) != len(rows):
        raise ModelError(
            f"The model gave {len(outputs.predictions)} predictions for {len(rows)} rows; it must predict one value per row."
        )
    return outputs


def _complete_labels(labels: tuple[Scalar, ...], outputs: Outputs, reference: Reference) -> tuple[Scalar, ...]:
    """The classes in the order of the probabilities, where the file itself does not list them."""
    if labels:
        return labels
    seen = set(outputs.predictions)
    width = len(outputs.probabilities[0]) if outputs.probabilities else len(seen)
    if len(seen) < width and reference.targets is not None:
        to_label: Callable[[str], Scalar] = int if all(isinstance(label, int) for label in seen) else str
        with contextlib.suppress(ValueError):
            seen |= {to_label(text) for text in reference.targets if text is not None}
    if len(seen) != width:
        raise ModelError(
            f"The model gives {width} probabilities but does not name its classes, and the reference shows {len(seen)}; export it with its class labels."
        )
    return tuple(sorted(seen))


def _check_target(reference: Reference, classes: tuple[str, ...]) -> None:
    found = {text for text in reference.targets or () if text is not None}
    if found and not found & set(classes):
        raise SignatureError(
            f"The target {reference.signature.target} holds {_some(found)}, but the model predicts {_some(classes)}; "
            "write the target as the model spells its classes."
        )


def _median_us(model: LoadedModel, rows: Sequence[Sequence[Scalar]], size: int, calls: int) -> float:
    """Microseconds per row of calls with ``size`` rows."""
    times = []
    for call in range(calls + 1):
        start = call * size % len(rows)
        part = rows[start : start + size]
        began = time.perf_counter()
        model.predict(part)
        times.append((time.perf_counter() - began) / len(part) * 1e6)
    return statistics.median(times[1:])


def _performance(reference: Reference, outputs: Outputs) -> dict[str, float]:
    """How good the model is on its reference; empty without a target."""
    signature = reference.signature
    known = [index for index, text in enumerate(reference.targets or ()) if text is not None]
    if reference.targets is None or not known:
        return {}
    if signature.task is Task.REGRESSION:
        return _regression(reference, outputs, known)
    actual = [reference.targets[index] for index in known]
    predicted = [category_text(outputs.predictions[index]) for index in known]
    found = {"accuracy": float(quality.accuracy_score(actual, predicted))}
    if outputs.probabilities is not None and set(actual) == set(signature.classes) and len(signature.classes) > 1:
        positions = np.array([signature.classes.index(str(text)) for text in actual])
        if len(signature.classes) == 2:
            found["roc_auc"] = float(quality.roc_auc_score(positions, [outputs.scores[index] for index in known]))
        else:
            rows = np.asarray(outputs.probabilities)[known]
            rows = rows / rows.sum(axis=1, keepdims=True)  # float32 rows do not add up to 1 closely enough
            found["roc_auc"] = float(
                quality.roc_auc_score(positions, rows, multi_class="ovr", labels=range(len(signature.classes)))
            )
    return found


def _regression(reference: Reference, outputs: Outputs, known: list[int]) -> dict[str, float]:
    target = str(reference.signature.target)
    try:
        actual = reference.frame[target].iloc[known].astype(float)
    except (TypeError, ValueError) as error:
        raise SignatureError(
            f"The target {target} holds text, but the model predicts numbers; name the right column with --target."
        ) from error
    predicted = [outputs.predictions[index] for index in known]
    found = {
        "mae": float(quality.mean_absolute_error(actual, predicted)),
        "rmse": float(quality.root_mean_squared_error(actual, predicted)),
    }
    if len(known) > 1:
        found["r2"] = float(quality.r2_score(actual, predicted))
    return found


def _some(values: Sequence[str] | set[str]) -> str:
    shown = sorted(values)[:5]
    return ", ".join(shown) + (", …" if len(values) > 5 else "")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")

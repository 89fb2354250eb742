"""joblib and pickle files of scikit-learn estimators, and of anything that follows their interface."""

from __future__ import annotations

import io
import math
import pickle
import warnings
from collections.abc import Sequence
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn.base import is_classifier, is_regressor
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.svm import SVC, NuSVC

from inference.models.contract import LoadedModel, ModelError, Outputs, PredictionFailed, scores_of, scores_of_labels
from storage.records import Feature, FeatureType, Format, Scalar, Signature, Task

PLAN_ROWS = 2000
"""Rows of the reference on which the ways of feeding a model are held against each other."""


def parse_estimator(data: bytes, file_format: Format) -> EstimatorFile:
    """An estimator from the bytes of a joblib or pickle file, which may run any code. Raises ModelError."""
    buffer = io.BytesIO(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InconsistentVersionWarning)  # load_version says it in our words
            estimator = joblib.load(buffer) if file_format is Format.JOBLIB else pickle.load(buffer)  # noqa: S301
    except ModuleNotFoundError as error:
        raise ModelError(
            f"The model needs the Python module {error.name}, which is not installed here; install it beside modelwatch."
        ) from error
    except Exception as error:
        raise ModelError(
            f"The file is not a readable {file_format} file ({type(error).__name__}: {_short(error)}); save it again."
        ) from error
    return EstimatorFile(estimator)


class EstimatorFile:
    """A parsed estimator."""

    def __init__(self, estimator: Any) -> None:
        if not callable(getattr(estimator, "predict", None)):
            raise ModelError(f"The file holds a {type(estimator).__name__}, which has no predict(); save the fitted model itself.")
        self._estimator = _single_threaded(estimator)
        self.task = _task(estimator)
        names = getattr(estimator, "feature_names_in_", None)
        self.feature_names = None if names is None else tuple(str(name) for name in names)
        self.width: int | None = getattr(estimator, "n_features_in_", None)

    @property
    def labels(self) -> tuple[Scalar, ...]:
        if self.task is Task.REGRESSION:
            return ()
        classes = self._estimator.classes_
        if isinstance(classes, list):
            raise ModelError("The model predicts several targets at once; register one model per target.")
        return tuple(np.asarray(classes).tolist())

    def plan(self, signature: Signature, labels: tuple[Scalar, ...], rows: Sequence[Sequence[Scalar]]) -> dict[str, Any]:
        """Feed a frame only where the model was fitted on one and a plain matrix, which is faster, answers otherwise."""
        rows = rows[:PLAN_ROWS]
        plan: dict[str, Any] = {"input": "frame" if self.feature_names else "matrix", "labels": "predict"}
        if self.feature_names and _is_numeric(signature):
            stripped = _without_names(self._estimator)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    matrix = _Estimator(stripped, signature, labels, {**plan, "input": "matrix"}).predict(rows)
            except Exception:  # noqa: BLE001 - whatever is wrong with the matrix, the frame is the answer
                matrix = None
            finally:
                _restore_names(stripped)
            if matrix is not None and _same(matrix, _Estimator(self._estimator, signature, labels, plan).predict(rows)):
                plan["input"] = "matrix"
        if hasattr(self._estimator, "predict_proba") and not isinstance(_last_step(self._estimator), SVC | NuSVC):
            model = self.bind(signature, labels, plan)
            once = self.bind(signature, labels, {**plan, "labels": "probabilities"})
            if model.predict(rows).predictions == once.predict(rows).predictions:
                plan["labels"] = "probabilities"
        return plan

    def bind(self, signature: Signature, labels: tuple[Scalar, ...], plan: dict[str, Any]) -> LoadedModel:
        if plan.get("input") == "matrix":
            self._estimator = _without_names(self._estimator)
        return _Estimator(self._estimator, signature, labels, plan)


class _Estimator:
    """Feeding an estimator, and reading its answers."""

    def __init__(self, estimator: Any, signature: Signature, labels: tuple[Scalar, ...], plan: dict[str, Any]) -> None:
        self._estimator = estimator
        self._features = signature.features
        self._labels = labels
        self._is_regression = signature.task is Task.REGRESSION
        self._is_frame = plan.get("input") == "frame"
        self._dtype = np.float64 if _is_numeric(signature) else object
        self._has_probabilities = not self._is_regression and hasattr(estimator, "predict_proba")
        self._labels_from_probabilities = plan.get("labels") == "probabilities"

    def predict(self, rows: Sequence[Sequence[Scalar]]) -> Outputs:
        try:
            return self._predict(self._frame(rows) if self._is_frame else np.array(rows, self._dtype))
        except PredictionFailed:
            raise
        except Exception as error:
            raise PredictionFailed(f"the model raised {type(error).__name__} on these rows") from error

    def _predict(self, data: Any) -> Outputs:
        probabilities = np.asarray(self._estimator.predict_proba(data)) if self._has_probabilities else None
        if self._labels_from_probabilities and probabilities is not None:
            predictions = [self._labels[index] for index in probabilities.argmax(axis=1)]
        else:
            predictions = np.asarray(self._estimator.predict(data)).ravel().tolist()
        if self._is_regression:
            scores = predictions = [float(value) for value in predictions]
            lists = None
        elif probabilities is None:
            lists, scores = None, scores_of_labels(predictions, self._labels)
        else:
            lists = probabilities.tolist()
            scores = scores_of(lists)
        if not all(map(math.isfinite, scores)):
            raise PredictionFailed("the model answered with a value that is not a number")
        return Outputs(predictions=predictions, probabilities=lists, scores=scores)

    def _frame(self, rows: Sequence[Sequence[Scalar]]) -> pd.DataFrame:
        columns = zip(*rows, strict=True)
        return pd.DataFrame(
            {feature.name: _series(feature, column) for feature, column in zip(self._features, columns, strict=True)}, copy=False
        )


def _series(feature: Feature, column: Sequence[Any]) -> Any:
    """A column as pandas reads it from a file: whole numbers and booleans become floats or objects when some are missing."""
    if feature.type is FeatureType.CATEGORY:
        return pd.array(list(column), dtype="str")
    if feature.type is FeatureType.BOOLEAN:
        return np.array(column, object if None in column else np.bool_)
    if feature.type is FeatureType.INTEGER and None not in column:
        return np.array(column, np.int64)
    return np.array(column, np.float64)


def _is_numeric(signature: Signature) -> bool:
    return all(feature.type is not FeatureType.CATEGORY for feature in signature.features)


def _task(estimator: Any) -> Task:
    if is_classifier(estimator) or hasattr(estimator, "classes_"):
        return Task.CLASSIFICATION
    if is_regressor(estimator):
        return Task.REGRESSION
    raise ModelError(
        f"The model is a {type(estimator).__name__}, which is neither a classifier nor a regressor; modelwatch serves these two."
    )


def _last_step(estimator: Any) -> Any:
    steps = getattr(estimator, "steps", None)
    return steps[-1][1] if steps else estimator


def _single_threaded(estimator: Any) -> Any:
    """One row is slower on many threads than on one, and the sidecar has its own parallelism."""
    if not hasattr(estimator, "get_params"):
        return estimator
    try:
        threads = {name: 1 for name in estimator.get_params() if name == "n_jobs" or name.endswith("__n_jobs")}
        return estimator.set_params(**threads)
    except (AttributeError, TypeError, ValueError):
        return estimator


# scikit-learn warns at each call when a model that was fitted on named columns gets a plain matrix. The names are
# taken off the first estimator of a chain, the only one that saw them; the registered file keeps them.
_NAMES = "feature_names_in_"
_KEPT = "_modelwatch_feature_names_in"


def _first_steps(estimator: Any) -> list[Any]:
    found = [estimator]
    while steps := getattr(found[-1], "steps", None):
        found.append(steps[0][1])
    return found


def _without_names(estimator: Any) -> Any:
    for step in _first_steps(estimator):
        if _NAMES in getattr(step, "__dict__", {}):
            step.__dict__[_KEPT] = step.__dict__.pop(_NAMES)
    return estimator


def _restore_names(estimator: Any) -> None:
    for step in _first_steps(estimator):
        if _KEPT in getattr(step, "__dict__", {}):
            step.__dict__[_NAMES] = step.__dict__.pop(_KEPT)


def _same(one: Outputs, other: Outputs) -> bool:
    return one.predictions == other.predictions and bool(np.allclose(one.scores, other.scores, rtol=1e-9, atol=1e-12))


def _short(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no details"])[0][:120].rstrip(".")

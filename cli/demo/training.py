"""Two models of different kinds on the same data: a linear one as ONNX, boosted trees as joblib."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from cli.demo.tables import Prepared
from storage.records import Task

SEED = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A model file, and what kind of model it holds."""

    path: Path
    kind: str


def train(prepared: Prepared, folder: Path) -> list[Trained]:
    """Fit both models on the reference rows and save them in ``folder``; the linear one first."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_train_linear(prepared, folder), _train_trees(prepared, folder)]


# ---------------------------------------------------------------------------------------------- linear


def _train_linear(prepared: Prepared, folder: Path) -> Trained:
    pipeline = _linear(prepared)
    kind = "logistic regression" if prepared.task is Task.CLASSIFICATION else "ridge regression"
    frame = linear_frame(prepared, prepared.reference)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fit that has not fully converged predicts well enough to be watched
        pipeline.fit(frame if prepared.categories else frame.to_numpy(np.float32), prepared.reference[prepared.target])
    try:
        graph = _to_onnx(pipeline, prepared)
    except Exception:  # noqa: BLE001 - whatever the converter stumbles over, the pipeline itself can be served
        path = folder / "linear.joblib"
        joblib.dump(pipeline, path)
        return Trained(path=path, kind=kind)
    path = folder / "linear.onnx"
    path.write_bytes(graph)
    return Trained(path=path, kind=kind)


def linear_frame(prepared: Prepared, frame: pd.DataFrame) -> pd.DataFrame:
    """Numbers as float32 and texts without missing values, as an ONNX graph is fed."""
    return pd.DataFrame(
        {
            name: frame[name].fillna("").astype(object) if name in prepared.categories else frame[name].astype(np.float32)
            for name in prepared.features
        }
    )


def _linear(prepared: Prepared) -> Any:
    last = LogisticRegression(max_iter=300) if prepared.task is Task.CLASSIFICATION else Ridge()
    numbers = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())
    if not prepared.categories:
        return Pipeline([("numbers", numbers), ("model", last)])
    columns: list[tuple[str, Any, list[str]]] = [("texts", OneHotEncoder(handle_unknown="ignore"), prepared.categories)]
    numeric = [name for name in prepared.features if name not in prepared.categories]
    if numeric:
        columns.insert(0, ("numbers", numbers, numeric))
    return Pipeline([("columns", ColumnTransformer(columns)), ("model", last)])


def _to_onnx(pipeline: Any, prepared: Prepared) -> bytes:
    """One tensor where all features are numbers, else one input per feature."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    if prepared.categories:
        types = [
            (name, StringTensorType([None, 1]) if name in prepared.categories else FloatTensorType([None, 1]))
            for name in prepared.features
        ]
    else:
        types = [("features", FloatTensorType([None, len(prepared.features)]))]
    options = {id(pipeline): {"zipmap": False}} if prepared.task is Task.CLASSIFICATION else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = convert_sklearn(pipeline, initial_types=types, options=options)
    return bytes(graph.SerializeToString())


# ---------------------------------------------------------------------------------------------- trees


def _train_trees(prepared: Prepared, folder: Path) -> Trained:
    kind = HistGradientBoostingClassifier if prepared.task is Task.CLASSIFICATION else HistGradientBoostingRegressor
    rounds = 60 if prepared.reference[prepared.target].nunique() <= 5 or prepared.task is Task.REGRESSION else 15
    model: Any = kind(max_iter=rounds, max_leaf_nodes=15, random_state=SEED)
    if prepared.categories:
        encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2)
        columns = ColumnTransformer([("texts", encoder, prepared.categories)], remainder="passthrough")
        model = Pipeline([("columns", columns), ("model", model)])
    model.fit(prepared.reference[prepared.features], prepared.reference[prepared.target])
    path = folder / "trees.joblib"
    joblib.dump(model, path)
    return Trained(path=path, kind="gradient-boosted trees")

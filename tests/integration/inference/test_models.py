"""Every way a model file can be made answers as the model itself does."""

from __future__ import annotations

import io
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.base import BaseEstimator
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import SVC, LinearSVC

from inference.models.contract import LoadedModel, ModelError, Outputs, PredictionFailed
from inference.models.loading import parse
from inference.signature import feature_columns, learn_features, table_rows
from storage.layouts import category_text
from storage.records import Format, Signature

IRIS = load_iris(as_frame=True).frame.drop(columns="target")
SPECIES = load_iris(as_frame=True).target
WORDS = SPECIES.map({0: "setosa", 1: "versicolor", 2: "virginica"}).astype("str")
IS_VIRGINICA = SPECIES == 2


def loaded(data: bytes, file_format: Format, frame: pd.DataFrame) -> tuple[LoadedModel, list[Any]]:
    """The model bound as registration binds it, and the frame as rows."""
    file = parse(data, file_format, allow_pickle=True)
    features = learn_features(frame, feature_columns(list(frame.columns), None, file.feature_names, file.width))
    rows = table_rows(frame, features)
    labels = file.labels
    signature = Signature(task=file.task, features=features, classes=tuple(map(category_text, labels)))
    return file.bind(signature, labels, file.plan(signature, labels, rows)), rows


def dumped(model: Any) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    return buffer.getvalue()


def onnx(model: Any, **options: Any) -> bytes:
    return bytes(to_onnx(model, np.zeros((1, 4), np.float32), **options).SerializeToString())


@pytest.mark.parametrize("zipmap", [True, False])
@pytest.mark.parametrize("target", [SPECIES, WORDS, IS_VIRGINICA.astype(int)], ids=["numbers", "words", "binary"])
def test_onnx_classifiers_answer_as_the_estimator(zipmap: Any, target: Any) -> None:
    estimator = LogisticRegression(max_iter=9999).fit(IRIS.to_numpy(), target)

    model, rows = loaded(onnx(estimator, options={"zipmap": zipmap}), Format.ONNX, IRIS)
    outputs = model.predict(rows)

    assert outputs.predictions == estimator.predict(IRIS.to_numpy()).tolist()
    np.testing.assert_allclose(outputs.probabilities or [], estimator.predict_proba(IRIS.to_numpy()), atol=1e-5)
    expected = estimator.predict_proba(IRIS.to_numpy())
    np.testing.assert_allclose(outputs.scores, expected[:, 1] if expected.shape[1] == 2 else expected.max(axis=1), atol=1e-5)


def test_onnx_regressors_give_numbers() -> None:
    estimator = LinearRegression().fit(IRIS.to_numpy(), SPECIES)

    model, rows = loaded(onnx(estimator), Format.ONNX, IRIS)
    outputs = model.predict(rows[:3])

    np.testing.assert_allclose(outputs.predictions, estimator.predict(IRIS.to_numpy()[:3]), atol=1e-4)
    assert (outputs.scores, outputs.probabilities) == (outputs.predictions, None)


def test_onnx_with_one_input_per_feature_takes_text() -> None:
    frame = pd.DataFrame({"size": [1.0, 2.0, 3.0, 4.0] * 10, "colour": ["red", "blue", "red", "green"] * 10})
    target = [0, 1, 0, 1] * 10
    encoder = make_column_transformer((OneHotEncoder(), ["colour"]), remainder="passthrough")
    estimator = make_pipeline(encoder, LogisticRegression()).fit(frame, target)
    types = [("size", FloatTensorType([None, 1])), ("colour", StringTensorType([None, 1]))]
    data = to_onnx(estimator, initial_types=types, options={"zipmap": False}).SerializeToString()

    model, rows = loaded(data, Format.ONNX, frame)

    assert model.predict(rows).predictions == estimator.predict(frame).tolist()
    assert model.predict(rows[1:2]).predictions == [1]


def test_onnx_with_an_output_per_class_is_refused() -> None:
    data = onnx(LogisticRegression(max_iter=9999).fit(IRIS.to_numpy(), SPECIES), options={"zipmap": "columns"})

    with pytest.raises(ModelError, match="several outputs besides its label"):
        parse(data, Format.ONNX, allow_pickle=False)


def test_bytes_that_are_no_onnx_are_refused() -> None:
    with pytest.raises(ModelError, match="not an ONNX model"):
        parse(b"\x08\x07rubbish", Format.ONNX, allow_pickle=False)


ESTIMATORS = {
    "named matrix": LogisticRegression(max_iter=9999).fit(IRIS, WORDS),
    "nameless": LogisticRegression(max_iter=9999).fit(IRIS.to_numpy(), SPECIES),
    "forest": RandomForestClassifier(5, n_jobs=2, random_state=0).fit(IRIS, SPECIES),
    "without probabilities": LinearSVC().fit(IRIS, IS_VIRGINICA),
    "labels and probabilities that disagree": SVC(random_state=0).fit(IRIS, SPECIES),
    "regressor": HistGradientBoostingRegressor(max_iter=5).fit(IRIS, SPECIES),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_answer_as_themselves(name: str) -> None:
    estimator = ESTIMATORS[name]
    fed = IRIS if hasattr(estimator, "feature_names_in_") else IRIS.to_numpy()
    expected = estimator.predict(fed).tolist()

    model, rows = loaded(dumped(estimator), Format.JOBLIB, IRIS)

    assert model.predict(rows).predictions == expected
    assert [model.predict([row]).predictions[0] for row in rows[::29]] == expected[::29]
    assert hasattr(estimator, "feature_names_in_") == (name != "nameless")


class Fussy(BaseEstimator):  # type: ignore[misc] # scikit-learn has no types
    """Answers otherwise when its columns have no names."""

    _estimator_type = "regressor"

    def fit(self, frame: Any, target: Any) -> Fussy:
        self.feature_names_in_ = np.array(list(frame.columns), dtype=object)
        self.n_features_in_ = frame.shape[1]
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.estimator_type = "regressor"
        return tags

    def predict(self, data: Any) -> Any:
        return np.full(len(data), 1.0 if hasattr(data, "columns") else 2.0)


def test_a_frame_is_used_where_a_matrix_would_answer_otherwise() -> None:
    model, rows = loaded(dumped(Fussy().fit(IRIS, SPECIES)), Format.JOBLIB, IRIS)

    assert model.predict(rows[:2]).predictions == [1.0, 1.0]


class Sick(Fussy):
    def predict(self, data: Any) -> Any:
        return np.full(len(data), np.nan)


def test_an_answer_that_is_not_a_number_is_a_failure() -> None:
    file = parse(dumped(Sick().fit(IRIS, SPECIES)), Format.JOBLIB, allow_pickle=True)
    signature = Signature(task=file.task, features=learn_features(IRIS, list(IRIS.columns)))

    with pytest.raises(PredictionFailed, match="not a number"):
        file.bind(signature, (), {"input": "frame"}).predict([(1.0, 1.0, 1.0, 1.0)])


def test_a_missing_module_is_named() -> None:
    data = b"cno_such_module\nThing\n."

    with pytest.raises(ModelError, match="needs the Python module no_such_module"):
        parse(data, Format.PICKLE, allow_pickle=True)


def test_outputs_of_a_single_row_are_lists_of_one() -> None:
    model, rows = loaded(onnx(ESTIMATORS["nameless"], options={"zipmap": False}), Format.ONNX, IRIS)

    outputs = model.predict(rows[:1])

    assert isinstance(outputs, Outputs)
    assert [len(values) for values in (outputs.predictions, outputs.scores, outputs.probabilities or [])] == [1, 1, 1]

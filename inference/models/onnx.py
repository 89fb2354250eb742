"""ONNX models on onnxruntime: a classifier (label and probabilities) or a regressor, of one tensor or one input per feature."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime

from inference.models.contract import LoadedModel, ModelError, Outputs, PredictionFailed, scores_of, scores_of_labels
from storage.records import FeatureType, Scalar, Signature, Task

_DTYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(string)": object,
}
_NUMBERS = ("tensor(float)", "tensor(double)", "tensor(float16)")
_MAPS = re.compile(r"seq\(map\(")


def parse_onnx(data: bytes) -> OnnxFile:
    """An ONNX model from its bytes. Raises ModelError when onnxruntime cannot run it or its inputs are of another kind."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelError(
            f"The file is not an ONNX model that onnxruntime can run ({_first_line(error)}); export it again."
        ) from error
    return OnnxFile(session, data)


class OnnxFile:
    """A parsed ONNX model; which of its outputs are labels, probabilities or values follows from their types."""

    def __init__(self, session: onnxruntime.InferenceSession, data: bytes) -> None:
        self._session = session
        self._data = data
        self._inputs = session.get_inputs()
        outputs = session.get_outputs()
        for tensor in self._inputs:
            if tensor.type not in _DTYPES:
                raise ModelError(
                    f"The ONNX input {tensor.name} is a {tensor.type}; modelwatch feeds tensors of numbers, booleans or strings."
                )
        self._is_matrix = len(self._inputs) == 1
        if not self._is_matrix and any(self._columns(tensor) not in (1, None) for tensor in self._inputs):
            raise ModelError(
                "The ONNX model has several inputs of more than one column; give it one tensor, or one input per feature."
            )
        labels = [o for o in outputs if o.type in ("tensor(int64)", "tensor(string)", "tensor(int32)", "tensor(bool)")]
        numbers = [o for o in outputs if o.type in _NUMBERS]
        maps = [o for o in outputs if _MAPS.match(o.type)]
        self.task = Task.CLASSIFICATION if labels else Task.REGRESSION
        if not labels and len(numbers) != 1:
            names = ", ".join(f"{o.name} {o.type}" for o in outputs)
            raise ModelError(
                f"The ONNX outputs ({names}) are neither a label with probabilities nor one number; export it as a classifier or a regressor."
            )
        if len(maps) + len(numbers) > 1:
            raise ModelError(
                "The ONNX model has several outputs besides its label; export its probabilities as one tensor or one map."
            )
        if labels:
            self._label, self._probabilities = labels[0].name, next((o.name for o in maps + numbers), None)
            self._has_maps = bool(maps)
        else:
            self._label, self._probabilities, self._has_maps = numbers[0].name, None, False

    @staticmethod
    def _columns(tensor: Any) -> int | None:
        shape = tensor.shape
        if len(shape) == 1:
            return 1
        return shape[1] if len(shape) == 2 and isinstance(shape[1], int) else None

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        return None if self._is_matrix else tuple(tensor.name for tensor in self._inputs)

    @property
    def width(self) -> int | None:
        return self._columns(self._inputs[0]) if self._is_matrix else len(self._inputs)

    @property
    def labels(self) -> tuple[Scalar, ...]:
        """The classes that the graph itself lists; empty where no node does."""
        if self.task is Task.REGRESSION:
            return ()
        from onnx import load_from_string

        for node in reversed(load_from_string(self._data).graph.node):
            for attribute in node.attribute:
                if attribute.name in ("classlabels_int64s", "classlabels_ints") and attribute.ints:
                    return tuple(attribute.ints)
                if attribute.name == "classlabels_strings" and attribute.strings:
                    return tuple(text.decode() for text in attribute.strings)
        return ()

    def plan(self, signature: Signature, labels: tuple[Scalar, ...], rows: Sequence[Sequence[Scalar]]) -> dict[str, Any]:
        return {}

    def bind(self, signature: Signature, labels: tuple[Scalar, ...], plan: dict[str, Any]) -> LoadedModel:
        if self._is_matrix and self._inputs[0].type != "tensor(string)":
            texts = [feature.name for feature in signature.features if feature.type is FeatureType.CATEGORY]
            if texts:
                raise ModelError(
                    f"The ONNX model takes one tensor of numbers, but {', '.join(texts)} hold text; encode them inside the model "
                    "(one input per feature) or leave them out of the reference."
                )
        outputs = [self._label] if self._probabilities is None else [self._label, self._probabilities]
        if self._is_matrix:
            return MatrixModel(self._session, self._inputs[0], outputs, self.task, labels, self._has_maps)
        return ColumnsModel(self._session, self._inputs, outputs, self.task, labels, self._has_maps)


class _OnnxModel:
    """Running the session and reading its outputs, which the ways of feeding it share."""

    def __init__(
        self, session: onnxruntime.InferenceSession, outputs: list[str], task: Task, labels: tuple[Scalar, ...], has_maps: bool
    ) -> None:
        self._run = _native_run(session)
        self._outputs = outputs
        self._is_regression = task is Task.REGRESSION
        self._labels = labels
        self._has_maps = has_maps

    def _answer(self, feeds: dict[str, Any]) -> Outputs:
        try:
            results = self._run(self._outputs, feeds, None)
        except Exception as error:
            raise PredictionFailed("onnxruntime could not run the model on these rows") from error
        predictions = results[0].ravel().tolist()
        if self._is_regression:
            outputs = Outputs(predictions=predictions, probabilities=None, scores=predictions)
        elif len(results) == 1:
            outputs = Outputs(predictions=predictions, probabilities=None, scores=scores_of_labels(predictions, self._labels))
        else:
            probabilities = [list(row.values()) for row in results[1]] if self._has_maps else results[1].tolist()
            outputs = Outputs(predictions=predictions, probabilities=probabilities, scores=scores_of(probabilities))
        if not all(map(math.isfinite, outputs.scores)):
            raise PredictionFailed("the model answered with a value that is not a number")
        return outputs


def _native_run(session: onnxruntime.InferenceSession) -> Any:
    """The session's run without the checks in Python before it, which cost as much as a small model itself.

    What they check cannot be wrong here: all inputs are fed, nothing is captured. Where a later onnxruntime has no such
    attribute, its public method does.
    """
    native = getattr(session, "_sess", None)
    return getattr(native, "run", session.run)


class MatrixModel(_OnnxModel):
    """A model of one tensor (rows, features)."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        tensor: Any,
        outputs: list[str],
        task: Task,
        labels: tuple[Scalar, ...],
        has_maps: bool,
    ) -> None:
        super().__init__(session, outputs, task, labels, has_maps)
        self._name = tensor.name
        self._dtype = _DTYPES[tensor.type]
        self._is_text = tensor.type == "tensor(string)"

    def predict(self, rows: Sequence[Sequence[Scalar]]) -> Outputs:
        if self._is_text:
            rows = [["" if value is None else str(value) for value in row] for row in rows]
        try:
            return self._answer({self._name: np.array(rows, self._dtype)})
        except TypeError as error:
            raise PredictionFailed("the model takes no missing values") from error


class ColumnsModel(_OnnxModel):
    """A model of one input (rows, 1) or (rows,) per feature."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        tensors: list[Any],
        outputs: list[str],
        task: Task,
        labels: tuple[Scalar, ...],
        has_maps: bool,
    ) -> None:
        super().__init__(session, outputs, task, labels, has_maps)
        self._columns = [(tensor.name, _DTYPES[tensor.type], (-1,) if len(tensor.shape) == 1 else (-1, 1)) for tensor in tensors]

    def predict(self, rows: Sequence[Sequence[Scalar]]) -> Outputs:
        feeds = {}
        for (name, dtype, shape), column in zip(self._columns, zip(*rows, strict=True), strict=True):
            values: Sequence[Any] = column
            if dtype is object:
                values = ["" if value is None else str(value) for value in column]
            try:
                feeds[name] = np.array(values, dtype).reshape(shape)
            except TypeError as error:
                raise PredictionFailed(f"the model takes no missing values in {name}") from error
        return self._answer(feeds)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200].rstrip(".") if str(error).strip() else type(error).__name__

"""From a model file and its reference data to a version that can be served: learned, tried, profiled, stored.

Registering calls the model on the whole reference, so a file that cannot predict never becomes a version.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn import metrics as quality
from sqlalchemy import Connection, Engine

from inference.models.contract import LoadedModel, ModelError, ModelFile, Outputs, PredictionFailed
from inference.models.golden import golden_of, golden_problem
from inference.models.loading import digest_of, library_versions, load_version, parse
from inference.signature import SignatureError, column_texts, feature_columns, learn_features, table_rows
from storage import audit, deployments, profiles, registry, rollups
from storage.engine import reading, writing
from storage.layouts import build_layout, category_text, count_predictions, schema_hash
from storage.records import AuditEntry, FeatureType, Format, Layout, Model, Profile, Scalar, Signature, Task, Version
from storage.settings import Settings
from storage.tables import TableError, read_table

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
VERSION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
FORMATS = {".onnx": Format.ONNX, ".joblib": Format.JOBLIB, ".pkl": Format.PICKLE, ".pickle": Format.PICKLE}
SAMPLE_ROWS = 2000
TIMED_CALLS = 31


class RegistrationError(Exception):
    """The model cannot be registered; the message says in one sentence why and what to do."""


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


def register(
    engine: Engine,
    settings: Settings,
    name: str,
    file: Path | str,
    *,
    reference: Path | str,
    target: str | None = None,
    version: str | None = None,
    format: str = "auto",  # noqa: A002 - the word of the command's option
    alias: str | None = None,
    allow_pickle: bool = False,
    actor: str,
    now: datetime,
) -> Version:
    """Registers ``file`` as a version of the model ``name``; the first version of a model is promoted at once.

    ``reference`` is a CSV or Parquet file with the model's features, and the ``target`` where performance is to be
    known. Raises RegistrationError, or DatabaseUnavailable.
    """
    path = Path(file)
    _check_names(name, version)
    file_format = _format(path, format)
    try:
        data = _read(path)
        parsed = parse(data, file_format, allow_pickle=allow_pickle)
        learned = _learn(parsed, Path(reference), target)
        learned, trial = _try(parsed, learned)
    except (ModelError, SignatureError, TableError) as error:
        raise RegistrationError(str(error)) from error
    details = {
        "allow_pickle": allow_pickle and file_format is not Format.ONNX,
        "cost_us": round(trial.cost_us, 1),
        "row_cost_us": round(trial.row_cost_us, 3),
        "libraries": library_versions(file_format),
        "labels": list(trial.labels),
        "plan": trial.plan,
        "golden": golden_of(learned.rows, trial.outputs),
        "reference": str(Path(reference).name),
        "reference_rows": len(learned.rows),
    }
    draft = Version(
        model=name,
        version=version or "",
        format=file_format,
        digest=digest_of(data),
        path="",
        size_bytes=len(data),
        signature=learned.signature,
        layout_id=0,
        created_at=now,
        created_by=actor,
        alias=alias,
        details=details,
    )
    return _store(engine, settings.models_folder, draft, data, learned, trial, now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Whether a registered version is still what it was; ``problems`` are sentences, empty when all is well."""

    version: Version
    problems: tuple[str, ...]

    @property
    def is_ok(self) -> bool:
        return not self.problems


def verify(engine: Engine, settings: Settings, name: str, version: str) -> Verification:
    """Loads a version as the sidecar would (digest first) and repeats its golden predictions.

    Raises RegistrationError when there is no such version, or DatabaseUnavailable.
    """
    with reading(engine) as c:
        found = registry.get_version(c, name, version)
    if found is None:
        raise RegistrationError(f"There is no version {version} of the model {name}; `modelwatch models show {name}` lists them.")
    try:
        model = load_version(found, settings.models_folder)
        problem = golden_problem(found, model)
    except ModelError as error:
        problem = str(error)
    return Verification(version=found, problems=(problem,) if problem else ())


# ---------------------------------------------------------------------------------------------- reading what was given


def _check_names(name: str, version: str | None) -> None:
    if not NAME.fullmatch(name):
        raise RegistrationError(
            f"{name!r} is not a model name; use up to 63 lower-case letters, digits, dots, dashes and underscores, a letter or digit first."
        )
    if version is not None and not VERSION_NAME.fullmatch(version):
        raise RegistrationError(
            f"{version!r} is not a version name; use up to 63 letters, digits, dots, dashes and underscores, a letter or digit first."
        )


def _format(path: Path, wanted: str) -> Format:
    if wanted != "auto":
        if wanted not in set(Format):
            raise RegistrationError(f"{wanted!r} is not a format; use {', '.join(Format)} or auto.")
        return Format(wanted)
    found = FORMATS.get(path.suffix.lower())
    if found is None:
        raise RegistrationError(
            f"The format of {path.name} cannot be told from its name; say --format {' or --format '.join(Format)}."
        )
    return found


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RegistrationError(f"The model file {path} cannot be read ({error.strerror}); check the path.") from error
    if not data:
        raise RegistrationError(f"The model file {path} is empty; save the model again.")
    return data


def _learn(file: ModelFile, path: Path, target: str | None) -> Reference:
    frame = read_table(path)
    if frame.empty:
        raise SignatureError(f"The reference {path} has no rows; give it the data that the model was trained on, or some of it.")
    frame = frame.rename(columns=str)
    columns = feature_columns(list(frame.columns), target, file.feature_names, file.width)
    features = learn_features(frame, columns)
    signature = Signature(task=file.task, features=features, target=target)
    targets = None if target is None else column_texts(frame[target])
    return Reference(frame=frame, signature=signature, rows=table_rows(frame, features), targets=targets)


# ---------------------------------------------------------------------------------------------- trying the model


def _try(file: ModelFile, reference: Reference) -> tuple[Reference, Trial]:
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
    return replace(reference, signature=signature), Trial(
        outputs=outputs,
        plan=plan,
        labels=labels,
        cost_us=_median_us(model, reference.rows, 1, TIMED_CALLS),
        row_cost_us=_median_us(model, reference.rows, 1000, 3),
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
        raise RegistrationError(
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


# ---------------------------------------------------------------------------------------------- storing


def _store(engine: Engine, folder: Path, draft: Version, data: bytes, reference: Reference, trial: Trial, now: datetime) -> Version:
    """The file first, then one transaction with everything else: a version row never points at a file that is not there."""
    performance = _performance(reference, trial.outputs)
    columns = list(zip(*reference.rows, strict=True))
    layout = build_layout(draft.model, draft.signature, columns, np.asarray(trial.outputs.scores, np.float64))
    with writing(engine) as c:
        draft = replace(draft, version=draft.version or registry.next_version_name(c, draft.model))
        _check_free(c, draft)
    relative = f"{draft.model}/{draft.version}-{draft.digest[:12]}.{draft.format}"
    _write_file(folder / relative, data)
    try:
        with writing(engine) as c:
            _check_free(c, draft)
            stored = rollups.ensure_layout(c, layout, schema_hash(draft.signature), now)
            version = replace(draft, path=relative, layout_id=stored.id)
            if registry.get_model(c, draft.model) is None:
                registry.insert_model(c, Model(name=draft.model, task=draft.signature.task, created_at=now))
            registry.insert_version(c, version)
            profiles.save_profile(c, _profile(version, stored, reference, trial.outputs, performance, now))
            _record(c, version, now)
            if deployments.current(c, draft.model) is None:
                deployments.promote(c, version.model, version.version, actor=version.created_by, reason="first version", now=now)
    except registry.RegistryError as error:
        raise RegistrationError(str(error)) from error
    return version


def _check_free(c: Connection, draft: Version) -> None:
    if registry.get_version(c, draft.model, draft.version) is not None:
        raise RegistrationError(
            f"Version {draft.version} of {draft.model} exists already, and versions never change; register this one under another name."
        )
    model = registry.get_model(c, draft.model)
    if model is not None and model.task is not draft.signature.task:
        raise RegistrationError(
            f"{draft.model} is a {model.task} model and this file is one for {draft.signature.task}; register it under another model name."
        )


def _profile(
    version: Version, layout: Layout, reference: Reference, outputs: Outputs, performance: dict[str, float], now: datetime
) -> Profile:
    is_regression = version.signature.task is Task.REGRESSION
    texts = [repr(float(value)) if is_regression else category_text(value) for value in outputs.predictions]
    return Profile(
        model=version.model,
        version=version.version,
        layout_id=layout.id,
        rows=len(reference.rows),
        counts=count_predictions(layout, reference.rows, outputs.scores, texts),
        performance=performance,
        sample=_sample(reference),
        created_at=now,
    )


def _sample(reference: Reference) -> bytes:
    """At most SAMPLE_ROWS rows, the same ones each time, as Parquet: the features, then the target."""
    names = [*reference.signature.names, *([reference.signature.target] if reference.signature.target else [])]
    frame = reference.frame[names]
    if len(frame) > SAMPLE_ROWS:
        frame = frame.sample(SAMPLE_ROWS, random_state=0).sort_index()
    texts = [feature.name for feature in reference.signature.features if feature.type is FeatureType.CATEGORY]
    frame = frame.assign(**{name: pd.Series(column_texts(frame[name]), index=frame.index, dtype="str") for name in texts})
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


def _record(c: Connection, version: Version, now: datetime) -> None:
    audit.record(
        c,
        AuditEntry(
            at=now,
            actor=version.created_by,
            action="register",
            target=f"{version.model}/{version.version}",
            details={"digest": version.digest, "format": str(version.format), "allow_pickle": version.details["allow_pickle"]},
        ),
    )


def _write_file(path: Path, data: bytes) -> None:
    """Whole or not at all, and there after a power cut."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).rename(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise RegistrationError(f"The model file cannot be stored as {path} ({error.strerror}); check the home folder.") from error


def _some(values: Sequence[str] | set[str]) -> str:
    shown = sorted(values)[:5]
    return ", ".join(shown) + (", …" if len(values) > 5 else "")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")

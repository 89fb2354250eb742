"""From a model file and its reference data to a version that can be served: learned, tried, profiled, stored.

Registering calls the model on the whole reference, so a file that cannot predict never becomes a version.
"""

from __future__ import annotations

import io
import os
import re
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import Connection, Engine

from inference.models.contract import ModelError
from inference.models.golden import golden_of, golden_problem
from inference.models.loading import digest_of, library_versions, load_version, parse
from inference.signature import SignatureError, column_texts
from inference.trial import Reference, Trial, learn, try_model
from storage import audit, deployments, profiles, registry, rollups
from storage.constraints import DUPLICATES_ROWS, learn_constraints
from storage.engine import reading, writing
from storage.layouts import bin_indices, build_layout, category_text, count_labels, count_predictions, schema_hash
from storage.records import (
    PREDICTION_COLUMN,
    SCORE_COLUMN,
    AuditEntry,
    FeatureType,
    Format,
    LabelCounts,
    Layout,
    Model,
    Profile,
    Task,
    Version,
)
from storage.settings import Settings
from storage.tables import TableError

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
VERSION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
FORMATS = {".onnx": Format.ONNX, ".joblib": Format.JOBLIB, ".pkl": Format.PICKLE, ".pickle": Format.PICKLE}
SAMPLE_ROWS = 2000


class RegistrationError(Exception):
    """The model cannot be registered; the message says in one sentence why and what to do."""


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
        learned = learn(parsed, Path(reference), target)
        learned, trial = try_model(parsed, learned)
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


# ---------------------------------------------------------------------------------------------- storing


def _store(engine: Engine, folder: Path, draft: Version, data: bytes, reference: Reference, trial: Trial, now: datetime) -> Version:
    """The file first, then one transaction with everything else: a version row never points at a file that is not there."""
    columns = list(zip(*reference.rows, strict=True))
    scores = np.asarray(trial.outputs.scores, np.float64)
    layout = build_layout(draft.model, draft.signature, columns, scores, trial.outputs.probabilities)
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
            unseen = _expected_unseen(layout, stored, reference)
            profiles.save_profile(c, _profile(version, stored, reference, trial, unseen, now))
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
    version: Version, layout: Layout, reference: Reference, trial: Trial, unseen: dict[str, float], now: datetime
) -> Profile:
    is_regression = version.signature.task is Task.REGRESSION
    texts = [repr(float(value)) if is_regression else category_text(value) for value in trial.outputs.predictions]
    counts = count_predictions(layout, reference.rows, trial.outputs.scores, texts)
    spread = reference.rows[:: max(1, len(reference.rows) // DUPLICATES_ROWS)]
    return Profile(
        model=version.model,
        version=version.version,
        layout_id=layout.id,
        rows=len(reference.rows),
        counts=counts,
        labels=_labels(layout, reference, trial, texts),
        performance=trial.performance,
        sample=_sample(reference, trial, texts),
        constraints=learn_constraints(version.signature, layout, counts, spread).model_dump(mode="json"),
        thresholds=_calibrated(layout, reference, trial) | {"unseen": unseen},
        created_at=now,
    )


def _calibrated(layout: Layout, reference: Reference, trial: Trial) -> dict[str, Any]:
    """Of the whole reference, in the order of its file, which the sample does not keep."""
    from collector.statistics.calibration import calibrate, calibration_to_json

    columns: list[Any] = [*zip(*reference.rows, strict=True), trial.outputs.scores]
    columns_of_bins = zip((*layout.features, layout.score), columns, strict=True)
    return calibration_to_json(calibrate([(bins, bin_indices(bins, column)) for bins, column in columns_of_bins]))


def _expected_unseen(own: Layout, stored: Layout, reference: Reference) -> dict[str, float]:
    """By feature, the share of fresh rows to be expected without a bin of their own, where the bins were made from this reference."""
    from collector.statistics.two_samples import expected_other_share

    found: dict[str, float] = {}
    for bins, kept, column in zip(own.features, stored.features, zip(*reference.rows, strict=True), strict=True):
        if bins.is_categorical and bins.categories == kept.categories:
            counts = Counter(category_text(value) for value in column if value is not None)
            share = expected_other_share(np.array(list(counts.values()), np.int64), len(kept.categories))
            found |= {} if share is None else {kept.name: share}
    return found


def _labels(layout: Layout, reference: Reference, trial: Trial, texts: list[str]) -> LabelCounts:
    """The counts of the rows whose target is known."""
    known = [(index, text) for index, text in enumerate(reference.targets or ()) if text is not None]
    rows = [index for index, _ in known]
    scores = [trial.outputs.scores[index] for index in rows]
    given = trial.outputs.probabilities
    probabilities = None if given is None else [given[index] for index in rows]
    targets = [text for _, text in known]
    return count_labels(layout, scores, [texts[index] for index in rows], targets, [0.0] * len(known), probabilities)


def _sample(reference: Reference, trial: Trial, texts: list[str]) -> bytes:
    """At most SAMPLE_ROWS rows, the same ones each time, as Parquet: features, target, what the version answered."""
    names = [*reference.signature.names, *([reference.signature.target] if reference.signature.target else [])]
    frame = reference.frame[names].copy()
    frame[PREDICTION_COLUMN] = texts
    frame[SCORE_COLUMN] = trial.outputs.scores
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

"""Registering real files: what is learned and stored, and one sentence for each thing that can be wrong."""

from __future__ import annotations

import io
import pickle
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from skl2onnx import to_onnx
from sklearn.cluster import KMeans
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss
from sqlalchemy import Engine

from collector.statistics.measures import measures
from collector.statistics.quality import check_batch
from inference.registration import RegistrationError, register, verify
from inference.settings import InferenceSettings
from storage import audit, deployments, profiles, registry, rollups
from storage.constraints import Constraints
from storage.engine import reading
from storage.layouts import category_text
from storage.records import PREDICTION_COLUMN, SCORE_COLUMN, FeatureType, Format, Task, Verdict, Version
from storage.samples import reference_columns
from tests.factories import NOW
from tests.integration.inference.serving import (
    cancer,
    cancer_onnx,
    diabetes_onnx,
    people,
    register_cancer,
    register_people,
    settings_for,
)


@pytest.fixture
def settings(engine: Engine, home: Path) -> InferenceSettings:
    return settings_for(engine, home)


def test_a_version_is_learned_profiled_stored_and_promoted(engine: Engine, settings: InferenceSettings) -> None:
    version = register_cancer(engine, settings)

    assert (version.version, version.format, version.signature.task) == ("1", Format.ONNX, Task.CLASSIFICATION)
    assert version.signature.names == tuple(cancer().columns[:-1])
    assert version.signature.classes == ("0", "1")
    assert (settings.models_folder / version.path).read_bytes() == cancer_onnx()
    assert version.path == f"cancer/1-{version.digest[:12]}.onnx"
    assert version.details["cost_us"] > 0
    with reading(engine) as c:
        assert registry.get_version(c, "cancer", "1") == version
        deployment = deployments.current(c, "cancer")
        profile = profiles.load_profile(c, "cancer", "1", rollups.load_layout(c, version.layout_id))
        actions = {(entry.action, entry.target) for entry in audit.entries(c)}
    assert deployment is not None
    assert deployment.champion == "1"
    assert ("register", "cancer/1") in actions
    assert profile is not None
    assert profile.rows == len(cancer())
    assert profile.performance["accuracy"] > 0.9
    assert profile.performance["roc_auc"] > 0.95
    assert profile.counts.classes.sum() == len(cancer())
    sample = pd.read_parquet(io.BytesIO(profile.sample))
    pd.testing.assert_frame_equal(sample.drop(columns=[PREDICTION_COLUMN, SCORE_COLUMN]), cancer().reset_index(drop=True))
    assert profile.thresholds["rows"] == len(cancer())
    assert profile.thresholds["tests"] > 1
    right = (sample[PREDICTION_COLUMN] == sample["target"].map(category_text)).mean()
    assert right == pytest.approx(profile.performance["accuracy"])
    assert profile.labels.rows == len(sample)
    assert np.trace(profile.labels.confusion) == round(right * len(sample))


def test_the_next_version_waits_for_its_promotion(engine: Engine, settings: InferenceSettings) -> None:
    register_cancer(engine, settings)

    second = register_cancer(engine, settings, penalty=0.1, alias="staging")

    assert (second.version, second.alias) == ("2", "staging")
    with reading(engine) as c:
        deployment = deployments.current(c, "cancer")
    assert deployment is not None
    assert deployment.champion == "1"


def test_a_pipeline_of_named_columns_is_learned_with_its_categories(engine: Engine, settings: InferenceSettings) -> None:
    version = register_people(engine, settings)

    features = {feature.name: feature for feature in version.signature.features}
    assert {name: feature.type for name, feature in features.items()} == {
        "age": FeatureType.INTEGER,
        "income": FeatureType.NUMBER,
        "member": FeatureType.BOOLEAN,
        "region": FeatureType.CATEGORY,
    }
    assert set(features["region"].categories) == {"north", "south", "west"}
    with reading(engine) as c:
        profile = profiles.load_profile(c, version.model, version.version, rollups.load_layout(c, version.layout_id))
    assert profile is not None
    assert profile.thresholds["unseen"] == {"region": 0.0}
    assert [name for name, feature in features.items() if feature.missing_allowed] == ["income", "region"]
    assert version.signature.classes == ("no", "yes")
    assert version.details["plan"]["input"] == "frame"


def test_constraints_are_learned_that_the_reference_itself_meets(engine: Engine, settings: InferenceSettings) -> None:
    version = register_people(engine, settings)

    with reading(engine) as c:
        profile = profiles.load_profile(c, "people", version.version, rollups.load_layout(c, version.layout_id))
    assert profile is not None
    learned = Constraints.model_validate(profile.constraints)
    sample = {name: values for name, values in reference_columns(profile).items() if name in learned.features}
    assert sorted(learned.features) == sorted(version.signature.names)
    assert learned.features["age"].minimum == next(f.minimum for f in version.signature.features if f.name == "age")
    assert {finding.verdict for finding in check_batch(learned, sample)} == {Verdict.OK}


def test_the_probabilities_of_several_classes_are_counted(engine: Engine, settings: InferenceSettings) -> None:
    frame = load_iris(as_frame=True).frame
    features = frame.drop(columns="target").to_numpy()
    model = LogisticRegression(max_iter=1000).fit(features, frame.target)
    file = to_onnx(model, np.zeros((1, 4), np.float32), options={"zipmap": False}).SerializeToString()

    version = attempt(engine, settings, bytes(file), "model.onnx", frame)

    with reading(engine) as c:
        layout = rollups.load_layout(c, version.layout_id)
        profile = profiles.load_profile(c, "m", "1", layout)
    assert profile is not None
    found = {measure.name: measure.value for measure in measures(layout, profile.labels)}
    probabilities = model.predict_proba(features)
    assert [bins.name for bins in layout.probabilities] == ["0", "1", "2"]
    assert found["log_loss"] == pytest.approx(log_loss(frame.target, probabilities), rel=1e-4)
    assert found["brier"] == pytest.approx(brier_score_loss(frame.target, probabilities), rel=1e-4)
    assert found["roc_auc"] == pytest.approx(profile.performance["roc_auc"], abs=0.01)


def test_a_regression_is_measured_by_its_errors(engine: Engine, settings: InferenceSettings) -> None:
    frame = load_diabetes(as_frame=True).frame

    version = attempt(engine, settings, diabetes_onnx(), "model.onnx", frame)

    with reading(engine) as c:
        profile = profiles.load_profile(c, "m", "1", rollups.load_layout(c, version.layout_id))
    assert version.signature.task is Task.REGRESSION
    assert profile is not None
    assert set(profile.performance) == {"mae", "rmse", "r2"}
    assert profile.performance["r2"] == pytest.approx(0.518, abs=0.01)


def test_without_a_target_all_columns_are_features(engine: Engine, settings: InferenceSettings) -> None:
    version = attempt(engine, settings, cancer_onnx(), "model.onnx", cancer().drop(columns="target"), target=None)

    with reading(engine) as c:
        profile = profiles.load_profile(c, "m", "1", rollups.load_layout(c, version.layout_id))
    assert profile is not None
    assert profile.performance == {}


def test_a_model_fitted_on_names_is_fed_the_quick_way_when_that_answers_the_same(sqlite_engine: Engine, home: Path) -> None:
    frame = cancer()
    model = LogisticRegression(max_iter=9999).fit(frame.drop(columns="target"), frame.target)

    version = attempt(sqlite_engine, settings_for(sqlite_engine, home), dumped(model), "m.joblib", frame, allow_pickle=True)

    assert version.details["plan"] == {"input": "matrix", "labels": "probabilities"}
    assert verify(sqlite_engine, settings_for(sqlite_engine, home), "m", "1").is_ok


def test_columns_of_the_reference_may_stand_in_any_order_when_the_model_has_names(sqlite_engine: Engine, home: Path) -> None:
    frame = cancer()
    model = LogisticRegression(max_iter=9999).fit(frame.drop(columns="target"), frame.target)
    shuffled = frame[frame.columns[::-1]].assign(row_number=range(len(frame)))

    version = attempt(sqlite_engine, settings_for(sqlite_engine, home), dumped(model), "m.joblib", shuffled, allow_pickle=True)

    assert version.signature.names == tuple(frame.columns[:-1])


# ---------------------------------------------------------------------------------------------- what can be wrong


def dumped(model: Any) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    return buffer.getvalue()


def attempt(
    engine: Engine,
    settings: InferenceSettings,
    content: bytes,
    file: str = "model.onnx",
    reference: pd.DataFrame | None = None,
    *,
    name: str = "m",
    target: str | None = "target",
    **options: Any,
) -> Version:
    model, table = settings.home / file, settings.home / "reference.csv"
    model.write_bytes(content)
    (cancer() if reference is None else reference).to_csv(table, index=False)
    return register(engine, settings, name, model, reference=table, target=target, actor="ana", now=NOW, **options)


FITTED = LogisticRegression().fit(np.zeros((4, 5)), [0, 1, 0, 1])


@pytest.mark.parametrize(
    ("content", "file", "options", "message"),
    [
        (b"hello", "m.onnx", {}, "not an ONNX model"),
        (b"", "m.onnx", {}, "is empty"),
        (b"hello", "m.joblib", {"allow_pickle": True}, "not a readable joblib file"),
        (b"hello", "m.pkl", {"allow_pickle": True}, "not a readable pickle file"),
        (dumped(FITTED), "m.joblib", {}, "--allow-pickle"),
        (pickle.dumps(FITTED), "m.pkl", {}, "--allow-pickle"),
        (pickle.dumps({"a": 1}), "m.pkl", {"allow_pickle": True}, "a dict, which has no predict"),
        (pickle.dumps(KMeans(2)), "m.pkl", {"allow_pickle": True}, "neither a classifier nor a regressor"),
        (cancer_onnx(), "m.bin", {}, "cannot be told from its name"),
        (cancer_onnx(), "m.onnx", {"format": "h5"}, "is not a format"),
        (cancer_onnx(), "m.onnx", {"name": "Cancer!"}, "not a model name"),
        (cancer_onnx(), "m.onnx", {"version": "a b"}, "not a version name"),
        (cancer_onnx(), "m.onnx", {"target": "nope"}, "no column nope"),
        (cancer_onnx(), "m.onnx", {"target": None}, "takes 5 features, but the reference has 6"),
        (cancer_onnx(), "m.onnx", {"reference": cancer().head(0)}, "has no rows"),
        (cancer_onnx(), "m.onnx", {"reference": cancer().assign(**{"mean radius": "x"})}, "mean radius hold text"),
        (cancer_onnx(), "m.onnx", {"reference": cancer().assign(target="yes")}, "holds yes, but the model predicts 0, 1"),
        (diabetes_onnx(), "m.onnx", {"reference": load_diabetes(as_frame=True).frame.assign(target="x")}, "target holds text"),
    ],
)
def test_what_cannot_be_registered_is_told_in_one_sentence_and_leaves_nothing(
    sqlite_engine: Engine, home: Path, content: bytes, file: str, options: dict[str, Any], message: str
) -> None:
    settings = settings_for(sqlite_engine, home)

    with pytest.raises(RegistrationError, match=message) as caught:
        attempt(sqlite_engine, settings, content, file, **options)

    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)
    assert not settings.models_folder.exists()
    with reading(sqlite_engine) as c:
        assert registry.list_models(c) == []


def test_columns_that_the_model_was_trained_on_must_be_there(sqlite_engine: Engine, home: Path) -> None:
    frame = people()
    model = LinearRegression().fit(frame[["age"]], frame.age)

    with pytest.raises(RegistrationError, match="lacks age"):
        attempt(sqlite_engine, settings_for(sqlite_engine, home), dumped(model), "m.joblib", cancer(), allow_pickle=True)


def test_missing_files_are_named(sqlite_engine: Engine, home: Path) -> None:
    settings = settings_for(sqlite_engine, home)
    (home / "m.onnx").write_bytes(cancer_onnx())

    for file, reference in (("none.onnx", "m.onnx"), ("m.onnx", "none.csv")):
        with pytest.raises(RegistrationError, match=r"none\."):
            register(sqlite_engine, settings, "m", home / file, reference=home / reference, actor="ana", now=NOW)


def test_versions_never_change(engine: Engine, settings: InferenceSettings) -> None:
    register_cancer(engine, settings, version="a")

    with pytest.raises(RegistrationError, match="exists already"):
        register_cancer(engine, settings, penalty=0.1, version="a")

    with reading(engine) as c:
        stored = registry.get_version(c, "cancer", "a")
    assert stored is not None
    assert (settings.models_folder / stored.path).read_bytes() == cancer_onnx()


def test_a_model_keeps_its_task(engine: Engine, settings: InferenceSettings) -> None:
    attempt(engine, settings, cancer_onnx())

    with pytest.raises(RegistrationError, match="is a classification model"):
        attempt(engine, settings, diabetes_onnx(), "d.onnx", load_diabetes(as_frame=True).frame)


# ---------------------------------------------------------------------------------------------- verifying


def test_verify_finds_a_file_that_was_changed_or_is_gone(engine: Engine, settings: InferenceSettings) -> None:
    version = register_cancer(engine, settings)
    path = settings.models_folder / version.path
    assert verify(engine, settings, "cancer", "1").problems == ()

    path.write_bytes(path.read_bytes() + b"x")
    changed = verify(engine, settings, "cancer", "1")
    path.unlink()
    gone = verify(engine, settings, "cancer", "1")

    assert "is not the one that was registered" in changed.problems[0]
    assert "cannot be read" in gone.problems[0]
    with pytest.raises(RegistrationError, match="no version 9"):
        verify(engine, settings, "cancer", "9")


class Bomb:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("exploded"),))


def test_a_changed_pickle_is_refused_before_anything_of_it_runs(
    sqlite_engine: Engine, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    settings = settings_for(sqlite_engine, home)
    version = attempt(sqlite_engine, settings, dumped(FITTED), "m.joblib", allow_pickle=True)
    (settings.models_folder / version.path).write_bytes(dumped(Bomb()))

    found = verify(sqlite_engine, settings, "m", "1")

    assert not found.is_ok
    assert not (home / "exploded").exists()
    with pytest.raises(RegistrationError, match="--allow-pickle"):
        attempt(sqlite_engine, settings, dumped(Bomb()), "b.joblib")
    assert not (home / "exploded").exists()


def test_scikit_learn_of_another_version_is_said_in_the_log_and_not_as_a_warning(
    sqlite_engine: Engine, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from dataclasses import replace

    from inference.models.loading import load_version

    settings = settings_for(sqlite_engine, home)
    version = attempt(sqlite_engine, settings, dumped(FITTED), "m.joblib", allow_pickle=True)
    older = replace(version, details={**version.details, "libraries": {"scikit-learn": "1.2.3"}})

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_version(older, settings.models_folder)

    assert "scikit-learn 1.2.3" in caplog.text

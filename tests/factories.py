"""Records for tests, complete unless a test says otherwise, and a registered model in a database."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import Connection

from storage import registry, rollups
from storage.layouts import build_layout, schema_hash
from storage.predictions import record_predictions
from storage.records import (
    Feature,
    FeatureType,
    Format,
    Layout,
    Model,
    PredictionRow,
    Role,
    Scalar,
    Signature,
    Task,
    Version,
)
from storage.segment_fields import NO_SEGMENTS, SegmentFields

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
"""The moment that tests take for the present: a whole hour."""


def at(seconds: float = 0.0) -> datetime:
    """``NOW`` and some seconds."""
    return NOW + timedelta(seconds=seconds)


def make_signature(*, task: Task = Task.CLASSIFICATION, features: Sequence[Feature] | None = None) -> Signature:
    """Two numbers, a boolean and a category; classes "no" and "yes", or a regression."""
    if features is None:
        features = (
            Feature(name="age", type=FeatureType.INTEGER, missing_allowed=False, minimum=18, maximum=90),
            Feature(name="income", type=FeatureType.NUMBER, missing_allowed=True, minimum=0.0, maximum=1.0),
            Feature(name="member", type=FeatureType.BOOLEAN, missing_allowed=False),
            Feature(name="region", type=FeatureType.CATEGORY, missing_allowed=False, categories=("north", "south")),
        )
    classes = ("no", "yes") if task is Task.CLASSIFICATION else ()
    return Signature(task=task, features=tuple(features), target="label", classes=classes)


def make_rows(signature: Signature, number: int, seed: int = 0) -> list[list[Scalar]]:
    """Rows of plausible values for the signature, always the same for a seed."""
    random = np.random.default_rng(seed)
    columns = [_column(feature, number, random) for feature in signature.features]
    return [list(row) for row in zip(*columns, strict=True)]


def make_layout(signature: Signature | None = None, *, model: str = "churn", layout_id: int = 0) -> Layout:
    """The layout that 500 plausible rows give."""
    signature = signature or make_signature()
    columns = list(zip(*make_rows(signature, 500), strict=True))
    return replace(build_layout(model, signature, columns, np.linspace(0.0, 1.0, 500)), id=layout_id)


def make_prediction_row(number: int = 0, **changes: Any) -> PredictionRow:
    """The prediction ``p<number>`` of churn version 1, one second after the one before."""
    values: dict[str, Any] = {
        "id": f"p{number}",
        "at": at(number),
        "model": "churn",
        "version": "1",
        "role": Role.CHAMPION.value,
        "features": json.dumps([20 + number % 60, (number % 100) / 100, number % 2 == 0, ("north", "south")[number % 2]]),
        "prediction": ("no", "yes")[number % 2],
        "score": (number % 100) / 100,
        "probabilities": json.dumps([1 - (number % 100) / 100, (number % 100) / 100]),
        "latency_ms": 1.0 + number % 5,
        "subject": f"s{number}",
    }
    return PredictionRow(**{**values, **changes})


def make_prediction_rows(numbers: Sequence[int] | range, **changes: Any) -> list[PredictionRow]:
    """One prediction per number."""
    return [make_prediction_row(number, **changes) for number in numbers]


def make_version(layout_id: int, **changes: Any) -> Version:
    """Version 1 of churn; its file is not there."""
    values: dict[str, Any] = {
        "model": "churn",
        "version": "1",
        "format": Format.ONNX,
        "digest": "0" * 64,
        "path": "churn/1/model.onnx",
        "size_bytes": 1000,
        "signature": make_signature(),
        "layout_id": layout_id,
        "created_at": NOW,
        "created_by": "ana",
    }
    return Version(**{**values, **changes})


def register_model(
    c: Connection, name: str = "churn", versions: Sequence[str] = ("1",), *, signature: Signature | None = None
) -> Layout:
    """A model with versions, all of one signature, in the database; returns their layout. Nothing is deployed."""
    signature = signature or make_signature()
    registry.insert_model(c, Model(name=name, task=signature.task, created_at=NOW))
    layout = rollups.ensure_layout(c, make_layout(signature, model=name), schema_hash(signature), NOW)
    for number, version in enumerate(versions):
        created_at = NOW + timedelta(seconds=number)
        registry.insert_version(c, make_version(layout.id, model=name, version=version, signature=signature, created_at=created_at))
    return layout


def record(
    c: Connection,
    rows: Sequence[PredictionRow],
    *,
    writer: str = "w1",
    bucket_seconds: int = 60,
    segments: SegmentFields = NO_SEGMENTS,
) -> tuple[int, int]:
    """Records predictions as an uploader does; returns how many were inserted and how many were duplicates."""
    lookup = registry.LayoutLookup(c)
    receipt = record_predictions(c, rows, lookup, writer=writer, bucket_seconds=bucket_seconds, segments=segments)
    return receipt.inserted, receipt.duplicates


def _column(feature: Feature, number: int, random: np.random.Generator) -> list[Any]:
    if feature.type is FeatureType.CATEGORY:
        return [str(value) for value in random.choice(feature.categories or ("a", "b"), number)]
    if feature.type is FeatureType.BOOLEAN:
        return [bool(value) for value in random.integers(0, 2, number)]
    low = feature.minimum if feature.minimum is not None else 0.0
    high = feature.maximum if feature.maximum is not None else 1.0
    if feature.type is FeatureType.INTEGER:
        return [int(value) for value in random.integers(int(low), int(high) + 1, number)]
    return [float(value) for value in random.uniform(low, high, number)]

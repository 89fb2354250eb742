"""A registered model with a reference, and traffic for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from sqlalchemy import Connection, Engine

from collector.settings import CollectorSettings
from storage import labels, profiles, registry, rollups
from storage.engine import writing
from storage.layouts import build_layout, category_text, count_labels, count_predictions, empty_label_counts, schema_hash
from storage.records import (
    Feature,
    FeatureType,
    Floats,
    Label,
    LabelCounts,
    LabelReceipt,
    Layout,
    Model,
    PredictionRow,
    Profile,
    Scalar,
    Signature,
    Task,
)
from storage.segment_fields import NO_SEGMENTS, SegmentFields
from tests.factories import NOW, make_version, record

SIGNATURE = Signature(
    task=Task.CLASSIFICATION,
    features=(
        Feature(name="income", type=FeatureType.NUMBER, missing_allowed=True),
        Feature(name="age", type=FeatureType.NUMBER, missing_allowed=True),
        Feature(name="region", type=FeatureType.CATEGORY, missing_allowed=True),
    ),
    target="label",
    classes=("no", "yes"),
)


def make_rows(random: np.random.Generator, n: int, *, income: float = 0.0) -> list[list[Scalar]]:
    """Rows of a normal income around ``income``, a normal age, and a region of three."""
    incomes, ages = random.normal(income, 1, n), random.normal(40, 10, n)
    return [[float(i), float(a), str(r)] for i, a, r in zip(incomes, ages, random.choice(["n", "s", "w"], n), strict=True)]


def scores_of(rows: Sequence[Sequence[Scalar]]) -> Floats:
    """A score that follows the income."""
    return np.array([1 / (1 + np.exp(-float(row[0] or 0))) for row in rows])


def register(
    c: Connection,
    name: str = "churn",
    versions: Sequence[str] = ("1",),
    *,
    performance: dict[str, float] | None = None,
    labelled: bool = False,
    reference: Sequence[list[Scalar]] | None = None,
) -> Layout:
    """A model whose reference is 5,000 rows of ``make_rows``, or these, ``labelled`` by ``actual_of``; nothing is deployed."""
    rows = make_rows(np.random.default_rng(0), 5000) if reference is None else reference
    scores = scores_of(rows)
    layout = build_layout(name, SIGNATURE, list(zip(*rows, strict=True)), scores)
    registry.insert_model(c, Model(name=name, task=SIGNATURE.task, created_at=NOW))
    layout = rollups.ensure_layout(c, layout, schema_hash(SIGNATURE), NOW)
    for version in versions:
        registry.insert_version(c, make_version(layout.id, model=name, version=version, signature=SIGNATURE))
        counts = count_predictions(layout, rows, scores.tolist(), ["yes" if score > 0.5 else "no" for score in scores])
        profile = Profile(
            model=name,
            version=version,
            layout_id=layout.id,
            rows=len(rows),
            counts=counts,
            labels=_reference_labels(layout, scores) if labelled else empty_label_counts(layout),
            performance=performance or {"accuracy": 0.9},
            sample=b"",
            created_at=NOW,
        )
        profiles.save_profile(c, profile)
    return layout


def actual_of(scores: Floats, random: np.random.Generator) -> list[str]:
    """Labels for which the scores are true probabilities."""
    return ["yes" if drawn < score else "no" for drawn, score in zip(random.random(scores.size), scores, strict=True)]


def _reference_labels(layout: Layout, scores: Floats) -> LabelCounts:
    called = ["yes" if score > 0.5 else "no" for score in scores]
    return count_labels(layout, scores.tolist(), called, actual_of(scores, np.random.default_rng(9)), [0.0] * scores.size)


def predictions(
    start: datetime,
    seconds: int,
    n: int,
    *,
    model: str = "churn",
    version: str = "1",
    role: str = "champion",
    income: float = 0.0,
    seed: int = 1,
    segments: Sequence[str] = ("",),
) -> list[PredictionRow]:
    """``n`` predictions spread evenly over ``[start, start + seconds)``, of each segment in turn."""
    rows = make_rows(np.random.default_rng(seed), n, income=income)
    return predictions_of(rows, start, seconds, model=model, version=version, role=role, seed=seed, segments=segments)


def predictions_of(
    rows: Sequence[Sequence[Scalar]],
    start: datetime,
    seconds: int,
    *,
    model: str = "churn",
    version: str = "1",
    role: str = "champion",
    seed: int = 1,
    segments: Sequence[str] = ("",),
) -> list[PredictionRow]:
    """Predictions of these rows, spread evenly over ``[start, start + seconds)``."""
    n = len(rows)
    return [
        PredictionRow(
            id=f"{model}-{version}-{role}-{start.timestamp():.0f}-{seed}-{number}",
            at=start + timedelta(seconds=seconds * number / n),
            model=model,
            version=version,
            role=role,
            features=json.dumps(row),
            prediction="yes" if score > 0.5 else "no",
            score=float(score),
            latency_ms=5.0 + number % 10,
            segment=segments[number % len(segments)],
        )
        for number, (row, score) in enumerate(zip(rows, scores_of(rows), strict=True))
    ]


def send(engine: Engine, rows: Sequence[PredictionRow], *, segments: SegmentFields = NO_SEGMENTS) -> None:
    """Records predictions as the uploader does."""
    with writing(engine) as c:
        record(c, rows, segments=segments)


def label(
    engine: Engine, rows: Sequence[PredictionRow], *, right: float, at: datetime, segments: SegmentFields = NO_SEGMENTS
) -> LabelReceipt:
    """Labels for the predictions, of which the share ``right`` agrees."""
    wrong = {"yes": "no", "no": "yes"}
    found = []
    for number, row in enumerate(rows):
        text = str(row.prediction)
        agrees = number < right * len(rows)
        found.append(Label(prediction_id=row.id, label=category_text(text if agrees else wrong[text]), at=at))
    with writing(engine) as c:
        lookup = registry.LayoutLookup(c)
        return labels.record_labels(c, rows[0].model, found, lookup, writer="w1", bucket_seconds=60, now=at, segments=segments)


def label_truly(engine: Engine, rows: Sequence[PredictionRow], *, at: datetime, seed: int = 3) -> LabelReceipt:
    """Labels for which the scores of the predictions are true probabilities."""
    scores = np.array([row.score for row in rows], dtype=np.float64)
    texts = actual_of(scores, np.random.default_rng(seed))
    found = [Label(prediction_id=row.id, label=text, at=at) for row, text in zip(rows, texts, strict=True)]
    with writing(engine) as c:
        lookup = registry.LayoutLookup(c)
        return labels.record_labels(c, rows[0].model, found, lookup, writer="w1", bucket_seconds=60, now=at)


def settings_for(url: str, home: Path, **changes: object) -> CollectorSettings:
    """Windows of five minutes that move by one, judged from 100 rows and 50 labels."""
    values: dict[str, object] = {"database_url": url, "home": home, "windows": "5m", "min_samples": 100, "min_labels": 50}
    return CollectorSettings.load(**{**values, **changes})

"""Errors of regressors and probabilities of several classes, from labels in the database to counts of any window and back."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine, delete

from storage import profiles, registry, rollups
from storage.archive import archive_day
from storage.compaction import compact, loose_parts
from storage.engine import reading, writing
from storage.labels import record_labels
from storage.layouts import build_layout, count_labels, empty_prediction_counts, schema_hash
from storage.recompute import recompute_day
from storage.records import Feature, FeatureType, Label, LabelCounts, Layout, Model, PredictionRow, Profile, Signature, Task
from storage.registry import LayoutLookup
from storage.retention import RawDay
from storage.schema import rollups as table
from tests.factories import make_version, record

DAY = datetime.fromisoformat("2026-03-02T00:00:00+00:00")
LATER = DAY + timedelta(days=30)
CLASSES = ("ant", "bee", "cow")
ROWS = 400
RANDOM = np.random.default_rng(0)
PROBABILITIES = RANDOM.dirichlet(np.ones(3), ROWS)
NUMBERS = RANDOM.normal(size=ROWS)


def actual_of(task: Task) -> list[str]:
    if task is Task.REGRESSION:
        return [repr(float(value)) for value in NUMBERS + np.random.default_rng(1).normal(size=ROWS)]
    return [CLASSES[place] for place in np.random.default_rng(1).integers(0, 3, ROWS)]


def register(engine: Engine, task: Task) -> Layout:
    classes = CLASSES if task is Task.CLASSIFICATION else ()
    signature = Signature(task=task, features=(Feature(name="x", type=FeatureType.NUMBER, missing_allowed=True),), classes=classes)
    scores = PROBABILITIES.max(axis=1) if classes else NUMBERS
    built = build_layout("m", signature, [[0.0, 1.0]], scores, PROBABILITIES.tolist())
    with writing(engine) as c:
        registry.insert_model(c, Model(name="m", task=task, created_at=DAY))
        layout = rollups.ensure_layout(c, built, schema_hash(signature), DAY)
        registry.insert_version(c, make_version(layout.id, model="m", signature=signature))
    return layout


def rows_of(task: Task) -> list[PredictionRow]:
    """One every five minutes; of a classifier every tenth without probabilities, or with what are none."""
    return [
        PredictionRow(
            id=f"p{number}",
            at=DAY + timedelta(minutes=3 * number),
            model="m",
            version="1",
            role="champion",
            features="[0.5]",
            prediction=CLASSES[PROBABILITIES[number].argmax()] if task is Task.CLASSIFICATION else None,
            score=float(PROBABILITIES[number].max() if task is Task.CLASSIFICATION else NUMBERS[number]),
            probabilities=_probabilities(number) if task is Task.CLASSIFICATION else None,
        )
        for number in range(ROWS)
    ]


def _probabilities(number: int) -> str | None:
    return [None, '{"ant": 1}'][number // 10 % 2] if number % 10 == 0 else json.dumps(PROBABILITIES[number].tolist())


def expected_of(layout: Layout, task: Task) -> LabelCounts:
    rows, given = rows_of(task), [None if number % 10 == 0 else PROBABILITIES[number].tolist() for number in range(ROWS)]
    delays = [(LATER - row.at).total_seconds() for row in rows]
    return count_labels(layout, [row.score for row in rows], [row.prediction for row in rows], actual_of(task), delays, given)


def send(engine: Engine, task: Task) -> None:
    """A fifth of the labels come before their prediction; two writers share the rest."""
    known = [Label(prediction_id=f"p{number}", label=text, at=LATER) for number, text in enumerate(actual_of(task))]
    with writing(engine) as c:
        record_labels(c, "m", known[::5], LayoutLookup(c), writer="w1", bucket_seconds=60, now=LATER)
        record(c, rows_of(task))
        record_labels(c, "m", known[1::2], LayoutLookup(c), writer="w1", bucket_seconds=60, now=LATER)
        record_labels(c, "m", known, LayoutLookup(c), writer="w2", bucket_seconds=60, now=LATER)


def read(engine: Engine, layout: Layout) -> LabelCounts:
    with reading(engine) as c:
        return rollups.read_labels(c, layout, "1", DAY, LATER)


def assert_same(found: LabelCounts, expected: LabelCounts) -> None:
    assert found.rows == expected.rows
    for name in ("score_by_class", "confusion", "delay", "errors", "probabilities"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    for name in ("residuals", "losses"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("task", list(Task))
def test_counts_are_those_of_the_rows_however_they_came(engine: Engine, task: Task) -> None:
    layout = register(engine, task)
    expected = expected_of(layout, task)

    send(engine, task)

    assert_same(read(engine, layout), expected)
    assert expected.errors.sum() == (ROWS if task is Task.REGRESSION else 0)
    assert expected.losses.tolist()[:1] == ([ROWS * 0.9] if task is Task.CLASSIFICATION else [])


@pytest.mark.parametrize("task", list(Task))
def test_counts_stay_through_compaction_recount_and_archive(engine: Engine, task: Task, tmp_path: Path) -> None:
    layout = register(engine, task)
    expected = expected_of(layout, task)
    send(engine, task)

    with writing(engine) as c:
        for part in loose_parts(c, LATER):
            compact(c, part, LATER)
    assert_same(read(engine, layout), expected)

    with writing(engine) as c:
        c.execute(delete(table))
    recompute_day(engine, "m", "1", DAY, from_archives=False, bucket_seconds=60)
    assert_same(read(engine, layout), expected)

    archive_day(engine, RawDay(model="m", version="1", day=DAY, rows=ROWS, size_bytes=1), tmp_path, now=LATER, keep=lambda: None)
    with writing(engine) as c:
        c.execute(delete(table))
    recompute_day(engine, "m", "1", DAY, from_archives=True, bucket_seconds=60)
    assert_same(read(engine, layout), expected)


@pytest.mark.parametrize("task", list(Task))
def test_a_profile_keeps_them_but_for_the_delays(engine: Engine, task: Task) -> None:
    layout = register(engine, task)
    counts = expected_of(layout, task)
    counts.delay[:] = 0
    profile = Profile(
        model="m",
        version="1",
        layout_id=layout.id,
        rows=0,
        counts=empty_prediction_counts(layout),
        labels=counts,
        performance={},
        sample=b"",
        created_at=DAY,
    )

    with writing(engine) as c:
        profiles.save_profile(c, profile)
    with reading(engine) as c:
        back = profiles.load_profile(c, "m", "1", layout)

    assert back is not None
    assert_same(back.labels, counts)

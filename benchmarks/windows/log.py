"""A log of any size: rollups of thirty days by the minute for a model of 20 features, and the prediction rows beside them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import Connection, Engine, insert, text

from storage import registry, rollups
from storage.arrays import pack_floats, pack_ints
from storage.engine import writing
from storage.layouts import build_layout, empty_label_counts, empty_prediction_counts, schema_hash
from storage.records import Feature, FeatureType, Format, Layout, Model, RollupKind, Signature, Task, Version
from storage.schema import rollups as table

DAYS = 30
FEATURES = 20
END = datetime(2026, 3, 2, 12, 34, tzinfo=UTC)
START = END - timedelta(days=DAYS)
SEED = 20261124
_AT_ONCE = 2000


def fill(engine: Engine, predictions: int) -> Layout:
    """Registers the model and writes the log, evenly over the days: one writer, every tenth prediction labelled."""
    with writing(engine) as c:
        layout = _register(c)
        random = np.random.default_rng(SEED)
        rows = _rollups(layout, predictions, random)
        while part := [row for row, _ in zip(rows, range(_AT_ONCE), strict=False)]:
            c.execute(insert(table), part)
    with writing(engine) as c:
        c.execute(_ROWS[engine.dialect.name], {"n": predictions, "start": START.timestamp(), "step": DAYS * 86_400 / predictions})
    return layout


def _register(c: Connection) -> Layout:
    features = tuple(Feature(name=f"feature_{index}", type=FeatureType.NUMBER, missing_allowed=True) for index in range(FEATURES))
    signature = Signature(task=Task.CLASSIFICATION, features=features, target="label", classes=("no", "yes"))
    random = np.random.default_rng(SEED)
    columns = [random.normal(size=5000).tolist() for _ in features]
    layout = build_layout("bench", signature, columns, random.uniform(size=5000))
    registry.insert_model(c, Model(name="bench", task=Task.CLASSIFICATION, created_at=START))
    layout = rollups.ensure_layout(c, layout, schema_hash(signature), START)
    registry.insert_version(
        c,
        Version(
            model="bench",
            version="1",
            format=Format.ONNX,
            digest="0" * 64,
            path="bench/1/model.onnx",
            size_bytes=1,
            signature=signature,
            layout_id=layout.id,
            created_at=START,
            created_by="benchmark",
        ),
    )
    return layout


def _rollups(layout: Layout, predictions: int, random: np.random.Generator) -> Iterator[dict[str, Any]]:
    minutes = DAYS * 1440
    counts, labelled = empty_prediction_counts(layout), empty_label_counts(layout)
    for minute, rows in enumerate(np.diff(np.linspace(0, predictions, minutes + 1).astype(int)).tolist()):
        bins = random.multinomial(rows * FEATURES, np.full(counts.bins.size, 1 / counts.bins.size))
        known = random.multinomial(rows // 10, np.full(labelled.score_by_class.size, 1 / labelled.score_by_class.size))
        moments = random.normal(size=counts.moments.shape)
        shared = {
            "model": "bench",
            "version": "1",
            "role": "champion",
            "segment": "",
            "writer": "w1",
            "start": START + timedelta(minutes=minute),
            "seconds": 60,
            "layout_id": layout.id,
            "errors": 0,
            "timeouts": 0,
        }
        yield shared | {
            "kind": RollupKind.PREDICTIONS.value,
            "rows": rows,
            "bins": pack_ints(bins),
            "moments": pack_floats(moments),
            "classes": pack_ints(counts.classes + rows // 2),
            "latency": pack_ints(counts.latency),
        }
        yield shared | {
            "kind": RollupKind.LABELS.value,
            "rows": rows // 10,
            "bins": pack_ints(known),
            "moments": pack_floats(labelled.residuals),
            "classes": pack_ints(labelled.confusion),
            "latency": pack_ints(labelled.delay),
        }


_INTO = (
    """INSERT INTO predictions (id, at, model, version, role, features, prediction, score, latency_ms, status, segment, reason) """
)
_ROWS = {
    "sqlite": text(
        _INTO
        + """WITH RECURSIVE numbers(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM numbers WHERE i + 1 < :n)
        SELECT printf('%032d', i), strftime('%Y-%m-%d %H:%M:%f', :start + i * :step, 'unixepoch') || '000', 'bench', '1',
        'champion', '[]', 'no', 0.5, 1.0, 'ok', '', '' FROM numbers"""
    ),
    "postgresql": text(
        _INTO
        + """SELECT lpad(i::text, 32, '0'), to_timestamp(:start + i * :step), 'bench', '1',
        'champion', '[]', 'no', 0.5, 1.0, 'ok', '', '' FROM generate_series(0, :n - 1) AS i"""
    ),
}

"""What is uploaded: a registered model with 20 features, and records of its predictions as a sidecar would spool them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from sqlalchemy import Connection

from inference import log_record
from inference.identifiers import IdMaker
from inference.log_record import LogRecord, Row
from inference.spool import Spool
from storage import registry
from storage.layouts import build_layout, schema_hash
from storage.records import Feature, FeatureType, Format, Model, Signature, Task, Version
from storage.rollups import ensure_layout

NUMBERS, CATEGORIES = 18, 2
COUNTRIES = ("at", "be", "ch", "de", "dk", "es", "fr", "it", "nl", "pl")
BEGAN = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
ROWS_PER_SECOND = 1000
"""By the clock of the records: a minute's bucket gets 60,000 rows."""
SEED = 20261124


def register(c: Connection) -> None:
    """The model ``bench`` with one version, and the bins of a reference of 5,000 rows."""
    names = [f"number_{index}" for index in range(NUMBERS)] + [f"category_{index}" for index in range(CATEGORIES)]
    kinds = [FeatureType.NUMBER] * NUMBERS + [FeatureType.CATEGORY] * CATEGORIES
    features = [Feature(name=name, type=kind, missing_allowed=True) for name, kind in zip(names, kinds, strict=True)]
    signature = Signature(task=Task.CLASSIFICATION, features=tuple(features), classes=("no", "yes"))
    columns = list(zip(*_rows(5000), strict=True))
    layout = ensure_layout(c, build_layout("bench", signature, columns, np.linspace(0.0, 1.0, 5000)), schema_hash(signature), BEGAN)
    registry.insert_model(c, Model(name="bench", task=signature.task, created_at=BEGAN))
    version = Version(
        model="bench",
        version="1",
        format=Format.ONNX,
        digest="0" * 64,
        path="bench/1/model.onnx",
        size_bytes=1000,
        signature=signature,
        layout_id=layout.id,
        created_at=BEGAN,
        created_by="benchmark",
    )
    registry.insert_version(c, version)


def records(rows: int, rows_per_record: int) -> Iterator[LogRecord]:
    """``rows`` predictions, every hundredth value of a feature missing, ids as the sidecar makes them."""
    features = _rows(rows)
    scores = [round(score, 6) for score in random.Random(SEED).choices([index / 997 for index in range(997)], k=rows)]
    ids = IdMaker()
    for start in range(0, rows, rows_per_record):
        part = slice(start, min(start + rows_per_record, rows))
        at = BEGAN.timestamp() + start / ROWS_PER_SECOND
        yield LogRecord(
            at=at,
            model="bench",
            version="1",
            role="champion",
            reason="single",
            subject=None,
            segment="",
            ids=[ids.make(int(at * 1000)) for _ in range(part.start, part.stop)],
            features=features[part],
            predictions=["yes" if score > 0.5 else "no" for score in scores[part]],
            scores=list(scores[part]),
            probabilities=[[1 - score, score] for score in scores[part]],
            latency_ms=0.731,
        )


def spool(folder: Path, wanted: list[LogRecord]) -> None:
    """The records in a spool folder whose writer is gone."""
    writer = Spool.open(folder, free_floor=0, sync_seconds=60.0)
    for record in wanted:
        writer.append(log_record.encode(record), records=len(record.ids))
    writer.close()


def _rows(number: int) -> list[Row]:
    draw = np.random.default_rng(SEED)
    numbers: list[Row] = draw.normal(size=(number, NUMBERS)).tolist()
    texts: list[Row] = draw.choice(COUNTRIES, size=(number, CATEGORIES)).tolist()
    missing = (draw.random((number, NUMBERS)) < 0.01).tolist()
    for row, text, gaps in zip(numbers, texts, missing, strict=True):
        if True in gaps:
            row[:] = [None if gap else value for value, gap in zip(row, gaps, strict=True)]
        row += text
    return numbers

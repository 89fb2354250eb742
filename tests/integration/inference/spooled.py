"""Records for spools, and the one invariant that all tests of the logging path end with."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, func, select

from inference.log_record import LogRecord, encode
from inference.uploader import Uploader, UploadReport
from storage.engine import reading
from storage.records import RollupKind
from storage.schema import predictions, rollups
from tests.factories import NOW


def make_log_record(ids: list[str], **changes: Any) -> LogRecord:
    """Predictions of churn version 1, as ``tests.factories.register_model`` registers it."""
    values: dict[str, Any] = {
        "at": NOW.timestamp(),
        "model": "churn",
        "version": "1",
        "role": "champion",
        "reason": "",
        "subject": None,
        "segment": "",
        "ids": ids,
        "features": [[30, 0.5, True, "north"] for _ in ids],
        "predictions": ["yes" for _ in ids],
        "scores": [0.75 for _ in ids],
        "probabilities": [[0.25, 0.75] for _ in ids],
        "latency_ms": 1.5,
    }
    return LogRecord(**{**values, **changes})


def payload(*ids: str, **changes: Any) -> bytes:
    """One record for these predictions."""
    return encode(make_log_record(list(ids), **changes))


def make_uploader(engine: Engine, root: Path, **options: Any) -> Uploader:
    """One that sees at once that a writer is gone."""
    return Uploader(engine, root, **{"writer_check_seconds": 0, **options})


def upload_all(uploader: Uploader) -> list[UploadReport]:
    """Steps until nothing is left; hindrances are an error."""
    reports = []
    while True:
        reports.append(uploader.step(datetime.now(UTC)))
        assert reports[-1].hindrance is None
        assert len(reports) < 10_000
        if reports[-1].is_idle:
            return reports


def stored_ids(engine: Engine) -> list[str]:
    """The ids in ``predictions``, sorted."""
    with reading(engine) as c:
        return sorted(c.scalars(select(predictions.c.id)))


def counted(engine: Engine) -> int:
    """The predictions that the rollups hold."""
    with reading(engine) as c:
        return int(c.scalar(select(func.sum(rollups.c.rows)).where(rollups.c.kind == RollupKind.PREDICTIONS)) or 0)


def assert_exactly_once(engine: Engine, acknowledged: Collection[str], *, in_flight: int = 0) -> None:
    """Every acknowledged prediction is stored once and counted once.

    At most ``in_flight`` others are there too: what was appended when its writer died before it could say so.
    """
    ids = stored_ids(engine)
    assert len(acknowledged) == len(set(acknowledged))
    assert set(acknowledged) <= set(ids)
    assert len(ids) - len(acknowledged) <= in_flight
    assert counted(engine) == len(ids)

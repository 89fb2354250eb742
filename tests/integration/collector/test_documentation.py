"""docs/statistics.md names everything that the collector writes and exports."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

from prometheus_client.metrics_core import Metric
from sqlalchemy import Engine

from collector import probes
from collector.drift_points import DRIFT_NAMES
from collector.metrics import Exporter
from collector.points import QUANTILES
from collector.statistics.errors import QUANTILES as ERROR_QUANTILES
from storage import metrics
from storage.engine import reading, writing
from tests.integration.collector.test_jobs import Bench
from tests.integration.collector.traffic import label, predictions, register, send, settings_for

PAGE = Path(__file__).parents[3] / "docs" / "statistics.md"
DOCUMENTED = set(re.findall(r"`([a-z][a-z0-9_]+)(?:\{[^`]*)?`", PAGE.read_text(encoding="utf-8")))


def test_every_metric_that_is_written_is_documented(sqlite_engine: Engine, sqlite_url: str, home: Path) -> None:
    with writing(sqlite_engine) as c:
        register(c)
    settings = settings_for(sqlite_url, home, segments="country")
    bench = Bench(sqlite_engine, settings)
    sent = predictions(bench.now - timedelta(minutes=5), 300, 300, segments=["country=de", "country=fr"])
    send(sqlite_engine, sent, segments=settings.segment_fields)
    label(sqlite_engine, sent, right=0.9, at=bench.now, segments=settings.segment_fields)
    for name in bench.jobs:
        bench.run(bench.now, name)

    with reading(sqlite_engine) as c:
        written = {p.name for p in metrics.read_points(c, start=bench.now - timedelta(hours=1), end=bench.now + timedelta(hours=1))}

    others = {
        *DRIFT_NAMES.values(),
        *QUANTILES,
        *probes.POINT_NAMES,
        "mae",
        "rmse",
        "r2",
        *ERROR_QUANTILES,
        "sample_ratio_p",
        "spool_bytes",
        "spool_oldest_seconds",
    }
    assert len(written) > 20
    assert "segment_gap" in written
    assert (written | others) - DOCUMENTED == set()


def test_every_exported_name_is_documented(sqlite_engine: Engine, sqlite_url: str, home: Path) -> None:
    exporter = Exporter(engine=sqlite_engine, settings=settings_for(sqlite_url, home), job_names=[])
    list(exporter.collect())  # the first scrape has no CPU load yet

    families = list(exporter.collect())

    assert {_full_name(family) for family in families} - DOCUMENTED == set()
    assert len(families) > 10


def _full_name(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name

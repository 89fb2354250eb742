"""The collector's Prometheus exporter: the newest points of one window length, read from the database at each scrape.

The labels are those of the contract and have no window in them, so one length is shown: ``export_window``, by default
the shortest. Nothing is kept between scrapes: what is not found any more is not exported any more.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import psutil
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine

from collector.outcome import now_utc
from collector.probes import gpu_loads, host_totals
from collector.settings import CollectorSettings
from storage import jobs as job_runs
from storage import metrics
from storage.engine import DatabaseUnavailable, reading
from storage.records import JobRun, MetricPoint, Verdict

_logger = logging.getLogger(__name__)

DRIFT = {"drift_ks": "ks", "drift_psi": "psi", "drift_js": "js", "drift_rank_shift": "rank_shift"}
"""Metric names in ``metrics`` and the value of the label ``statistic``."""
DETECTING = (*DRIFT, "drift_missing", "drift_unseen", "drift_out_of_range", "drift_cusum")
PERFORMANCE = (
    *("accuracy", "precision", "recall", "f1", "roc_auc", "pr_auc", "log_loss", "brier", "calibration_error", "mae", "rmse", "r2"),
    *("absolute_error_p50", "absolute_error_p90", "absolute_error_p95"),
    *("label_coverage", "label_delay_seconds", "concept_drift"),
)
ESTIMATES = ("estimated_accuracy", "estimated_roc_auc", "estimated_mae")
"""Shown with the others, but not while they are refused."""
LATENCY = {"latency_p50_seconds": "0.5", "latency_p95_seconds": "0.95", "latency_p99_seconds": "0.99"}
SEGMENT_GAP = "segment_gap"
LEAST_AGE = timedelta(minutes=2)

Points = dict[str, list[MetricPoint]]


@dataclass(slots=True, kw_only=True, eq=False)
class Exporter(Collector):
    """Yields all metric families at each scrape; with the database away only those of the process and the host."""

    engine: Engine
    settings: CollectorSettings
    job_names: Sequence[str]
    clock: Callable[[], datetime] = now_utc
    _load: HostLoad = field(default_factory=lambda: HostLoad())

    def collect(self) -> Iterator[Metric]:
        """The families; called by prometheus_client."""
        yield GaugeMetricFamily("modelwatch_collector_up", "1 while the collector runs.", value=1)
        yield from host_families(self._load.percent())
        try:
            points, runs = self._read()
        except DatabaseUnavailable:
            yield _database_up(0)
            return
        yield _database_up(1)
        yield job_family(run for run in runs if run.name in self.job_names)
        yield from point_families(points)

    def _read(self) -> tuple[Points, list[JobRun]]:
        """Points no older than the newest that can be expected: a version that went quiet disappears."""
        plan, interval = self.settings.exported_plan, self.settings.collect_interval
        since = self.clock() - self.settings.window_lag - max(LEAST_AGE, 2 * plan.step + 3 * interval)
        names = (*DETECTING, *PERFORMANCE, *ESTIMATES, *LATENCY)
        with reading(self.engine) as c:
            points = {
                name: metrics.latest_points(c, name, window_seconds=plan.seconds, since=since, sufficient=name in ESTIMATES)
                for name in names
            }
            # Labels come late, and with them the gaps of earlier windows.
            found = metrics.latest_points(
                c, SEGMENT_GAP, window_seconds=plan.seconds, since=since - self.settings.restate_labels, sufficient=True
            )
            return points | {SEGMENT_GAP: found}, job_runs.runs(c)


def _database_up(value: int) -> Metric:
    return GaugeMetricFamily("modelwatch_collector_database_up", "1 while the collector reaches the database.", value=value)


# ---------------------------------------------------------------------------------------------- points


def point_families(points: Points) -> Iterator[Metric]:
    """Drift, performance, latency and worst segments of live traffic; points without a value are left out."""
    live = {name: [p for p in found if not p.role and not p.segment and p.value is not None] for name, found in points.items()}
    yield from _drift_families(live)
    yield _gauge(
        "model_accuracy", "Share of labelled predictions that were right.", ["model", "version"], _plain(live, ["accuracy"])
    )
    yield _gauge(
        "model_performance",
        "Quality against labels, and estimated without them, by metric.",
        ["model", "version", "metric"],
        ((*labels, point.name, value) for name in (*PERFORMANCE, *ESTIMATES) for point, labels, value in _labelled(live, name)),
    )
    yield _gauge(
        "model_latency_seconds",
        "Latency of predictions, by quantile.",
        ["model", "version", "quantile"],
        ((*labels, q, value) for name, q in LATENCY.items() for _, labels, value in _labelled(live, name)),
    )
    yield from _worst_segment_families(points.get(SEGMENT_GAP, []))


def _worst_segment_families(points: Sequence[MetricPoint]) -> Iterator[Metric]:
    """One segment per version, however many there are: the one that ``segment_gap`` without a segment stands for."""
    live = [point for point in points if not point.role and point.value is not None]
    worst = {(p.model, p.version, p.at, p.value, p.p_value) for p in live if not p.segment}
    found = [p for p in live if p.segment and (p.model, p.version, p.at, p.value, p.p_value) in worst]
    chosen = {(p.model, p.version): p for p in sorted(found, key=lambda p: p.segment, reverse=True)}.values()
    labels = ["model", "version", "segment"]
    yield _gauge(
        "model_worst_segment_gap",
        "Accuracy (regression: mean absolute error) of the version's worst segment minus that of the rest.",
        labels,
        ((p.model, p.version, p.segment, p.value or 0.0) for p in chosen),
    )
    yield _gauge(
        "model_worst_segment_detected",
        "1 where that segment is worse than the rest beyond the tolerance and significantly so.",
        labels,
        ((p.model, p.version, p.segment, float(p.verdict is Verdict.DRIFT)) for p in chosen),
    )


def _drift_families(live: Points) -> Iterator[Metric]:
    labels = ["model", "version", "feature", "statistic"]
    drifts = [(p, statistic) for name, statistic in DRIFT.items() for p in live.get(name, [])]
    yield _gauge(
        "model_drift_score",
        "Distance of a feature's window from its reference.",
        labels,
        ((p.model, p.version, p.feature, statistic, p.value or 0.0) for p, statistic in drifts),
    )
    yield _gauge(
        "model_drift_threshold",
        "What the score must exceed to count as drift.",
        labels,
        ((p.model, p.version, p.feature, statistic, p.threshold) for p, statistic in drifts if p.threshold is not None),
    )
    yield _gauge(
        "model_drift_detected",
        "1 where a statistic of the feature says drift, 0 where none does; absent with insufficient data.",
        ["model", "version", "feature"],
        detected(live),
    )


def detected(live: Points) -> Iterator[tuple[str, str, str, float]]:
    """One row per feature that any of its statistics can judge."""
    found: dict[tuple[str, str, str], bool] = {}
    for name in DETECTING:
        for point in live.get(name, []):
            if point.verdict is not Verdict.INSUFFICIENT:
                key = point.model, point.version, point.feature
                found[key] = found.get(key, False) or point.verdict is Verdict.DRIFT
    for key, drifted in found.items():
        yield (*key, float(drifted))


def _plain(live: Points, names: Sequence[str]) -> Iterator[tuple[str, str, float]]:
    return ((*labels, value) for name in names for _, labels, value in _labelled(live, name))


def _labelled(live: Points, name: str) -> Iterator[tuple[MetricPoint, tuple[str, str], float]]:
    for point in live.get(name, []):
        if point.value is not None:
            yield point, (point.model, point.version), point.value


def _gauge(name: str, text: str, labels: Sequence[str], rows: Iterable[tuple[str | float, ...]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for *values, number in rows:
        family.add_metric([str(value) for value in values], float(number))
    return family


def job_family(runs: Iterable[JobRun]) -> Metric:
    """When each job of this collector last succeeded, in any collector."""
    rows = ((run.name, run.succeeded_at.timestamp()) for run in runs if run.succeeded_at is not None)
    return _gauge("modelwatch_job_last_success_timestamp_seconds", "When a job last succeeded.", ["job"], rows)


# ---------------------------------------------------------------------------------------------- host


@dataclass(slots=True)
class HostLoad:
    """CPU load since the scrape before, or since this was made."""

    busy: float | None = field(default_factory=lambda: host_totals().cpu_seconds)
    at: float = field(default_factory=time.monotonic)

    def percent(self) -> float | None:
        """None where this system does not tell."""
        busy, now = host_totals().cpu_seconds, time.monotonic()
        before, elapsed = self.busy, now - self.at
        self.busy, self.at = busy, now
        if before is None or busy is None or elapsed <= 0:
            return None
        return min(100.0, max(0.0, 100 * (busy - before) / elapsed / (psutil.cpu_count() or 1)))


def host_families(cpu_percent: float | None) -> Iterator[Metric]:
    """What this host uses, from psutil and NVML."""
    if cpu_percent is not None:
        yield GaugeMetricFamily("host_cpu_percent", "CPU load of the host since the last scrape.", value=cpu_percent)
    yield GaugeMetricFamily("host_memory_percent", "Used memory of the host.", value=psutil.virtual_memory().percent)
    totals = host_totals()
    counters = {
        "host_disk_read_bytes": ("Bytes read from disks.", totals.disk_read),
        "host_disk_write_bytes": ("Bytes written to disks.", totals.disk_write),
        "host_network_sent_bytes": ("Bytes sent.", totals.sent),
        "host_network_received_bytes": ("Bytes received.", totals.received),
    }
    for name, (text, value) in counters.items():
        if value is not None:
            yield CounterMetricFamily(name, text, value=value)
    gpus = list(enumerate(gpu_loads()))
    if gpus:
        yield _gauge("host_gpu_percent", "Load of a GPU.", ["gpu"], ((str(number), load) for number, (load, _) in gpus))
        yield _gauge("host_gpu_memory_percent", "Used memory of a GPU.", ["gpu"], ((str(n), memory) for n, (_, memory) in gpus))

"""What Prometheus scrapes from the sidecar.

The hot path adds to plain Python numbers, one ``Meter`` per version (under a microsecond a request); a scrape folds them
into metric families. With several workers each writes its totals to a file of its own beside the spool before anybody
sees them, and a scrape adds up the files, also those of workers that died: sums never go back.
"""

from __future__ import annotations

import json
import logging
import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from inference.upload_status import read_status

log = logging.getLogger(__name__)

BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper ends of the duration buckets, seconds."""
BUCKETS = len(BOUNDS) + 1
PUBLISH_SECONDS = 1.0


class Meter:
    """The running totals of one version of one model in this process."""

    __slots__ = ("model_buckets", "model_seconds", "odd", "predictions", "request_buckets", "request_seconds", "statuses")

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.predictions: Counter[str] = Counter()
        self.odd = 0
        self.request_buckets = [0] * BUCKETS
        self.request_seconds = 0.0
        self.model_buckets = [0] * BUCKETS
        self.model_seconds = 0.0

    def add_request(self, status: str, seconds: float) -> None:
        self.statuses[status] += 1
        self.request_buckets[bisect_left(BOUNDS, seconds)] += 1
        self.request_seconds += seconds

    def add_predictions(self, role: str, rows: int, odd: int, seconds: float) -> None:
        self.predictions[role] += rows
        self.odd += odd
        self.model_buckets[bisect_left(BOUNDS, seconds)] += 1
        self.model_seconds += seconds

    def totals(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


class Meters:
    """All meters of this process, and the errors by model and kind."""

    def __init__(self) -> None:
        self._meters: dict[tuple[str, str], Meter] = {}
        self._errors: Counter[tuple[str, str]] = Counter()

    def of(self, model: str, version: str) -> Meter:
        """The meter of a version; version ``""`` counts requests that were refused before one was chosen."""
        return self._meters.setdefault((model, version), Meter())

    def add_error(self, model: str, kind: str) -> None:
        self._errors[model, kind] += 1

    def totals(self, *, active: Iterable[tuple[str, str]], records: int, dropped: int) -> dict[str, Any]:
        """Everything as JSON; ``active`` are the loaded versions, the figures are the spool's."""
        return {
            "pid": os.getpid(),
            "versions": [[*key, meter.totals()] for key, meter in sorted(self._meters.items())],
            "errors": [[*key, count] for key, count in sorted(self._errors.items())],
            "active": [list(key) for key in sorted(active)],
            "records": records,
            "dropped": dropped,
        }


class WorkerFiles:
    """The totals of all workers of one server, one file each, named after the server's and the worker's process."""

    def __init__(self, folder: Path, server: int) -> None:
        self._folder = folder
        self._pattern = f"worker-{server}-*.json"
        self._path = folder / f"worker-{server}-{os.getpid()}.json"

    def publish(self, totals: dict[str, Any]) -> None:
        """Writes this worker's totals, whole or not at all."""
        temporary = self._path.with_suffix(".new")
        temporary.write_text(json.dumps(totals), encoding="utf-8")
        temporary.replace(self._path)

    def read(self) -> list[dict[str, Any]]:
        """The totals of every worker there was, this one's too."""
        found = []
        for path in self._folder.glob(self._pattern):
            try:
                found.append(json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError):
                log.warning("The totals in %s cannot be read; the metrics leave them out until its worker writes again.", path)
        return found


def remove_stale_worker_files(folder: Path) -> None:
    """Removes the totals of servers that no longer run."""
    for path in folder.glob("worker-*.json"):
        server = path.name.split("-")[1]
        if server.isdecimal() and not is_alive(int(server)):
            path.unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def exposition(workers: list[dict[str, Any]], spool_folder: Path) -> bytes:
    """The Prometheus text for the totals of all workers."""
    registry = CollectorRegistry()
    registry.register(_Totals(workers, spool_folder))
    return generate_latest(registry)


class _Totals(Collector):
    def __init__(self, workers: list[dict[str, Any]], spool_folder: Path) -> None:
        self._workers = workers
        self._spool_folder = spool_folder

    def collect(self) -> Iterator[Metric]:
        yield from self._requests()
        yield from self._instances()
        yield from self._spool()

    def _requests(self) -> Iterator[Metric]:
        statuses: Counter[tuple[str, str, str]] = Counter()
        predictions: Counter[tuple[str, str, str]] = Counter()
        odd: Counter[tuple[str, str]] = Counter()
        request_times = _Histograms("model_request_duration_seconds", "Time from a request's body to its answer.")
        model_times = _Histograms("model_prediction_duration_seconds", "Time that the model itself took for a request.")
        for worker in self._workers:
            for model, version, totals in worker["versions"]:
                statuses.update({(model, version, status): count for status, count in totals["statuses"].items()})
                predictions.update({(model, version, role): count for role, count in totals["predictions"].items()})
                odd[model, version] += totals["odd"]
                request_times.add((model, version), totals["request_buckets"], totals["request_seconds"])
                model_times.add((model, version), totals["model_buckets"], totals["model_seconds"])
        errors: Counter[tuple[str, str]] = Counter()
        for worker in self._workers:
            errors.update({(model, kind): count for model, kind, count in worker["errors"]})
        yield _counter(
            "model_requests",
            "Requests by HTTP status; version is empty where none was chosen.",
            ("model", "version", "status"),
            statuses,
        )
        yield request_times.family()
        yield _counter("model_predictions", "Predicted rows.", ("model", "version", "role"), predictions)
        yield model_times.family()
        yield _counter("model_errors", "Requests that were refused or failed, by kind.", ("model", "error_type"), errors)
        yield _counter(
            "model_out_of_distribution", "Predicted rows with a value that the reference did not show.", ("model", "version"), odd
        )

    def _instances(self) -> Iterator[Metric]:
        active: Counter[tuple[str, str]] = Counter()
        for worker in self._workers:
            if is_alive(worker["pid"]):
                active.update((model, version) for model, version in worker["active"])
        family = GaugeMetricFamily("model_active_instances", "Workers that have the version loaded.", labels=("model", "version"))
        for labels, count in sorted(active.items()):
            family.add_metric(labels, count)
        yield family

    def _spool(self) -> Iterator[Metric]:
        uploader = read_status(self._spool_folder)
        yield GaugeMetricFamily("modelwatch_spool_bytes", "Bytes of predictions on disk.", value=spool_bytes(self._spool_folder))
        for name, text, value in (
            ("records", "Predictions appended to the spool.", sum(worker["records"] for worker in self._workers)),
            ("uploaded", "Predictions uploaded to the database.", uploader.uploaded_total),
            (
                "dropped",
                "Predictions dropped or served unlogged because the spool was full.",
                sum(w["dropped"] for w in self._workers),
            ),
            ("quarantined", "Predictions set aside because the database refused them.", uploader.quarantined_total),
        ):
            yield CounterMetricFamily(f"modelwatch_spool_{name}", text, value=value)


class _Histograms:
    def __init__(self, name: str, text: str) -> None:
        self._name, self._text = name, text
        self._buckets: dict[tuple[str, str], list[int]] = {}
        self._seconds: Counter[tuple[str, str]] = Counter()

    def add(self, key: tuple[str, str], buckets: list[int], seconds: float) -> None:
        before = self._buckets.get(key, [0] * BUCKETS)
        self._buckets[key] = [left + right for left, right in zip(before, buckets, strict=True)]
        self._seconds[key] += seconds  # type: ignore[assignment]

    def family(self) -> HistogramMetricFamily:
        family = HistogramMetricFamily(self._name, self._text, labels=("model", "version"))
        for key, buckets in sorted(self._buckets.items()):
            total, cumulative = 0, []
            for bound, count in zip((*BOUNDS, float("inf")), buckets, strict=True):
                total += count
                cumulative.append(("+Inf" if bound == float("inf") else f"{bound:g}", float(total)))
            if total:
                family.add_metric(key, cumulative, float(self._seconds[key]))
        return family


def _counter(name: str, text: str, labels: tuple[str, ...], values: Counter[Any]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    return family


def spool_bytes(spool_folder: Path) -> int:
    """The size of all writers' segments."""
    total = 0
    for path in spool_folder.glob("[0-9]*/*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue  # uploaded meanwhile
    return total

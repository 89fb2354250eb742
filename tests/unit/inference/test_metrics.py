"""Metrics: what several workers counted, added up under the public names."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from inference.metrics import BOUNDS, Meters, exposition

NOWHERE = Path("/nonexistent")


def totals(*, requests: int = 3, pid: int | None = None) -> dict[str, object]:
    meters = Meters()
    meter = meters.of("churn", "1")
    for _ in range(requests):
        meter.add_request("200", 0.002)
        meter.add_predictions("champion", 10, 1, 0.0002)
    meters.add_error("churn", "invalid")
    found = meters.totals(active=[("churn", "1")], records=requests * 10, dropped=2)
    return found if pid is None else {**found, "pid": pid}


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_totals_of_workers_add_up() -> None:
    found = samples(exposition([totals(requests=3), totals(requests=4)], NOWHERE))

    churn = (("model", "churn"), ("version", "1"))
    assert found["model_requests_total", (("model", "churn"), ("status", "200"), ("version", "1"))] == 7
    assert found["model_predictions_total", (("model", "churn"), ("role", "champion"), ("version", "1"))] == 70
    assert found["model_out_of_distribution_total", churn] == 7
    assert found["model_errors_total", (("error_type", "invalid"), ("model", "churn"))] == 2
    assert found["model_request_duration_seconds_count", churn] == 7
    assert found["model_active_instances", churn] == 2
    assert found["modelwatch_spool_records_total", ()] == 70
    assert found["modelwatch_spool_dropped_total", ()] == 4


def test_a_dead_worker_keeps_its_counts_and_loses_its_instance() -> None:
    found = samples(exposition([totals(requests=3), totals(requests=4, pid=2**22 + 1)], NOWHERE))

    assert found["model_requests_total", (("model", "churn"), ("status", "200"), ("version", "1"))] == 7
    assert found["model_active_instances", (("model", "churn"), ("version", "1"))] == 1


def test_a_duration_falls_into_the_bucket_that_prometheus_means() -> None:
    meters = Meters()
    for seconds in (BOUNDS[0], BOUNDS[0] * 1.01, 100.0):
        meters.of("churn", "1").add_request("200", seconds)

    found = samples(exposition([meters.totals(active=[], records=0, dropped=0)], NOWHERE))

    def bucket(bound: str) -> float:
        return found["model_request_duration_seconds_bucket", (("le", bound), ("model", "churn"), ("version", "1"))]

    assert (bucket(f"{BOUNDS[0]}"), bucket(f"{BOUNDS[1]}"), bucket("+Inf")) == (1, 2, 3)

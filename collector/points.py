"""From the counts of one window to its metric points. Pure: counts and a policy in, points out."""

from __future__ import annotations

from collections.abc import Sequence

from collector.drift_points import Followed, drift_points
from collector.judging import Judging, Subject
from collector.statistics.latency import latency_quantile
from collector.statistics.service import service
from storage.records import Ints, MetricPoint, PredictionCounts, Verdict

Interval = tuple[float, float]

QUANTILES = {"latency_p50_seconds": 0.5, "latency_p95_seconds": 0.95, "latency_p99_seconds": 0.99}


def window_points(
    subject: Subject,
    predictions: PredictionCounts,
    judging: Judging,
    earlier: Sequence[MetricPoint] = (),
    followed: Followed | None = None,
) -> list[MetricPoint]:
    """All points that the predictions of a window give; a window without any gives its throughput of 0 and no more.

    ``earlier`` are points of windows before it, see ``collector.drift_points.remembered_times``; ``followed`` is for small
    changes that last, which only many windows together show.
    """
    points = service_points(subject, predictions)
    if predictions.rows > predictions.errors + predictions.timeouts:
        points += drift_points(subject, predictions, judging, earlier, followed)
    return points


# ---------------------------------------------------------------------------------------------- service


def service_points(subject: Subject, counts: PredictionCounts) -> list[MetricPoint]:
    """Throughput, and where there were predictions the error rate, the timeout rate and three latencies."""
    found = service(counts, subject.window.seconds)
    points = [subject.point("requests_per_second", found.requests_per_second, n_current=found.rows)]
    if not found.rows:
        return points
    points.append(_share_point(subject, "error_rate", found.error_rate, found.error_rate_interval, found.rows))
    points.append(_share_point(subject, "timeout_rate", found.timeout_rate, found.timeout_rate_interval, found.rows))
    return points + latency_points(subject, counts.latency)


def latency_points(subject: Subject, histogram: Ints) -> list[MetricPoint]:
    """The latencies; a quantile of too few values to have one beyond it is insufficient data."""
    points = []
    for name, q in QUANTILES.items():
        found = latency_quantile(histogram, q)
        if found.seconds is None:
            continue
        verdict = Verdict.OK if found.n * (1 - q) >= 1 else Verdict.INSUFFICIENT
        points.append(subject.point(name, found.seconds, lower=found.lower, upper=found.upper, n_current=found.n, verdict=verdict))
    return points


def _share_point(subject: Subject, name: str, value: float | None, interval: Interval | None, n: int) -> MetricPoint:
    lower, upper = interval or (None, None)
    return subject.point(name, value, lower=lower, upper=upper, n_current=n)

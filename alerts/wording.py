"""What metrics are called, what their values look like, and which page shows them. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum


class Unit(StrEnum):
    """How a value is written."""

    PLAIN = "plain"
    SHARE = "share"
    PERCENT = "percent"
    SECONDS = "seconds"
    BYTES = "bytes"
    BYTES_PER_SECOND = "bytes per second"
    PER_SECOND = "per second"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricWords:
    """A metric in people's words, its unit, and the page of the dashboard that shows it."""

    title: str
    unit: Unit = Unit.PLAIN
    page: str = "overview"

    def as_change(self, *, is_relative: bool) -> MetricWords:
        """The words for a change of the value against an earlier time."""
        return replace(self, title=f"change of the {self.title}", unit=Unit.SHARE if is_relative else self.unit)


def _words(page: str, **titles: str | tuple[str, Unit]) -> dict[str, MetricWords]:
    return {
        name: MetricWords(title=title, page=page)
        if isinstance(title, str)
        else MetricWords(title=title[0], unit=title[1], page=page)
        for name, title in titles.items()
    }


METRICS: dict[str, MetricWords] = {
    **_words(
        "drift",
        drift_ks="Kolmogorov-Smirnov distance",
        drift_psi="PSI",
        drift_js="Jensen-Shannon distance",
        drift_kl="Kullback-Leibler divergence",
        drift_wasserstein="Wasserstein distance",
        drift_hellinger="Hellinger distance",
        drift_chi2="chi-squared statistic",
        drift_mean_shift="shift of the mean",
        drift_rank_shift="shift by ranks",
        drift_cusum="evidence of a small lasting change",
        drift_missing=("change of the share of missing values", Unit.SHARE),
        drift_unseen=("share of unseen categories", Unit.SHARE),
        drift_out_of_range=("share out of range", Unit.SHARE),
        drift_share=("share of drifted features", Unit.SHARE),
        drift_multivariate="multivariate drift",
        drift_multivariate_importance="part in the multivariate drift",
        drift_reconstruction="change of the reconstruction error",
        quality_violations="violated data constraints",
        quality_duplicate_share=("share of duplicate rows", Unit.SHARE),
        prediction_drift_ks="Kolmogorov-Smirnov distance of the predictions",
        prediction_drift_psi="PSI of the predictions",
        prediction_drift_js="Jensen-Shannon distance of the predictions",
        prediction_mean="mean prediction",
        prediction_std="standard deviation of the predictions",
        concept_drift="concept drift",
    ),
    **_words(
        "performance",
        accuracy=("accuracy", Unit.SHARE),
        precision=("precision", Unit.SHARE),
        recall=("recall", Unit.SHARE),
        f1="F1",
        roc_auc="ROC AUC",
        pr_auc="PR AUC",
        log_loss="log loss",
        brier="Brier score",
        calibration_error="calibration error",
        mae="mean absolute error",
        rmse="root mean squared error",
        r2="R²",
        absolute_error_p50="median absolute error",
        absolute_error_p90="90th percentile of the absolute error",
        absolute_error_p95="95th percentile of the absolute error",
        estimated_accuracy=("estimated accuracy", Unit.SHARE),
        estimated_roc_auc="estimated ROC AUC",
        estimated_mae="estimated mean absolute error",
        segment_gap="gap between a segment and the rest",
        label_coverage=("share of predictions with a label", Unit.SHARE),
        label_delay_seconds=("delay of the labels", Unit.SECONDS),
        requests_per_second=("requests per second", Unit.PER_SECOND),
        error_rate=("error rate", Unit.SHARE),
        timeout_rate=("timeout rate", Unit.SHARE),
        uptime=("uptime", Unit.SHARE),
        latency_p50_seconds=("median latency", Unit.SECONDS),
        latency_p95_seconds=("95th percentile latency", Unit.SECONDS),
        latency_p99_seconds=("99th percentile latency", Unit.SECONDS),
    ),
    **_words(
        "compare",
        disagreement_rate=("share of predictions that disagree", Unit.SHARE),
        sample_ratio_p="p-value of the sample ratio",
    ),
    **_words(
        "overview",
        cpu_percent=("CPU use", Unit.PERCENT),
        memory_percent=("memory use", Unit.PERCENT),
        memory_rss_bytes=("memory", Unit.BYTES),
        disk_read_bytes_per_second=("disk reads", Unit.BYTES_PER_SECOND),
        disk_write_bytes_per_second=("disk writes", Unit.BYTES_PER_SECOND),
        network_sent_bytes_per_second=("network sent", Unit.BYTES_PER_SECOND),
        network_received_bytes_per_second=("network received", Unit.BYTES_PER_SECOND),
        gpu_percent=("GPU use", Unit.PERCENT),
        gpu_memory_percent=("GPU memory use", Unit.PERCENT),
        spool_bytes=("size of the spool", Unit.BYTES),
        spool_oldest_seconds=("age of the oldest prediction in the spool", Unit.SECONDS),
        data_freshness_seconds=("time since the last prediction", Unit.SECONDS),
        disk_percent=("disk use", Unit.PERCENT),
        collector_silent_seconds=("time since the collector last succeeded", Unit.SECONDS),
        notifications_undelivered="messages that could not be delivered",
        rules_unjudged="rules that cannot be judged",
    ),
}
"""Every metric that a rule may name (docs/glossary.md says what each is)."""

BUDGET_WORDS = _words(
    "performance", error_budget_burn="burn rate of the error budget", latency_budget_burn="burn rate of the latency budget"
)
"""What rules on a budget judge; no rule names these as its metric."""

QUERY_WORDS = MetricWords(title="value of the query")
"""What rules judge that ask Prometheus."""

UNJUDGED = "rules_unjudged"
OWN = ("disk_percent", "collector_silent_seconds", "notifications_undelivered", UNJUDGED)
"""Metrics that the alerts service finds by itself when a rule asks for them; they are not in the table of metrics."""

SEGMENTED = frozenset(
    [
        *["cpu_percent", "memory_percent", "memory_rss_bytes", "disk_read_bytes_per_second", "disk_write_bytes_per_second"],
        *["network_sent_bytes_per_second", "network_received_bytes_per_second", "gpu_percent", "gpu_memory_percent"],
        *["spool_bytes", "spool_oldest_seconds", "disk_percent", "notifications_undelivered", UNJUDGED],
    ]
)
"""Metrics that there are for each machine, channel or source by itself and not for all together."""

WHOLE_ONLY = frozenset(["drift_share", "drift_multivariate", "drift_reconstruction"])
"""Metrics whose name begins as those of a feature, of all features together."""


LABELLED = frozenset(
    [
        *["accuracy", "precision", "recall", "f1", "roc_auc", "pr_auc", "log_loss", "brier", "calibration_error"],
        *["mae", "rmse", "r2", "absolute_error_p50", "absolute_error_p90", "absolute_error_p95"],
        *["label_delay_seconds", "concept_drift", "segment_gap"],
    ]
)
"""Metrics that need labels, which come late: the newest window that has enough of them may have ended a while ago."""


def words_of(metric: str) -> MetricWords:
    """The words for a metric; its own name where it has none."""
    return METRICS.get(metric) or BUDGET_WORDS.get(metric) or MetricWords(title=metric)


def labels_of(metric: str) -> tuple[str, ...]:
    """What names the usual series of a metric: its segment for those of a machine, the feature for the drift of one.

    >>> labels_of("drift_psi"), labels_of("accuracy"), labels_of("memory_percent")
    (('model', 'version', 'feature'), ('model', 'version'), ('segment',))
    """
    if metric in SEGMENTED:
        return ("segment",)
    if metric in BUDGET_WORDS:
        return ("model",)
    if metric == "uptime" or (words_of(metric).page == "overview" and metric != "data_freshness_seconds"):
        return ()
    return ("model", "version", "feature") if metric.startswith("drift_") and metric not in WHOLE_ONLY else ("model", "version")


def format_value(value: float | None, unit: Unit = Unit.PLAIN) -> str:
    """A value as a person reads it.

    >>> format_value(0.0832, Unit.SHARE), format_value(0.0832, Unit.SECONDS), format_value(3_000_000, Unit.BYTES)
    ('8.32 %', '83.2 ms', '2.86 MiB')
    """
    if value is None or not math.isfinite(value):
        return "no value"
    if unit is Unit.SHARE:
        return f"{_short(value * 100)} %"
    if unit is Unit.PERCENT:
        return f"{_short(value)} %"
    if unit is Unit.SECONDS:
        return _format_seconds(value)
    if unit in (Unit.BYTES, Unit.BYTES_PER_SECOND):
        return _format_bytes(value) + ("/s" if unit is Unit.BYTES_PER_SECOND else "")
    return _short(value)


def _short(value: float) -> str:
    """At most four significant digits, without an exponent where people would not write one.

    >>> _short(0.34567), _short(1234567.0), _short(0.00001234)
    ('0.3457', '1234567', '1.234e-05')
    """
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _format_seconds(value: float) -> str:
    if abs(value) >= 1:
        return f"{_short(round(value, 2))} s" if abs(value) < 600 else f"{_short(round(value / 60, 1))} min"
    return f"{_short(value * 1000)} ms" if abs(value) >= 0.001 or value == 0 else f"{_short(value * 1e6)} µs"


def _format_bytes(value: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if abs(value) < 1024:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.3g} GiB" if abs(value) < 1024 else f"{_short(value / 1024)} TiB"

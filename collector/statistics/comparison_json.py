"""A comparison as the JSON object that `modelwatch compare --json` prints."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from collector.statistics.trial import Arm, Comparison, Difference, Disagreement, Interval


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Arms, health, metrics, verdict, winner, reasons, and what else there is to know; None where something is not known."""
    health, (a, b) = comparison.health, comparison.arms
    return {
        "start": _moment(comparison.start),
        "end": _moment(comparison.end),
        "design": comparison.design.value,
        "arms": {arm.version: _arm(arm) for arm in comparison.arms},
        "health": {
            "sample_ratio_p": health.sample_ratio_p,
            "sample_ratio_sequential_p": health.sequential,
            "mixed": None
            if health.assignment is None
            else {"subjects": health.assignment.subjects, "both": health.assignment.both, "share": health.assignment.share},
            "label_coverage": {a.version: health.coverage_a, b.version: health.coverage_b},
            "label_coverage_p": health.coverage_p,
            "problems": list(health.problems),
        },
        "metrics": {name: _difference(metric) for name, metric in comparison.metrics.items()},
        "disagreement": None if comparison.disagreement is None else _disagreement(comparison.disagreement),
        "posterior": None if comparison.posterior is None else asdict(comparison.posterior),
        "verdict": comparison.verdict.value,
        "winner": comparison.winner,
        "reasons": comparison.reasons,
        "notes": list(comparison.notes),
        "forecast": None if comparison.forecast is None else asdict(comparison.forecast),
        "terms": asdict(comparison.terms),
    }


def _arm(arm: Arm) -> dict[str, Any]:
    return {"n": arm.rows, "subjects": arm.subjects, "failures": arm.failures, "labels": arm.labelled}


def _difference(metric: Difference) -> dict[str, Any]:
    return {
        "part": metric.part.value,
        "a": metric.a,
        "b": metric.b,
        "difference": metric.difference,
        "interval": _interval(metric.interval),
        "sequential_interval": _interval(metric.sequential_interval),
        "p_value": metric.p_value,
        "sequential_p_value": metric.sequential_p_value,
        "adjusted_p_value": metric.adjusted_p_value,
        "margin": metric.margin,
        "less_is_better": metric.less_is_better,
        "n": [metric.n_a, metric.n_b],
        "units": metric.units or None,
        "method": metric.method or None,
    }


def _disagreement(found: Disagreement) -> dict[str, Any]:
    return {
        "n": found.n,
        "rate": found.rate,
        "interval": _interval(found.interval),
        "sequential_interval": _interval(found.sequential_interval),
        "distance": found.distance,
        "bound": found.bound,
    }


def _moment(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _interval(bounds: Interval | None) -> list[float] | None:
    return None if bounds is None else list(bounds)

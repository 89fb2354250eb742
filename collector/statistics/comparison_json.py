"""A comparison as the JSON object that `modelwatch compare --json` prints, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np

from collector.statistics.performance import ClassificationQuality
from collector.statistics.trial import (
    Arm,
    Assignment,
    Comparison,
    Design,
    Difference,
    Disagreement,
    Forecast,
    Health,
    Interval,
    Outcome,
    Part,
    Posterior,
    Terms,
)


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


# ---------------------------------------------------------------------------------------------- back


def from_json(document: Mapping[str, Any]) -> Comparison:
    """What ``to_json`` wrote. Of the arms it knows their counts alone: they say what they did, and can't be compared anew."""
    names = list(document["arms"])
    return Comparison(
        arms=(_read_arm(names[0], document["arms"][names[0]]), _read_arm(names[1], document["arms"][names[1]])),
        health=_read_health(document["health"], names),
        metrics={name: _read_difference(name, metric) for name, metric in document["metrics"].items()},
        verdict=Outcome(document["verdict"]),
        winner=document["winner"],
        reasons=list(document["reasons"]),
        design=Design(document["design"]),
        notes=tuple(document["notes"]),
        disagreement=_read_disagreement(document["disagreement"]),
        posterior=Posterior(**document["posterior"]) if document["posterior"] else None,
        forecast=Forecast(**document["forecast"]) if document["forecast"] else None,
        terms=Terms(**document["terms"]),
        start=_read_moment(document["start"]),
        end=_read_moment(document["end"]),
    )


def _read_arm(name: str, arm: Mapping[str, Any]) -> Arm:
    labelled = arm["labels"]
    return Arm(
        version=name,
        rows=arm["n"],
        failures=arm["failures"],
        latency=np.zeros(0, np.int64),
        labelled=labelled,
        quality=ClassificationQuality(n=labelled),
        subjects=arm["subjects"],
    )


def _read_health(health: Mapping[str, Any], names: Sequence[str]) -> Health:
    mixed, coverage = health["mixed"], health["label_coverage"]
    return Health(
        sample_ratio_p=health["sample_ratio_p"],
        sequential=health["sample_ratio_sequential_p"],
        coverage_a=coverage[names[0]],
        coverage_b=coverage[names[1]],
        coverage_p=health["label_coverage_p"],
        assignment=Assignment(subjects=mixed["subjects"], both=mixed["both"]) if mixed else None,
        problems=tuple(health["problems"]),
    )


def _read_difference(name: str, metric: Mapping[str, Any]) -> Difference:
    same = ("a", "b", "difference", "p_value", "sequential_p_value", "adjusted_p_value", "margin", "less_is_better")
    return Difference(
        name=name,
        **{field: metric[field] for field in same},
        interval=_read_interval(metric["interval"]),
        sequential_interval=_read_interval(metric["sequential_interval"]),
        n_a=metric["n"][0],
        n_b=metric["n"][1],
        part=Part(metric["part"]),
        method=metric["method"] or "",
        units=metric["units"] or 0,
    )


def _read_disagreement(found: Mapping[str, Any] | None) -> Disagreement | None:
    if found is None:
        return None
    intervals = {name: _read_interval(found[name]) for name in ("interval", "sequential_interval")}
    return Disagreement(**{**found, **intervals})


def _read_interval(bounds: Sequence[float] | None) -> Interval | None:
    return None if bounds is None else (bounds[0], bounds[1])


def _read_moment(at: str | None) -> datetime | None:
    return None if at is None else datetime.fromisoformat(at)

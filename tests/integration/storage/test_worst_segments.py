"""Which segments stand worst, from the points that are stored."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine

from storage.engine import reading, writing
from storage.metrics import write_points
from storage.records import MetricPoint, Task, Verdict
from storage.schema import segment_values
from storage.worst_segments import SegmentStanding, worst_segments
from tests.factories import NOW, at, make_signature, register_model


def store(engine: Engine, name: str, values: dict[str, tuple[float | None, int]], **changes: Any) -> None:
    with writing(engine) as c:
        points = [
            MetricPoint(
                **{
                    "at": NOW,
                    "name": name,
                    "model": "churn",
                    "version": "1",
                    "segment": segment,
                    "value": value,
                    "n_current": n,
                    "window_seconds": 300,
                    **changes,
                }
            )
            for segment, (value, n) in values.items()
        ]
        write_points(c, points)


@pytest.fixture
def known(engine: Engine) -> Engine:
    """A model with two declared fields."""
    with writing(engine) as c:
        register_model(c)
        declare(c)
    return engine


def declare(c: Connection) -> None:
    values = [("country", "de"), ("country", "fr"), ("plan", "free")]
    c.execute(segment_values.insert(), [{"model": "churn", "field": field, "value": value} for field, value in values])


def worst(engine: Engine, metric: str, limit: int = 5, **options: Any) -> list[SegmentStanding]:
    with reading(engine) as c:
        return worst_segments(c, "churn", "1", metric, options.pop("at", NOW), limit, **options)


def names(found: list[SegmentStanding]) -> list[str]:
    return [standing.segment for standing in found]


def test_the_segment_with_most_at_stake_comes_first_and_better_ones_not_at_all(known: Engine) -> None:
    store(
        known,
        "accuracy",
        {
            "": (0.8, 1000),
            "country=de": (0.9, 500),
            "country=fr": (0.7, 400),
            "plan=free": (0.5, 20),
            "country=*other": (0.75, 100),
        },
    )

    found = worst(known, "accuracy")

    assert names(found) == ["country=fr", "plan=free", "country=*other"]
    assert (found[0].value, found[0].n, found[0].at, found[0].window_seconds) == (0.7, 400, NOW, 300)
    assert found[0].difference == pytest.approx(-0.1)
    assert [standing.stake for standing in found] == pytest.approx([40, 6, 5])
    assert names(worst(known, "accuracy", 1)) == ["country=fr"]


def test_more_is_worse_of_errors_and_latencies(known: Engine) -> None:
    store(known, "error_rate", {"": (0.01, 1000), "country=de": (0.002, 500), "country=fr": (0.05, 400)})

    assert names(worst(known, "error_rate")) == ["country=fr"]


@pytest.mark.parametrize(("task", "expected"), [(Task.CLASSIFICATION, "country=fr"), (Task.REGRESSION, "country=de")])
def test_a_gap_is_a_difference_already(engine: Engine, task: Task, expected: str) -> None:
    with writing(engine) as c:
        register_model(c, signature=make_signature(task=task))
        declare(c)
    store(engine, "segment_gap", {"": (-0.2, 1000), "country=de": (0.1, 500), "country=fr": (-0.2, 400)})

    found = worst(engine, "segment_gap")

    assert names(found) == [expected]
    assert found[0].difference == found[0].value


def test_findings_come_first_and_what_rests_on_too_little_is_left_out(known: Engine) -> None:
    store(known, "segment_gap", {"country=de": (-0.1, 5000)})
    store(known, "segment_gap", {"country=fr": (-0.1, 200)}, verdict=Verdict.DRIFT)
    store(known, "segment_gap", {"plan=free": (-0.9, 5)}, verdict=Verdict.INSUFFICIENT)

    assert names(worst(known, "segment_gap")) == ["country=fr", "country=de"]


def test_drift_is_of_a_segment_from_its_own_past_by_feature(known: Engine) -> None:
    past = "country=fr,reference=before"
    store(known, "drift_psi", {"": (0.05, 900), "reference=before": (0.9, 900)}, feature="age", threshold=0.2)
    store(known, "drift_psi", {past: (0.6, 300), "plan=free,reference=before": (0.1, 300)}, feature="age", threshold=0.2)
    store(known, "drift_psi", {past: (0.3, 300)}, feature="income", threshold=0.2, verdict=Verdict.DRIFT)

    found = worst(known, "drift_psi")

    assert [(standing.segment, standing.feature) for standing in found] == [(past, "income"), (past, "age")]
    assert [standing.difference for standing in found] == pytest.approx([0.1, 0.4])


def test_the_newest_window_by_then_is_the_one_that_counts(known: Engine) -> None:
    store(known, "error_rate", {"": (0.1, 90), "country=de": (0.2, 90)}, at=at(-600))
    store(known, "error_rate", {"": (0.1, 90), "country=fr": (0.2, 90)}, at=at(600))
    store(known, "error_rate", {"": (0.1, 90), "plan=free": (0.2, 90)}, window_seconds=3600)

    assert names(worst(known, "error_rate")) == ["country=de"]
    assert names(worst(known, "error_rate", window_seconds=3600)) == ["plan=free"]
    assert names(worst(known, "error_rate", at=at(700))) == ["country=fr"]
    assert worst(known, "error_rate", at=NOW + timedelta(days=2)) == []


def test_other_models_roles_and_kinds_of_segments_do_not_count(known: Engine) -> None:
    store(known, "uptime", {"": (0.9, 9), "host=a": (0.1, 9), "endpoint=b": (0.1, 9)})
    store(known, "error_rate", {"country=de": (0.9, 9)}, role="shadow")
    store(known, "error_rate", {"country=de": (0.9, 9)}, version="2")

    assert worst(known, "uptime") == []
    assert worst(known, "error_rate") == []


def test_nothing_declared_or_stored_is_an_empty_list(engine: Engine) -> None:
    assert worst(engine, "accuracy") == []

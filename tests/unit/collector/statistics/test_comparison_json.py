"""What is written as JSON comes back: the page shows what the command prints."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from collector.statistics.comparison import compare
from collector.statistics.comparison_json import from_json, to_json
from collector.statistics.trial import Assignment, Comparison, Disagreement, Terms
from tests.unit.collector.statistics.test_comparison import classifier

FULL = compare(
    classifier("10", 500, 400),
    classifier("9", 500, 450),
    expected_share_b=0.5,
    assignment=Assignment(subjects=990, both=3),
    terms=Terms(quality_margin=0.02),
    seconds=3600.0,
)
EMPTY = compare(classifier("1", 0, 0), classifier("2", 0, 0))
SHADOW = replace(
    FULL,
    disagreement=Disagreement(n=7, rate=0.5, interval=(0.1, 0.9), sequential_interval=None, bound=0.95),
    start=datetime(2026, 11, 21, 10, tzinfo=UTC),
    end=datetime(2026, 11, 21, 11, 0, 0, 250_000, tzinfo=UTC),
)


@pytest.mark.parametrize("comparison", [FULL, EMPTY, SHADOW], ids=["full", "empty", "shadow"])
def test_the_document_of_what_was_read_is_the_document_that_was_written(comparison: Comparison) -> None:
    document = json.loads(json.dumps(to_json(comparison)))

    found = from_json(document)

    assert json.loads(json.dumps(to_json(found))) == document
    assert list(found.metrics) == list(comparison.metrics)
    assert [arm.version for arm in found.arms] == [arm.version for arm in comparison.arms]


def test_all_but_the_rows_of_the_arms_comes_back_equal() -> None:
    found = from_json(json.loads(json.dumps(to_json(SHADOW))))

    metrics = {name: replace(metric, squared_error=None) for name, metric in SHADOW.metrics.items()}
    assert replace(found, arms=SHADOW.arms) == replace(SHADOW, metrics=metrics)

"""From the label counts of segments to points: gaps, their limits, and the one that stands for all."""

from __future__ import annotations

import numpy as np
import pytest

from collector.segment_points import gap_points
from storage.layouts import add_labels, count_labels, empty_label_counts
from storage.records import LabelCounts, MetricPoint, Verdict
from tests.unit.collector.test_points import BINARY, JUDGING, REGRESSION, subject_of


def answers(n: int, right: float) -> LabelCounts:
    """``n`` rows that were called positive, of which the share ``right`` was."""
    actual = ["yes" if number < right * n else "no" for number in range(n)]
    return count_labels(BINARY, [0.9] * n, ["yes"] * n, actual, [5.0] * n)


def errors(n: int, size: float) -> LabelCounts:
    """``n`` predictions of a regressor that miss by about ``size``."""
    missed = np.random.default_rng(n).normal(0, size, n)
    return count_labels(REGRESSION, [float(miss) for miss in missed], [str(miss) for miss in missed], ["0"] * n, [5.0] * n)


def points(parts: dict[str, LabelCounts], *, mature: bool = True, is_regression: bool = False) -> dict[str, MetricPoint]:
    layout = REGRESSION if is_regression else BINARY
    whole = empty_label_counts(layout)
    for part in parts.values():
        whole = add_labels(whole, part)
    found = gap_points(subject_of(layout, None), whole, parts, JUDGING, mature=mature, arrived=0.4)
    assert {point.name for point in found} <= {"segment_gap"}
    return {point.segment: point for point in found}


def test_worst_segment_stands_for_all_in_a_point_without_a_segment() -> None:
    found = points({"c=a": answers(500, 0.9), "c=b": answers(500, 0.6), "c=c": answers(500, 0.9)})

    assert {name: point.verdict for name, point in found.items()} == {
        "": Verdict.DRIFT,
        "c=a": Verdict.OK,
        "c=b": Verdict.DRIFT,
        "c=c": Verdict.OK,
    }
    assert found[""].value == found["c=b"].value == pytest.approx(-0.3)
    assert (found[""].n_current, found[""].basis) == (1500, "c=b, worst of 3 segments")
    assert (found["c=b"].n_current, found["c=b"].n_reference, found["c=b"].basis) == (500, 1000, "worst of 3 segments")
    assert found["c=b"].threshold == -JUDGING.tolerances.score


def test_segments_alike_are_no_finding() -> None:
    found = points({name: answers(400, 0.85) for name in ("c=a", "c=b", "c=c")})

    assert {point.verdict for point in found.values()} == {Verdict.OK}


def test_segment_that_is_better_is_no_finding() -> None:
    found = points({"c=a": answers(2000, 0.8), "c=b": answers(200, 1.0)})

    assert found["c=b"].verdict is Verdict.OK
    assert (found["c=b"].value or 0) == pytest.approx(0.2)


def test_mean_error_of_a_regressor_has_its_limit_above() -> None:
    found = points({"c=a": errors(900, 1.0), "c=b": errors(600, 3.0)}, is_regression=True)

    bad, rest = found["c=b"], found["c=a"]
    assert (bad.verdict, rest.verdict) == (Verdict.DRIFT, Verdict.OK)
    assert bad.value is not None
    assert bad.threshold is not None
    assert bad.value > 1 > bad.threshold > 0


def test_gap_that_may_be_chance_is_not_beyond_its_threshold() -> None:
    found = points({"c=a": answers(60, 0.9), "c=b": answers(60, 0.8)})

    assert found["c=b"].verdict is Verdict.OK
    assert found["c=b"].value == pytest.approx(-0.1)
    assert found["c=b"].threshold == found["c=b"].value
    assert found["c=b"].basis == "beyond the tolerance, but may be chance"
    assert found["c=a"].threshold == -JUDGING.tolerances.score


def test_too_few_labels_are_insufficient_data() -> None:
    found = points({"c=a": answers(500, 0.9), "c=b": answers(JUDGING.min_labels - 1, 0.0)})

    assert found["c=b"].verdict is Verdict.INSUFFICIENT
    assert found["c=b"].threshold is None
    assert found[""].verdict is Verdict.INSUFFICIENT
    assert (found[""].value, found[""].n_current) == (None, 500 + JUDGING.min_labels - 1)


def test_labels_that_are_still_arriving_are_not_judged() -> None:
    found = points({"c=a": answers(500, 0.9), "c=b": answers(500, 0.2)}, mature=False)

    assert {point.verdict for point in found.values()} == {Verdict.INSUFFICIENT}
    assert all(point.basis.startswith("labels still arriving") for point in found.values())
    assert found["c=b"].value == pytest.approx(-0.7)


def test_no_labels_are_no_points() -> None:
    assert points({"c=a": empty_label_counts(BINARY)}) == {}

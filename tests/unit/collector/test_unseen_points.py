"""Unseen categories of a column with far more values than have a bin: no false alarm, and still an alarm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from collector.drift_points import drift_points
from collector.judging import Subject
from collector.statistics.two_samples import expected_other_share
from storage.layouts import build_layout, count_predictions, empty_label_counts
from storage.records import Feature, FeatureType, MetricPoint, Profile, Signature, Task, Verdict
from tests.unit.collector.test_drift_points import JUDGING, NOW, WINDOW

LEVELS, ROWS = 400, 1500
SIGNATURE = Signature(task=Task.REGRESSION, features=(Feature(name="city", type=FeatureType.CATEGORY, missing_allowed=True),))


def drawn(n: int, seed: int, *, new: float = 0.0) -> list[str]:
    random = np.random.default_rng(seed)
    known = [f"c{number}" for number in random.integers(0, LEVELS, n)]
    return [f"new{place}" if random.random() < new else value for place, value in enumerate(known)]


REFERENCE = drawn(ROWS, 0)
LAYOUT = build_layout("m", SIGNATURE, [REFERENCE], np.zeros(1))


def subject_of(*, expected: bool) -> Subject:
    rows = [REFERENCE.count(value) for value in set(REFERENCE)]
    profile = Profile(
        model="m",
        version="1",
        layout_id=1,
        rows=ROWS,
        counts=count_predictions(LAYOUT, [[value] for value in REFERENCE], [0.0] * ROWS, [""] * ROWS),
        labels=empty_label_counts(LAYOUT),
        performance={},
        sample=b"",
        created_at=NOW,
        thresholds={"unseen": {"city": expected_other_share(np.array(rows), 100)}} if expected else {},
    )
    return Subject(layout=LAYOUT, profile=profile, version="1", window=WINDOW)


def unseen_point(subject: Subject, values: list[str]) -> MetricPoint:
    counts = count_predictions(LAYOUT, [[value] for value in values], [0.0] * len(values), [""] * len(values))
    (point,) = (point for point in drift_points(subject, counts, JUDGING) if point.name == "drift_unseen")
    return point


@pytest.mark.parametrize("seed", range(1, 11))
def test_rows_like_those_of_the_reference_do_not_alarm(seed: int) -> None:
    assert unseen_point(subject_of(expected=True), drawn(2000, seed)).verdict is Verdict.OK


def test_without_the_expectation_they_all_would() -> None:
    assert unseen_point(subject_of(expected=False), drawn(2000, 1)).verdict is Verdict.DRIFT


def test_a_share_of_new_values_is_still_drift() -> None:
    point = unseen_point(subject_of(expected=True), drawn(2000, 1, new=0.5))

    assert point.verdict is Verdict.DRIFT
    assert point.value is not None
    assert point.threshold is not None
    assert point.value > point.threshold > 0.75


def test_a_reference_with_more_other_values_than_expected_counts_as_it_is() -> None:
    subject = subject_of(expected=True)
    assert subject.profile is not None
    less = replace(subject, profile=replace(subject.profile, thresholds={"unseen": {"city": 0.0}}))

    assert unseen_point(less, drawn(2000, 1)).threshold == unseen_point(subject_of(expected=False), drawn(2000, 1)).threshold

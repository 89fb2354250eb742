"""What earlier windows have to do with a verdict: which of them count, and how."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from collector.drift_points import Memory, drift_points, pasts_of, remembered_times
from collector.judging import Judging, Subject, number_of_tests
from collector.statistics.budget import Persistence
from collector.statistics.calibration import Calibration, calibrate, calibration_to_json
from collector.statistics.verdict import Past, Policy
from collector.windows import WindowPlan
from storage.layouts import bin_indices, build_layout, count_predictions, empty_label_counts
from storage.records import Feature, FeatureType, Floats, MetricPoint, PredictionCounts, Profile, Signature, Task, Verdict

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PLAN = WindowPlan(length=timedelta(minutes=5), step=MINUTE)
WINDOW = PLAN.ending_at(NOW)
JUDGING = Judging(plans=[PLAN])
POLICY = Policy(alpha=1e-6, together=1e-6)
RANDOM = np.random.default_rng(3)
REFERENCE = RANDOM.normal(size=5000)
LAYOUT = build_layout(
    "m",
    Signature(task=Task.REGRESSION, features=(Feature(name="x", type=FeatureType.NUMBER, missing_allowed=True),)),
    [REFERENCE.tolist()],
    REFERENCE,
)


def counts_of(values: Floats) -> PredictionCounts:
    return count_predictions(LAYOUT, [[value] for value in values.tolist()], values.tolist(), [""] * values.size)


def subject_of(calibration: Calibration | None = None) -> Subject:
    profile = Profile(
        model="m",
        version="1",
        layout_id=1,
        rows=REFERENCE.size,
        counts=counts_of(REFERENCE),
        labels=empty_label_counts(LAYOUT),
        performance={},
        sample=b"",
        created_at=NOW,
        thresholds=calibration_to_json(calibration) if calibration else {},
    )
    return Subject(layout=LAYOUT, profile=profile, version="1", window=WINDOW)


def point(minutes: int, *, p_value: float | None = 1e-9, verdict: Verdict = Verdict.OK, n: int = 500) -> MetricPoint:
    """A point of the window that ended so many minutes before."""
    return MetricPoint(
        at=NOW - minutes * MINUTE,
        name="drift_ks",
        feature="x",
        value=0.1,
        p_value=p_value,
        n_reference=10_000,
        n_current=n,
        verdict=verdict,
    )


def test_a_verdict_looks_at_the_window_before_and_at_those_that_do_not_overlap() -> None:
    assert remembered_times(PLAN, Persistence(), WINDOW) == [NOW - MINUTE, NOW - 5 * MINUTE, NOW - 10 * MINUTE]
    assert remembered_times(PLAN, Persistence(needed=1, windows=1), WINDOW) == [NOW - MINUTE]


@pytest.mark.parametrize(
    ("earlier", "past"),
    [
        ([point(5)], Past(repeats=1)),
        ([point(5), point(10)], Past(repeats=2)),
        ([point(4), point(15)], Past()),
        ([point(5, p_value=0.01)], Past()),
        ([point(5, p_value=None)], Past()),
        ([point(5, verdict=Verdict.INSUFFICIENT)], Past()),
        ([point(1, verdict=Verdict.DRIFT)], Past(was_drift=True)),
        ([point(2, verdict=Verdict.DRIFT)], Past()),
        ([point(1, verdict=Verdict.DRIFT), point(5)], Past(was_drift=True, repeats=1)),
    ],
)
def test_only_what_is_significant_and_at_the_right_time_counts(earlier: list[MetricPoint], past: Past) -> None:
    assert pasts_of(earlier, PLAN, POLICY, WINDOW)["drift_ks", "x"] == past


def test_a_weak_shift_is_drift_only_where_it_persists() -> None:
    subject, counts = subject_of(), counts_of(np.random.default_rng(4).normal(0.2, 1, 400))
    first = {p.name: p for p in drift_points(subject, counts, JUDGING)}

    before = [replace(p, at=NOW - PLAN.length) for p in first.values()]
    second = {p.name: p for p in drift_points(subject, counts, JUDGING, before)}

    assert first["drift_rank_shift"].verdict is Verdict.OK
    assert second["drift_rank_shift"].verdict is Verdict.DRIFT
    assert second["drift_rank_shift"].basis == "no-drift quantile, 2 of 3 windows"
    assert second["drift_rank_shift"].value == first["drift_rank_shift"].value
    assert second["drift_share"].value == 1.0


def test_a_point_is_drift_exactly_where_its_value_is_beyond_its_threshold() -> None:
    random = np.random.default_rng(5)
    for shift in (0.0, 0.2, 0.4, 2.0):
        for p in drift_points(subject_of(), counts_of(random.normal(shift, 1, 500)), JUDGING):
            if p.threshold is not None and p.value is not None and p.name != "drift_share":
                assert (p.verdict is Verdict.DRIFT) == (p.value > p.threshold)


def test_a_calibrated_reference_is_named_and_makes_fewer_tests() -> None:
    bins = LAYOUT.features[0]
    calibration = calibrate([(bins, bin_indices(bins, REFERENCE)), (LAYOUT.score, bin_indices(LAYOUT.score, REFERENCE))])

    points = drift_points(subject_of(calibration), counts_of(np.random.default_rng(6).normal(size=500)), JUDGING)

    assert {p.basis for p in points if p.threshold is not None} <= {"calibrated", "practical floor", "setting"}
    assert number_of_tests(LAYOUT, calibration) < number_of_tests(LAYOUT, Calibration())


def test_dependent_rows_raise_the_threshold() -> None:
    calibration = calibrate([(LAYOUT.features[0], np.repeat(bin_indices(LAYOUT.features[0], REFERENCE[:1000]), 5))])
    counts = counts_of(np.random.default_rng(7).normal(size=500))

    independent, dependent = (
        {p.name: p for p in drift_points(subject_of(found), counts, JUDGING)}["drift_ks"] for found in (None, calibration)
    )

    assert independent.threshold is not None
    assert dependent.threshold is not None
    assert dependent.threshold > 1.8 * independent.threshold
    assert dependent.detectable is not None
    assert dependent.detectable > dependent.threshold


def test_the_expected_false_alarms_are_the_budget_by_length() -> None:
    judging = replace(JUDGING, plans=[PLAN, WindowPlan(length=timedelta(hours=1), step=5 * MINUTE)], false_alarm_days=30)

    found = judging.false_alarms_per_week(LAYOUT, Calibration())

    assert list(found) == ["5m", "1h"]
    assert sum(found.values()) == pytest.approx(7 / 30, rel=0.02)


def test_memory_prefers_what_was_computed_since() -> None:
    memory = Memory([point(5), point(10)])

    memory.keep(NOW - 5 * MINUTE, [replace(point(5), p_value=0.5), replace(point(5), name="error_rate")])

    assert [p.p_value for p in memory.at([NOW - 10 * MINUTE, NOW - 5 * MINUTE, NOW])] == [1e-9, 0.5]

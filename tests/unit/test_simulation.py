"""The simulation says what production says, and its parts count as they should."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from benchmarks.simulation.delays import CHANGES, delay
from benchmarks.simulation.peeking import Peeked, ab_layout, first_decision, right_by_look
from benchmarks.simulation.quiet import Quiet
from benchmarks.simulation.rules import STEP, WINDOW, Rule, bets_on, column_alarms, episodes, lasting_alarms
from benchmarks.simulation.streams import STEPS, Column, World, calibrated, indices, normals, step_counts, window_counts
from collector.drift_points import DRIFT_NAMES, Followed, Memory, drift_points, remembered_times
from collector.judging import Judging, Subject, number_of_tests
from collector.sequences import Steps
from collector.statistics.calibration import calibrate, calibration_to_json
from collector.windows import WindowPlan
from storage.layouts import empty_label_counts, empty_prediction_counts
from storage.records import Bins, Layout, Profile, Verdict

NOW = datetime(2026, 3, 2, tzinfo=UTC)
PLAN = WindowPlan(length=WINDOW, step=STEP)


@pytest.mark.parametrize("correlation", [0.0, 0.7])
def test_its_alarms_are_those_of_the_collector(correlation: float) -> None:
    """A stream that drifts weakly, strongly and back, one window after the other through ``drift_points`` with its memory."""
    random, per_step = np.random.default_rng(0), 25
    column = Column.of(normals(random, 4000, correlation), name="x")
    calibration = calibrate([(column.bins, indices(column.bins, column.values))])
    stream = normals(random, 180 * per_step, correlation)
    stream[30 * per_step :] += np.repeat([0.35, 0.9, 0.0], [100 * per_step, 25 * per_step, 25 * per_step])
    steps = step_counts(column, stream, per_step)
    windows = window_counts(steps)
    judging = Judging(plans=[PLAN], false_alarm_days=5)
    layout = Layout(model="m", features=(column.bins,), score=Bins(name=""), classes=())
    reference = empty_prediction_counts(layout)
    reference.bins[: column.bins.size] = column.counts
    profile = Profile(
        model="m",
        version="1",
        layout_id=1,
        rows=4000,
        counts=reference,
        labels=empty_label_counts(layout),
        performance={},
        sample=b"",
        created_at=NOW,
        thresholds=calibration_to_json(calibration),
    )

    bets = bets_on(column, calibration)
    share = judging.followed_level(layout, calibration, PLAN, 1.0) / judging.levels(layout, calibration, PLAN).followed
    rule = Rule.of(number_of_tests(layout, calibration), 1 / share, days=5)

    counted = np.hstack((steps, np.zeros((len(steps), layout.score.size), np.int64)))
    memory, theirs, lasting = Memory([]), [], []
    for number, window in enumerate(windows):
        subject = Subject(layout=layout, profile=profile, version="1", window=PLAN.ending_at(NOW + number * STEP))
        counts = empty_prediction_counts(layout)
        counts.rows = STEPS * per_step
        counts.bins[: column.bins.size] = window
        starts = [NOW + (index - STEPS + 1) * STEP - STEP for index in range(number + STEPS)]
        held = Steps(starts=starts, bins=counted[: number + STEPS], per_window=STEPS)
        earlier = memory.at(remembered_times(PLAN, judging.persistence, subject.window))
        points = drift_points(subject, counts, judging, earlier, Followed(bets={"x": bets}, steps=held))
        memory.keep(subject.window.end, points)
        lasting.append(any(p.verdict is Verdict.DRIFT for p in points if p.name == "drift_cusum"))
        theirs.append(any(p.verdict is Verdict.DRIFT for p in points if p.name in DRIFT_NAMES.values()))

    ours = lasting_alarms(rule, [(bets, steps)])
    assert (column_alarms(rule, column, calibration, windows) | ours).tolist() == theirs
    assert ours.tolist() == lasting
    assert True in lasting
    assert theirs[-1] is False


def test_looks_that_are_skipped_would_not_have_decided() -> None:
    random, layout = np.random.default_rng(8), ab_layout()
    level, apart = right_by_look(random)[:, :120], right_by_look(random)[:, :120]
    apart[1] -= np.arange(1, 121) * 3

    for right in (level, apart):
        assert first_decision(layout, right) == first_decision(layout, right, skips=False)
    assert first_decision(layout, apart) is not None


def test_episodes_are_the_times_that_alarms_began() -> None:
    assert [episodes(np.array(alarms, bool)) for alarms in ([0, 0], [1, 1], [0, 1, 0, 1, 1], [1, 0, 1])] == [0, 1, 2, 2]


def test_intervals_of_few_events_are_the_exact_ones() -> None:
    assert Quiet(rows=1, correlation=0, months=1).interval == pytest.approx((0.0, 3.689), abs=0.001)
    assert Quiet(rows=1, correlation=0, months=10, modelwatch=10).interval == pytest.approx((0.480, 1.839), abs=0.001)
    assert Peeked(runs=100, wrong=0).upper == pytest.approx(1 - 0.05 ** (1 / 100))


def test_a_series_is_as_correlated_as_it_should_be() -> None:
    values = normals(np.random.default_rng(1), 100_000, 0.8)

    assert np.corrcoef(values[1:], values[:-1])[0, 1] == pytest.approx(0.8, abs=0.01)
    assert (values.mean(), values.std()) == pytest.approx((0, 1), abs=0.05)


def test_a_reference_of_the_world_has_its_columns() -> None:
    columns, calibration = calibrated(np.random.default_rng(2), World(features=3, reference_rows=1000))

    assert list(calibration.columns) == ["x0", "x1", "x2"]
    assert [int(column.counts.sum()) for column in columns] == [1000] * 3


def test_missing_values_are_seen_within_a_window() -> None:
    found = delay(CHANGES[3], 204, 2, np.random.default_rng(3))

    assert 0 < found.modelwatch < 1

"""From label counts to points: names, references, verdicts and their reasons."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.estimation_points import estimation_points
from collector.judging import Subject
from collector.performance_points import performance_points, waits_for_labels
from collector.statistics.errors import QUANTILES
from storage.layouts import bin_indices, count_labels, empty_label_counts, empty_prediction_counts
from storage.records import LabelCounts, Verdict
from tests.unit.collector.statistics import test_multiclass as multiclass
from tests.unit.collector.test_points import BINARY, JUDGING, REGRESSION, by_name, counts_of, subject_of, uniform

FROM_SCORES = {"pr_auc", "log_loss", "brier", "calibration_error"}
OF_CLASSES = {"accuracy", "precision", "recall", "f1", "roc_auc"}


def labels_of(n: int, *, wrong: float = 0.0, seed: int = 1) -> LabelCounts:
    """Uniform scores that are true probabilities, labels of which the share ``wrong`` is turned round, half an hour later."""
    random = np.random.default_rng(seed)
    scores = random.uniform(0, 1, n)
    actual = (random.random(n) < scores) ^ (random.random(n) < wrong)
    predicted = np.where(scores >= 0.5, "yes", "no").tolist()
    return count_labels(BINARY, scores.tolist(), predicted, np.where(actual, "yes", "no").tolist(), [1800.0] * n)


def with_reference_labels(labels: LabelCounts) -> Subject:
    subject = subject_of(BINARY, counts_of(BINARY, uniform(5000)))
    assert subject.profile is not None
    return replace(subject, profile=replace(subject.profile, labels=labels))


def test_performance_is_held_against_what_registration_measured() -> None:
    labels = count_labels(
        BINARY, [0.9] * 200 + [0.1] * 200, ["yes"] * 200 + ["no"] * 200, (["yes"] * 100 + ["no"] * 100) * 2, [5.0] * 400
    )
    subject = subject_of(BINARY, counts_of(BINARY, uniform(5000)), {"accuracy": 0.9, "roc_auc": 0.95})

    found = by_name(performance_points(subject, labels, 800, JUDGING))

    assert set(found) == {"label_coverage", "label_delay_seconds", *OF_CLASSES, *FROM_SCORES}
    assert found["label_coverage"].value == 0.5
    assert (found["accuracy"].value, found["accuracy"].verdict, found["roc_auc"].verdict) == (0.5, Verdict.DRIFT, Verdict.DRIFT)
    assert found["accuracy"].threshold is not None
    assert 0.7 < found["accuracy"].threshold <= 0.85
    assert (found["f1"].threshold, found["f1"].verdict) == (None, Verdict.OK)


def test_the_labels_of_a_reference_give_every_quality_a_threshold() -> None:
    found = by_name(performance_points(with_reference_labels(labels_of(5000)), labels_of(2000, seed=2), None, JUDGING))

    judged = {name for name in found if found[name].threshold is not None}
    assert judged == (OF_CLASSES | FROM_SCORES | {"concept_drift"}) - {"calibration_error"}
    assert {found[name].verdict for name in judged} == {Verdict.OK}
    assert found["accuracy"].n_reference == 5000
    assert "reference 0.7" in found["accuracy"].basis


def test_a_quality_that_fell_for_sure_is_drift_in_all_its_measures() -> None:
    found = by_name(performance_points(with_reference_labels(labels_of(5000)), labels_of(4000, wrong=0.3), None, JUDGING))

    fallen = {name for name, point in found.items() if point.verdict is Verdict.DRIFT}
    assert fallen >= {"accuracy", "precision", "recall", "f1", "roc_auc", "pr_auc", "log_loss", "brier"}


def test_losses_are_drift_above_their_threshold_and_scores_below() -> None:
    found = by_name(performance_points(with_reference_labels(labels_of(5000)), labels_of(4000, wrong=0.3), None, JUDGING))

    for name, sign in (("brier", 1), ("accuracy", -1)):
        value, threshold, detectable = found[name].value, found[name].threshold, found[name].detectable
        assert value is not None
        assert threshold is not None
        assert detectable is not None
        assert sign * (value - threshold) > 0
        assert detectable > 0


def test_a_reference_of_few_labels_judges_nothing() -> None:
    found = by_name(performance_points(with_reference_labels(labels_of(40)), labels_of(2000), None, JUDGING))

    assert found["accuracy"].verdict is Verdict.INSUFFICIENT
    assert "reference" in found["accuracy"].basis


def test_regression_has_its_own_names() -> None:
    labels = count_labels(REGRESSION, [1.0, 2.0] * 50, [""] * 100, ["1.5", "1.0"] * 50, [5.0] * 100)

    found = by_name(performance_points(subject_of(REGRESSION, None), labels, None, JUDGING))

    assert set(found) == {"mae", "rmse", "r2", "label_delay_seconds", *QUANTILES}
    assert found["absolute_error_p90"].value == pytest.approx(1.0, rel=0.02)
    assert found["mae"].value == 0.75
    assert found["mae"].lower is not None


def test_no_labels_leave_a_coverage_of_zero() -> None:
    labels = count_labels(BINARY, [], [], [], [])

    (point,) = performance_points(subject_of(BINARY, None), labels, 100, JUDGING)

    assert (point.name, point.value, point.n_current) == ("label_coverage", 0.0, 100)


@pytest.mark.parametrize(("error", "verdict"), [(1.0, Verdict.OK), (2.0, Verdict.DRIFT)])
def test_a_mean_error_that_rises_is_drift(error: float, verdict: Verdict) -> None:
    def labels(scale: float, seed: int) -> LabelCounts:
        errors = np.random.default_rng(seed).normal(0, scale, 2000)
        return count_labels(REGRESSION, errors.tolist(), [""] * 2000, ["0.0"] * 2000, [1.0] * 2000)

    subject = subject_of(REGRESSION, counts_of(REGRESSION, uniform(2000)))
    assert subject.profile is not None
    subject = replace(subject, profile=replace(subject.profile, labels=labels(1.0, 1)))

    found = by_name(performance_points(subject, labels(error, 2), None, JUDGING))

    assert found["mae"].verdict is verdict


def test_labels_that_are_no_numbers_are_a_state_of_a_regressor() -> None:
    labels = count_labels(REGRESSION, [1.0] * 60, [""] * 60, ["a lot"] * 60, [5.0] * 60)

    found = by_name(performance_points(subject_of(REGRESSION, None), labels, None, JUDGING))

    assert (found["mae"].value, found["mae"].verdict) == (None, Verdict.INSUFFICIENT)
    assert "none of 60 labels" in found["mae"].basis


def test_labels_of_no_known_class_are_named_beside_the_accuracy_that_they_lower() -> None:
    labels = count_labels(BINARY, [0.9] * 200, ["yes"] * 200, ["YES"] * 150 + ["yes"] * 50, [5.0] * 200)

    found = by_name(performance_points(with_reference_labels(labels_of(5000)), labels, None, JUDGING))

    assert (found["accuracy"].value, found["accuracy"].verdict) == (0.25, Verdict.DRIFT)
    assert "150 of 200 labels are of no class" in found["accuracy"].basis


class TestConceptDrift:
    def test_labels_that_no_longer_follow_the_score_are_concept_drift(self) -> None:
        found = by_name(performance_points(with_reference_labels(labels_of(5000)), labels_of(2000, wrong=0.3), None, JUDGING))

        point = found["concept_drift"]
        assert point.value is not None
        assert point.threshold is not None
        assert point.value > point.threshold >= 0.1
        assert point.verdict is Verdict.DRIFT
        assert point.p_value is not None
        assert point.p_value < 1e-6
        assert "strata" in point.basis

    def test_few_labels_are_insufficient_data(self) -> None:
        found = by_name(performance_points(with_reference_labels(labels_of(5000)), labels_of(45, wrong=0.5), None, JUDGING))

        assert found["concept_drift"].verdict is Verdict.INSUFFICIENT

    def test_without_labels_in_the_reference_there_is_none(self) -> None:
        found = by_name(performance_points(subject_of(BINARY, counts_of(BINARY, uniform(500))), labels_of(500), None, JUDGING))

        assert "concept_drift" not in found

    @pytest.mark.parametrize(("bias", "verdict"), [(0.0, Verdict.OK), (0.5, Verdict.DRIFT)])
    def test_of_a_regressor_it_is_a_mean_error_that_moved(self, bias: float, verdict: Verdict) -> None:
        def labels(mean: float, seed: int) -> LabelCounts:
            errors = np.random.default_rng(seed).normal(mean, 1, 1000)
            return count_labels(REGRESSION, errors.tolist(), [""] * 1000, ["0.0"] * 1000, [1.0] * 1000)

        subject = subject_of(REGRESSION, counts_of(REGRESSION, uniform(1000)))
        assert subject.profile is not None
        subject = replace(subject, profile=replace(subject.profile, labels=labels(0.2, 1)))

        found = by_name(performance_points(subject, labels(0.2 + bias, 2), None, JUDGING))

        assert found["concept_drift"].verdict is verdict
        assert found["concept_drift"].value == pytest.approx(bias, abs=0.1)

    @pytest.mark.parametrize(("moved", "verdict"), [(0.0, Verdict.OK), (1.0, Verdict.DRIFT)])
    def test_of_several_classes_it_names_the_class_that_changed_most(self, moved: float, verdict: Verdict) -> None:
        layout = multiclass.layout_of(multiclass.drawn(5000, seed=5)[0])
        reference = multiclass.counted(layout, multiclass.drawn(5000, seed=5))
        subject = subject_of(layout, counts_of(layout, []))
        assert subject.profile is not None
        subject = replace(subject, profile=replace(subject.profile, labels=reference))

        labels = multiclass.counted(layout, multiclass.drawn(2000, moved=moved))
        found = by_name(performance_points(subject, labels, None, JUDGING))

        point = found["concept_drift"]
        assert point.verdict is verdict
        assert "furthest of 4" in point.basis
        assert verdict is Verdict.OK or "the class 00" in point.basis or "the class 01" in point.basis
        assert {found[name].verdict for name in ("log_loss", "brier")} == {verdict}


class TestLateLabels:
    def test_a_window_whose_labels_are_still_arriving_is_not_judged(self) -> None:
        subject, labels = with_reference_labels(labels_of(5000)), labels_of(1000, wrong=0.3)

        found = by_name(performance_points(subject, labels, 4000, JUDGING, arrived=0.4))

        assert {found[name].verdict for name in (*OF_CLASSES, "concept_drift")} == {Verdict.INSUFFICIENT}
        assert "40%" in found["accuracy"].basis
        assert waits_for_labels(found["accuracy"])
        assert not waits_for_labels(found["label_coverage"])

    @pytest.mark.parametrize(("served", "arrived"), [(1050, 0.4), (4000, 0.95), (4000, None)], ids=["whole", "usual", "unknown"])
    def test_it_is_judged_once_most_are_there_or_nothing_is_known_of_their_delay(self, served: int, arrived: float | None) -> None:
        subject, labels = with_reference_labels(labels_of(5000)), labels_of(1000, wrong=0.3)

        found = by_name(performance_points(subject, labels, served, JUDGING, arrived=arrived))

        assert found["accuracy"].verdict is Verdict.DRIFT

    @pytest.mark.parametrize(("picked", "verdict"), [(False, Verdict.OK), (True, Verdict.DRIFT)])
    def test_labels_that_come_for_some_scores_only_show_in_the_coverage(self, picked: bool, verdict: Verdict) -> None:
        scores = np.random.default_rng(3).uniform(0, 1, 2000)
        has_label = scores > 0.5 if picked else np.arange(2000) % 2 == 0
        scored = np.bincount(bin_indices(BINARY.score, scores), minlength=BINARY.score.size)
        n = int(has_label.sum())
        labels = count_labels(BINARY, scores[has_label].tolist(), ["yes"] * n, ["yes"] * n, [1.0] * n)

        found = by_name(performance_points(subject_of(BINARY, None), labels, 2000, JUDGING, scored=scored))

        assert found["label_coverage"].verdict is verdict
        assert found["label_coverage"].p_value is not None


SIZE = BINARY.score.size
cells = st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(0, 2), st.integers(0, 2), st.integers(1, 10**6)), max_size=12)


def counts_from(filled: list[tuple[int, int, int, int]]) -> LabelCounts:
    """Rows of (score bin, predicted class, actual class, how many); class 2 is unknown, the last bin is no score."""
    counts = empty_label_counts(BINARY)
    for score, predicted, actual, rows in filled:
        counts.score_by_class[score, actual] += rows
        counts.confusion[predicted, actual] += rows
        counts.delay[predicted] += rows
        counts.rows += rows
    return counts


@given(cells, cells, st.sampled_from([None, 0.2, 1.0]))
def test_any_counts_give_finite_values_within_their_intervals(
    reference: list[tuple[int, int, int, int]], current: list[tuple[int, int, int, int]], arrived: float | None
) -> None:
    labels = counts_from(current)
    scored = labels.score_by_class.sum(axis=1) * 2

    points = performance_points(
        with_reference_labels(counts_from(reference)), labels, labels.rows * 2, JUDGING, arrived=arrived, scored=scored
    )

    for point in points:
        assert point.value is not None
        assert np.isfinite([point.value, *(v for v in (point.threshold, point.detectable, point.p_value) if v is not None)]).all()
        if point.lower is not None and point.upper is not None:
            assert point.lower - 1e-9 <= point.value <= point.upper + 1e-9
        assert point.verdict is not Verdict.DRIFT or point.threshold is not None or point.name == "label_coverage"


@given(cells, st.lists(st.integers(0, 10**6), min_size=SIZE, max_size=SIZE), st.integers(0, 10**7))
def test_any_counts_give_estimates_that_are_shares_or_refusals(
    reference: list[tuple[int, int, int, int]], scores: list[int], called: int
) -> None:
    counts = empty_prediction_counts(BINARY)
    counts.rows = sum(scores)
    counts.bins[-SIZE:] = scores
    counts.classes[1] = min(called, counts.rows)

    for point in estimation_points(with_reference_labels(counts_from(reference)), counts, JUDGING, {}):
        assert point.value is not None or (point.verdict is Verdict.INSUFFICIENT and point.basis)
        if point.value is not None:
            assert point.lower is not None
            assert point.upper is not None
            assert 0 <= point.lower <= point.value <= point.upper <= 1

"""Points of estimated performance: values, verdicts, refusals and their reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from collector.estimation_points import OF_TWO_CLASSES, REALISED, doubts_of, error_doubts, estimation_points, most_errors, pairs_of
from collector.judging import Subject
from collector.statistics.losses import LossModel, fit_losses
from storage.layouts import bin_indices, count_labels, count_predictions
from storage.records import Floats, Ints, LabelCounts, Layout, MetricPoint, PredictionCounts, Task, Verdict
from tests.unit.collector.statistics.streams import Rows, draw
from tests.unit.collector.test_points import (
    BINARY,
    JUDGING,
    NOW,
    PLAN,
    REGRESSION,
    by_name,
    counts_of,
    layout_of,
    subject_of,
    uniform,
)

NAMES = ["no", "yes"]
LENGTH = PLAN.length
MOST_ERROR = dict.fromkeys(REALISED, 0.05)


def window_of(rows: Rows) -> PredictionCounts:
    called = [NAMES[int(score >= 0.5)] for score in rows.scores]
    return count_predictions(BINARY, [[0.5]] * len(called), rows.scores.tolist(), called)


def subject_with(rows: Rows) -> Subject:
    called, actual = ([NAMES[int(value)] for value in values] for values in (rows.scores >= 0.5, rows.actual))
    labels = count_labels(BINARY, rows.scores.tolist(), called, actual, [0.0] * len(actual))
    subject = subject_of(BINARY, window_of(rows))
    assert subject.profile is not None
    return replace(subject, profile=replace(subject.profile, labels=labels))


def rows_of(seed: int, n: int = 3000, *, a: float = 0.8, b: float = 1.2) -> Rows:
    return draw(np.random.default_rng(seed), n, a=a, b=b)


def test_a_window_like_the_reference_is_estimated_to_be_as_good() -> None:
    window = rows_of(2)

    found = by_name(estimation_points(subject_with(rows_of(1)), window_of(window), JUDGING, {}))

    accuracy, area = found["estimated_accuracy"], found["estimated_roc_auc"]
    assert accuracy.lower is not None
    assert accuracy.upper is not None
    assert accuracy.lower <= window.accuracy <= accuracy.upper
    assert (accuracy.verdict, area.verdict) == (Verdict.OK, Verdict.OK)
    assert (accuracy.n_reference, accuracy.n_current) == (3000, 3000)
    assert accuracy.threshold is not None
    assert "reference" in accuracy.basis


def test_a_window_of_harder_rows_is_drift_before_any_label_comes() -> None:
    window = rows_of(2, a=12.0, b=12.0)

    found = by_name(estimation_points(subject_with(rows_of(1)), window_of(window), JUDGING, {}))

    assert found["estimated_accuracy"].verdict is Verdict.DRIFT


def test_without_labels_in_the_reference_it_refuses() -> None:
    subject = subject_of(BINARY, counts_of(BINARY, uniform(3000)))

    found = estimation_points(subject, window_of(rows_of(2)), JUDGING, {})

    assert [(point.name, point.value, point.verdict) for point in found] == [
        (name, None, Verdict.INSUFFICIENT) for name in OF_TWO_CLASSES
    ]
    assert "no labels" in found[0].basis


@pytest.mark.parametrize(
    ("window", "word"),
    [(rows_of(2, 50), "fewer than"), (Rows(scores=np.full(500, 2.0), actual=np.ones(500, np.int64)), "where the reference")],
    ids=["few rows", "unseen scores"],
)
def test_a_refusal_keeps_its_value_and_says_why(window: Rows, word: str) -> None:
    found = by_name(estimation_points(subject_with(rows_of(1)), window_of(window), JUDGING, {}))

    point = found["estimated_accuracy"]
    assert (point.verdict, point.threshold) == (Verdict.INSUFFICIENT, None)
    assert point.value is not None
    assert word in point.basis


def test_a_doubt_refuses_only_its_own_metric() -> None:
    found = by_name(
        estimation_points(subject_with(rows_of(1)), window_of(rows_of(2)), JUDGING, {"estimated_roc_auc": "it was wrong before"})
    )

    assert found["estimated_accuracy"].verdict is Verdict.OK
    assert (found["estimated_roc_auc"].verdict, found["estimated_roc_auc"].basis) == (
        Verdict.INSUFFICIENT,
        "it was wrong before",
    )


def test_a_window_without_scores_is_refused_too() -> None:
    counts = count_predictions(BINARY, [[0.5]] * 300, [None] * 300, ["yes"] * 300)

    found = estimation_points(subject_with(rows_of(1)), counts, JUDGING, {})

    assert {(point.value, point.verdict) for point in found} == {(None, Verdict.INSUFFICIENT)}


def test_there_is_nothing_to_estimate_without_a_reference_or_predictions() -> None:
    empty = count_predictions(BINARY, [], [], [])

    assert estimation_points(subject_of(BINARY, None), window_of(rows_of(2)), JUDGING, {}) == []
    assert estimation_points(subject_with(rows_of(1)), empty, JUDGING, {}) == []


# ---------------------------------------------------------------------------------------------- other models


def columns_of(layout: Layout, scores: Floats) -> list[Ints]:
    """The bins of a feature that is always 0.5, and of the scores."""
    return [bin_indices(layout.features[0], np.full(scores.size, 0.5)), bin_indices(layout.score, scores)]


def sizes_of(layout: Layout) -> list[int]:
    return [layout.features[0].size, layout.score.size]


def numbers_of(scores: Floats) -> PredictionCounts:
    return count_predictions(REGRESSION, [[0.5]] * scores.size, scores.tolist(), [None] * scores.size)


def regressor(seed: int = 1, n: int = 2000) -> tuple[Subject, LossModel]:
    """A reference whose errors grow with the predicted number: normal with a deviation of the score itself."""
    random = np.random.default_rng(seed)
    scores = random.uniform(0, 1, n)
    errors = random.normal(0, scores)
    labels = count_labels(REGRESSION, scores.tolist(), [None] * n, [repr(float(v)) for v in scores - errors], [0.0] * n)
    losses = fit_losses(columns_of(REGRESSION, scores), sizes_of(REGRESSION), np.abs(errors))
    subject = subject_of(REGRESSION, numbers_of(scores))
    assert subject.profile is not None
    assert losses is not None
    return replace(subject, profile=replace(subject.profile, labels=labels)), losses


@pytest.mark.parametrize(("low", "verdict"), [(0.0, Verdict.OK), (0.8, Verdict.DRIFT)], ids=["same scores", "high scores"])
def test_the_mean_error_of_a_regressor_follows_its_scores(low: float, verdict: Verdict) -> None:
    random, (subject, losses) = np.random.default_rng(2), regressor()
    scores = random.uniform(low, 1, 2000)

    (point,) = estimation_points(subject, numbers_of(scores), JUDGING, {}, losses)

    truth = float(np.abs(random.normal(0, scores)).mean())
    assert (point.name, point.verdict) == ("estimated_mae", verdict)
    assert point.lower is not None
    assert point.upper is not None
    assert point.lower <= truth <= point.upper


def test_without_a_labelled_sample_a_regressor_is_refused() -> None:
    subject, _ = regressor()

    (point,) = estimation_points(subject, numbers_of(np.full(500, 0.5)), JUDGING, {}, None)

    assert (point.value, point.verdict) == (None, Verdict.INSUFFICIENT)
    assert "sample" in point.basis


def test_a_regressor_may_be_off_by_a_share_of_its_error_on_the_reference() -> None:
    subject, _ = regressor()
    assert subject.profile is not None

    found = most_errors(REGRESSION, subject.profile, JUDGING.tolerances)

    assert found["estimated_mae"] == pytest.approx(0.1 * 0.4, rel=0.1)  # E|error| = E[score] sqrt(2 / pi)


def test_several_classes_are_estimated_from_how_often_such_rows_were_right() -> None:
    random = np.random.default_rng(5)
    layout = layout_of(Task.CLASSIFICATION, ("a", "b", "c"))
    scores = random.uniform(0, 1, 2000)
    losses = fit_losses(columns_of(layout, scores), sizes_of(layout), (random.random(2000) < scores).astype(float))
    window = random.uniform(0.6, 1, 2000)
    counts = count_predictions(layout, [[0.5]] * 2000, window.tolist(), ["a"] * 2000)

    (point,) = estimation_points(subject_of(layout, counts), counts, JUDGING, {}, losses)

    assert point.name == "estimated_accuracy"
    assert point.value == pytest.approx(0.8, abs=0.03)


# ---------------------------------------------------------------------------------------------- doubts


def past(
    number: int, realised: float, *, name: str = "accuracy", labelled: int = 1000, step: timedelta = LENGTH
) -> list[MetricPoint]:
    """What a window ``number`` steps ago left behind: an estimate of 0.8, and how it came out."""
    at = NOW - number * step
    estimate = MetricPoint(at=at, name=f"estimated_{name}", value=0.8, lower=0.75, upper=0.85, n_current=1000)
    return [estimate, MetricPoint(at=at, name=name, value=realised, n_current=labelled)]


def history(realised: Sequence[float]) -> list[MetricPoint]:
    return [point for number, value in enumerate(realised) for point in past(number, value)]


def test_pairs_are_of_whole_windows_that_do_not_overlap() -> None:
    points = [point for number in range(25) for point in past(number, 0.8, step=LENGTH / 12)]
    points += past(40, 0.8, labelled=500)

    assert len(pairs_of(points, "estimated_accuracy", LENGTH)) == 3


def test_a_bad_record_speaks_against_its_own_metric() -> None:
    found = doubts_of(history([0.6] * 6), LENGTH, MOST_ERROR)

    assert set(found) == {"estimated_accuracy"}
    assert "+0.2" in found["estimated_accuracy"]


def test_a_good_record_speaks_against_nothing() -> None:
    assert doubts_of(history([0.79, 0.82, 0.8, 0.78, 0.81, 0.8]), LENGTH, MOST_ERROR) == {}


@pytest.mark.parametrize(
    ("verdicts", "refused"),
    [
        ([Verdict.DRIFT], True),
        ([Verdict.OK, Verdict.DRIFT], True),
        ([Verdict.DRIFT, Verdict.OK], False),
        ([Verdict.DRIFT, Verdict.INSUFFICIENT], True),
        ([], False),
    ],
    ids=["drift", "began", "ended", "unknown since", "never judged"],
)
def test_concept_drift_in_the_newest_window_that_could_be_judged_refuses_all(verdicts: list[Verdict], refused: bool) -> None:
    points = [
        MetricPoint(at=NOW + number * LENGTH, name="concept_drift", value=0.1, verdict=verdict)
        for number, verdict in enumerate(verdicts)
    ]

    assert set(doubts_of(points, LENGTH, MOST_ERROR)) == (set(REALISED) if refused else set())


def test_under_concept_drift_the_record_says_that_the_estimates_are_wrong() -> None:
    random, subject = np.random.default_rng(9), subject_with(rows_of(1))
    points: list[MetricPoint] = []
    for number in range(8):
        window = draw(random, 1000, flip=0.3)
        found = estimation_points(subject, window_of(window), JUDGING, {})
        at = NOW - number * LENGTH
        points += [replace(point, at=at) for point in found]
        points.append(MetricPoint(at=at, name="accuracy", value=window.accuracy, n_current=1000))

    assert "off by" in doubts_of(points, LENGTH, MOST_ERROR)["estimated_accuracy"]


def label_steps(rows: Sequence[Rows]) -> list[tuple[datetime, LabelCounts]]:
    steps = []
    for number, step in enumerate(rows):
        called, actual = ([NAMES[int(value)] for value in values] for values in (step.scores >= 0.5, step.actual))
        counts = count_labels(BINARY, step.scores.tolist(), called, actual, [0.0] * len(actual))
        steps.append((NOW + timedelta(minutes=number), counts))
    return steps


@pytest.mark.parametrize(("flip", "refused"), [(0.0, False), (0.3, True)], ids=["as promised", "more errors"])
def test_errors_beyond_what_scores_promise_refuse_all(flip: float, refused: bool) -> None:
    random = np.random.default_rng(11)
    steps = label_steps([draw(random, 60, a=3.0, b=3.0, flip=flip if number >= 20 else 0.0) for number in range(60)])

    found = error_doubts(steps, subject_with(rows_of(1)).profile, 43_200)

    assert set(found) == (set(REALISED) if refused else set())
    if refused:
        assert "since 2026-03-02 12:" in found["estimated_accuracy"]


def test_nothing_is_promised_without_labels_in_the_reference() -> None:
    assert error_doubts(label_steps([rows_of(1, 100)]), subject_of(BINARY, counts_of(BINARY, uniform(300))).profile, 1000) == {}
    assert error_doubts([], subject_with(rows_of(1)).profile, 1000) == {}

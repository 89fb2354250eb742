"""Comparisons: reference values, the error rate under peeking, and every verdict."""

from __future__ import annotations

import doctest
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import collector.statistics.health as health
import collector.statistics.intervals as intervals
from collector.statistics.comparison import arm, compare
from collector.statistics.comparison_json import to_json
from collector.statistics.health import sample_ratio_p, sequential_sample_ratio_p
from collector.statistics.intervals import Estimate, sequential_p, sequential_reach, share_estimate, welch, wilson
from collector.statistics.performance import ClassificationQuality, RegressionQuality, regression
from collector.statistics.trial import Arm, Outcome, Terms
from storage.layouts import build_layout, count_labels, count_latency, empty_prediction_counts
from storage.records import Feature, FeatureType, Signature, Task


def classifier(version: str, n: int, right: int, **changes: Any) -> Arm:
    """An arm of n predictions, all labelled, without failures, of about 10 ms each."""
    values: dict[str, Any] = {
        "version": version,
        "rows": n,
        "failures": 0,
        "latency": count_latency(np.random.default_rng(1).gamma(10, 1, n).tolist()),
        "labelled": n,
        "quality": ClassificationQuality(n=n, accuracy=right / n if n else None),
    }
    return Arm(**{**values, **changes})


def test_docstring_examples_run() -> None:
    assert doctest.testmod(health).failed == 0
    assert doctest.testmod(intervals).failed == 0


def test_welch_matches_the_reference_case() -> None:
    """Sums 1396.87 and 2422.7, squares 52377.9767 and 134698.29, n 3407 and 3461: a published test of another package."""
    sides = [(1396.87, 52377.9767, 3407), (2422.7, 134698.29, 3461)]
    a, b = (Estimate(mean=t / n, variance=(s - t * t / n) / (n - 1), n=n) for t, s, n in sides)

    (low, high), p = welch(a, b)

    assert b.mean - a.mean == pytest.approx(0.29, abs=0.0005)
    assert (a.squared_error + b.squared_error) ** 0.5 == pytest.approx(0.12478, abs=1e-5)
    assert (low, high) == pytest.approx((0.04538, 0.53462), abs=1e-4)
    assert p == pytest.approx(0.02016, abs=1e-4)


def test_wilson_matches_a_textbook_value() -> None:
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=1e-4)
    assert wilson(0, 0) is None


def test_the_sequence_and_its_p_value_agree() -> None:
    for n in (50, 5000, 1_000_000):
        reach = sequential_reach(1 / n, n)

        assert sequential_p(reach, 1 / n, n) == pytest.approx(0.05)
        assert sequential_p(reach * 1.01, 1 / n, n) < 0.05


@pytest.mark.parametrize(
    ("counts", "share", "p"),
    [((5000, 5200), 0.5, 0.0476704), ((900, 100), 0.1, 1.0), ((0, 0), 0.5, None), ((10, 0), 0.5, 0.0015654)],
)
def test_sample_ratio_matches_reference_values(counts: tuple[int, int], share: float, p: float | None) -> None:
    found = sample_ratio_p(*counts, share)

    assert found == (None if p is None else pytest.approx(p, abs=1e-7))


def test_peeking_at_every_hundred_rows_keeps_the_error_rate() -> None:
    """No difference at all, 200 looks at up to 20,000 rows: the sequence excludes 0 in at most 5 % of runs, a fixed test in many."""
    random, runs, looks = np.random.default_rng(10), 300, 200
    sequential = fixed = 0
    for _ in range(runs):
        right = np.cumsum(random.binomial(50, 0.9, size=(2, looks)), axis=1)
        crossed = [False, False]
        for look in range(1, looks):
            a, b = (share_estimate(int(arm[look]), 50 * (look + 1)) for arm in right)
            squared, difference = a.squared_error + b.squared_error, abs(b.mean - a.mean)
            crossed[0] |= difference > sequential_reach(squared, a.n + b.n)
            crossed[1] |= difference > 1.96 * squared**0.5
        sequential, fixed = sequential + crossed[0], fixed + crossed[1]

    assert sequential / runs <= 0.05
    assert fixed / runs > 0.2


def test_peeking_at_the_split_keeps_the_error_rate() -> None:
    random, runs = np.random.default_rng(11), 1000
    alarms = 0
    for _ in range(runs):
        b = np.cumsum(random.binomial(20, 0.3, size=200))
        p = [sequential_sample_ratio_p(20 * (look + 1) - int(n), int(n), 0.3) or 0.0 for look, n in enumerate(b)]
        alarms += min(p) < 0.05

    assert alarms / runs <= 0.05


def test_a_challenger_that_is_clearly_better_ships() -> None:
    found = compare(classifier("1", 5000, 4000), classifier("2", 5000, 4500), expected_share_b=0.5)

    assert (found.verdict, found.winner) == (Outcome.SHIP, "2")
    accuracy = found.metrics["accuracy"]
    assert accuracy.difference == pytest.approx(0.1)
    assert accuracy.sequential_interval is not None
    assert accuracy.interval is not None
    assert accuracy.sequential_interval[0] < accuracy.interval[0] < 0.1 < accuracy.interval[1] < accuracy.sequential_interval[1]


def test_a_challenger_that_is_clearly_worse_goes_back() -> None:
    found = compare(classifier("1", 5000, 4500), classifier("2", 5000, 4000), expected_share_b=0.5)

    assert (found.verdict, found.winner) == (Outcome.ROLL_BACK, "1")


def test_versions_that_are_alike_keep_running_with_a_forecast() -> None:
    found = compare(classifier("1", 1000, 800), classifier("2", 1000, 810), expected_share_b=0.5)

    assert (found.verdict, found.winner) == (Outcome.KEEP_RUNNING, None)
    assert "more labelled predictions" in found.reasons[-1]


def test_few_labels_keep_running() -> None:
    found = compare(classifier("1", 5000, 4500), classifier("2", 90, 10), expected_share_b=None)

    assert found.verdict is Outcome.KEEP_RUNNING
    assert "Too few labelled predictions (2: 90)" in found.reasons[0]


def test_no_data_at_all_keeps_running() -> None:
    empty = [classifier(version, 0, 0, quality=ClassificationQuality(n=0)) for version in "12"]

    assert compare(empty[0], empty[1], expected_share_b=0.5).verdict is Outcome.KEEP_RUNNING


def test_a_split_that_is_off_is_unhealthy_however_good_the_challenger() -> None:
    found = compare(classifier("1", 5000, 4000), classifier("2", 4000, 3900), expected_share_b=0.5)

    assert (found.verdict, found.winner) == (Outcome.UNHEALTHY, None)
    assert "The split is not as agreed: 44.4%" in found.reasons[0]


def test_the_split_is_judged_by_subjects_where_they_are_known() -> None:
    a, b = classifier("1", 5000, 4000, subjects=1000), classifier("2", 4000, 3600, subjects=1010)

    assert compare(a, b, expected_share_b=0.5).health.problems == ()


def test_uneven_labels_are_unhealthy() -> None:
    b = classifier("2", 5000, 4500)
    b = replace(b, labelled=4000, quality=ClassificationQuality(n=4000, accuracy=0.95))

    found = compare(classifier("1", 5000, 4000), b, expected_share_b=0.5)

    assert found.verdict is Outcome.UNHEALTHY
    assert "Labels come unevenly" in found.reasons[0]


def test_errors_beyond_the_margin_go_back_though_accuracy_is_better() -> None:
    b = classifier("2", 5000, 4500, failures=500)
    b = replace(b, labelled=4500, quality=ClassificationQuality(n=4500, accuracy=0.95))

    found = compare(classifier("1", 5000, 4000), b, expected_share_b=0.5)

    assert found.verdict is Outcome.ROLL_BACK
    assert "error_rate" in found.reasons[0]


def test_latency_beyond_the_margin_goes_back() -> None:
    slow = count_latency(np.random.default_rng(2).gamma(10, 10, 5000).tolist())

    found = compare(classifier("1", 5000, 4000), classifier("2", 5000, 4500, latency=slow), expected_share_b=0.5)

    assert found.verdict is Outcome.ROLL_BACK
    assert "latency_p95_seconds" in found.reasons[0]


def test_a_better_challenger_waits_while_a_guardrail_is_open() -> None:
    found = compare(
        classifier("1", 600, 400), classifier("2", 600, 560), expected_share_b=0.5, terms=Terms(error_rate_margin=0.0001)
    )

    assert found.verdict is Outcome.KEEP_RUNNING
    assert any("error_rate is not yet known" in reason for reason in found.reasons)


def test_a_lower_mean_error_ships() -> None:
    def quality(scale: float) -> RegressionQuality:
        errors = np.random.default_rng(3).normal(0, scale, 3000)
        signature = Signature(task=Task.REGRESSION, features=(Feature(name="x", type=FeatureType.NUMBER, missing_allowed=False),))
        layout = build_layout("m", signature, [[0.0]], np.array([0.0, 1.0]))
        return regression(count_labels(layout, errors.tolist(), [""] * 3000, ["0"] * 3000, [1.0] * 3000))

    a, b = (classifier(version, 3000, 0, quality=quality(scale)) for version, scale in (("1", 1.0), ("2", 0.7)))

    found = compare(a, b, expected_share_b=0.5)

    assert (found.verdict, found.winner) == (Outcome.SHIP, "2")
    assert found.metrics["mae"].less_is_better


def test_an_arm_is_made_from_counts() -> None:
    signature = Signature(
        task=Task.CLASSIFICATION,
        features=(Feature(name="x", type=FeatureType.NUMBER, missing_allowed=False),),
        classes=("no", "yes"),
    )
    layout = build_layout("m", signature, [[0.0]], np.linspace(0, 1, 50))
    predictions = empty_prediction_counts(layout)
    predictions.rows, predictions.errors, predictions.timeouts = 10, 2, 1
    labels = count_labels(layout, [0.2, 0.8], ["no", "yes"], ["no", "no"], [1.0, 1.0])

    found = arm("3", layout, predictions, labels)

    assert (found.version, found.rows, found.failures, found.labelled) == ("3", 10, 3, 2)
    assert isinstance(found.quality, ClassificationQuality)
    assert found.quality.accuracy == 0.5


def test_the_json_has_the_public_names() -> None:
    found = json.loads(json.dumps(to_json(compare(classifier("1", 500, 400), classifier("2", 500, 450), expected_share_b=0.5))))

    assert found["arms"]["1"]["n"] == 500
    assert {"subjects"} <= set(found["arms"]["2"])
    assert found["health"]["sample_ratio_p"] == 1.0
    assert {"difference", "interval", "sequential_interval", "p_value"} <= set(found["metrics"]["accuracy"])
    assert {"arms", "health", "metrics", "verdict", "winner", "reasons"} <= set(found)

"""Health by subject, latency by bootstrap, several metrics at once, and the word that comes of it."""

from __future__ import annotations

import doctest
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import collector.statistics.decision as module
from collector.statistics.clusters import cluster_sums, clustered_squared_error
from collector.statistics.comparison import arm, compare, compare_split
from collector.statistics.comparison_json import to_json
from collector.statistics.decision import rows_growth
from collector.statistics.differences import latencies
from collector.statistics.health import check_health
from collector.statistics.intervals import sequential_reach
from collector.statistics.latency import bootstrap_quantiles, quantile_seconds
from collector.statistics.performance import ClassificationQuality
from collector.statistics.trial import Arm, Assignment, Comparison, Outcome, Part, Terms
from storage.evidence import ArmRows, ClusterSums, ScoredRows, SplitRows, SubjectSums
from storage.layouts import bin_indices, build_layout, count_labels, count_latency, empty_prediction_counts
from storage.records import Feature, FeatureType, Layout, Signature, Task

DAY = 86_400.0


def latency(scale: float, n: int, seed: int) -> Any:
    return count_latency((np.random.default_rng(seed).gamma(4, 3, n) * scale).tolist())


def classifier(version: str, n: int, right: int, *, per_subject: int = 0, scale: float = 1.0, **changes: Any) -> Arm:
    """An arm of n labelled predictions; with ``per_subject`` the first subjects are all right and the others all wrong."""
    values: dict[str, Any] = {
        "version": version,
        "rows": n,
        "failures": 0,
        "latency": latency(scale, n, int(version)),
        "labelled": n,
        "quality": ClassificationQuality(n=n, accuracy=right / n),
    }
    if per_subject:
        subjects = np.arange(n) // per_subject
        values["sums"] = SubjectSums(
            rows=n,
            assigned=int(subjects[-1]) + 1,
            quality=cluster_sums((np.arange(n) < right).astype(float), subjects),
            labelled=cluster_sums(np.ones(n), subjects),
            failures=cluster_sums(np.zeros(n), subjects),
        )
    return Arm(**{**values, **changes})


def compared(a: Arm, b: Arm, *, terms: Terms | None = None, **options: Any) -> Comparison:
    return compare(a, b, expected_share_b=0.5, terms=terms, **options)


def test_docstring_examples_run() -> None:
    assert doctest.testmod(module).failed == 0


# ---------------------------------------------------------------------------------------------- health


@pytest.mark.parametrize(
    ("subjects", "both", "share", "problem"),
    [(1000, 20, 0.5, True), (1000, 10, 0.5, False), (40, 4, 0.5, False), (1000, 20, None, False), (0, 0, 0.5, False)],
)
def test_subjects_that_met_both_versions_are_a_problem_over_the_limit(
    subjects: int, both: int, share: float | None, problem: bool
) -> None:
    a, b = classifier("1", 500, 400), classifier("2", 500, 400)

    found = check_health(a, b, share, Assignment(subjects=subjects, both=both), 0.01)

    assert bool(found.problems) == problem
    if problem:
        assert "20 of 1000 subjects (2.0%) met both versions" in found.problems[0]


def test_labels_that_come_by_subject_may_differ_more() -> None:
    """90 of 100 subjects have all their 20 labels in one arm, 80 of 100 in the other: chance, though 2,000 rows would prove it."""
    arms = []
    for version, known in (("1", 90), ("2", 80)):
        labels = (np.arange(2000) // 20 < known).astype(float)
        sums = SubjectSums(rows=2000, labelled=cluster_sums(labels, np.arange(2000) // 20))
        arms.append(classifier(version, 2000, 1500, labelled=int(labels.sum()), sums=sums))

    by_subject = check_health(arms[0], arms[1], 0.5)
    by_row = check_health(replace(arms[0], sums=None), replace(arms[1], sums=None), 0.5)

    assert by_subject.problems == ()
    assert "Labels come unevenly" in by_row.problems[0]


# ---------------------------------------------------------------------------------------------- latency


def test_bootstrap_error_is_that_of_drawing_the_values_anew() -> None:
    random = np.random.default_rng(1)
    values = random.gamma(4, 3, 3000)
    drawn = random.choice(values, (1000, 3000))

    found = bootstrap_quantiles(count_latency(values.tolist()), [0.5, 0.95])

    expected = np.quantile(drawn, [0.5, 0.95], axis=1).std(axis=1) / 1000
    assert found.shape == (1000, 2)
    assert found.std(axis=0) == pytest.approx(expected, rel=0.25)
    assert np.median(found, axis=0) == pytest.approx(np.quantile(values, [0.5, 0.95]) / 1000, rel=0.02)


def test_bootstrap_gives_the_same_for_the_same_counts() -> None:
    counts = latency(1.0, 500, 3)

    assert np.array_equal(bootstrap_quantiles(counts, [0.9]), bootstrap_quantiles(counts, [0.9]))
    assert np.isnan(bootstrap_quantiles(np.zeros_like(counts), [0.9], draws=2)).all()
    assert bootstrap_quantiles(count_latency([10.0]), [0.5, 0.99], draws=3) == pytest.approx(0.01, rel=0.04)


def test_latency_intervals_hold_the_true_difference() -> None:
    held = {"latency_p50_seconds": 0, "latency_p95_seconds": 0}
    for seed in range(150):
        arms = [classifier(version, 600, 500, latency=latency(1.0, 600, 1000 * int(version) + seed)) for version in "12"]
        for metric in latencies(arms[0], arms[1], Terms()):
            if metric.name in held and metric.interval is not None:
                held[metric.name] += metric.interval[0] <= 0 <= metric.interval[1]

    assert min(held.values()) / 150 >= 0.92


def test_a_quantile_with_few_values_beyond_it_is_not_judged() -> None:
    found = {metric.name: metric for metric in latencies(classifier("1", 300, 1), classifier("2", 300, 1), Terms())}

    assert found["latency_p99_seconds"].interval is None
    assert found["latency_p99_seconds"].difference is not None
    assert found["latency_p95_seconds"].interval is not None
    assert found["latency_p95_seconds"].a == quantile_seconds(latency(1.0, 300, 1), 0.95)


def test_subjects_that_are_slow_in_all_they_ask_widen_the_interval() -> None:
    slow = (np.arange(2000) // 20 < 5).astype(float)
    sums = SubjectSums(rows=2000, slow=cluster_sums(slow, np.arange(2000) // 20))
    a, b = classifier("1", 2000, 1500), classifier("2", 2000, 1500)

    plain = latencies(a, b, Terms())[1]
    clustered = latencies(replace(a, sums=sums), replace(b, sums=sums), Terms())[1]

    assert plain.squared_error is not None
    assert clustered.squared_error is not None
    assert clustered.squared_error > 4 * plain.squared_error


# ---------------------------------------------------------------------------------------------- several metrics


def test_scores_that_are_distributed_alike_are_within_their_margin_and_decide_nothing() -> None:
    scores = [np.append(np.random.default_rng(seed).multinomial(20_000, np.full(50, 0.02)), 0) for seed in (1, 2)]
    a, b = (classifier(version, 20_000, 16_000, scores=found) for version, found in zip("12", scores, strict=True))

    metric = compared(a, b).metrics["score_ks"]

    gap = np.abs(np.cumsum(scores[0]) - np.cumsum(scores[1])).max() / 20_000
    assert metric.difference == pytest.approx(gap)
    assert metric.part is Part.EXPLORATORY
    assert metric.sequential_interval is not None
    assert metric.interval is not None
    assert metric.interval[1] < metric.sequential_interval[1] < (metric.margin or 0)


def test_exact_rows_give_the_area_where_they_are_known() -> None:
    signature = Signature(
        task=Task.CLASSIFICATION,
        features=(Feature(name="x", type=FeatureType.NUMBER, missing_allowed=False),),
        classes=("no", "yes"),
    )
    layout = build_layout("m", signature, [[0.0]], np.linspace(0, 1, 5))
    random = np.random.default_rng(4)
    arms = []
    for version in "12":
        scores = random.random(300)
        labels = tuple(("no", "yes")[int(random.random() < score)] for score in scores)
        counts = count_labels(layout, scores.tolist(), ["no"] * 300, list(labels), [1.0] * 300)
        predictions = empty_prediction_counts(layout)
        predictions.rows = 300
        scored = ScoredRows(scores=np.append(scores, 9.0), labels=(*labels, "unheard"), subjects=(None,) * 301)
        arms.append((arm(version, layout, predictions, counts, scored=scored), arm(version, layout, predictions, counts)))

    exact, binned = (compare(*pair).metrics["roc_auc"] for pair in zip(*arms, strict=True))

    assert (exact.method, exact.n_a) == ("DeLong on rows, by subject", 300)
    assert binned.method == "DeLong on score bins, by prediction"
    assert exact.interval is not None
    assert binned.interval is not None
    assert binned.interval[0] < exact.interval[0] < exact.interval[1] < binned.interval[1]


def test_a_sequence_that_just_leaves_zero_waits_until_it_does_for_all_metrics_together() -> None:
    """The sequential p-value is below 0.05, three times it is not: Holm over three deciding metrics keeps running."""
    a, b = classifier("1", 2000, 1600), classifier("2", 2000, 1683)

    found = compared(a, b)

    primary = found.metrics["accuracy"]
    assert primary.sequential_interval is not None
    assert primary.sequential_interval[0] > 0
    assert primary.adjusted_p_value == pytest.approx(3 * (primary.sequential_p_value or 0))
    assert found.verdict is Outcome.KEEP_RUNNING
    assert "Holm's p-value" in found.reasons[0]


def test_metrics_that_decide_and_those_to_look_at_are_adjusted_apart() -> None:
    found = compared(classifier("1", 3000, 2500), classifier("2", 3000, 2600)).metrics

    assert {name for name, metric in found.items() if metric.part is Part.GUARDRAIL} == {"error_rate", "latency_p95_seconds"}
    assert found["error_rate"].adjusted_p_value == 1.0, "it is not beyond its margin"
    assert found["latency_p50_seconds"].adjusted_p_value is not None
    assert found["latency_p50_seconds"].adjusted_p_value >= (found["latency_p50_seconds"].p_value or 0)


# ---------------------------------------------------------------------------------------------- verdicts


def test_what_many_independent_rows_prove_few_subjects_do_not() -> None:
    """600 against 700 of 1,000 right: proof by rows, nothing where 50 subjects are wholly right or wholly wrong."""
    by_row = compared(classifier("1", 1000, 600), classifier("2", 1000, 720))
    by_subject = compared(classifier("1", 1000, 600, per_subject=20), classifier("2", 1000, 720, per_subject=20))

    assert (by_row.verdict, by_subject.verdict) == (Outcome.SHIP, Outcome.KEEP_RUNNING)
    assert by_subject.metrics["accuracy"].units == 100
    assert by_subject.metrics["accuracy"].method == "Welch, by subject (delta method)"
    assert "Intervals are by subject, of which there were 50 and 50" in by_subject.notes[0]
    assert by_subject.posterior is not None
    assert by_subject.posterior.probability_b_better < 0.95


def test_a_handful_of_subjects_decides_nothing() -> None:
    found = compared(classifier("1", 1000, 0, per_subject=50), classifier("2", 1000, 1000, per_subject=50))

    assert found.verdict is Outcome.KEEP_RUNNING
    assert "Too few subjects: the labelled predictions come from 20 in the smaller arm" in found.reasons[0]


def test_predictions_without_subjects_are_said_to_be_taken_as_independent() -> None:
    nobody = SubjectSums(rows=1000, anonymous=1000, assigned=1000)

    found = compared(classifier("1", 1000, 800, sums=nobody), classifier("2", 1000, 800, sums=nobody))

    assert found.notes[0] == "Predictions are taken as independent: none of them names a subject."


def test_a_part_of_the_rows_is_said_to_be_one() -> None:
    a, b = (classifier(version, 1000, 800, per_subject=2, rows=4000, labelled=3200) for version in "12")

    assert any("measured on the newest 2000 predictions" in note for note in compared(a, b).notes)


@pytest.mark.parametrize(("seconds", "verdict"), [(3600.0, Outcome.KEEP_RUNNING), (8 * DAY, Outcome.SHIP), (None, Outcome.SHIP)])
def test_shipping_waits_for_the_agreed_runtime(seconds: float | None, verdict: Outcome) -> None:
    terms = Terms(min_runtime_seconds=7 * DAY)

    found = compared(classifier("1", 5000, 4000), classifier("2", 5000, 4500), terms=terms, seconds=seconds)

    assert found.verdict is verdict
    if verdict is Outcome.KEEP_RUNNING:
        assert found.reasons[-1] == "It has run for 1 hour of the agreed 7 days."
        assert "less than a day" in found.notes[-1]


def test_going_back_does_not_wait() -> None:
    terms = Terms(min_runtime_seconds=7 * DAY)

    assert compared(classifier("1", 5000, 4500), classifier("2", 5000, 4000), terms=terms, seconds=60).verdict is Outcome.ROLL_BACK


def test_no_worse_ships_where_that_was_agreed() -> None:
    a, b = classifier("1", 20_000, 16_000), classifier("2", 20_000, 16_010)

    found = compared(a, b, terms=Terms(quality_margin=0.03))

    assert compared(a, b).verdict is Outcome.KEEP_RUNNING
    assert (found.verdict, found.winner) == (Outcome.SHIP, "2")
    assert "not worse by 0.03 or more" in found.reasons[0]


def test_the_forecast_comes_true() -> None:
    """If difference and shares stay as they are, so many more rows do decide it, and some fewer do not."""
    now = compared(classifier("1", 1000, 800), classifier("2", 1000, 830), seconds=1000.0)
    assert now.forecast is not None
    assert now.forecast.seconds is not None

    def later(more: float) -> Outcome:
        n = round(1000 + more / 2)
        return compared(classifier("1", n, round(0.8 * n)), classifier("2", n, round(0.83 * n))).verdict

    assert (later(now.forecast.labelled * 1.05), later(now.forecast.labelled * 0.85)) == (Outcome.SHIP, Outcome.KEEP_RUNNING)
    assert now.forecast.seconds == pytest.approx(now.forecast.labelled / 2, rel=0.1), "2,000 rows came in 1,000 seconds"
    assert "at the present rate, would decide it" in now.reasons[-1]


def test_growth_ends_where_the_sequence_reaches_no_further() -> None:
    growth = rows_growth(4e-4, 1000, 0.03, Terms()) or 0.0

    assert sequential_reach(4e-4 / growth, round(1000 * growth)) == pytest.approx(0.03, rel=1e-3)
    assert rows_growth(4e-4, 1000, 0.0, Terms()) is None
    assert rows_growth(4e-4, 1000, 1e-6, Terms()) is None


def test_versions_without_any_difference_have_no_forecast() -> None:
    found = compared(classifier("1", 1000, 800), classifier("2", 1000, 800))

    assert found.forecast is None
    assert "no amount of data that can be waited for" in found.reasons[-1]


def test_few_labels_have_a_forecast_until_there_are_enough() -> None:
    a, b = (classifier(version, 1000, 800, labelled=25, quality=ClassificationQuality(n=25, accuracy=0.8)) for version in "12")

    found = compared(a, b, seconds=100.0)

    assert found.forecast is not None
    assert (found.forecast.labelled, found.forecast.seconds) == (150, 300.0)


def test_looking_a_thousand_times_gives_a_wrong_word_in_at_most_one_of_twenty_runs() -> None:
    """No difference at all, up to 10,000 rows an arm: neither word but keep running, as the whole comparison gives it.

    The sequence reaches at least 3.04 standard errors far, so only looks at which 0 is further away than 3 are judged.
    """
    random, runs, looks, step = np.random.default_rng(6), 120, 1000, 10
    wrong = 0
    for _ in range(runs):
        right = random.binomial(step, 0.85, (2, looks)).cumsum(axis=1)
        n = step * np.arange(1, looks + 1)
        gap = np.abs(right[1] - right[0]) / n
        share = right.mean(axis=0) / n
        sure = np.flatnonzero((gap > 3.0 * np.sqrt(2 * share * (1 - share) / n)) & (n >= 100))
        wrong += any(word(int(n[look]), *(int(side[look]) for side in right)) != Outcome.KEEP_RUNNING for look in sure)

    assert wrong / runs <= 0.05


def word(n: int, first: int, second: int) -> Outcome:
    empty = np.zeros_like(latency(1.0, 1, 1))
    return compared(classifier("1", n, first, latency=empty), classifier("2", n, second, latency=empty)).verdict


def test_the_json_carries_everything() -> None:
    a, b = classifier("1", 1000, 800, per_subject=2), classifier("2", 1000, 830, per_subject=2)

    found = to_json(compared(a, b, assignment=Assignment(subjects=1000, both=0), seconds=100.0))

    assert found["health"]["mixed"] == {"subjects": 1000, "both": 0, "share": 0.0}
    assert {"posterior", "forecast", "notes", "terms", "design", "disagreement", "start", "end"} <= set(found)
    assert {"adjusted_p_value", "sequential_p_value", "part", "method", "units"} <= set(found["metrics"]["accuracy"])


def regression_layout(edges: int) -> Layout:
    signature = Signature(task=Task.REGRESSION, features=(Feature(name="x", type=FeatureType.NUMBER, missing_allowed=False),))
    return build_layout("m", signature, [[0.0]], np.linspace(-3, 3, edges))


def regression_rows(layout: Layout, scale: float, seed: int) -> ArmRows:
    """1,000 predictions of 250 subjects, whose errors are alike within a subject; the labels are 0."""
    random = np.random.default_rng(seed)
    errors = random.normal(0, scale, 1000) * np.repeat(random.gamma(2, 0.5, 250), 4)
    predictions = empty_prediction_counts(layout)
    predictions.rows = 1000
    predictions.bins[-layout.score.size :] = np.bincount(bin_indices(layout.score, errors), minlength=layout.score.size)
    subjects = np.arange(1000) // 4
    sums = SubjectSums(rows=1000, assigned=250, quality=cluster_sums(np.abs(errors), subjects))
    labels = count_labels(layout, errors.tolist(), [""] * 1000, ["0"] * 1000, [1.0] * 1000)
    return ArmRows(predictions=predictions, labels=labels, sums=sums, scored=None)


def test_regressions_of_a_split_are_compared_by_subject() -> None:
    layout = regression_layout(40)
    rows = SplitRows(a=regression_rows(layout, 1.0, 1), b=regression_rows(layout, 0.6, 2), both=0)

    found = compare_split(rows, (layout, layout), ("1", "2"), expected_share_b=0.5)

    mae = found.metrics["mae"]
    errors = [clustered_squared_error(side.sums.quality) or 0.0 for side in (rows.a, rows.b)]
    assert (mae.units, mae.n_a, mae.less_is_better) == (500, 1000, True)
    assert mae.squared_error == pytest.approx(sum(errors), rel=2e-3)
    assert found.arms[0].subjects == 250
    assert found.posterior is not None
    assert found.posterior.probability_b_better > 0.99


def test_scores_in_other_bins_are_not_compared() -> None:
    layouts = (regression_layout(40), regression_layout(20))
    rows = SplitRows(a=regression_rows(layouts[0], 1.0, 1), b=regression_rows(layouts[1], 1.0, 2), both=0)

    found = compare_split(rows, layouts, ("1", "2"), expected_share_b=None)

    assert "score_ks" not in found.metrics
    assert "score_ks" in compare_split(replace(rows, b=rows.a), (layouts[0], layouts[0]), ("1", "2"), expected_share_b=None).metrics


def test_sums_without_rows_change_nothing() -> None:
    empty = SubjectSums(quality=ClusterSums())
    a, b = classifier("1", 1000, 800), classifier("2", 1000, 830)

    with_sums = compared(replace(a, sums=empty), replace(b, sums=empty)).metrics["accuracy"]

    assert with_sums == compared(a, b).metrics["accuracy"]

"""Shadows: McNemar against scipy and published tables, sequential tests under a thousand looks, paired metrics, disagreement."""

from __future__ import annotations

import doctest
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import collector.statistics.paired as module
import collector.statistics.sequential as sequential
from collector.statistics.comparison import compare_pairs
from collector.statistics.intervals import sequential_reach
from collector.statistics.paired import disagreement, mcnemar
from collector.statistics.sequential import distribution_reach, mixture_p
from collector.statistics.trial import Comparison, Design, Outcome, Part, Terms
from storage.evidence import Answers, Pairs
from storage.layouts import build_layout
from storage.records import Feature, FeatureType, Floats, Layout, Signature, Task

VERSIONS = ("1", "2")


def layout(classes: tuple[str, ...] = ("no", "yes")) -> Layout:
    signature = Signature(
        task=Task.CLASSIFICATION if classes else Task.REGRESSION,
        features=(Feature(name="x", type=FeatureType.NUMBER, missing_allowed=False),),
        classes=classes,
    )
    return build_layout("m", signature, [[0.0]], np.linspace(0, 1, 50))


def pairs(n: int, *, better: float = 0.0, labelled: float = 1.0, per_subject: int = 1, seed: int = 0) -> Pairs:
    """``n`` inputs, of which the champion gets 80 % right and the shadow ``better`` more; 10 % answered otherwise."""
    random = np.random.default_rng(seed)
    actual = random.random(n) < 0.5
    right_a = random.random(n) < 0.8
    flips = random.random(n) < np.where(right_a, 0.0625 - better / 1.6, 0.25 + better / 0.4)
    right_b = right_a ^ flips
    sides = [answers(np.where(right, actual, ~actual), random) for right in (right_a, right_b)]
    labels = tuple(
        ("no", "yes")[int(yes)] if known else None for yes, known in zip(actual, random.random(n) < labelled, strict=True)
    )
    return Pairs(a=sides[0], b=sides[1], labels=labels, subjects=tuple(f"s{number // per_subject}" for number in range(n)))


def answers(said: Any, random: np.random.Generator) -> Answers:
    n = said.size
    return Answers(
        predictions=tuple(np.where(said, "yes", "no").tolist()),
        scores=np.clip(said * 0.4 + random.random(n) * 0.6, 0, 1),
        latency_ms=random.gamma(10, 1, n),
        ok=np.ones(n, np.bool_),
    )


def compared(given: Pairs, **terms: Any) -> Comparison:
    return compare_pairs(given, layout(), VERSIONS, terms=Terms(**terms))


def test_docstring_examples_run() -> None:
    assert doctest.testmod(module).failed == 0
    assert doctest.testmod(sequential).failed == 0


# ---------------------------------------------------------------------------------------------- McNemar


@pytest.mark.parametrize(
    ("only_a", "only_b", "chi2", "corrected", "exact"),
    [
        (121, 59, 21.35556, 20.67222, 4e-6),
        (70, 59, 0.9379845, 0.7751938, 0.378688),
        (80, 59, 3.17266187, 2.87769784, 0.089452),
        (30, 60, None, None, 0.00206),
        (10, 30, None, None, 0.002221),
    ],
)
def test_mcnemar_matches_published_values(
    only_a: int, only_b: int, chi2: float | None, corrected: float | None, exact: float
) -> None:
    found = mcnemar(only_a, only_b)

    assert found.exact_p == pytest.approx(exact, rel=1e-3, abs=1e-6)
    if chi2 is not None:
        assert found.chi2 == pytest.approx(chi2, rel=1e-6)
        assert found.chi2_corrected == pytest.approx(corrected, rel=1e-6)


@given(st.integers(0, 200), st.integers(0, 200))
def test_the_exact_p_value_is_that_of_the_binomial(only_a: int, only_b: int) -> None:
    expected = stats.binomtest(only_b, only_a + only_b).pvalue if only_a + only_b else 1.0

    assert mcnemar(only_a, only_b).exact_p == pytest.approx(expected)


def test_no_discordant_pair_says_nothing() -> None:
    found = mcnemar(0, 0)

    assert (found.exact_p, found.sequential_p, found.chi2, found.chi2_p) == (1.0, 1.0, None, None)


@given(st.integers(0, 500), st.integers(0, 500))
def test_the_sequential_p_value_pays_for_the_looks_and_treats_both_sides_alike(only_a: int, only_b: int) -> None:
    found, turned = mcnemar(only_a, only_b), mcnemar(only_b, only_a)

    assert found.sequential_p == pytest.approx(turned.sequential_p)
    assert found.sequential_p >= min(1.0, found.exact_p / 2)


def test_a_thousand_looks_at_discordant_pairs_keep_the_error_rate() -> None:
    """Both equally good, a look after every discordant pair: a chi-squared test at 0.05 would alarm in most runs."""
    runs, looks = 800, 1000
    wins = np.cumsum(np.random.default_rng(1).random((runs, looks)) < 0.5, axis=1)
    n = np.arange(1, looks + 1)
    limits = np.array([rejection_limit(int(size)) for size in n])

    crossed = (np.abs(2 * wins - n) >= limits).any(axis=1).mean()
    peeked = (np.abs(2 * wins - n)[:, 20:] > 1.96 * np.sqrt(n[20:])).any(axis=1).mean()

    assert crossed <= 0.05
    assert peeked > 0.3


def rejection_limit(n: int) -> int:
    """The least |b - c| of n discordant pairs at which the sequential test rejects; more than n where none does."""
    low, high = 0, n + 2
    while low < high:
        middle = (low + high) // 2
        wins = (n + middle) // 2
        if middle <= n and mixture_p(wins, n - wins, 0.5, 2.0) >= 0.05:
            low = middle + 1
        else:
            high = middle
    return low


def test_a_thousand_looks_at_a_split_keep_the_error_rate() -> None:
    """Accuracy 0.9 in both arms, 20 rows an arm between looks: the confidence sequence leaves 0 in at most 5 % of runs."""
    runs, looks = 800, 1000
    right = np.random.default_rng(2).binomial(20, 0.9, (looks, 2, runs)).cumsum(axis=0)
    crossed, fixed = np.zeros(runs, np.bool_), np.zeros(runs, np.bool_)
    for look in range(5, looks):
        n = 20 * (look + 1)
        share = right[look] / n
        error = np.sqrt((share * (1 - share)).sum(axis=0) / n)
        gap = np.abs(share[1] - share[0])
        crossed |= gap > error * sequential_reach(1.0, 2 * n)
        fixed |= gap > 1.96 * error

    assert crossed.mean() <= 0.05
    assert fixed.mean() > 0.4


def test_the_distribution_of_scores_stays_within_its_reach_at_every_look() -> None:
    random, runs = np.random.default_rng(3), 100
    left = 0
    for _ in range(runs):
        values = random.random(2000)
        left += any(furthest(values[:n]) > distribution_reach(n, 0.05) for n in range(20, 2001, 60))

    assert left / runs <= 0.05
    assert distribution_reach(100, 0.05) > 1.36 / 10, "wider than for one look"


def furthest(values: Floats) -> float:
    """Kolmogorov's distance from the uniform distribution."""
    ordered, n = np.sort(values), values.size
    return float(np.maximum(np.arange(1, n + 1) / n - ordered, ordered - np.arange(n) / n).max())


# ---------------------------------------------------------------------------------------------- metrics


def test_a_better_shadow_ships() -> None:
    found = compared(pairs(4000, better=0.04))

    accuracy = found.metrics["accuracy"]
    assert (found.verdict, found.winner, found.design) == (Outcome.SHIP, "2", Design.SHADOW)
    assert (accuracy.part, accuracy.n_a, accuracy.method) == (Part.PRIMARY, 4000, "McNemar, exact and sequential")
    assert accuracy.difference == pytest.approx(0.04, abs=0.012)


def test_the_p_value_of_the_accuracy_is_mcnemars() -> None:
    given = pairs(600, better=0.02, labelled=0.7)
    right = [np.array([s == t for s, t in zip(side.predictions, given.labels, strict=True)]) for side in (given.a, given.b)]
    known = np.array([label is not None for label in given.labels])
    only_a, only_b = int((right[0] & ~right[1] & known).sum()), int((right[1] & ~right[0] & known).sum())

    accuracy = compared(given).metrics["accuracy"]

    assert accuracy.p_value == pytest.approx(stats.binomtest(only_b, only_a + only_b).pvalue)
    assert accuracy.sequential_p_value == mcnemar(only_a, only_b).sequential_p
    assert accuracy.difference == pytest.approx((only_b - only_a) / known.sum())


def test_pairs_tell_more_than_the_same_rows_of_a_split() -> None:
    """The same inputs answered by both: what makes an input hard cancels."""
    found = compared(pairs(3000)).metrics["accuracy"]
    unpaired = 1.96 * (2 * 0.8 * 0.2 / 3000) ** 0.5

    assert found.interval is not None
    assert (found.interval[1] - found.interval[0]) / 2 < 0.75 * unpaired


def test_subjects_with_several_pairs_are_taken_together() -> None:
    once = pairs(800, better=0.02)
    four = repeated(once, 4)

    one, many = compared(once).metrics["accuracy"], compared(four).metrics["accuracy"]

    assert many.method == "paired differences, by subject"
    assert (many.n_a, many.units) == (3200, 800)
    assert one.interval is not None
    assert many.interval == pytest.approx(one.interval, abs=1e-3)


def repeated(given: Pairs, times: int) -> Pairs:
    """Every pair several times, each time of the same subject."""

    def side(one: Answers) -> Answers:
        return Answers(
            predictions=one.predictions * times,
            scores=np.tile(one.scores, times),
            latency_ms=np.tile(one.latency_ms, times),
            ok=np.tile(one.ok, times),
        )

    return Pairs(a=side(given.a), b=side(given.b), labels=given.labels * times, subjects=given.subjects * times)


def test_a_failing_shadow_goes_back() -> None:
    given = pairs(2000, better=0.04)
    failing = replace(given, b=replace(given.b, ok=np.arange(2000) % 10 > 0))

    found = compared(failing)

    assert found.verdict is Outcome.ROLL_BACK
    assert "error_rate" in found.reasons[0]
    assert found.arms[1].failures == 200


def test_regressions_are_compared_by_the_paired_absolute_error() -> None:
    random = np.random.default_rng(4)
    actual = random.normal(0, 1, 1500)
    sides = [
        Answers(
            predictions=("",) * 1500,
            scores=actual + random.normal(0, scale, 1500),
            latency_ms=np.full(1500, 5.0),
            ok=np.ones(1500, np.bool_),
        )
        for scale in (1.0, 0.7)
    ]
    labels = (*(str(value) for value in actual[:-1]), "later")
    given = Pairs(a=sides[0], b=sides[1], labels=labels, subjects=(None,) * 1500)

    found = compare_pairs(given, layout(()), VERSIONS)

    mae, expected = found.metrics["mae"], [np.abs(side.scores - actual)[:-1] for side in sides]
    assert (found.verdict, mae.n_a) == (Outcome.SHIP, 1499)
    assert mae.difference == pytest.approx((expected[1] - expected[0]).mean())
    assert mae.p_value == pytest.approx(stats.ttest_rel(expected[1], expected[0]).pvalue, rel=1e-6)
    assert mae.interval == pytest.approx(tuple(stats.ttest_rel(expected[1], expected[0]).confidence_interval()), rel=1e-6)


def test_no_pairs_at_all_keep_running() -> None:
    found = compared(pairs(0))

    assert (found.verdict, found.disagreement and found.disagreement.rate) == (Outcome.KEEP_RUNNING, None)


def test_areas_are_compared_on_the_same_rows() -> None:
    found = compared(pairs(1000)).metrics["roc_auc"]

    assert (found.method, found.n_a, found.part) == ("paired DeLong, by subject", 1000, Part.EXPLORATORY)
    assert found.interval is not None
    assert found.interval[0] < (found.difference or 0) < found.interval[1]


# ---------------------------------------------------------------------------------------------- without labels


@pytest.mark.parametrize("seed", range(5))
def test_no_labels_can_make_a_larger_difference_than_the_disagreement(seed: int) -> None:
    given = pairs(500, seed=seed)
    random = np.random.default_rng(seed)
    found = disagreement(given, layout(), Terms())

    for _ in range(20):
        labels = random.choice(["no", "yes"], 500)
        right = [np.mean([s == t for s, t in zip(side.predictions, labels, strict=True)]) for side in (given.a, given.b)]
        assert abs(right[1] - right[0]) <= (found.rate or 0) + 1e-12
    assert found.interval is not None
    assert found.bound is not None
    assert found.interval[0] < (found.rate or 0) < found.interval[1] < found.bound


def test_versions_that_agree_ship_without_a_label_where_no_worse_is_enough() -> None:
    given = pairs(5000, labelled=0.0)
    alike = replace(given, b=replace(given.b, predictions=(*given.b.predictions[:50], *given.a.predictions[50:])))

    waiting, shipped = compared(alike), compared(alike, quality_margin=0.02)

    assert waiting.verdict is Outcome.KEEP_RUNNING
    assert (shipped.verdict, shipped.winner) == (Outcome.SHIP, "2")
    assert "whatever the labels will be" in shipped.reasons[0]


def test_numbers_disagree_where_they_are_more_than_a_hundredth_apart() -> None:
    a = np.array([100.0, 100.0, 0.0, np.nan, -5.0])
    sides = [
        Answers(predictions=("",) * 5, scores=scores, latency_ms=np.full(5, np.nan), ok=np.ones(5, np.bool_))
        for scores in (a, np.array([100.5, 102.0, 0.0, 1.0, 5.0]))
    ]
    given = Pairs(a=sides[0], b=sides[1], labels=(None,) * 5, subjects=(None,) * 5)

    found = disagreement(given, layout(()), Terms())

    assert (found.n, found.rate) == (4, 0.5)
    assert found.distance == pytest.approx(12.5 / 4)
    assert found.bound is not None
    assert found.bound > 12.5 / 4

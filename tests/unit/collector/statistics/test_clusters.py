"""The delta method by subject: formulas against the textbook, the bootstrap, and the error rate under a clustered null."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import collector.statistics.clusters as module
from collector.statistics.clusters import by_subject, cluster_numbers, cluster_sums, clustered_squared_error, design_effect
from collector.statistics.intervals import Estimate, sequential_reach, share_estimate, welch
from storage.evidence import ClusterSums
from storage.records import Floats, Ints


def clustered_rows(random: np.random.Generator, subjects: int, rows: int, share: float = 0.8) -> tuple[Floats, Ints]:
    """Right or wrong of subjects that are easy or hard: rows of one subject have an intraclass correlation of about 0.3."""
    ease = random.beta(share * 2.3, (1 - share) * 2.3, subjects)
    return random.binomial(1, np.repeat(ease, rows)).astype(np.float64), np.repeat(np.arange(subjects), rows)


def test_docstring_examples_run() -> None:
    assert doctest.testmod(module).failed == 0


def test_one_row_to_a_subject_is_the_plain_variance() -> None:
    values = np.random.default_rng(0).normal(3, 2, 500)

    sums = cluster_sums(values, np.arange(500))

    assert clustered_squared_error(sums) == pytest.approx(values.var(ddof=1) / 500)
    assert design_effect(sums) == pytest.approx(1.0)


def test_the_squared_error_is_that_of_a_ratio_of_means() -> None:
    """var(M/D) = vM / D^2 + vD M^2 / D^4 - 2 cov M / D^3 with variances per subject, divided by their number."""
    random = np.random.default_rng(1)
    sizes = random.integers(1, 9, 300)
    clusters = np.repeat(np.arange(300), sizes)
    values = random.normal(np.repeat(random.normal(0, 1, 300), sizes), 1)
    totals = np.bincount(clusters, weights=values)
    m, d = totals.mean(), sizes.mean()
    covariance = np.cov(totals, sizes)
    textbook = (covariance[0, 0] / d**2 + covariance[1, 1] * m**2 / d**4 - 2 * covariance[0, 1] * m / d**3) / 300

    assert clustered_squared_error(cluster_sums(values, clusters)) == pytest.approx(textbook, rel=1e-9)


def test_the_squared_error_is_what_drawing_subjects_anew_gives() -> None:
    random = np.random.default_rng(2)
    values, clusters = clustered_rows(random, 400, 5)
    table = values.reshape(400, 5).sum(axis=1)
    drawn = random.integers(0, 400, (4000, 400))

    bootstrap = (table[drawn].sum(axis=1) / 2000).var()

    assert clustered_squared_error(cluster_sums(values, clusters)) == pytest.approx(bootstrap, rel=0.08)


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(-1e3, 1e3)), min_size=2, max_size=40))
def test_sums_are_those_of_a_loop(rows: list[tuple[int, float]]) -> None:
    groups = [[value for key, value in rows if key == cluster] for cluster in {key for key, _ in rows}]

    found = cluster_sums(np.array([value for _, value in rows]), np.array([key for key, _ in rows], np.int64))

    assert found.clusters == len(groups)
    assert found.rows_squared == sum(len(group) ** 2 for group in groups)
    assert found.total_squared == pytest.approx(sum(sum(group) ** 2 for group in groups), abs=1e-6)
    assert found.product == pytest.approx(sum(len(group) * sum(group) for group in groups), abs=1e-6)


def test_values_that_are_missing_do_not_count() -> None:
    found = cluster_sums(np.array([1.0, np.nan, 2.0]), np.array([0, 1, 2]))

    assert (found.clusters, found.rows, found.total) == (2, 2.0, 3.0)


@pytest.mark.parametrize(
    "sums", [ClusterSums(), ClusterSums(clusters=1, rows=9, total=3, rows_squared=81, total_squared=9, product=27, squares=3)]
)
def test_fewer_than_two_subjects_say_nothing(sums: ClusterSums) -> None:
    estimate = share_estimate(3, 9)

    assert design_effect(sums) is None
    assert by_subject(estimate, sums) == estimate


def test_rows_that_are_all_alike_count_as_their_subjects() -> None:
    """Nothing shows how alike the rows of a subject are where all rows are: then they are taken to be equal."""
    sums = cluster_sums(np.ones(200), np.repeat(np.arange(20), 10))

    assert design_effect(sums) == pytest.approx(10.0)
    assert by_subject(share_estimate(200, 200), sums).squared_error == pytest.approx(share_estimate(200, 200).squared_error * 10)


def test_a_part_of_the_rows_gives_an_effect_for_all_of_them() -> None:
    """Half the rows of each subject: the effect of the whole is 1 + (effect - 1) / share."""
    random = np.random.default_rng(3)
    values, clusters = clustered_rows(random, 3000, 20)
    half = np.arange(values.size) % 2 == 0

    whole = design_effect(cluster_sums(values, clusters)) or 0.0
    scaled = design_effect(cluster_sums(values[half], clusters[half]), covered=0.5) or 0.0

    assert scaled == pytest.approx(whole, rel=0.15)


def test_rows_without_a_subject_are_alone() -> None:
    assert cluster_numbers([None, "a", None, "a", "b"]).tolist() == [0, 1, 2, 1, 3]


def test_only_the_clustered_test_keeps_its_level_with_twenty_rows_per_subject() -> None:
    """No difference, 100 subjects of 20 rows an arm: 5 % of fixed tests should reject, and without subjects far more do."""
    random, runs = np.random.default_rng(4), 600
    clustered = plain = 0
    for _ in range(runs):
        arms = [clustered_rows(random, 100, 20) for _ in range(2)]
        estimates = [share_estimate(int(values.sum()), values.size) for values, _ in arms]
        grouped = [by_subject(found, cluster_sums(*arm)) for found, arm in zip(estimates, arms, strict=True)]
        plain += welch(estimates[0], estimates[1])[1] < 0.05
        clustered += welch(grouped[0], grouped[1])[1] < 0.05

    assert 0.03 <= clustered / runs <= 0.075
    assert plain / runs > 0.25


def test_peeking_at_clustered_rows_keeps_the_error_rate() -> None:
    """No difference, subjects come back all the time, 100 looks: the sequence by subject leaves 0 in at most 5 % of runs."""
    random, runs, looks, subjects = np.random.default_rng(5), 100, 100, 300
    clustered = plain = 0
    for _ in range(runs):
        crossed = peeked(random, subjects, looks)
        clustered, plain = clustered + crossed[0], plain + crossed[1]

    assert clustered / runs <= 0.05
    assert plain / runs > 0.15


def peeked(random: np.random.Generator, subjects: int, looks: int) -> tuple[bool, bool]:
    """Whether the sequences by subject and by row ever leave 0 while 300 subjects an arm come back at every look."""
    ease = random.beta(0.8 * 2.3, 0.2 * 2.3, (2, subjects))
    came = np.cumsum(random.binomial(1, 0.2, (looks, 2, subjects)), axis=0)
    right = np.cumsum(random.binomial(np.diff(came, axis=0, prepend=0), ease), axis=0)
    clustered = plain = False
    for look in range(2, looks):
        estimates, grouped = [], []
        for n, t in zip(came[look], right[look], strict=True):
            estimate = share_estimate(int(t.sum()), int(n.sum()))
            sums = ClusterSums(
                clusters=int((n > 0).sum()),
                rows=float(n.sum()),
                total=float(t.sum()),
                rows_squared=float(n @ n),
                total_squared=float(t @ t),
                product=float(n @ t),
                squares=float(t.sum()),
            )
            estimates.append(estimate)
            grouped.append(by_subject(estimate, sums))
        plain |= is_apart(estimates)
        clustered |= is_apart(grouped)
    return clustered, plain


def is_apart(arms: list[Estimate]) -> bool:
    reach = sequential_reach(sum(arm.squared_error for arm in arms), sum(arm.n for arm in arms))
    return abs(arms[1].mean - arms[0].mean) > reach

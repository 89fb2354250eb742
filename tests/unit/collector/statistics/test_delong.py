"""Areas under ROC curves and their errors: scikit-learn, a plain DeLong by all pairs, the bootstrap."""

from __future__ import annotations

import doctest
from itertools import product

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

import collector.statistics.delong as module
from collector.statistics.clusters import cluster_numbers
from collector.statistics.delong import Bools, area_difference, influence_variance, paired_area_difference, roc_area
from collector.statistics.performance import roc_auc
from storage.records import Floats


def two_scores(seed: int, n: int, lift: float = 0.3) -> tuple[Floats, Floats, Bools]:
    """Two scores of the same rows that share much of their noise, rounded so that there are ties."""
    random = np.random.default_rng(seed)
    positive = random.random(n) < 0.4
    shared = random.normal(positive * 0.8, 1)
    return np.round(shared + random.normal(0, 0.5, n), 1), np.round(shared + random.normal(positive * lift, 0.5), 1), positive


def delong_by_all_pairs(scores: Floats, positive: Bools) -> tuple[float, Floats, Floats]:
    """The area and its structural components, one comparison at a time."""
    x, y = scores[positive], scores[~positive]
    psi = np.array([1.0 if p > q else 0.5 if p == q else 0.0 for p, q in product(x, y)]).reshape(x.size, y.size)
    return float(psi.mean()), psi.mean(axis=1), psi.mean(axis=0)


def test_docstring_examples_run() -> None:
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("seed", range(4))
def test_area_and_errors_are_those_of_all_pairs(seed: int) -> None:
    a, b, positive = two_scores(seed, 80)
    (area_a, x_a, y_a), (area_b, x_b, y_b) = (delong_by_all_pairs(scores, positive) for scores in (a, b))
    m, n = x_a.size, y_a.size
    s10, s01 = np.cov(x_a, x_b), np.cov(y_a, y_b)
    s = s10 / m + s01 / n

    first, second = roc_area(a, positive), roc_area(b, positive)

    assert first is not None
    assert second is not None
    assert first.area == pytest.approx(area_a) == pytest.approx(roc_auc_score(positive, a))
    assert influence_variance(first.influence, positive) == pytest.approx(s[0, 0])
    paired = paired_area_difference(first, second)
    assert paired.difference == pytest.approx(area_b - area_a)
    assert paired.standard_error**2 == pytest.approx(s[0, 0] + s[1, 1] - 2 * s[0, 1])
    assert paired.p_value == pytest.approx(2 * stats.norm.sf(abs(area_b - area_a) / paired.standard_error))
    assert area_difference(first, second).standard_error ** 2 == pytest.approx(s[0, 0] + s[1, 1])


def test_the_paired_error_is_what_drawing_rows_anew_gives() -> None:
    a, b, positive = two_scores(5, 400)
    random = np.random.default_rng(6)
    differences = []
    for _ in range(250):
        drawn = random.integers(0, 400, 400)
        differences.append(roc_auc_score(positive[drawn], b[drawn]) - roc_auc_score(positive[drawn], a[drawn]))

    first, second = roc_area(a, positive), roc_area(b, positive)

    assert first is not None
    assert second is not None
    assert paired_area_difference(first, second).standard_error == pytest.approx(np.std(differences), rel=0.15)


def test_rows_of_one_subject_widen_the_error_as_drawing_subjects_does() -> None:
    """Every row is there four times: the error by subject is that of the rows once, by row it is half of it."""
    a, _, positive = two_scores(7, 300)
    once, four = roc_area(a, positive), roc_area(np.tile(a, 4), np.tile(positive, 4))
    assert once is not None
    assert four is not None
    subjects = np.tile(np.arange(300), 4)

    by_row = influence_variance(four.influence, four.positive)
    by_subject = influence_variance(four.influence, four.positive, subjects)

    assert by_subject == pytest.approx(influence_variance(once.influence, once.positive), rel=0.02)
    assert by_row == pytest.approx(by_subject / 4, rel=0.02)


def test_a_subject_of_its_own_for_each_row_changes_next_to_nothing() -> None:
    a, _, positive = two_scores(8, 300)
    found = roc_area(a, positive)
    assert found is not None

    alone = influence_variance(found.influence, positive, cluster_numbers([None] * 300))

    assert alone == pytest.approx(influence_variance(found.influence, positive), rel=0.02)


def test_counts_by_score_give_the_same_error_as_rows() -> None:
    a, _, positive = two_scores(9, 500)
    values = np.unique(a)
    negatives, positives = (np.bincount(np.searchsorted(values, a[side]), minlength=values.size) for side in (~positive, positive))
    counted = roc_auc(negatives, positives)
    found = roc_area(a, positive)

    assert found is not None
    assert counted is not None
    assert counted.area == pytest.approx(found.area)
    assert counted.standard_error**2 == pytest.approx(influence_variance(found.influence, positive))


def test_there_is_no_area_without_both_classes() -> None:
    assert roc_area(np.array([1.0, 2.0]), np.array([True, True])) is None
    assert roc_area(np.array([]), np.array([], np.bool_)) is None


def test_equal_scores_differ_by_nothing() -> None:
    a, _, positive = two_scores(10, 50)
    found = roc_area(a, positive)
    assert found is not None

    same = paired_area_difference(found, found)

    assert (same.difference, same.interval, same.p_value) == (0.0, (0.0, 0.0), 1.0)

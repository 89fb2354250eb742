"""Distances and tests on counts against scipy, and the rules by which groups are made and joined."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2_contingency, entropy

from collector.statistics import distances, groups
from collector.statistics.distances import (
    hellinger_rows,
    homogeneity,
    joined_groups,
    js_rows,
    kl_rows,
    psi,
    psi_rows,
    total_variation_rows,
)
from storage.records import Ints

tables = hnp.arrays(np.int64, (4, 6), elements=st.integers(0, 60))
full = hnp.arrays(np.int64, 6, elements=st.integers(1, 60))


@pytest.mark.parametrize("module", [distances, groups], ids=["distances", "groups"])
def test_docstring_examples_run(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


@given(full, full)
def test_kl_equals_scipy_entropy_of_reference_from_window(reference: Ints, current: Ints) -> None:
    assert kl_rows(reference, current) == pytest.approx(entropy(reference, current), abs=1e-12)


@given(full, full)
def test_psi_is_the_sum_of_both_divergences_where_no_group_is_empty(reference: Ints, current: Ints) -> None:
    assert psi(reference, current) == pytest.approx(kl_rows(reference, current) + kl_rows(current, reference), abs=1e-12)


@given(tables, tables)
def test_rows_of_a_table_are_the_same_as_one_column_each(reference: Ints, current: Ints) -> None:
    for distance in (psi_rows, kl_rows, js_rows, hellinger_rows, total_variation_rows):
        together = distance(reference, current)
        alone = [distance(r, c) for r, c in zip(reference, current, strict=True)]

        assert together == pytest.approx(np.array(alone), nan_ok=True)


@given(full, full)
def test_distances_stand_in_their_known_order(reference: Ints, current: Ints) -> None:
    tv, h = float(total_variation_rows(reference, current)), float(hellinger_rows(reference, current))
    js, kl = float(js_rows(reference, current)), float(kl_rows(reference, current))

    assert h**2 <= tv + 1e-12
    assert tv <= h * np.sqrt(2) + 1e-12
    assert tv <= np.sqrt(kl / 2) + 1e-9  # Pinsker
    assert js**2 <= tv + 1e-12  # Lin


def test_hellinger_and_total_variation_by_hand() -> None:
    reference, current = np.array([36, 64]), np.array([64, 36])

    assert total_variation_rows(reference, current) == pytest.approx(0.28)
    assert hellinger_rows(reference, current) == pytest.approx(0.2)  # roots 0.6 and 0.8, swapped


def test_groups_without_rows_on_either_side_change_nothing() -> None:
    reference, current = np.array([50, 30, 20]), np.array([40, 30, 0])
    wider = [np.append(side, [0, 0]) for side in (reference, current)]

    for distance in (psi_rows, kl_rows, js_rows, hellinger_rows, total_variation_rows):
        assert distance(*wider) == distance(reference, current)


def test_an_empty_side_gives_no_distance() -> None:
    for distance in (psi_rows, kl_rows, js_rows, hellinger_rows, total_variation_rows):
        assert np.isnan(distance(np.array([1, 2]), np.array([0, 0])))
        assert np.isnan(distance(np.array([0, 0]), np.array([1, 2])))


class TestHomogeneity:
    @given(hnp.arrays(np.int64, 6, elements=st.integers(20, 90)), hnp.arrays(np.int64, 6, elements=st.integers(20, 90)))
    def test_equals_scipy_on_the_table_of_both_sides(self, reference: Ints, current: Ints) -> None:
        found = homogeneity(reference, current)
        pearson = chi2_contingency([reference, current], correction=False)
        likelihood = chi2_contingency([reference, current], correction=False, lambda_="log-likelihood")

        assert [found.chi2, found.chi2_p] == pytest.approx([pearson.statistic, pearson.pvalue], abs=1e-9)
        assert [found.g, found.g_p] == pytest.approx([likelihood.statistic, likelihood.pvalue], abs=1e-9)

    @given(tables, tables)
    def test_every_compared_group_expects_five_rows_unless_there_are_too_few_rows(self, reference: Ints, current: Ints) -> None:
        r, c = joined_groups(reference, current)
        n, m = reference.sum(axis=1, keepdims=True), current.sum(axis=1, keepdims=True)

        expected = (r + c) * np.minimum(n, m) / np.maximum(n + m, 1)
        several = ((r + c) > 0).sum(axis=1) > 1

        assert r.sum(axis=1).tolist() == n[:, 0].tolist()
        assert c.sum(axis=1).tolist() == m[:, 0].tolist()
        assert (expected[several][(r + c)[several] > 0] >= 5).all()

    @given(tables, tables)
    def test_what_is_joined_does_not_depend_on_which_side_holds_the_rows(self, reference: Ints, current: Ints) -> None:
        r, c = joined_groups(reference, current)
        swapped_c, swapped_r = joined_groups(current, reference)

        assert (r.tolist(), c.tolist()) == (swapped_r.tolist(), swapped_c.tolist())

    def test_one_row_of_a_new_group_is_no_proof(self) -> None:
        found = homogeneity(np.array([6000, 4000, 0]), np.array([118, 81, 1]))

        assert float(found.chi2_p) > 0.5
        assert float(found.g_p) > 0.5

    def test_many_rows_of_a_new_group_are(self) -> None:
        assert float(homogeneity(np.array([6000, 4000, 0]), np.array([60, 40, 300])).chi2_p) < 1e-12

    def test_raises_false_alarms_at_its_level_with_two_hundred_groups(self) -> None:
        random = np.random.default_rng(4)
        shares = random.dirichlet(np.ones(200))
        reference, current = random.multinomial(5000, shares, 2000), random.multinomial(1000, shares, 2000)

        alarms = float((homogeneity(reference, current).chi2_p < 0.05).mean())

        assert 0.03 < alarms < 0.065  # Monte Carlo error of 2,000 trials at 0.05: 0.005

    @pytest.mark.parametrize(
        ("reference", "current"),
        [([0, 0], [5, 5]), ([5, 5], [0, 0]), ([900, 0], [400, 0]), ([2, 1], [1, 1])],
        ids=["no reference", "no window", "one group", "too few rows"],
    )
    def test_nothing_to_test_is_nan(self, reference: list[int], current: list[int]) -> None:
        found = homogeneity(np.array(reference), np.array(current))

        assert np.isnan([found.chi2, found.chi2_p, found.g, found.g_p]).all()


def test_jensen_shannon_rows_equal_scipy() -> None:
    random = np.random.default_rng(5)
    reference, current = random.integers(0, 50, (30, 12)), random.integers(0, 50, (30, 12))

    assert js_rows(reference, current) == pytest.approx(jensenshannon(reference, current, base=2, axis=1))


DECILES = np.full(10, 1000)
MOVED = np.array([559, 653, 749, 849, 884, 978, 1141, 1273, 1309, 1605])
LEVELS = np.array([2876, 1340, 911, 723, 554, 434, 396, 388, 313, 287, 238, 236, 216, 184, 173, 167, 151, 136, 154, 123])
MOVED_LEVELS = np.array([2527, 1344, 761, 800, 864, 729, 289, 266, 505, 249, 277, 173, 122, 169, 167, 150, 147, 150, 122, 189])
"""Deciles of a numeric column and levels of a categorical one, 10,000 rows on either side, with what others found on them."""


def test_deciles_give_the_published_psi_and_jensen_shannon() -> None:
    assert psi(DECILES, MOVED) == pytest.approx(0.09703618153962856, abs=1e-12)
    assert js_rows(DECILES, MOVED) == pytest.approx(0.13173704272524905, abs=1e-12)
    assert js_rows(DECILES, MOVED) * np.sqrt(np.log(2)) == pytest.approx(0.10967828238118474, abs=1e-12)  # in nats


def test_levels_give_the_published_values_of_scipy_and_alibi_detect() -> None:
    found = homogeneity(LEVELS, MOVED_LEVELS)

    assert found.chi2 == pytest.approx(328.5961569832956, rel=1e-12)
    assert found.chi2_p == pytest.approx(2.6633889023199247e-58, rel=1e-9)
    assert psi(LEVELS, MOVED_LEVELS) == pytest.approx(0.06674802973685753, abs=1e-12)
    assert js_rows(LEVELS, MOVED_LEVELS) == pytest.approx(0.10928540469275017, abs=1e-12)

"""Adjusted p-values and posteriors: other implementations, closed forms, simulation."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import betaln

import collector.statistics.multiplicity as multiplicity
import collector.statistics.posterior as posterior
from collector.statistics.multiplicity import benjamini_hochberg, holm
from collector.statistics.posterior import beta_posterior, normal_posterior

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def test_docstring_examples_run() -> None:
    assert doctest.testmod(multiplicity).failed == 0
    assert doctest.testmod(posterior).failed == 0


@given(P_VALUES)
def test_benjamini_hochberg_is_scipys(p_values: list[float]) -> None:
    assert benjamini_hochberg(p_values) == pytest.approx(stats.false_discovery_control(p_values).tolist())


@given(P_VALUES, st.floats(0.001, 0.2))
def test_holm_rejects_what_stepping_down_rejects(p_values: list[float], alpha: float) -> None:
    rejected = set()
    for step, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[index] > alpha / (len(p_values) - step):
            break
        rejected.add(index)

    adjusted = holm(p_values)

    for index, p in enumerate(adjusted):
        if not math.isclose(p, alpha, rel_tol=1e-9):
            assert (p < alpha) == (index in rejected)


def test_nothing_is_adjusted_to_nothing() -> None:
    assert (holm([]), benjamini_hochberg([])) == ([], [])


def chance_in_closed_form(right_a: int, n_a: int, right_b: int, n_b: int) -> float:
    """P(b > a) as the finite sum that holds for whole counts."""
    a, c, b, d = 1 + right_a, 1 + n_a - right_a, 1 + right_b, 1 + n_b - right_b
    return sum(math.exp(betaln(a + i, c + d) - math.log(d + i) - betaln(1 + i, d) - betaln(a, c)) for i in range(b))


@pytest.mark.parametrize(
    ("a", "b"), [((49, 100), (51, 100)), ((0, 10), (10, 10)), ((3, 7), (2, 9)), ((950, 1000), (990, 1000)), ((5, 5), (5, 5))]
)
def test_the_chance_of_b_is_that_of_the_closed_form(a: tuple[int, int], b: tuple[int, int]) -> None:
    found = beta_posterior(*a, *b)

    assert found.probability_b_better == pytest.approx(chance_in_closed_form(*a, *b), abs=2e-5)


def test_the_expected_loss_is_that_of_draws() -> None:
    random = np.random.default_rng(0)
    a, b = random.beta(81, 21, 400_000), random.beta(86, 16, 400_000)

    found = beta_posterior(80, 100, 85, 100)

    assert found.expected_loss == pytest.approx(np.maximum(a - b, 0).mean(), rel=0.02)
    assert found.probability_b_better == pytest.approx((b > a).mean(), abs=0.003)


def test_the_normal_posterior_is_that_of_draws() -> None:
    draws = np.random.default_rng(1).normal(0.1, 0.2, 400_000)

    found = normal_posterior(0.1, 0.04)

    assert found.probability_b_better == pytest.approx((draws > 0).mean(), abs=0.003)
    assert found.expected_loss == pytest.approx(np.maximum(-draws, 0).mean(), rel=0.02)


@pytest.mark.parametrize(("gain", "chance", "loss"), [(0.0, 0.5, 0.0), (0.1, 1.0, 0.0), (-0.1, 0.0, 0.1)])
def test_a_gain_without_error_is_certain(gain: float, chance: float, loss: float) -> None:
    found = normal_posterior(gain, 0.0)

    assert (found.probability_b_better, found.expected_loss) == (chance, loss)

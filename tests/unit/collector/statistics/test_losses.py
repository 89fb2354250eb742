"""The direct loss estimate from counts: what it follows, how sure it is, and when it says nothing."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

import collector.statistics.losses as module
from collector.statistics.estimation import Estimated
from collector.statistics.losses import LossModel, estimate_losses, fit_losses
from storage.records import Floats, Ints

EDGES = np.linspace(0, 1, 121)[1:]
SIZE = EDGES.size + 2


def bins(values: Floats) -> Ints:
    return np.asarray(np.searchsorted(EDGES, values, side="right"), dtype=np.int64)


def counts(columns: Floats) -> list[Ints]:
    return [np.bincount(bins(column), minlength=SIZE) for column in columns]


def losses_of(random: np.random.Generator, columns: Floats) -> Floats:
    """Absolute errors whose spread rises with the first column and jumps with the second."""
    return np.asarray(np.abs(random.normal(0, 0.3 + columns[0] + 0.5 * (columns[1] > 0.7))))


def fitted(columns: Floats, losses: Floats) -> LossModel:
    found = fit_losses([bins(column) for column in columns], [SIZE] * len(columns), losses)
    assert found is not None
    return found


def estimated(model: LossModel, window: Floats, reference: Floats) -> Estimated:
    found = estimate_losses(model, counts(window), counts(reference))
    assert found is not None
    return found


def test_docstring_examples_run() -> None:
    assert doctest.testmod(module).failed == 0


def test_on_its_own_sample_it_is_the_mean_loss() -> None:
    random = np.random.default_rng(1)
    columns = random.uniform(0, 1, (3, 600))
    losses = losses_of(random, columns)

    assert estimated(fitted(columns, losses), columns, columns).value == pytest.approx(losses.mean())


def test_it_follows_rows_that_move_to_larger_losses() -> None:
    random = np.random.default_rng(2)
    columns, window = random.uniform(0, 1, (3, 2000)), random.uniform(0, 1, (3, 2000))
    window[0] = random.uniform(0.7, 1, 2000)
    losses, later = losses_of(random, columns), losses_of(random, window)

    found = estimated(fitted(columns, losses), window, columns)

    assert later.mean() - losses.mean() > 0.15
    assert found.value == pytest.approx(later.mean(), abs=0.06)


@pytest.mark.parametrize("is_shifted", [False, True])
def test_the_interval_holds_the_realised_mean_about_19_times_of_20(is_shifted: bool) -> None:
    random, held, rounds = np.random.default_rng(3), 0, 100
    for _ in range(rounds):
        columns, window = random.uniform(0, 1, (3, 800)), random.uniform(0, 1, (3, 400))
        if is_shifted:
            window[0] = random.beta(4, 2, 400)
        found = estimated(fitted(columns, losses_of(random, columns)), window, columns)
        held += found.interval[0] <= losses_of(random, window).mean() <= found.interval[1]

    assert 0.88 <= held / rounds <= 1.0


def test_columns_that_tell_nothing_leave_the_estimate_near_the_mean() -> None:
    random = np.random.default_rng(4)
    columns, losses = random.uniform(0, 1, (3, 1000)), random.exponential(1, 1000)
    window = columns.copy()
    window[0] = random.uniform(0.8, 1, 1000)

    assert estimated(fitted(columns, losses), window, columns).value == pytest.approx(losses.mean(), abs=0.2)


def test_values_that_the_reference_has_not_seen_are_out_of_support() -> None:
    random = np.random.default_rng(5)
    columns = random.uniform(0, 0.5, (2, 500))
    window = columns.copy()
    window[1, :200] = 0.9

    found = estimated(fitted(columns, random.exponential(1, 500)), window, columns)

    assert found.out_of_support == pytest.approx(0.4)


def test_constant_and_missing_columns_are_no_trouble() -> None:
    columns = [np.zeros(100, np.int64), np.full(100, SIZE - 1)]
    window = [np.bincount(column, minlength=SIZE) for column in columns]

    model = fit_losses(columns, [SIZE, SIZE], np.linspace(0, 1, 100))

    assert model is not None
    found = estimate_losses(model, window, window)
    assert found is not None
    assert found.value == pytest.approx(0.5)


def test_few_losses_or_no_rows_say_nothing() -> None:
    nothing = fit_losses([np.zeros(30, np.int64)], [3], np.full(30, np.nan))
    model = fit_losses([np.zeros(30, np.int64)], [3], np.ones(30))
    assert model is not None

    assert nothing is None
    assert estimate_losses(model, [np.zeros(3, np.int64)], [np.array([30, 0, 0])]) is None

"""Quantiles of absolute errors, against the exact ones of the rows."""

from __future__ import annotations

import numpy as np
import pytest

from collector.statistics.errors import QUANTILES, RELATIVE_ERROR, error_quantile
from storage.error_histogram import count_errors
from storage.layouts import build_layout
from storage.records import Floats, Layout, Signature, Task

LAYOUT = build_layout("m", Signature(task=Task.REGRESSION, features=()), [], np.random.default_rng(0).normal(size=2000))


def drawn(kind: str, n: int, seed: int = 0) -> Floats:
    random = np.random.default_rng(seed)
    if kind == "normal":
        return random.normal(size=n)
    if kind == "heavy":
        return random.standard_cauchy(n)
    return np.round(random.exponential(size=n), 1)


def quantile_of(layout: Layout, errors: Floats, q: float) -> float | None:
    found = error_quantile(layout, count_errors(layout, errors, np.zeros(errors.size)), q)
    return None if found is None else found.value


@pytest.mark.parametrize("q", QUANTILES.values())
@pytest.mark.parametrize("kind", ["normal", "heavy", "ties"])
@pytest.mark.parametrize("n", [1, 7, 100, 5000])
def test_a_quantile_is_within_its_bound_of_the_exact_one(kind: str, n: int, q: float) -> None:
    errors = drawn(kind, n)

    exact = float(np.quantile(np.abs(errors), q, method="inverted_cdf"))

    assert quantile_of(LAYOUT, errors, q) == pytest.approx(exact, rel=RELATIVE_ERROR + 1e-9)


def test_the_interval_holds_the_true_quantile_as_often_as_it_says() -> None:
    held = 0
    for seed in range(400):
        counts = count_errors(LAYOUT, drawn("normal", 300, seed), np.zeros(300))
        found = error_quantile(LAYOUT, counts, 0.9)
        assert found is not None
        assert found.interval is not None
        held += found.interval[0] <= 1.6449 <= found.interval[1]

    assert held / 400 >= 0.94


def test_few_errors_have_no_interval_and_none_no_quantile() -> None:
    few = error_quantile(LAYOUT, count_errors(LAYOUT, np.ones(20), np.zeros(20)), 0.95)

    assert few is not None
    assert (few.n, few.interval) == (20, None)
    assert error_quantile(LAYOUT, count_errors(LAYOUT, np.array([]), np.array([])), 0.5) is None


def test_a_model_that_is_always_right_has_an_error_of_nothing() -> None:
    assert quantile_of(LAYOUT, np.zeros(100), 0.95) == 0.0

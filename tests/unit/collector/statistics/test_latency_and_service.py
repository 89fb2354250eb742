"""Quantiles of histograms within their bound, and rates."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import collector.statistics.latency as latency
import collector.statistics.service as service_module
from collector.statistics.latency import RELATIVE_ERROR, latency_quantile, quantile_seconds
from collector.statistics.service import service, spread
from storage.layouts import count_latency, empty_prediction_counts
from storage.records import Bins, Layout


def test_docstring_examples_run() -> None:
    assert doctest.testmod(latency).failed == 0
    assert doctest.testmod(service_module).failed == 0


@given(st.lists(st.floats(0.01, 60_000), min_size=1, max_size=60), st.sampled_from([0.0, 0.5, 0.95, 0.99, 1.0]))
def test_quantiles_are_within_two_percent(milliseconds: list[float], q: float) -> None:
    exact = float(np.quantile(milliseconds, q, method="inverted_cdf")) / 1000

    found = quantile_seconds(count_latency(milliseconds), q)

    assert found == pytest.approx(exact, rel=RELATIVE_ERROR + 1e-6)
    assert RELATIVE_ERROR < 0.02


def test_an_empty_histogram_has_no_quantile() -> None:
    assert quantile_seconds(count_latency([]), 0.5) is None
    assert latency_quantile(count_latency([]), 0.5).n == 0


def test_the_interval_holds_the_quantile_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    truth = float(np.quantile(random.gamma(2, 10, 1_000_000), 0.95)) / 1000
    found = [latency_quantile(count_latency(random.gamma(2, 10, 1000).tolist()), 0.95) for _ in range(300)]

    held = [f.lower * (1 - RELATIVE_ERROR) <= truth <= f.upper * (1 + RELATIVE_ERROR) for f in found if f.lower and f.upper]

    assert len(held) == 300
    assert np.mean(held) > 0.92


def test_too_few_values_beyond_the_quantile_leave_no_interval() -> None:
    assert latency_quantile(count_latency([1.0] * 20), 0.99).upper is None


def test_rates_of_a_window() -> None:
    counts = empty_prediction_counts(Layout(model="m", features=(), score=Bins(name=""), classes=()))
    counts.rows, counts.errors, counts.timeouts = 600, 6, 3

    found = service(counts, 300)

    assert (found.requests_per_second, found.error_rate, found.timeout_rate) == (2.0, 0.01, 0.005)
    assert found.error_rate_interval is not None
    assert found.error_rate_interval[0] < 0.01 < found.error_rate_interval[1]


def test_an_empty_window_has_throughput_zero_and_no_rates() -> None:
    counts = empty_prediction_counts(Layout(model="m", features=(), score=Bins(name=""), classes=()))

    found = service(counts, 300)

    assert (found.requests_per_second, found.error_rate, found.timeout_rate_interval) == (0.0, None, None)


@pytest.mark.parametrize(("values", "mean", "deviation"), [([], None, None), ([2.0], 2.0, None), ([1.0, 3.0], 2.0, 2**0.5)])
def test_spread_of_moments(values: list[float], mean: float | None, deviation: float | None) -> None:
    found = spread(np.array([len(values), sum(values), sum(value**2 for value in values)], dtype=float))

    assert (found.mean, found.deviation) == (mean, None if deviation is None else pytest.approx(deviation))

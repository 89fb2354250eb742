"""Ranking a column against a sorted one without sorting it, against sorting it."""

from __future__ import annotations

import doctest
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.statistics import buckets as module
from collector.statistics.buckets import choose_buckets, rank, sort_column
from collector.statistics.drift import exact_ks, reference_bins
from storage.records import Floats

special = st.sampled_from([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, 5e-324, 1e308, -1e308])
samples = st.lists(st.floats(allow_nan=False) | st.floats(-2, 2, width=16) | special, max_size=60).map(np.array)


def test_docstring_examples_run() -> None:
    assert doctest.testmod(module).failed == 0


def assert_ranked(reference: Floats, current: Floats, edges: Floats) -> None:
    found = rank(sort_column(reference, edges), current)

    assert found.ks == pytest.approx(exact_ks(reference, current), abs=1e-12)
    assert found.below_edges.tolist() == np.searchsorted(np.sort(current), edges).tolist()


@given(samples, samples, samples)
def test_distance_and_ranks_are_those_of_sorted_columns(reference: Floats, current: Floats, edges: Floats) -> None:
    assert_ranked(reference.astype(float), current.astype(float), np.sort(edges.astype(float)))


@given(samples.filter(lambda values: values.size > 0), samples)
def test_buckets_never_fall_as_values_rise(reference: Floats, values: Floats) -> None:
    buckets = choose_buckets(np.sort(reference))
    found = buckets.of(np.sort(values.astype(float)))

    assert (np.diff(found) >= 0).all()
    assert ((found >= 0) & (found < buckets.size)).all()


def test_equal_zeros_share_a_bucket() -> None:
    buckets = choose_buckets(np.sort(np.append(-(2.0 ** np.arange(500)), 2.0 ** np.arange(500))))

    assert buckets.of(np.array([0.0]))[0] == buckets.of(np.array([-0.0]))[0]


DRAWS: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "normal": lambda random, n: random.normal(size=n),
    "log-normal": lambda random, n: random.lognormal(0, 2, n),
    "heavy tail": lambda random, n: random.pareto(0.3, n),
    "counts": lambda random, n: random.poisson(5, n).astype(float),
    "flag": lambda random, n: random.integers(0, 2, n).astype(float),
    "clipped": lambda random, n: np.maximum(random.normal(size=n), 0),
    "constant": lambda random, n: np.full(n, 0.1),
    "prices": lambda random, n: np.round(random.lognormal(3, 1, n), 2),
    "seconds": lambda random, n: 1.7e9 + random.integers(0, 10**6, n).astype(np.float64),
}


@pytest.mark.parametrize("moved", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("name", DRAWS)
def test_columns_as_they_occur(name: str, moved: float) -> None:
    random = np.random.default_rng(len(name))
    reference, current = DRAWS[name](random, 20_000), DRAWS[name](random, 7_000)

    assert_ranked(reference, current + moved, np.array(reference_bins(reference).edges))


def test_few_rows_are_sorted() -> None:
    random = np.random.default_rng(9)
    reference, current = sort_column(random.normal(size=50_000)), random.normal(size=50_000)
    held = np.bincount(reference.buckets.of(current), minlength=reference.buckets.size)

    opened = module._Gaps.at_ends(reference, held).open

    assert held[opened].sum() < 2_500

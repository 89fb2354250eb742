"""The budget of false alarms: levels against simulation, and back to the number of alarms."""

from __future__ import annotations

import doctest
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtri

import collector.statistics.budget as module
from collector.statistics.budget import (
    RESERVE,
    Persistence,
    expected_false_alarms,
    independent_looks,
    level_of_each,
    levels_for_budget,
)

ALONE = Persistence(needed=1, windows=1)
HOUR = timedelta(hours=1)


def test_docstring_examples_run() -> None:
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("text", ["", "2", "0/3", "3/2", "2/13", "a/b", "2/3/4", "-1/3", "2.0/3"])
def test_a_persistence_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"2/3|1/1"):
        Persistence.parse(text)


@pytest.mark.parametrize("level", [0.01, 0.001])
def test_looks_at_a_sliding_mean_count_as_often_as_it_crosses(level: float) -> None:
    """Sums of twelve normals that move on by one: how many times per length they come to lie beyond the level."""
    random, lengths = np.random.default_rng(0), 200_000
    sums = np.cumsum(np.append(0.0, random.normal(size=12 * lengths)))
    scores = (sums[12:] - sums[:-12]) / np.sqrt(12)
    beyond = np.abs(scores) > -ndtri(level / 2)
    began = np.count_nonzero(beyond[1:] & ~beyond[:-1]) / lengths
    apart = np.flatnonzero(beyond)
    clusters = (1 + np.count_nonzero(np.diff(apart) > 12)) / lengths

    found = level * independent_looks(level, 1 / 12) / RESERVE

    assert clusters * 0.8 < found
    assert found < began * 1.3


@given(st.floats(1e-12, 0.05), st.floats(0.01, 1.0))
def test_looks_are_at_least_one_and_at_most_all(level: float, step_share: float) -> None:
    assert 1.0 <= independent_looks(level, step_share) / RESERVE <= max(1.0, 1 / step_share) * 1.001


@pytest.mark.parametrize(("n", "m"), [(200, 10_000), (1000, 1000), (5000, 1000)])
def test_windows_that_share_a_reference_are_beyond_together_no_more_than_allowed(n: int, m: int) -> None:
    random, runs, allowed = np.random.default_rng(1), 400_000, 1e-3
    shared = random.normal(size=runs) / np.sqrt(m)
    scores = [(random.normal(size=runs) / np.sqrt(n) - shared) / np.sqrt(1 / n + 1 / m) for _ in range(2)]
    limit = -ndtri(level_of_each(allowed, 2, n, m) / 2)

    both = np.mean((np.abs(scores[0]) > limit) & (np.abs(scores[1]) > limit))

    assert both < allowed * 1.1
    assert both > allowed / 30


@given(
    st.floats(1, 365),
    st.sampled_from([60, 3600, 86_400]),
    st.integers(1, 5000),
    st.integers(1, 4),
    st.sampled_from(["1/1", "2/3", "3/5"]),
)
def test_the_expected_alarms_are_the_budget(days: float, seconds: int, tests: int, lengths: int, text: str) -> None:
    length, persistence = timedelta(seconds=seconds), Persistence.parse(text)
    levels = levels_for_budget(days, length, length / 12, tests, lengths=lengths, persistence=persistence)

    found = lengths * expected_false_alarms(levels, length, length / 12, tests, persistence)

    assert found <= 7 / days * 1.05
    if levels.once < 1e-3:
        assert found == pytest.approx(7 / days, rel=0.05)


def test_a_longer_window_has_fewer_looks_and_so_a_higher_level() -> None:
    levels = [
        levels_for_budget(30, length, length / 12, 40, lengths=2, persistence=ALONE).once for length in (HOUR / 12, HOUR, 24 * HOUR)
    ]

    assert levels == sorted(levels)


def test_persistence_takes_half_of_the_budget() -> None:
    alone = levels_for_budget(30, HOUR, HOUR / 12, 40, lengths=1, persistence=ALONE)
    both = levels_for_budget(30, HOUR, HOUR / 12, 40, lengths=1, persistence=Persistence())

    assert alone.together is None
    assert both.once == pytest.approx(alone.once / 2, rel=0.1)
    assert both.together == pytest.approx(both.once / 2, rel=0.1)

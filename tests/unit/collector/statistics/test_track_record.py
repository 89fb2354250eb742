"""When past estimates, or the window itself, speak against an estimate."""

from __future__ import annotations

import doctest
from dataclasses import replace

import numpy as np
import pytest

import collector.statistics.track_record as module
from collector.statistics.estimation import Estimated
from collector.statistics.track_record import Limits, Pair, estimate_doubt, record_doubt, track_record

GOOD = Estimated(value=0.9, error=0.01, interval=(0.88, 0.92), bound=0.01, n=1000, n_reference=5000, out_of_support=0.01)


def pair(error: float, *, half_width: float = 0.02) -> Pair:
    return Pair(estimate=0.8 + error, lower=0.8 + error - half_width, upper=0.8 + error + half_width, realised=0.8)


def test_docstring_examples_run() -> None:
    assert doctest.testmod(module).failed == 0


def test_a_record_is_the_mean_error_and_how_often_the_interval_held() -> None:
    found = track_record([pair(0.01), pair(-0.03), pair(0.05)])

    assert (found.n, found.inside) == (3, 1)
    assert found.mean_error == pytest.approx(0.01)
    assert found.mean_absolute_error == pytest.approx(0.03)
    assert found.coverage == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("pairs", "word"),
    [
        ([], ""),
        ([pair(0.3)] * 4, ""),
        ([pair(0.3)] * 5, "off by"),
        ([pair(0.01)] * 50, ""),
        ([pair(0.03), pair(-0.03)] * 5, "inside"),
        ([pair(0.01)] * 9 + [pair(0.03)], ""),
    ],
    ids=["none", "too few", "biased", "good", "intervals too narrow", "one miss"],
)
def test_a_record_speaks_against_an_estimate_that_is_biased_or_too_sure(pairs: list[Pair], word: str) -> None:
    doubt = record_doubt(track_record(pairs), 0.05)

    assert word in doubt
    assert bool(doubt) == bool(word)


def test_good_estimates_are_hardly_ever_doubted() -> None:
    random = np.random.default_rng(1)
    records = [track_record([pair(error) for error in random.normal(0, 0.02 / 1.96, 20)]) for _ in range(2000)]

    assert np.mean([bool(record_doubt(record, 0.05)) for record in records]) <= 0.002


@pytest.mark.parametrize(
    ("found", "gap", "word"),
    [
        (GOOD, 0.0, ""),
        (replace(GOOD, n=199), 0.0, "window"),
        (replace(GOOD, n_reference=199), 0.0, "reference"),
        (replace(GOOD, out_of_support=0.3), 0.0, "30%"),
        (GOOD, 0.05, "misses"),
    ],
    ids=["good", "few rows", "few labels", "unseen scores", "method does not fit"],
)
def test_an_estimate_is_refused_where_its_assumptions_fail(found: Estimated, gap: float, word: str) -> None:
    doubt = estimate_doubt(found, gap, Limits())

    assert word in doubt
    assert bool(doubt) == bool(word)

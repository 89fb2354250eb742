"""Changes of p(y | score): false alarms and power in simulations, for windows and along streams."""

from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import pytest

import collector.statistics.concept as module
from collector.statistics.concept import bias_change, concept_change, error_rise
from collector.statistics.estimation import ScoreRates, score_rates
from collector.statistics.performance import RegressionQuality
from tests.unit.collector.statistics.streams import draw, quantile_edges


def test_docstring_examples_run() -> None:
    assert doctest.testmod(module).failed == 0


class TestWindows:
    @pytest.mark.parametrize(
        "shift", [{}, {"a": 1.5, "b": 0.9}, {"a": 0.3, "b": 3.0}], ids=["no shift", "higher scores", "lower scores"]
    )
    @pytest.mark.parametrize("n", [300, 1000])
    def test_a_change_of_scores_alone_is_no_concept_drift(self, shift: dict[str, Any], n: int) -> None:
        random, p_values = np.random.default_rng(1), []
        for _ in range(60):
            reference = draw(random, 2000)
            edges = quantile_edges(reference.scores)
            rates = score_rates(*reference.counts(edges))
            assert rates is not None
            changes = [concept_change(rates, *draw(random, n, **shift).counts(edges)) for _ in range(10)]
            p_values += [change.p_value for change in changes if change is not None]

        assert np.mean(np.array(p_values) < 0.05) < 0.08
        assert np.mean(np.array(p_values) < 0.001) < 0.006

    @pytest.mark.parametrize("change", [{"flip": 0.15}, {"power": 0.7}], ids=["labels turned round", "more positives"])
    def test_a_change_of_what_scores_mean_is_found(self, change: dict[str, Any]) -> None:
        random = np.random.default_rng(2)
        reference = draw(random, 5000)
        edges = quantile_edges(reference.scores)
        rates = score_rates(*reference.counts(edges))
        assert rates is not None

        found = [concept_change(rates, *draw(random, 1000, **change).counts(edges)) for _ in range(50)]

        assert np.mean([change is not None and change.p_value < 1e-6 for change in found]) > 0.9
        assert np.mean([change.effect for change in found if change is not None]) > 0.2

    def test_the_effect_is_the_change_in_standard_deviations(self) -> None:
        rates = score_rates(np.array([500_000, 500_000]), np.array([500_000, 500_000]))
        assert rates is not None

        found = concept_change(rates, np.array([4500, 4500]), np.array([5500, 5500]))

        assert found is not None
        assert found.effect == pytest.approx(0.1, rel=0.01)

    def test_scores_that_the_reference_has_not_seen_are_left_out(self) -> None:
        rates = score_rates(np.array([800, 0, 200]), np.array([200, 0, 800]))
        assert rates is not None

        found = concept_change(rates, np.array([80, 500, 20]), np.array([20, 0, 80]))

        assert found is not None
        assert found.n == 200
        assert found.effect == pytest.approx(0.0, abs=1e-6)

    def test_too_few_labels_have_no_change(self) -> None:
        rates = score_rates(np.array([800, 200]), np.array([200, 800]))
        assert rates is not None

        assert concept_change(rates, np.array([2, 1]), np.array([1, 2])) is None
        assert concept_change(rates, np.zeros(2, np.int64), np.zeros(2, np.int64)) is None

    def test_a_stratum_that_turned_round_whole_is_finite(self) -> None:
        rates = ScoreRates(
            rows=np.array([500, 500]), rates=np.array([0.0, 1.0]), variances=np.full(2, 0.06), isotonic=np.array([0.0, 1.0])
        )

        found = concept_change(rates, np.array([0, 200]), np.array([200, 0]))

        assert found is not None
        assert np.isfinite(found.effect)
        assert found.p_value < 1e-10


class TestBias:
    @staticmethod
    def quality(mean: float, deviation: float, n: int) -> RegressionQuality:
        return RegressionQuality(n=n, mae=1.0, rmse=float(np.hypot(mean, deviation)), bias=mean)

    def test_it_is_the_change_of_the_mean_error_in_deviations_of_the_reference(self) -> None:
        found = bias_change(self.quality(1.0, 2.0, 100_000), self.quality(2.0, 2.0, 100_000))

        assert found is not None
        assert found.effect == pytest.approx(0.5, rel=1e-3)
        assert found.error == pytest.approx((2 / 100_000) ** 0.5, rel=1e-3)

    def test_without_errors_there_is_none(self) -> None:
        assert bias_change(RegressionQuality(n=0), self.quality(0.0, 1.0, 100)) is None
        assert bias_change(self.quality(0.0, 0.0, 100), self.quality(0.0, 1.0, 100)) is None


class TestStreams:
    def test_false_alarms_are_no_more_often_than_promised(self) -> None:
        random, run_length, buckets = np.random.default_rng(3), 200, 2000
        found = [
            error_rise(random.binomial(50, 0.1, buckets), np.full(buckets, 50), np.full(buckets, 0.1), run_length)
            for _ in range(150)
        ]

        lengths = [rise.found + 1 if rise is not None else buckets for rise in found]
        assert np.mean(lengths) >= run_length

    def test_a_rate_that_varies_below_what_is_expected_alarms_no_more(self) -> None:
        random = np.random.default_rng(4)
        expected = random.uniform(0.05, 0.3, 2000)
        found = [error_rise(random.binomial(30, expected * 0.95), np.full(2000, 30), expected, 40_000) for _ in range(40)]

        assert [rise for rise in found if rise is not None] == []

    @pytest.mark.parametrize(("rate", "most_buckets"), [(0.15, 20), (0.2, 6), (0.3, 2)])
    def test_a_rise_is_found_soon_and_dated_rightly(self, rate: float, most_buckets: int) -> None:
        random, delays, starts = np.random.default_rng(5), [], []
        for _ in range(60):
            errors = np.concatenate([random.binomial(100, 0.1, 100), random.binomial(100, rate, 200)])
            rise = error_rise(errors, np.full(300, 100), np.full(300, 0.1), 43_200)
            assert rise is not None
            delays.append(rise.found - 99)
            starts.append(rise.since - 100)

        assert np.median(delays) <= most_buckets
        assert abs(float(np.median(starts))) <= 1

    def test_fewer_errors_are_no_alarm(self) -> None:
        assert error_rise(np.zeros(100, np.int64), np.full(100, 100), np.full(100, 0.3), 1000) is None

    def test_certain_expectations_and_empty_buckets_are_finite(self) -> None:
        rows = np.array([0, 10, 0, 10])

        assert error_rise(np.array([0, 0, 0, 0]), rows, np.array([0.0, 0.0, 1.0, 1.0]), 1000) is None
        assert error_rise(np.array([0, 10, 0, 10]), rows, np.zeros(4), 1000) is not None
        assert error_rise(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), 1000) is None

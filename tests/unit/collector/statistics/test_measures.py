"""How one quality is held against the same of the reference."""

from __future__ import annotations

import pytest

from collector.statistics.measures import Measure, compare, difference_error, share_difference_error
from collector.statistics.performance import Tolerances
from storage.records import Verdict

TOLERANCES = Tolerances()


def accuracy(value: float, n: int) -> Measure:
    return Measure(name="accuracy", value=value, n=n, is_share=True)


def loss(value: float, n: int, error: float | None = 0.01) -> Measure:
    return Measure(name="brier", value=value, n=n, error=error, is_loss=True)


@pytest.mark.parametrize(
    ("current", "reference", "verdict"),
    [
        (accuracy(0.8, 2000), accuracy(0.9, 10_000), Verdict.DRIFT),
        (accuracy(0.82, 100), accuracy(0.9, 10_000), Verdict.OK),
        (accuracy(0.86, 20_000), accuracy(0.9, 20_000), Verdict.OK),
        (accuracy(0.1, 99), accuracy(0.9, 10_000), Verdict.INSUFFICIENT),
        (accuracy(0.1, 500), accuracy(0.9, 99), Verdict.INSUFFICIENT),
        (accuracy(0.1, 500), None, Verdict.OK),
        (loss(0.3, 1000), loss(0.2, 1000), Verdict.DRIFT),
        (loss(0.1, 1000), loss(0.2, 1000), Verdict.OK),
        (loss(0.9, 1000, None), loss(0.2, 1000), Verdict.OK),
    ],
    ids=["sure", "noise", "tolerated", "few", "few in reference", "no reference", "loss", "less loss", "no error"],
)
def test_drift_needs_a_worse_value_beyond_tolerance_and_noise(
    current: Measure, reference: Measure | None, verdict: Verdict
) -> None:
    assert compare(current, reference, z=4.0, tolerances=TOLERANCES, min_labels=100).verdict is verdict


def test_the_threshold_is_the_tolerance_where_that_is_larger_than_the_noise() -> None:
    found = compare(accuracy(0.8, 20_000), accuracy(0.9, 20_000), z=4.0, tolerances=TOLERANCES, min_labels=100)

    assert found.threshold == pytest.approx(0.85)
    assert "tolerance" in found.basis


def test_what_can_be_found_lies_beyond_the_threshold() -> None:
    found = compare(accuracy(0.9, 200), accuracy(0.9, 1000), z=4.0, tolerances=TOLERANCES, min_labels=100)

    error = share_difference_error(0.9, 1000, 0.9, 200)
    assert found.threshold == pytest.approx(0.9 - 4 * error)
    assert found.detectable == pytest.approx((4 + 0.8416) * error)


def test_a_reference_without_an_error_takes_the_windows_scaled_to_its_rows() -> None:
    assert difference_error(loss(0.3, 100, 0.02), loss(0.2, 400, None)) == pytest.approx((0.02**2 + 0.01**2) ** 0.5)

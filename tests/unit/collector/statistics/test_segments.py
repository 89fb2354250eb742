"""Segments that do worse than the rest are found, and chance alone is not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from collector.statistics.segments import weak_segments, worst
from storage.records import Ints, LabelCounts, Verdict


def classified(right: int, n: int) -> LabelCounts:
    return labels(np.array([[right, n - right, 0], [0, 0, 0], [0, 0, 0]]))


def labels(confusion: Ints) -> LabelCounts:
    nothing = np.zeros(0, np.int64)
    return LabelCounts(rows=int(confusion.sum()), score_by_class=nothing, confusion=confusion, residuals=np.zeros(6), delay=nothing)


def with_errors(errors: np.typing.NDArray[np.float64]) -> LabelCounts:
    sums = [errors.size, errors.sum(), np.abs(errors).sum(), np.square(errors).sum(), 0.0, 0.0]
    nothing = np.zeros((0, 0), np.int64)
    return LabelCounts(rows=errors.size, score_by_class=nothing, confusion=nothing, residuals=np.array(sums), delay=nothing)


def test_segment_with_most_at_stake_comes_first() -> None:
    parts = {"tiny": classified(2, 10), "large": classified(700, 1000), "good": classified(1900, 2000)}
    whole = classified(2602, 3010)

    found = weak_segments(whole, parts, tolerance=0.05)

    assert [(gap.segment, gap.verdict) for gap in found] == [
        ("large", Verdict.DRIFT),
        ("tiny", Verdict.INSUFFICIENT),
        ("good", Verdict.OK),
    ]
    assert worst(found) is found[0]
    assert found[0].loss == pytest.approx(1000 * (1902 / 2010 - 0.7))


def test_p_value_is_that_of_fishers_exact_test() -> None:
    (gap,) = weak_segments(classified(1550, 2000), {"a": classified(150, 200)}, tolerance=0.0)

    expected = stats.fisher_exact(np.array([[150, 50], [1400, 400]]), alternative="less")
    assert gap.p_value == pytest.approx(expected.pvalue)
    assert gap.interval[0] < gap.difference < gap.interval[1]


def test_error_of_a_regression_is_compared_as_welch_does() -> None:
    rng = np.random.default_rng(5)
    part, rest = rng.normal(0, 2, 400), rng.normal(0, 1, 1600)

    (gap,) = weak_segments(with_errors(np.concatenate((part, rest))), {"a": with_errors(part)}, tolerance=0.1)

    expected = stats.ttest_ind(np.abs(part), np.abs(rest), equal_var=False, alternative="greater")
    assert gap.p_value == pytest.approx(expected.pvalue, abs=1e-6)
    assert gap.difference == pytest.approx(np.abs(part).mean() - np.abs(rest).mean())
    assert gap.verdict is Verdict.DRIFT


def test_segments_that_differ_by_chance_alone_are_seldom_findings() -> None:
    rng = np.random.default_rng(7)
    found = 0
    for _ in range(300):
        rights = rng.binomial(200, 0.9, 30)
        parts = {str(number): classified(int(right), 200) for number, right in enumerate(rights)}
        found += worst(weak_segments(classified(int(rights.sum()), 6000), parts, tolerance=0.0)) is not None

    assert found / 300 < 0.09  # 5 %, and three standard errors


def test_segment_that_is_everything_has_no_rest_to_be_compared_with() -> None:
    whole = classified(90, 100)

    assert weak_segments(whole, {"a": whole, "empty": classified(0, 0)}, tolerance=0.05) == []
    assert worst([]) is None

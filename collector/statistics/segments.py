"""Where a model does worse than elsewhere: each segment's labelled predictions against all others of the window."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr
from scipy.stats import hypergeom

from collector.statistics.intervals import wilson, z_value
from collector.statistics.multiplicity import benjamini_hochberg
from storage.records import LabelCounts, Verdict

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentGap:
    """One segment against the rest. ``difference`` is segment - rest of the value: accuracy, or mean absolute error.

    ``loss`` is how many right answers (or how much absolute error) the segment would gain if it were as good as the rest:
    it ranks segments by what is at stake rather than by how small they are. ``adjusted_p`` is corrected for the number of
    segments (Benjamini and Hochberg), one-sided: a segment that is better than the rest is no finding.
    """

    segment: str
    n: int
    n_rest: int
    value: float
    rest: float
    difference: float
    interval: Interval
    p_value: float
    adjusted_p: float
    loss: float
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """Sums of one quality over n predictions; ``variance`` is of one prediction."""

    n: int
    total: float
    variance: float

    @property
    def mean(self) -> float:
        return self.total / self.n


def weak_segments(
    whole: LabelCounts,
    parts: Mapping[str, LabelCounts],
    *,
    tolerance: float,
    alpha: float = 0.05,
    min_labels: int = 100,
) -> list[SegmentGap]:
    """Every segment with labels, the one with most at stake first.

    ``drift`` where the segment is worse than the rest by more than ``tolerance`` (points of accuracy; for regression a
    share of the rest's error) and significantly so; insufficient data where segment or rest have too few labels.
    Accuracy: Newcombe's (1998) interval of the difference, and Fisher's exact test, because wrong answers are rare and the
    normal approximation alarms twice as often as it says. Regression: Welch's interval and test, normal.

    >>> right, wrong = np.array([[90, 0, 0], [10, 0, 0], [0, 0, 0]]), np.array([[50, 0, 0], [50, 0, 0], [0, 0, 0]])
    >>> def labels(confusion):
    ...     nothing = np.zeros(0, np.int64)
    ...     return LabelCounts(
    ...         rows=int(confusion.sum()), score_by_class=nothing, confusion=confusion, residuals=np.zeros(6), delay=nothing)
    >>> found = weak_segments(labels(right + wrong), {"a": labels(right), "b": labels(wrong)}, tolerance=0.05)
    >>> [(gap.segment, round(gap.difference, 2), str(gap.verdict)) for gap in found]
    [('b', -0.4, 'drift'), ('a', 0.4, 'ok')]
    """
    is_error = not whole.confusion.size
    sides = {name: (_side(part), _rest(whole, part)) for name, part in parts.items()}
    sides = {name: (part, rest) for name, (part, rest) in sides.items() if part.n and rest.n}
    p_values = [_p_worse(part, rest, is_error=is_error) for part, rest in sides.values()]
    gaps = [
        _gap(name, *pair, p, adjusted, is_error=is_error, tolerance=tolerance, alpha=alpha, min_labels=min_labels)
        for (name, pair), p, adjusted in zip(sides.items(), p_values, benjamini_hochberg(p_values), strict=True)
    ]
    return sorted(gaps, key=lambda gap: (-gap.loss, gap.segment))


def _side(counts: LabelCounts) -> _Side:
    if counts.confusion.size:
        n, right = int(counts.confusion.sum()), float(np.trace(counts.confusion[:-1, :-1]))
        share = right / n if n else 0.0
        return _Side(n=n, total=right, variance=share * (1 - share))
    rows, _, absolute, squared = (float(value) for value in counts.residuals[:4])
    variance = max(0.0, squared - absolute * absolute / rows) / max(rows - 1, 1) if rows else 0.0
    return _Side(n=int(rows), total=absolute, variance=variance)


def _rest(whole: LabelCounts, part: LabelCounts) -> _Side:
    return _side(
        LabelCounts(
            rows=whole.rows - part.rows,
            score_by_class=whole.score_by_class,
            confusion=np.maximum(whole.confusion - part.confusion, 0),
            residuals=whole.residuals - part.residuals,
            delay=whole.delay,
        )
    )


def _p_worse(part: _Side, rest: _Side, *, is_error: bool) -> float:
    """One-sided: how probable so much worse a segment is where there is no difference."""
    if not is_error:
        right = round(part.total)
        return float(hypergeom.cdf(right, part.n + rest.n, right + round(rest.total), part.n))
    error = math.sqrt(part.variance / part.n + rest.variance / rest.n)
    worse = part.mean - rest.mean
    return float(ndtr(-worse / error)) if error else (0.0 if worse > 0 else 1.0)


def _gap(
    name: str,
    part: _Side,
    rest: _Side,
    p_value: float,
    adjusted: float,
    *,
    is_error: bool,
    tolerance: float,
    alpha: float,
    min_labels: int,
) -> SegmentGap:
    difference = part.mean - rest.mean
    worse = difference if is_error else -difference
    limit = tolerance * rest.mean if is_error else tolerance
    drifted = worse > limit and adjusted < alpha
    enough = min(part.n, rest.n) >= min_labels
    return SegmentGap(
        segment=name,
        n=part.n,
        n_rest=rest.n,
        value=part.mean,
        rest=rest.mean,
        difference=difference,
        interval=_welch(part, rest) if is_error else _newcombe(part, rest),
        p_value=float(p_value),
        adjusted_p=float(adjusted),
        loss=worse * part.n,
        verdict=Verdict.INSUFFICIENT if not enough else Verdict.DRIFT if drifted else Verdict.OK,
    )


def _newcombe(part: _Side, rest: _Side) -> Interval:
    a, b = part.mean, rest.mean
    (low_a, high_a), (low_b, high_b) = _wilson(part), _wilson(rest)
    return a - b - math.hypot(a - low_a, high_b - b), a - b + math.hypot(high_a - a, b - low_b)


def _wilson(side: _Side) -> Interval:
    found = wilson(round(side.total), side.n)
    assert found is not None
    return found


def _welch(part: _Side, rest: _Side) -> Interval:
    reach = z_value(0.95) * math.sqrt(part.variance / part.n + rest.variance / rest.n)
    return part.mean - rest.mean - reach, part.mean - rest.mean + reach


def worst(gaps: Sequence[SegmentGap]) -> SegmentGap | None:
    """The finding with most at stake; None where no segment is one."""
    return next((gap for gap in gaps if gap.verdict is Verdict.DRIFT), None)

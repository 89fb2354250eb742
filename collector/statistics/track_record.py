"""How past estimates of performance did once the labels came, and when an estimate is not to be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr

from collector.statistics.estimation import Estimated

LEAST_PAIRS = 5
"""Windows with both values that a track record needs to count."""
SURPRISE = 0.001
"""Chance of a good estimator to have so few values inside its intervals, below which it is taken for a bad one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One window: what was estimated, with its 95 % interval, and what it turned out to be."""

    estimate: float
    lower: float
    upper: float
    realised: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackRecord:
    """Over ``n`` windows: mean of estimate - realised, of its absolute value, and the number of realised values inside the interval."""

    n: int
    mean_error: float
    mean_absolute_error: float
    inside: int

    @property
    def coverage(self) -> float:
        return self.inside / self.n if self.n else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Beyond what an estimate is refused: a share, points of accuracy, rows."""

    out_of_support: float = 0.1
    calibration_gap: float = 0.02
    min_rows: int = 200


def track_record(pairs: Sequence[Pair]) -> TrackRecord:
    """The record of pairs from windows that do not overlap.

    >>> record = track_record([Pair(estimate=0.9, lower=0.8, upper=1.0, realised=0.7)])
    >>> record.n, round(record.mean_error, 2), record.coverage
    (1, 0.2, 0.0)
    """
    if not pairs:
        return TrackRecord(n=0, mean_error=0.0, mean_absolute_error=0.0, inside=0)
    errors = np.array([pair.estimate - pair.realised for pair in pairs])
    inside = sum(pair.lower <= pair.realised <= pair.upper for pair in pairs)
    return TrackRecord(
        n=len(pairs), mean_error=float(errors.mean()), mean_absolute_error=float(np.abs(errors).mean()), inside=inside
    )


def record_doubt(record: TrackRecord, most_error: float) -> str:
    """Why the record speaks against the estimate; empty where it does not, or is too short.

    A mean error beyond ``most_error``, or fewer values inside the 95 % intervals than ``SURPRISE`` allows (binomial).
    """
    if record.n < LEAST_PAIRS:
        return ""
    if abs(record.mean_error) > most_error:
        return f"was off by {record.mean_error:+.3g} on average in {record.n} windows whose labels came"
    if float(bdtr(record.inside, record.n, 0.95)) < SURPRISE:
        return f"only {record.inside} of {record.n} realised values were inside its intervals"
    return ""


def estimate_doubt(found: Estimated, gap: float, limits: Limits) -> str:
    """Why this estimate is not to be trusted, apart from its record; empty where nothing speaks against it."""
    if min(found.n, found.n_reference) < limits.min_rows:
        side = "scored rows in the window" if found.n < limits.min_rows else "labels in the reference"
        return f"fewer than {limits.min_rows} {side}"
    if found.out_of_support > limits.out_of_support:
        return f"{found.out_of_support:.0%} of the values lie where the reference has nothing"
    if gap > limits.calibration_gap:
        return f"misses the reference's own accuracy by {gap:.3g}"
    return ""

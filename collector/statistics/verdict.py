"""Judges statistics: ok, drift, or insufficient data.

Drift needs significance and a practical effect, so each threshold is the larger of two: a practical floor, and the
quantile of the statistic without drift for the sizes of both samples, at a level that spreads a budget of false alarms
over every test that is made. A finite reference is part of that quantile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from scipy.special import chdtri, kolmogi, ndtri

from collector.statistics.drift import FeatureDrift
from storage.records import Verdict

FEATURE_TESTS = 5
"""Tests of one feature in one window at most: KS, PSI, JS, missing, and unseen or out of range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Floors:
    """The least effects that count as drift, whatever the sample size."""

    ks: float = 0.1
    psi: float = 0.1
    js: float = 0.1
    missing: float = 0.05
    unseen: float = 0.01
    out_of_range: float = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How to judge: the level of one test, the least rows, the least effects."""

    alpha: float
    min_samples: int = 200
    floors: Floors = Floors()


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A value held against its threshold; ``threshold`` is None where there is too little data to have one."""

    value: float | None
    threshold: float | None
    verdict: Verdict
    n_reference: int
    n_current: int
    p_value: float | None = None


def alpha_for_budget(days_per_false_alarm: float, steps: Sequence[timedelta], tests_per_window: int) -> float:
    """The level of one test that allows one false alarm per ``days_per_false_alarm`` over all tests.

    One window per length of ``steps`` ends every step, with ``tests_per_window`` tests each. The level is the budget
    divided by the number of tests (Bonferroni). Overlapping windows are counted in full: this far in the tail they
    alarm nearly independently (Pickands 1969), so the division is not much too careful.

    >>> alpha_for_budget(30, [timedelta(minutes=1)], 10)
    2.3148148148148148e-06
    """
    windows = sum(timedelta(days=days_per_false_alarm) / step for step in steps)
    return min(0.05, 1.0 / max(windows * max(tests_per_window, 1), 1.0))


# ---------------------------------------------------------------------------------------------- thresholds


def ks_threshold(n: int, m: int, alpha: float) -> float:
    """The distance that two samples of one distribution exceed with probability alpha (Kolmogorov's limit).

    At most 1. Too high (never too low) where values tie.

    >>> round(ks_threshold(100, 100, 0.05), 3)
    0.192
    """
    return min(1.0, float(kolmogi(alpha)) * math.sqrt((n + m) / (n * m)))


def psi_threshold(n: int, m: int, groups: int, alpha: float) -> float:
    """The PSI that two samples of one distribution exceed with probability about alpha.

    ``t (1 + t / 2)`` with ``t = (1/n + 1/m) chi2_{groups-1}(1 - alpha)``. The second factor is fitted to simulations
    (5 to 20 groups, n from 100, alpha to 2e-5): the plain chi-squared limit is exceeded up to 16 times too often there.

    >>> round(psi_threshold(200, 10_000, 10, 0.01), 3)
    0.117
    """
    t = _chi2_scale(n, m, groups, alpha)
    return t * (1 + t / 2)


def js_threshold(n: int, m: int, groups: int, alpha: float) -> float:
    """The Jensen-Shannon distance (base 2) exceeded without drift with probability about alpha; at most 1.

    The divergence in nats is PSI / 8 for small differences, so the square root of ``t (1 + t / 4) / (8 ln 2)``.

    >>> round(js_threshold(500, 10_000, 10, 0.01), 3)
    0.091
    """
    t = _chi2_scale(n, m, groups, alpha)
    return min(1.0, math.sqrt(t * (1 + t / 4) / (8 * math.log(2))))


def _chi2_scale(n: int, m: int, groups: int, alpha: float) -> float:
    return float(chdtri(groups - 1, alpha)) * (1 / n + 1 / m) if groups > 1 else 0.0


def share_limits(share: float, n: int, m: int, alpha: float, *, pseudo_rows: float = 1.0) -> tuple[float, float]:
    """Where a share of n current rows lies without drift, given the ``share`` of m reference rows, with probability 1 - 2 alpha.

    Both ends of the likelihood-ratio interval around the reference share (moved by ``pseudo_rows`` away from 0 and 1):
    ``2 k KL(p || share) = z**2`` with ``1/k = 1/n + 1/m`` and z the normal quantile. Good for shares near 0, where the
    normal approximation alarms far too often.

    >>> tuple(round(limit, 4) for limit in share_limits(0.02, 500, 10_000, 0.001))
    (0.0038, 0.0429)
    """
    expected = (share * m + pseudo_rows) / (m + 2 * pseudo_rows)
    allowed = float(ndtri(alpha)) ** 2 / 2 * (1 / n + 1 / m)
    return _bisect(0.0, expected, expected, allowed), _bisect(1.0, expected, expected, allowed)


def _bisect(outside: float, inside: float, expected: float, allowed: float) -> float:
    """The share between ``outside`` and ``inside`` at which the divergence from ``expected`` is ``allowed``."""
    if _divergence(outside, expected) <= allowed:
        return outside
    for _ in range(50):
        middle = (outside + inside) / 2
        if _divergence(middle, expected) > allowed:
            outside = middle
        else:
            inside = middle
    return inside


def _divergence(p: float, q: float) -> float:
    """KL(p || q) of two coins, in nats."""
    head = p * math.log(p / q) if p > 0 else 0.0
    tail = (1 - p) * math.log((1 - p) / (1 - q)) if p < 1 else 0.0
    return head + tail


# ---------------------------------------------------------------------------------------------- judging


def judge(
    value: float | None, threshold: float, n_reference: int, n_current: int, min_samples: int, p_value: float | None = None
) -> Judgement:
    """Drift above the threshold, unless a side has fewer than ``min_samples`` rows or there is no value.

    >>> judge(0.3, 0.2, 1000, 500, 200).verdict.value, judge(0.3, 0.2, 1000, 50, 200).verdict.value
    ('drift', 'insufficient data')
    """
    enough = value is not None and min(n_reference, n_current) >= min_samples
    drifted = value is not None and value > threshold
    return Judgement(
        value=value,
        threshold=threshold if enough else None,
        verdict=Verdict.INSUFFICIENT if not enough else Verdict.DRIFT if drifted else Verdict.OK,
        n_reference=n_reference,
        n_current=n_current,
        p_value=p_value,
    )


def judge_drift(drift: FeatureDrift, policy: Policy) -> dict[str, Judgement]:
    """A judgement for every statistic that applies, by name: ks, psi, js, missing, and unseen or out_of_range.

    ``missing`` is the absolute change of the missing share. A window without rows has no judgements at all.
    """
    if not drift.n_current:
        return {}
    return _judge_distances(drift, policy) | _judge_shares(drift, policy)


def _judge_distances(drift: FeatureDrift, policy: Policy) -> dict[str, Judgement]:
    n, m, groups = drift.n_current, drift.n_reference, len(drift.group_shares)
    floors, alpha, rows = policy.floors, policy.alpha, policy.min_samples
    found = {
        "psi": judge(drift.psi, max(floors.psi, psi_threshold(n, m, groups, alpha)) if m else 0.0, m, n, rows),
        "js": judge(drift.js, max(floors.js, js_threshold(n, m, groups, alpha)) if m else 0.0, m, n, rows),
    }
    if not drift.is_categorical:
        n, m = drift.present_current, drift.present_reference
        threshold = max(floors.ks, ks_threshold(n, m, alpha)) if n and m else 1.0
        found["ks"] = judge(drift.ks, threshold, m, n, rows, drift.ks_p)
    return found


def _judge_shares(drift: FeatureDrift, policy: Policy) -> dict[str, Judgement]:
    floors = policy.floors
    found = {"missing": _judge_missing(drift, policy)}
    if drift.unseen_share is not None:
        found["unseen"] = _judge_upper(drift.unseen_share, drift.unseen_reference, drift, policy, floors.unseen)
    if drift.out_of_range_share is not None:
        found["out_of_range"] = _judge_upper(
            drift.out_of_range_share, drift.out_of_range_reference, drift, policy, floors.out_of_range
        )
    return found


def _judge_missing(drift: FeatureDrift, policy: Policy) -> Judgement:
    n, m = drift.n_current, drift.n_reference
    if drift.missing_reference is None or drift.missing_current is None:
        return judge(None, 1.0, m, n, policy.min_samples)
    lower, upper = share_limits(drift.missing_reference, n, m, policy.alpha / 2)
    noise = max(drift.missing_reference - lower, upper - drift.missing_reference)
    change = abs(drift.missing_current - drift.missing_reference)
    return judge(change, max(policy.floors.missing, noise), m, n, policy.min_samples)


def _judge_upper(share: float, reference: float | None, drift: FeatureDrift, policy: Policy, floor: float) -> Judgement:
    """A share that only worries when it grows. Two pseudo rows: a new extreme on either side is to be expected."""
    n, m = drift.present_current, drift.present_reference
    if reference is None or not n:
        return judge(None, 1.0, m, n, policy.min_samples)
    _, upper = share_limits(reference, n, m, policy.alpha, pseudo_rows=2.0)
    return judge(share, max(reference + floor, upper), m, n, policy.min_samples)


def overall(judgements: dict[str, Judgement]) -> Verdict:
    """One verdict for a feature: drift if any of its statistics says so, insufficient data if none can say anything."""
    verdicts = {judgement.verdict for judgement in judgements.values()}
    if Verdict.DRIFT in verdicts:
        return Verdict.DRIFT
    return Verdict.OK if Verdict.OK in verdicts else Verdict.INSUFFICIENT


def drift_share(features: Sequence[Verdict], limit: float) -> tuple[float | None, Verdict]:
    """The share of drifted features among those with a verdict, and drift when it reaches ``limit``.

    >>> drift_share([Verdict.DRIFT, Verdict.OK, Verdict.INSUFFICIENT], 0.5)
    (0.5, <Verdict.DRIFT: 'drift'>)
    """
    judged = [verdict for verdict in features if verdict is not Verdict.INSUFFICIENT]
    if not judged:
        return None, Verdict.INSUFFICIENT
    share = float(np.mean([verdict is Verdict.DRIFT for verdict in judged]))
    return share, Verdict.DRIFT if share >= limit else Verdict.OK

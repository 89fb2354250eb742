"""Judges statistics: ok, drift, or insufficient data.

Drift needs significance and a practical effect, so each threshold is the larger of two: a practical floor, and the
quantile of the statistic without drift for the sizes of both samples and their dependence, at a level that comes from a
budget of false alarms. A threshold is lower where earlier windows have said the same (persistence), and where the last
verdict was drift (hysteresis).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

import numpy as np

from collector.statistics import nulls
from collector.statistics.budget import Persistence, level_of_each
from collector.statistics.dependence import INDEPENDENT_ROWS, Dependence
from collector.statistics.drift import FeatureDrift
from collector.statistics.floors import Floors
from collector.statistics.nulls import FOUND
from collector.statistics.scores import UPPER_PSEUDO_ROWS
from storage.records import Verdict

FEATURE_TESTS = 6
"""Tests of one feature in one window at most: KS, shift, PSI, JS, missing, and unseen or out of range."""
HOLD = 0.8
"""Drift ends where a value falls to this share of its floor, and not only just below it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How to judge: the level of a test by itself and of tests that persist, the least rows, the least effects.

    ``basis`` says where the levels come from.
    """

    alpha: float
    together: float | None = None
    persistence: Persistence = field(default_factory=Persistence)
    min_samples: int = 200
    floors: Floors = field(default_factory=Floors)
    basis: str = "no-drift quantile"

    def lower_level(self, n: int, m: int) -> float:
        """The level of one of several windows of n rows that persist, against a reference of m rows."""
        return self.alpha if self.together is None else max(self.alpha, level_of_each(self.together, self.persistence.needed, n, m))


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What earlier windows said of the same statistic: whether the last one was drift, how many persist."""

    was_drift: bool = False
    repeats: int = 0


NO_PAST = Past()


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A value held against its threshold; ``threshold`` is None where there is too little data to have one.

    ``detectable``: the least effect, in units of the value, that a window of this size finds four times out of five by
    itself. ``basis``: where the threshold comes from.
    """

    value: float | None
    threshold: float | None
    verdict: Verdict
    n_reference: int
    n_current: int
    p_value: float | None = None
    detectable: float | None = None
    basis: str = ""


def alpha_for_budget(days_per_false_alarm: float, steps: Sequence[timedelta], tests_per_window: int) -> float:
    """The level of one test that allows one false alarm per ``days_per_false_alarm`` over all tests.

    One window per length of ``steps`` ends every step, with ``tests_per_window`` tests each. The level is the budget
    divided by the number of tests (Bonferroni), overlapping windows counted in full. Drift has levels of its own, see
    ``collector.statistics.budget``.

    >>> alpha_for_budget(30, [timedelta(minutes=1)], 10)
    2.3148148148148148e-06
    """
    windows = sum(timedelta(days=days_per_false_alarm) / step for step in steps)
    return min(0.05, 1.0 / max(windows * max(tests_per_window, 1), 1.0))


# ---------------------------------------------------------------------------------------------- one statistic


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A value with what it needs to be judged.

    ``quantile`` gives the value that is exceeded without drift with a probability; ``found`` the effect that exceeds a
    threshold four times out of five; ``start`` is what a floor is added to. ``most`` is the largest possible value.
    """

    value: float | None
    n_reference: int
    n_current: int
    quantile: Callable[[float], float]
    found: Callable[[float], float]
    floor: float
    start: float = 0.0
    most: float = math.inf
    p_value: float | None = None


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


def judge_measured(measured: Measured, policy: Policy, past: Past = NO_PAST) -> Judgement:
    """The judgement of a value by the threshold that is in force for it.

    That is the higher one for a window by itself; the lower one where with this window as many of the last ones are beyond
    it as persistence needs; and while drift lasts, the lower one with a lower floor. Where no value could exceed the
    threshold, there is insufficient data.
    """
    m, n = measured.n_reference, measured.n_current
    if measured.value is None or not n or not m:
        return judge(None, 0.0, m, n, policy.min_samples)
    by_itself = measured.quantile(policy.alpha)
    threshold, basis = _in_force(measured, policy, past, by_itself)
    found = judge(measured.value, threshold, m, n, policy.min_samples, measured.p_value)
    if found.verdict is Verdict.INSUFFICIENT:
        return found
    detectable = measured.found(max(measured.start + measured.floor, by_itself))
    if threshold >= measured.most:
        return replace(found, threshold=None, verdict=Verdict.INSUFFICIENT)
    return replace(found, detectable=detectable if detectable <= measured.most else None, basis=basis)


def _in_force(measured: Measured, policy: Policy, past: Past, by_itself: float) -> tuple[float, str]:
    quantile, floor, why = by_itself, measured.floor, ""
    persists = policy.together is not None and past.repeats >= policy.persistence.needed - 1
    if past.was_drift or persists:
        quantile = measured.quantile(policy.lower_level(measured.n_current, measured.n_reference))
    if past.was_drift:
        floor, why = HOLD * floor, ", until it clears"
    elif persists:
        why = f", {policy.persistence.needed} of {policy.persistence.windows} windows"
    least = measured.start + floor
    return (least, f"practical floor{why}") if least >= quantile else (quantile, f"{policy.basis}{why}")


# ---------------------------------------------------------------------------------------------- the statistics of a feature


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """A feature's rank shift, and the deviation of its reference's ranks."""

    value: float
    deviation: float


def judge_drift(
    drift: FeatureDrift,
    policy: Policy,
    *,
    shift: Shift | None = None,
    dependence: Dependence = INDEPENDENT_ROWS,
    past: Mapping[str, Past] | None = None,
) -> dict[str, Judgement]:
    """A judgement for every statistic that applies, by name: ks, shift, psi, js, missing, and unseen or out_of_range.

    ``missing`` is the absolute change of the missing share. A window without rows has no judgements at all.
    """
    if not drift.n_current:
        return {}
    measured = measure_groups(drift, policy.floors, dependence) | _numeric(drift, policy.floors, shift, dependence)
    measured |= _shares(drift, policy.floors, dependence)
    earlier = past or {}
    return {name: judge_measured(found, policy, earlier.get(name, NO_PAST)) for name, found in measured.items()}


def measure_groups(drift: FeatureDrift, floors: Floors, dependence: Dependence = INDEPENDENT_ROWS) -> dict[str, Measured]:
    """PSI and Jensen-Shannon of a column."""
    n, m, groups = drift.n_current, drift.n_reference, len(drift.group_shares)
    spread, weights = nulls.spread_of(n, m), dependence.groups

    def psi_found(threshold: float) -> float:
        limit = (math.sqrt(1 + 2 * threshold) - 1) / spread / weights.first
        return float(nulls.chi2_found(limit, groups - 1)) * spread * weights.first

    def js_found(threshold: float) -> float:
        t = 2 * (math.sqrt(1 + float(nulls.BITS) * threshold**2) - 1)
        return math.sqrt(
            float(nulls.chi2_found(t / spread / weights.first, groups - 1)) * spread * weights.first / float(nulls.BITS)
        )

    psi = Measured(
        value=drift.psi,
        n_reference=m,
        n_current=n,
        quantile=lambda alpha: float(nulls.psi_quantile(alpha, groups, spread, weights)),
        found=psi_found,
        floor=floors.psi,
        p_value=None if drift.psi is None else float(nulls.psi_p(drift.psi, groups, spread, weights)),
    )
    js = Measured(
        value=drift.js,
        n_reference=m,
        n_current=n,
        quantile=lambda alpha: float(nulls.js_quantile(alpha, groups, spread, weights)),
        found=js_found,
        floor=floors.js,
        most=1.0,
        p_value=None if drift.js is None else float(nulls.js_p(drift.js, groups, spread, weights)),
    )
    return {"psi": psi, "js": js}


def _numeric(drift: FeatureDrift, floors: Floors, shift: Shift | None, dependence: Dependence) -> dict[str, Measured]:
    if drift.is_categorical:
        return {}
    n, m = drift.present_current, drift.present_reference
    spread = nulls.spread_of(n, m)
    ks_spread, shift_spread = spread * dependence.ks, spread * dependence.shift
    found = {
        "ks": Measured(
            value=drift.ks,
            n_reference=m,
            n_current=n,
            quantile=lambda alpha: min(1.0, float(nulls.ks_quantile(alpha, ks_spread))),
            found=lambda threshold: threshold + FOUND / 2 * math.sqrt(ks_spread),
            floor=floors.ks,
            most=1.0,
            p_value=None if drift.ks is None else float(nulls.ks_p(drift.ks, ks_spread)),
        )
    }
    if shift is None or not n or not m:
        return found
    unit = math.sqrt(4 * math.pi) * shift.deviation * math.sqrt(shift_spread)  # the shift's standard error where there is none
    found["shift"] = Measured(
        value=shift.value,
        n_reference=m,
        n_current=n,
        quantile=lambda alpha: float(nulls.shift_quantile(alpha, shift.deviation, shift_spread)),
        found=lambda threshold: threshold + FOUND * unit,
        floor=floors.shift,
        p_value=float(nulls.shift_p(shift.value, shift.deviation, shift_spread)),
    )
    return found


def _shares(drift: FeatureDrift, floors: Floors, dependence: Dependence) -> dict[str, Measured]:
    found = {"missing": _missing(drift, floors.missing, dependence.missing)}
    if drift.unseen_share is not None:
        found["unseen"] = _upper(drift, drift.unseen_share, drift.unseen_reference, floors.unseen, dependence.outer)
    if drift.out_of_range_share is not None:
        before = drift.out_of_range_reference
        found["out_of_range"] = _upper(drift, drift.out_of_range_share, before, floors.out_of_range, dependence.outer)
    return found


def _missing(drift: FeatureDrift, floor: float, effect: float) -> Measured:
    """The farther of the two ends of the likelihood-ratio interval around the reference's share is the threshold."""
    n, m = drift.n_current, drift.n_reference
    before, now = drift.missing_reference, drift.missing_current
    known = before is not None and now is not None
    share = before or 0.0
    spread, expected = nulls.spread_of(n, m) * effect, float(nulls.expected_share(share, m)) if m else 0.5

    def quantile(alpha: float) -> float:
        lower, upper = (limit(alpha / 2, expected, spread) for limit in (nulls.share_lower, nulls.share_upper))
        return max(share - lower, upper - share)

    return Measured(
        value=abs(now - before) if before is not None and now is not None else None,
        n_reference=m,
        n_current=n,
        quantile=quantile,
        found=lambda threshold: _share_found(min(1.0, share + threshold), n / effect) - share,
        floor=floor,
        most=max(share, 1 - share),
        p_value=_two_sided(float(nulls.share_z(now or 0.0, expected, spread))) if known else None,
    )


def _upper(drift: FeatureDrift, share: float, before: float | None, floor: float, effect: float) -> Measured:
    """A share that only worries when it grows."""
    n, m = drift.present_current, drift.present_reference
    spread = nulls.spread_of(n, m) * effect
    expected = float(nulls.expected_share(before or 0.0, m, UPPER_PSEUDO_ROWS * effect)) if m else 0.5
    return Measured(
        value=share if before is not None and n else None,
        n_reference=m,
        n_current=n,
        quantile=lambda alpha: nulls.share_upper(alpha, expected, spread),
        found=lambda threshold: _share_found(min(1.0, threshold), n / effect),
        floor=floor,
        start=before or 0.0,
        most=1.0,
        p_value=nulls.upper_tail(float(nulls.share_z(share, expected, spread))),
    )


def _share_found(threshold: float, rows: float) -> float:
    """The share whose lower fifth lies at the threshold: Wilson's (1927) upper limit of it."""
    z = FOUND**2 / rows
    return (threshold + z / 2 + math.sqrt(z * threshold * (1 - threshold) + z * z / 4)) / (1 + z)


def _two_sided(z: float) -> float:
    return 2 * nulls.upper_tail(abs(z))


# ---------------------------------------------------------------------------------------------- all statistics together


def overall(judgements: Mapping[str, Judgement]) -> Verdict:
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

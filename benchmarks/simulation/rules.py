"""What modelwatch, Evidently's defaults, and plain tests with Benjamini-Hochberg say about the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import jensenshannon
from scipy.special import kolmogorov
from scipy.stats import chi2_contingency, false_discovery_control, wasserstein_distance

from benchmarks.simulation.streams import STEPS, Column
from collector.statistics import scores
from collector.statistics.budget import SEQUENCE_SHARE, Levels, Persistence, level_of_each, levels_for_budget
from collector.statistics.calibration import Calibration
from collector.statistics.drift import exact_ks
from collector.statistics.floors import Floors
from collector.statistics.sequence import CAP, HOLD_EVIDENCE, Bets, column_bets, course, thresholds
from collector.statistics.verdict import HOLD
from storage.records import Floats, Ints

Alarms = npt.NDArray[np.bool_]

WINDOW = timedelta(hours=1)
STEP = WINDOW / STEPS


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """modelwatch's, for one length of window with the whole budget; ``followed``: false alarms per window for each weight of 1."""

    levels: Levels
    persistence: Persistence
    floors: Floors
    followed: float = 0.0

    @classmethod
    def of(
        cls,
        tests: float,
        weights: float = 0.0,
        *,
        days: float = 30,
        persistence: Persistence | None = None,
        floors: Floors | None = None,
    ) -> Rule:
        """For so many independent tests of a window, and columns that are followed by bets of these weights in all."""
        persistence, share = persistence or Persistence(), SEQUENCE_SHARE if weights else 0.0
        levels = levels_for_budget(days, WINDOW, STEP, tests, lengths=1, persistence=persistence, sequence_share=share)
        followed = levels.followed / weights if weights else 0.0
        return cls(levels=levels, persistence=persistence, floors=floors or Floors(), followed=followed)


def bets_on(column: Column, calibration: Calibration, floors: Floors | None = None) -> Bets:
    found = column_bets(column.bins, column.counts, floors or Floors(), calibration.of(column.bins.name))
    assert found is not None
    return found


def lasting_alarms(rule: Rule, columns: Sequence[tuple[Bets, Ints]]) -> Alarms:
    """Per window that ends after the STEPS-th step or a later one, whether any column's evidence says drift; from counts by step.

    As ``collector.statistics.sequence.strongest`` and what judges it, but from the first step on and not for 24 windows:
    the evidence is the same once it has been 0, or at its cap.
    """
    limits = [thresholds(bets, rule.followed, float(counts[:, :-1].sum() / len(counts)), STEPS) for bets, counts in columns]
    gains = np.hstack([counts @ bets.gains for bets, counts in columns])
    levels = course(gains, CAP * np.concatenate(limits))[STEPS - 1 :] / np.concatenate(limits)
    found, first = np.zeros(len(levels), bool), 0
    for limit in limits:
        best = levels[:, first : first + limit.size].max(axis=1)
        found |= _held(best > 1, best > HOLD_EVIDENCE)
        first += limit.size
    return found


def column_alarms(rule: Rule, column: Column, calibration: Calibration, windows: Ints) -> Alarms:
    """Per window, whether any statistic of the column's window says drift: what ``judge_drift`` says of each, one after the other."""
    known = scores.Column(bins=column.bins, reference=column.counts, dependence=calibration.of(column.bins.name))
    n, m = int(windows[0].sum()), int(column.counts.sum())
    found = np.zeros(len(windows), bool)
    for name, (value, p) in scores.scores(known, windows).items():
        floor = getattr(rule.floors, name)
        before = _reference_share(name, column.counts)
        found |= _statistic_alarms(rule, p, value > before + floor, value > before + HOLD * floor, n, m)
    return found


def _reference_share(name: str, counts: Ints) -> float:
    inside = {"unseen": counts[-2], "out_of_range": counts[0] + counts[-2]}.get(name, 0)
    return float(inside / counts[:-1].sum())


def _statistic_alarms(rule: Rule, p: Floats, above_floor: Alarms, above_hold: Alarms, n: int, m: int) -> Alarms:
    once = (p < rule.levels.once) & above_floor
    if rule.levels.together is None:
        return _held(once, (p < rule.levels.once) & above_hold)
    low = p < level_of_each(rule.levels.together, rule.persistence.needed, n, m)
    repeats = np.zeros(len(p), np.int64)
    for back in range(1, rule.persistence.windows):
        repeats[back * STEPS :] += low[: -back * STEPS]
    again = low & above_floor & (repeats >= rule.persistence.needed - 1)
    return _held(once | again, low & above_hold)


def _held(begins: Alarms, holds: Alarms) -> Alarms:
    """Drift from where it begins until it no longer holds."""
    found = begins.copy()
    if begins.any():
        for index in range(int(begins.argmax()) + 1, len(found)):
            found[index] |= found[index - 1] and holds[index]
    return found


def episodes(alarms: Alarms) -> int:
    """How many times alarms began."""
    return int(np.count_nonzero(alarms[1:] & ~alarms[:-1]) + bool(alarms[0]))


# ---------------------------------------------------------------------------------------------- peers, one window after the other


@dataclass(frozen=True, slots=True, kw_only=True)
class Sorted:
    """A reference as the peers' rules need it, sorted once."""

    column: Column
    values: Floats
    deviation: float

    @classmethod
    def of(cls, column: Column) -> Sorted:
        values = np.sort(column.values[~np.isnan(column.values)])
        return cls(column=column, values=values, deviation=max(float(values.std()), 0.001))


def evidently_drifted(reference: Sorted, current: Floats) -> bool:
    """One column by the defaults of Evidently 0.7 for a reference of more than 1,000 rows: normed Wasserstein or JS at 0.1."""
    present = current[~np.isnan(current)]
    if reference.column.bins.is_categorical:
        shares = [np.bincount(side.astype(np.int64), minlength=4) / side.size for side in (reference.values, present)]
        return bool(jensenshannon(shares[0], shares[1]) >= 0.1)
    return bool(wasserstein_distance(reference.values, present) / reference.deviation >= 0.1)


def plain_p_values(reference: Sorted, current: Floats) -> list[float]:
    """Of one column: Kolmogorov-Smirnov or chi-squared of the values, and chi-squared of what is missing where there is any."""
    missing = np.isnan(current)
    found = [
        _category_p(reference, current[~missing]) if reference.column.bins.is_categorical else _ks_p(reference, current[~missing])
    ]
    total, before = reference.column.values.size, int(reference.column.counts[-1])
    if before or missing.any():
        table = [[before, total - before], [int(missing.sum()), int((~missing).sum())]]
        found.append(float(chi2_contingency(table, correction=False).pvalue))
    return found


def _ks_p(reference: Sorted, current: Floats) -> float:
    n, m = current.size, reference.values.size
    return float(kolmogorov((exact_ks(reference.values, current) or 0.0) * np.sqrt(n * m / (n + m))))


def _category_p(reference: Sorted, current: Floats) -> float:
    table = [np.bincount(side.astype(np.int64), minlength=4) for side in (reference.values, current)]
    return float(chi2_contingency(table, correction=False).pvalue)


def benjamini_hochberg(p_values: Sequence[float], q: float) -> bool:
    """Whether anything is found at the false-discovery rate q."""
    return bool((false_discovery_control(np.asarray(p_values)) <= q).any())

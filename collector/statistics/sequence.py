"""Small changes that last: evidence for them is added up over many steps, since no single window holds enough of it.

Each column is followed by a few *bets*: that its numbers are higher, that they are lower, or that one of its categories has
become more frequent. Every row wins or loses the logarithm of a likelihood ratio, and what was lost before a change is
forgotten (Page 1954, https://doi.org/10.1093/biomet/41.1-2.100): ``W = max(0, W + gain)``, a CUSUM. For the change that it
is made for no procedure with as few false alarms is sooner (Moustakides 1986, https://doi.org/10.1214/aos/1176350164).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp, ndtr

from collector.statistics.dependence import INDEPENDENT_ROWS, Dependence
from collector.statistics.floors import Floors
from collector.statistics.shift import rank_deviation, rank_scores
from storage.records import Bins, Floats, Ints

LOOK_BACK = 24
"""How many lengths of a window the evidence is added up over."""
DESIGN = 2.0
"""Bets are made for changes of so many floors; a change of one floor then neither wins nor loses."""
LEAST_SHARE = 0.05
"""Only categories with this share of the reference are bet on, and all others together: more bets mean less certainty for each."""
CATEGORY_WEIGHT = 1.5
"""The part of the budget of a bet on a category, where both sides of a number share 1. So weighted, both changes that the simulation
measures are found in time: a number had some to spare."""
REFERENCE_NATS = 80.0
"""So much information the reference must hold about the change that a bet is made for, or the bet is made for a larger one."""
OVERSHOOT = 1.166
"""Twice Siegmund's 0.583: evidence that is looked at in steps must go so much less far (1985, chapter 10), in its deviations."""
RESERVE = 1.3
"""Evidence is taken to cross its threshold so many times as often as the formula says."""
LONGEST_STEP = 2.0
"""The deviation of a step's evidence, in nats, up to which that holds."""
CAP = 1.1
"""Evidence grows to so many thresholds and no further, so that it is forgotten soon after a change is over."""
HOLD_EVIDENCE = 0.75
"""Drift by evidence ends where this share of the threshold is reached from above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bets:
    """The bets on one column.

    ``gains``: what a row in each bin adds to the evidence, in nats, float64 (bins, bets). ``information``: what a row takes
    from it on average while nothing has changed, float64 (bets,). ``weights``: their parts of the budget, (bets,): the two
    sides of a number share one. ``names``: what each bets on. ``m``: rows of the reference that are not missing.
    """

    gains: Floats
    information: Floats
    weights: Floats
    names: tuple[str, ...]
    m: int


def column_bets(bins: Bins, reference: Ints, floors: Floors, dependence: Dependence = INDEPENDENT_ROWS) -> Bets | None:
    """The bets on a column with these reference counts, int64 (bins.size,); None where there is nothing to bet on.

    A bet is the reference with its weights tilted towards what it bets on, ``r_b exp(t s_b - psi(t))`` with scores s, and the gain
    its log likelihood ratio ``t s_b - psi(t)``: without change the mean of its exponential is exactly 1, whatever the
    distribution. Numbers are scored by ranks, for a shift of two ``floors.shift``; a category by whether it is the one, for a
    change whose Jensen-Shannon distance is two ``floors.js``. A design effect divides the gains. Missing rows gain nothing.

    >>> bets = column_bets(Bins(name="x", edges=(1.0, 2.0, 3.0)), np.array([0, 5000, 5000, 0, 0]), Floors())
    >>> bets.names, bets.gains.round(2).tolist()
    (('higher', 'lower'), [[-0.48, 0.43], [-0.25, 0.2], [0.2, -0.25], [0.43, -0.48], [0.0, 0.0]])
    """
    present = reference[:-1]
    m = int(present.sum())
    if not m:
        return None
    if bins.is_categorical:
        scores, names, weights = _category_scores(bins, present)
        wanted, effect = 4 * math.log(2) * (DESIGN * floors.js) ** 2, dependence.outer
    else:
        scores, names, weights = _number_scores(present)
        deviation = rank_deviation(present)
        wanted = ((float(ndtr(DESIGN * floors.shift / math.sqrt(2))) - 0.5) / deviation) ** 2 / 2 if deviation else 0.0
        effect = dependence.shift
    if not names:
        return None
    information = max(wanted, REFERENCE_NATS * effect / m)
    gains = _tilted(scores, present / m, information) / effect
    return Bets(
        gains=np.vstack((gains, np.zeros((1, len(names))))),
        information=np.full(len(names), information / effect),
        weights=weights,
        names=names,
        m=m,
    )


def _number_scores(present: Ints) -> tuple[Floats, tuple[str, ...], Floats]:
    """Ranks with mean 0 and deviation 1, and their negatives, float64 (bins, 2)."""
    deviation = rank_deviation(present)
    if not deviation:
        return np.zeros((present.size, 0)), (), np.zeros(0)
    ranks = (rank_scores(present) - 0.5) / deviation
    return np.column_stack((ranks, -ranks)), ("higher", "lower"), np.full(2, 0.5)


def _category_scores(bins: Bins, present: Ints) -> tuple[Floats, tuple[str, ...], Floats]:
    """Whether a row is of each frequent category, or of all others together, with mean 0 and deviation 1, float64 (bins, bets)."""
    frequent = np.flatnonzero(present[:-1] >= LEAST_SHARE * present.sum())
    member = np.zeros((present.size, frequent.size + 1))
    member[frequent, np.arange(frequent.size)] = 1.0
    member[:, -1] = 1 - member.sum(axis=1)
    shares = present @ member / present.sum()
    kept = (shares >= LEAST_SHARE) & (shares < 1)
    member, p = member[:, kept], shares[kept]
    names = np.array([f"more {bins.categories[index]}" for index in frequent] + ["more others"], object)[kept]
    return np.asarray((member - p) / np.sqrt(p * (1 - p))), tuple(names.tolist()), np.full(p.size, CATEGORY_WEIGHT)


def _tilted(scores: Floats, shares: Floats, information: float) -> Floats:
    """The log likelihood ratios of tilted shares, so that a row of the untilted ones loses ``information`` on average.

    Newton's method for ``psi(t) = information``, with ``psi(t) = log sum(r_b exp(t s_b))``: convex, so it cannot miss.
    """
    tilt = np.full(scores.shape[1], math.sqrt(2 * information))
    known, held = shares[:, None], scores[shares > 0]
    for _ in range(12):
        psi = logsumexp(tilt * held, axis=0, b=known[shares > 0])
        slope = (known[shares > 0] * held * np.exp(tilt * held - psi)).sum(axis=0)
        tilt = tilt - (psi - information) / slope
    return np.asarray(tilt * scores - logsumexp(tilt * held, axis=0, b=known[shares > 0]))


# ---------------------------------------------------------------------------------------------- how much is enough


def thresholds(bets: Bets, allowed: float, rows_per_step: float, steps: int) -> Floats:
    """The evidence, in nats, that counts as drift, float64 (bets,): once in ``1 / (allowed weight)`` windows without change.

    A bet crosses h once in ``exp(h') / I`` rows, for information I, steps of b rows and ``h' = h + 1.166 sqrt(2 I b)`` (Siegmund
    1985, chapter 10). The reference is itself a sample, of m rows; averaged over what it may happen to be like, that is
    ``exp(h'**2 / (I m)) (1 - 2 h' / (I m))**2`` times as often, to first order. Never less than what half a window (of ``steps``
    steps) of the change that is bet on gives: the same that brings the window's mean to its floor.

    >>> bets = column_bets(Bins(name="x", edges=tuple(range(101))), np.append(np.full(102, 100), 0), Floors())
    >>> thresholds(bets, 0.9 / 720 / 20, 17, 12).round(1).tolist()
    [11.6, 11.6]
    """
    information, rows = bets.information, rows_per_step * steps
    rare = np.maximum(np.log(RESERVE * information * rows / (allowed * bets.weights)), 1.0)
    held, crossed = information * bets.m, rare
    for _ in range(4):
        wanted = rare + 2 * np.log(np.maximum(1 - 2 * crossed / held, 0.5))
        crossed = held / 2 * (1 - np.sqrt(np.maximum(1 - 4 * wanted / held, 0.0)))
    step = np.minimum(np.sqrt(2 * information * rows_per_step), LONGEST_STEP)
    return np.asarray(np.maximum(crossed - OVERSHOOT * step, practical(bets, rows)))


def practical(bets: Bets, rows: float) -> Floats:
    """The least evidence that counts as drift in windows of so many rows, whatever the budget, float64 (bets,)."""
    return np.asarray(bets.information * rows / 2)


# ---------------------------------------------------------------------------------------------- what there is


def course(gains: Floats, cap: Floats) -> Floats:
    """What each bet has won since its most likely start, after each step, float64 (steps, bets).

    ``gains``: by step, in order of time, float64 (steps, bets); the evidence before the first step is 0. No bet has more than
    its ``cap``, float64 (bets,).

    >>> course(np.array([[1.0], [-2.0], [0.5], [1.0]]), np.array([9.0])).T
    array([[1. , 0. , 0.5, 1.5]])
    """
    found, level, none = np.empty(gains.shape), np.zeros(cap.size), np.zeros(cap.size)
    for number, gain in enumerate(gains):
        level = np.minimum(np.maximum(level + gain, none), cap)
        found[number] = level
    return found


def starts(levels: Floats) -> Ints:
    """The number of the step since which each bet has won, from its course; int64 (bets,)."""
    lost = levels[::-1] <= 0
    return np.where(lost.any(axis=0), len(levels) - lost.argmax(axis=0), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The strongest bet on a column: its ``value`` against its ``threshold``, both in nats, and since which step it wins.

    ``n``: rows that were looked at and not missing.
    """

    value: float
    threshold: float
    name: str
    since: int
    n: int
    m: int
    is_practical: bool


def strongest(columns: Sequence[tuple[Bets, Ints]], allowed: float, steps: int) -> list[Found]:
    """The strongest bet on each column, from the column's counts by step, int64 (steps, bins), the same steps for all.

    ``allowed``: false alarms per window, of ``steps`` steps, for each weight of 1. Steps without rows do not count for
    how many rows a step has.
    """
    if not columns:
        return []
    present = [counts[:, :-1].sum(axis=1) for _, counts in columns]
    rows = [float(n.sum() / max(np.count_nonzero(n), 1)) for n in present]
    limits = [thresholds(bets, allowed, max(n, 1.0), steps) for (bets, _), n in zip(columns, rows, strict=True)]
    levels = course(np.hstack([counts @ bets.gains for bets, counts in columns]), CAP * np.concatenate(limits))
    values, since = levels[-1], starts(levels)
    found, first = [], 0
    for (bets, _), limit, n, mean in zip(columns, limits, present, rows, strict=True):
        best = int(np.argmax(values[first : first + limit.size] / limit))
        found.append(
            Found(
                value=float(values[first + best]),
                threshold=float(limit[best]),
                name=bets.names[best],
                since=int(since[first + best]),
                n=int(n.sum()),
                m=bets.m,
                is_practical=bool(limit[best] <= practical(bets, mean * steps)[best]),
            )
        )
        first += limit.size
    return found

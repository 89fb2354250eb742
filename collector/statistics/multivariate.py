"""Whether rows of a window can be told from rows of the reference by all their features at once: the domain classifier.

A classifier that is trained to tell the two apart, and does so on rows it has not seen, has found a difference, also
where no feature on its own has changed. Its AUC is the effect: 0.5 is no difference, 1 is a complete one.

Sources: Lopez-Paz and Oquab, "Revisiting classifier two-sample tests" (2017); Rabanser, Guennemann and Lipton, "Failing
loudly" (2019).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import rankdata
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits  # scikit-learn itself requires it, and documents it for this

from collector.statistics.encoding import LARGEST, Encoded
from collector.statistics.verdict import Judgement, judge
from storage.records import Floats, Ints

FOLDS = 5
LEAST_ROWS = 10
"""Rows that each side needs for there to be an AUC at all: two in each fold."""
TELLING_ROWS = 20
MISSING = -2 * LARGEST
"""Missing as a value beyond all others: one split parts it off, and a column may be all missing."""
SHARED_FOLDS = math.sqrt(2)
"""How much wider an AUC scatters over shared folds than over fresh rows; see ``domain_error``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainDrift:
    """How well the rows of both sides are told apart. None: too few rows or no column.

    ``importance``: per feature, what the AUC loses when the feature is shuffled among unseen rows, largest first.
    ``rows``: positions of the current rows that look least like the reference, most telling first.
    """

    n_reference: int
    n_current: int
    auc: float | None = None
    interval: tuple[float, float] | None = None
    p_value: float | None = None
    importance: tuple[tuple[str, float], ...] = ()
    rows: tuple[int, ...] = ()


def domain_drift(encoded: Encoded, *, seed: int = 0) -> DomainDrift:
    """AUC of a gradient boosting between reference and current, mean over five folds of rows not trained on.

    Missing values are values of their own. The interval (95 %) is DeLong's, widened by ``SHARED_FOLDS``; the p-value is
    one-sided against 0.5. The same input gives the same result. One side with fewer than ``LEAST_ROWS`` rows, or no
    column: no AUC. Constant and empty columns tell nothing and do no harm.

    Rows must be independent: hours of a day that the reference does not have are a difference, and will be found.

    >>> random = np.random.default_rng(0)
    >>> sides = {"reference": random.normal(size=(300, 2)), "current": random.normal([0, 2], 1, size=(300, 2))}
    >>> found = domain_drift(Encoded(names=("a", "b"), categorical=(False, False), **sides))
    >>> found.importance[0][0], found.auc > 0.85
    ('b', True)
    """
    m, n = len(encoded.reference), len(encoded.current)
    if min(m, n) < LEAST_ROWS or not encoded.names:
        return DomainDrift(n_reference=m, n_current=n)
    values = np.nan_to_num(np.vstack([encoded.reference, encoded.current]), nan=MISSING)
    is_current = np.repeat([False, True], [m, n])
    # One thread: boosting on a few thousand rows gains nothing from more, and beside other busy processes the threads
    # of OpenMP wait for each other for ten times as long as the work takes.
    with threadpool_limits(1, user_api="openmp"):
        found = [_fold(values, is_current, held, seed) for held in _held_out(m, n, seed)]
    return _combine(encoded, found)


def domain_error(n: int, m: int) -> float:
    """Standard deviation of the AUC without any difference.

    ``sqrt(2) sqrt((n + m + 1) / (12 n m))``: Mann and Whitney's, times the root of two, because over all folds each pair of
    rows is met twice, once with either row as the one trained on, and adds the same noise both times.

    >>> round(domain_error(200, 2000), 4)
    0.0303
    """
    return SHARED_FOLDS * math.sqrt((n + m + 1) / (12 * n * m)) if n and m else math.inf


def domain_threshold(n: int, m: int, alpha: float, floor: float) -> float:
    """The AUC above which there is drift: the larger of the practical ``floor`` and the quantile 1 - alpha of no drift.

    >>> round(domain_threshold(200, 2000, 0.001, 0.55), 3), domain_threshold(2000, 2000, 0.001, 0.55)
    (0.594, 0.55)
    """
    return min(1.0, max(floor, 0.5 - float(ndtri(alpha)) * domain_error(n, m)))


def judge_domain(found: DomainDrift, *, alpha: float, floor: float, min_samples: int) -> Judgement:
    """Drift where the AUC is above the floor and above what chance gives at the level ``alpha``."""
    m, n = found.n_reference, found.n_current
    return judge(found.auc, domain_threshold(n, m, alpha, floor), m, n, min_samples, found.p_value)


# ---------------------------------------------------------------------------------------------- folds


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Fold:
    """What one classifier says of the rows it was not trained on."""

    held: Ints
    probabilities: Floats
    auc: float
    variance: float
    losses: Floats


def _held_out(m: int, n: int, seed: int) -> Iterator[Ints]:
    """The positions that each fold leaves out: an equal part of either side, drawn at random."""
    random = np.random.default_rng(seed)
    of_row = np.concatenate([random.permutation(m) % FOLDS, random.permutation(n) % FOLDS])
    return (np.flatnonzero(of_row == fold) for fold in range(FOLDS))


def _fold(values: Floats, is_current: np.ndarray[tuple[int], np.dtype[np.bool_]], held: Ints, seed: int) -> _Fold:
    trained = np.ones(len(values), bool)
    trained[held] = False
    model = _classifier(int(trained.sum()), seed).fit(values[trained], is_current[trained])
    rows, truth = values[held], is_current[held]
    probabilities = model.predict_proba(rows)[:, 1]
    auc, variance = _delong(probabilities[~truth], probabilities[truth])
    losses = _losses(model, rows, truth, auc, np.random.default_rng(seed))
    return _Fold(held=held, probabilities=probabilities, auc=auc, variance=variance, losses=losses)


def _classifier(rows: int, seed: int) -> HistGradientBoostingClassifier:
    """Small trees, few of them: enough for interactions of features, and quick."""
    return HistGradientBoostingClassifier(
        max_iter=60,
        max_leaf_nodes=8,
        learning_rate=0.15,
        min_samples_leaf=max(2, min(20, rows // 20)),
        early_stopping=False,
        random_state=seed,
    )


def _losses(
    model: HistGradientBoostingClassifier,
    rows: Floats,
    truth: np.ndarray[tuple[int], np.dtype[np.bool_]],
    auc: float,
    random: np.random.Generator,
) -> Floats:
    """What the AUC loses when one column after the other is shuffled, float64 (k,); Breiman (2001)."""
    losses = np.zeros(rows.shape[1])
    order = random.permutation(len(rows))
    for column in range(rows.shape[1]):
        shuffled = rows.copy()
        shuffled[:, column] = rows[order, column]
        probabilities = model.predict_proba(shuffled)[:, 1]
        losses[column] = auc - _delong(probabilities[~truth], probabilities[truth])[0]
    return losses


def _delong(reference: Floats, current: Floats) -> tuple[float, float]:
    """AUC and its variance by DeLong, DeLong and Clarke-Pearson (1988), from midranks (Sun and Xu 2014)."""
    m, n = len(reference), len(current)
    ranks = rankdata(np.concatenate([reference, current]))
    above = (ranks[m:] - rankdata(current)) / m
    below = 1 - (ranks[:m] - rankdata(reference)) / n
    return float(above.mean()), float(above.var(ddof=1) / n + below.var(ddof=1) / m)


def _combine(encoded: Encoded, folds: list[_Fold]) -> DomainDrift:
    m, n = len(encoded.reference), len(encoded.current)
    auc = float(np.mean([fold.auc for fold in folds]))
    error = SHARED_FOLDS * math.sqrt(sum(fold.variance for fold in folds)) / FOLDS
    probabilities = np.empty(m + n)
    for fold in folds:
        probabilities[fold.held] = fold.probabilities
    losses = np.mean([fold.losses for fold in folds], axis=0)
    return DomainDrift(
        n_reference=m,
        n_current=n,
        auc=auc,
        interval=(max(0.0, auc - 1.96 * error), min(1.0, auc + 1.96 * error)),
        p_value=float(ndtr((0.5 - auc) / domain_error(n, m))),
        importance=tuple((encoded.names[column], float(losses[column])) for column in np.argsort(-losses, kind="stable")),
        rows=tuple(np.argsort(-probabilities[m:], kind="stable")[:TELLING_ROWS].tolist()),
    )

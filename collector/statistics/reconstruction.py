"""Whether the features of a window still hang together as they did in the reference: the error of a PCA's reconstruction.

The reference's main directions are learned; rows that break its correlations lie further from them. It sees what bends
the shape of the data, says little of which feature did it, and costs next to nothing.

Sources: Jackson and Mudholkar, "Control procedures for residuals associated with principal component analysis" (1979);
NannyML's data reconstruction drift, which shares the 65 % of variance and the mean error, and judges by chunks instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr, ndtri

from collector.statistics.encoding import UNSEEN, Encoded
from collector.statistics.verdict import Judgement, judge
from storage.records import Floats

VARIANCE = 0.65
"""The share of the reference's variance that the kept directions explain."""
FOLDS = 5
LEAST_ROWS = 10
FARTHEST = 10.0
"""Deviations at which a value is cut off, so that no single row decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconstructionDrift:
    """Mean reconstruction errors of both sides, and their change in deviations of a reference row's error.

    None: too few rows, or nothing is left to reconstruct (fewer than two columns that vary).
    """

    n_reference: int
    n_current: int
    components: int = 0
    error_reference: float | None = None
    error_current: float | None = None
    change: float | None = None
    interval: tuple[float, float] | None = None
    p_value: float | None = None


def reconstruction_drift(encoded: Encoded, *, seed: int = 0) -> ReconstructionDrift:
    """Mean distance of rows from the reference's main directions, current against reference rows not learned from.

    Columns are standardised by the reference, missing values become its mean, categories the share that they have in
    the reference (0 for unseen ones), values are cut at 10 deviations. The directions are learned on four fifths of the
    reference and tried on the last fifth, five times over; current rows are measured by all five. ``change`` is
    ``|mean current - mean reference| / deviation of the reference``, its interval (95 %) and two-sided p-value Welch's.

    Constant columns are left out. A change of one feature's mean shows too; one of only its missing values hardly does.

    >>> random = np.random.default_rng(0)
    >>> one = random.normal(size=400)
    >>> together, apart = np.column_stack([one, one + 0.1 * random.normal(size=400)]), random.normal(size=(400, 2))
    >>> found = reconstruction_drift(Encoded(names=("a", "b"), categorical=(False, False), reference=together, current=apart))
    >>> found.components, found.change > 5
    (1, True)
    """
    m, n = len(encoded.reference), len(encoded.current)
    nothing = ReconstructionDrift(n_reference=m, n_current=n)
    if min(m, n) < LEAST_ROWS:
        return nothing
    reference, current = _standardised(encoded)
    if reference.shape[1] < 2:
        return nothing
    of_row = np.random.default_rng(seed).permutation(m) % FOLDS
    reference_errors, current_errors, components = np.empty(m), np.zeros(n), 0
    for fold in range(FOLDS):
        directions = _directions(reference[of_row != fold])
        components = max(components, directions.shape[1])
        reference_errors[of_row == fold] = _errors(reference[of_row == fold], directions)
        current_errors += _errors(current, directions) / FOLDS
    return _compare(reference_errors, current_errors, components)


def reconstruction_threshold(n: int, m: int, alpha: float, floor: float) -> float:
    """The change above which there is drift: the larger of the practical ``floor`` and the two-sided quantile of no drift.

    >>> round(reconstruction_threshold(200, 2000, 0.001, 0.2), 3)
    0.244
    """
    return max(floor, -float(ndtri(alpha / 2)) * math.sqrt(1 / n + 1 / m)) if n and m else math.inf


def judge_reconstruction(found: ReconstructionDrift, *, alpha: float, floor: float, min_samples: int) -> Judgement:
    """Drift where the change is above the floor and above what chance gives at the level ``alpha``."""
    m, n = found.n_reference, found.n_current
    return judge(found.change, reconstruction_threshold(n, m, alpha, floor), m, n, min_samples, found.p_value)


# ---------------------------------------------------------------------------------------------- the parts


def _standardised(encoded: Encoded) -> tuple[Floats, Floats]:
    """Both sides in deviations of the reference, without the columns that do not vary in it."""
    reference, current = encoded.reference.copy(), encoded.current.copy()
    for column in np.flatnonzero(encoded.categorical):
        reference[:, column], current[:, column] = _shares(reference[:, column], current[:, column])
    known = ~np.isnan(reference)
    counts = np.maximum(known.sum(axis=0), 1)
    means = np.where(known, reference, 0.0).sum(axis=0) / counts
    deviations = np.sqrt(np.square(np.where(known, reference - means, 0.0)).sum(axis=0) / counts)
    varies = deviations > 1e-12 * np.maximum(np.abs(means), 1e-300)
    scaled = [(side[:, varies] - means[varies]) / deviations[varies] for side in (reference, current)]
    first, second = (np.clip(np.nan_to_num(side, nan=0.0), -FARTHEST, FARTHEST) for side in scaled)
    return first, second


def _shares(reference: Floats, current: Floats) -> tuple[Floats, Floats]:
    """Codes of categories as the share that each has among the reference's known values."""
    known = reference[~np.isnan(reference)]
    codes, counts = np.unique(known, return_counts=True)
    shares = np.concatenate([counts / max(len(known), 1), [0.0, np.nan]])  # the last two for unseen and missing

    def of(side: Floats) -> Floats:
        positions = np.where(side == UNSEEN, len(codes), np.searchsorted(codes, side))
        return np.asarray(shares[np.where(np.isnan(side), len(codes) + 1, positions)])

    return of(reference), of(current)


def _directions(rows: Floats) -> Floats:
    """The fewest directions that explain ``VARIANCE``, at least one and never all, float64 (k, components)."""
    values, vectors = np.linalg.eigh(np.cov(rows, rowvar=False))
    explained = np.cumsum(np.maximum(values[::-1], 0.0))
    components = int(np.searchsorted(explained, VARIANCE * explained[-1])) + 1
    return np.asarray(vectors[:, ::-1][:, : min(components, len(values) - 1)])


def _errors(rows: Floats, directions: Floats) -> Floats:
    """How far each row lies from the directions, float64 (rows,)."""
    return np.asarray(np.linalg.norm(rows - rows @ directions @ directions.T, axis=1))


def _compare(reference: Floats, current: Floats, components: int) -> ReconstructionDrift:
    m, n = len(reference), len(current)
    deviation = float(reference.std(ddof=1))
    found = ReconstructionDrift(
        n_reference=m,
        n_current=n,
        components=components,
        error_reference=float(reference.mean()),
        error_current=float(current.mean()),
    )
    if deviation < 1e-9:
        return found
    change = abs(float(current.mean()) - float(reference.mean())) / deviation
    error = math.sqrt(float(reference.var(ddof=1)) / m + float(current.var(ddof=1)) / n) / deviation
    interval = max(0.0, change - 1.96 * error), change + 1.96 * error
    return replace(found, change=change, interval=interval, p_value=min(1.0, 2 * float(ndtr(-change / error))))

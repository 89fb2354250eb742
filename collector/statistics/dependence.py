"""How much less rows say that depend on their neighbours: design effects from a reference in the order of its rows.

The long-run covariance is a sum of autocovariances with a flat-top lag window whose width follows from the data (Politis and
White 2004, https://doi.org/10.1081/ETC-120028836): independent rows get exactly 1, not 1 and noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collector.statistics.drift import psi_groups
from collector.statistics.nulls import INDEPENDENT, Weights
from collector.statistics.shift import rank_scores
from storage.records import Bins, Floats, Ints

NEAREST_LAGS = 5
"""This many neighbouring lags must be uncorrelated before the correlation counts as over."""
LEAST_ROWS = 100
LONGEST_SHARE = 0.1
"""A correlation that outlasts this share of the rows is taken for the way the file was sorted."""
LEVELS = np.linspace(0.1, 0.9, 9)
"""Quantiles at which the dependence of the distribution function is measured."""

OUTER = 0.02
"""The tails whose dependence stands for that of values beyond the range, which a reference cannot show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependence:
    """Design effects of one column: of its ranks' mean, of its distribution function, of its groups, of its missing share, and
    of shares that the reference has none of (out of range, unseen).

    ``lag``: rows until the correlation is over, 0 for independent rows. ``is_sorted``: it never is; then all effects are 1.
    """

    shift: float = 1.0
    ks: float = 1.0
    groups: Weights = INDEPENDENT
    missing: float = 1.0
    outer: float = 1.0
    lag: int = 0
    is_sorted: bool = False


INDEPENDENT_ROWS = Dependence()


def dependence(bins: Bins, indices: Ints) -> Dependence:
    """The design effects of a column whose rows lie in the bins ``indices``, int64 (rows,), in the order of time."""
    if indices.size < LEAST_ROWS:
        return Dependence()
    counts = np.bincount(indices, minlength=bins.size)
    scores = _standardised(_columns(bins, indices, counts))
    if not scores.shape[1]:
        return Dependence()
    lag = _last_correlated_lag(scores)
    if lag is None:
        return Dependence(is_sorted=True)
    if not lag:
        return Dependence()
    missing = (indices == bins.size - 1).astype(float)[:, None]
    groups = _weights(_groups(bins, indices, counts), lag)
    share = _effect(_standardised(missing), lag)
    if bins.is_categorical:
        return Dependence(groups=groups, missing=share, outer=groups.second / groups.first, lag=lag)
    ranks = rank_scores(counts[:-1])
    known = np.append(ranks, 0.5)[indices][:, None]
    outer = np.hstack((known <= OUTER, known >= 1 - OUTER)).astype(float)
    return Dependence(
        shift=_effect(scores[:, :1], lag),
        ks=_effect(_standardised((known <= LEVELS).astype(float)), lag),
        groups=groups,
        missing=share,
        outer=_effect(_standardised(outer), lag),
        lag=lag,
    )


def _columns(bins: Bins, indices: Ints, counts: Ints) -> Floats:
    """What decides how long the correlation lasts: a number's ranks, the groups, and what is missing."""
    groups = _groups(bins, indices, counts)
    if bins.is_categorical:
        return groups
    return np.column_stack((np.append(rank_scores(counts[:-1]), 0.5)[indices], groups[:, -1:]))


def _groups(bins: Bins, indices: Ints, counts: Ints) -> Floats:
    group = psi_groups(bins, counts)[indices]
    return np.asarray((group[:, None] == np.arange(int(group.max()) + 1)).astype(float))


def _standardised(columns: Floats) -> Floats:
    """Mean 0 and deviation 1; constants are left out."""
    centred = columns - columns.mean(axis=0)
    deviations = centred.std(axis=0)
    return np.asarray(centred[:, deviations > 1e-12] / deviations[deviations > 1e-12])


def _last_correlated_lag(scores: Floats) -> int | None:
    """The last lag before NEAREST_LAGS without correlation in any column; None where there is none in reach."""
    rows = scores.shape[0]
    noise = 2.0 * np.sqrt(np.log10(rows) / rows) * (1 + 0.25 * np.log(scores.shape[1]))
    last = 0
    for lag in range(1, max(int(LONGEST_SHARE * rows), NEAREST_LAGS + 1) + 1):
        if np.abs(_correlations(scores, lag)).max() > noise:
            last = lag
        elif lag - last >= NEAREST_LAGS:
            return last
    return None


def _correlations(scores: Floats, lag: int) -> Floats:
    return np.asarray(np.einsum("ij,ij->j", scores[lag:], scores[:-lag]) / scores.shape[0])


def _lag_weights(lag: int) -> list[tuple[int, float]]:
    """The flat-top window: 1 up to ``lag``, then falling to 0 at twice of it."""
    return [(k, min(1.0, 2 - k / lag)) for k in range(1, 2 * lag)]


def _effect(scores: Floats, lag: int) -> float:
    """The largest design effect of the columns, and two of its standard errors more; at least 1."""
    if not scores.shape[1]:
        return 1.0
    found = float(np.max(1 + 2 * sum(w * _correlations(scores, k) for k, w in _lag_weights(lag))))
    return max(1.0, found * _caution(scores.shape[0], lag))


def _caution(rows: int, lag: int) -> float:
    """A finite reference knows its own dependence only so well: a sum over ``lag`` lags has this relative error."""
    return float(1 + 2 * np.sqrt(2 * lag / rows))


def _weights(groups: Floats, lag: int) -> Weights:
    """The eigenvalues' moments of the groups' long-run covariance, against that of independent rows (Rao and Scott 1981)."""
    shares = groups.mean(axis=0)
    held = groups[:, shares > 0] - shares[shares > 0]
    scaled = held / np.sqrt(shares[shares > 0])
    total = scaled.T @ scaled
    for k, weight in _lag_weights(lag):
        product = scaled[k:].T @ scaled[:-k]
        total += weight * (product + product.T)
    eigenvalues = np.sort(np.linalg.eigvalsh(total / groups.shape[0]))[1:]  # the least belongs to the sum of shares, which is 1
    if not eigenvalues.size:
        return INDEPENDENT
    effects = np.maximum(eigenvalues * _caution(groups.shape[0], lag), 1.0)
    return Weights(first=float(effects.mean()), second=float((effects**2).mean()), third=float((effects**3).mean()))

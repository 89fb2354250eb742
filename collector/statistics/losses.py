"""How large the losses of a window probably are where no labels have come yet: a direct loss estimate that needs counts only.

On the sample of the reference, the loss of a row (its absolute error, or 1 for a right class) is regressed on the groups that
its features and its score fall into. The model is additive, so its mean over a window follows from how many rows fall
into each group of each feature, which the rollups hold for any window; no row is read again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from collector.statistics.estimation import Estimated
from collector.statistics.intervals import z_value
from collector.statistics.probabilities import equal_groups
from storage.records import Floats, Ints

GROUPS = 10
"""Groups of neighbouring bins of about equal mass that each column is cut into, missing apart."""
PENALTIES = tuple(10.0**power for power in np.arange(-4, 4.5, 0.5))
"""Ridge penalties per row that are tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossModel:
    """Losses as ``mean + sum((share in group - reference share) * coefficient)`` over the groups of all columns.

    ``groups``: for each column the group of each of its bins, int64 (bins,), missing last. ``shares`` and
    ``coefficients``: float64 (all groups,). ``covariance`` (all groups, all groups), ``cross`` (all groups,) and
    ``mean_variance`` are those of the coefficients and the mean; ``noise``: variance of a loss around the model.
    """

    groups: tuple[Ints, ...]
    shares: Floats
    coefficients: Floats
    mean: float
    covariance: Floats
    cross: Floats
    mean_variance: float
    noise: float
    n: int


def fit_losses(columns: Sequence[Ints], sizes: Sequence[int], losses: Floats) -> LossModel | None:
    """The model of ``losses``, float64 (n,); ``columns``: bin indices, int64 (n,), of columns with ``sizes`` bins, missing last.

    Ridge regression with the penalty that generalised cross-validation (Golub, Heath and Wahba 1979) likes best: where
    the columns tell nothing of the losses it comes out near the mean. Variances are sandwich ones, for losses whose
    spread differs. Losses that are not finite are left out; None with fewer than 20.

    >>> model = fit_losses([np.repeat([0, 1], 50)], [3], np.repeat([1.0, 3.0], 50))
    >>> round(estimate_losses(model, [np.array([10, 30, 0])], [np.array([50, 50, 0])]).value, 2)
    2.5
    """
    kept = np.isfinite(losses)
    y, n = losses[kept], int(kept.sum())
    if n < 2 * GROUPS:
        return None
    bins = [column[kept] for column in columns]
    groups = tuple(_groups(np.bincount(column, minlength=size)) for column, size in zip(bins, sizes, strict=True))
    hot = np.concatenate([_one_hot(of[column]) for of, column in zip(groups, bins, strict=True)], axis=1)
    shares, mean = hot.mean(axis=0), float(y.mean())
    centred = hot - shares
    spectrum, axes = np.linalg.eigh(centred.T @ centred)
    turned = axes.T @ (centred.T @ (y - mean))
    penalty, freedom = _penalty(np.maximum(spectrum, 0.0), turned, float(np.square(y - mean).sum()), n)
    solve = (axes / (np.maximum(spectrum, 0.0) + penalty)) @ axes.T @ centred.T
    coefficients = solve @ (y - mean)
    residuals = (y - mean - centred @ coefficients) * math.sqrt(n / max(n - 1 - freedom, 1.0))
    squares = np.square(residuals)
    return LossModel(
        groups=groups,
        shares=shares,
        coefficients=coefficients,
        mean=mean,
        covariance=(solve * squares) @ solve.T,
        cross=solve @ squares / n,
        mean_variance=float(squares.sum()) / n**2,
        noise=float(squares.mean()),
        n=n,
    )


def _groups(rows: Ints) -> Ints:
    return np.append(equal_groups(rows[:-1], GROUPS), GROUPS)


def _one_hot(group: Ints) -> Floats:
    return np.asarray(group[:, None] == np.arange(GROUPS + 1), dtype=np.float64)


def _penalty(spectrum: Floats, turned: Floats, total: float, n: int) -> tuple[float, float]:
    """The penalty with the least generalised cross-validation error, and its degrees of freedom.

    ``spectrum``: eigenvalues of the groups' products; ``turned``: products of groups and losses along their axes;
    ``total``: the losses' sum of squares around their mean.
    """
    best = (math.inf, 1.0, 0.0)
    for penalty in (n * each for each in PENALTIES):
        kept = spectrum + penalty
        freedom = float((spectrum / kept).sum())
        rest = total - float(np.square(turned) @ ((spectrum + 2 * penalty) / np.square(kept)))
        best = min(best, (max(rest, 0.0) / max(n - 1 - freedom, 1.0) ** 2, penalty, freedom))
    return best[1], best[2]


def estimate_losses(
    model: LossModel, counts: Sequence[Ints], reference: Sequence[Ints], most: float = math.inf
) -> Estimated | None:
    """The mean loss to be expected of a window: ``counts`` by bin, int64 (bins,), of each column, the score last; None for none.

    ``interval``: where the realised mean will lie with probability 95 %; the spread of a loss is taken to grow with its
    mean, and what the penalty or missing interactions cost is left out. ``reference``: the counts of the whole reference;
    ``out_of_support`` is the largest share of any column in bins where it has nothing.
    """
    rows = int(counts[-1].sum())
    if not rows:
        return None
    now = np.concatenate([_shares(of, column) for of, column in zip(model.groups, counts, strict=True)])
    moved = now - model.shares
    value = min(max(0.0, model.mean + float(moved @ model.coefficients)), most)
    own = model.mean_variance + 2 * float(moved @ model.cross) + float(moved @ model.covariance @ moved)
    noise = model.noise * (value / model.mean) ** 2 if model.mean > 0 and most == math.inf else model.noise
    error = math.sqrt(max(own, 0.0) + noise / rows)
    reach = z_value(0.95) * error
    unseen = [float(new[old == 0].sum()) / max(int(new.sum()), 1) for old, new in zip(reference, counts, strict=True)]
    return Estimated(
        value=value,
        error=error,
        interval=(max(0.0, value - reach), min(most, value + reach)),
        bound=None,
        n=rows,
        n_reference=model.n,
        out_of_support=max(unseen),
    )


def _shares(groups: Ints, counts: Ints) -> Floats:
    total = max(int(counts.sum()), 1)
    return np.asarray(np.bincount(groups, weights=counts, minlength=GROUPS + 1) / total)

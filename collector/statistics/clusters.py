"""Rows of one subject resemble each other: how much wider that makes an interval (the delta method)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from collector.statistics.intervals import Estimate
from storage.evidence import ClusterSums
from storage.records import Floats, Ints


def cluster_numbers(subjects: Sequence[str | None]) -> Ints:
    """A number per row, the same for rows of one subject, int64 (n,); a row without a subject is alone.

    >>> cluster_numbers(["ann", None, "ann", None]).tolist()
    [0, 1, 0, 2]
    """
    known: dict[object, int] = {}
    keys = (subject if subject is not None else (index,) for index, subject in enumerate(subjects))
    return np.array([known.setdefault(key, len(known)) for key in keys], np.int64)


def cluster_sums(values: Floats, clusters: Ints) -> ClusterSums:
    """The sums of values (n,) over clusters (n,); values that are NaN are left out."""
    known = np.isfinite(values)
    values, clusters = values[known], clusters[known]
    rows = np.bincount(clusters).astype(np.float64)
    totals = np.bincount(clusters, weights=values, minlength=rows.size)
    return ClusterSums(
        clusters=int(np.count_nonzero(rows)),
        rows=float(rows.sum()),
        total=float(totals.sum()),
        rows_squared=float(rows @ rows),
        total_squared=float(totals @ totals),
        product=float(rows @ totals),
        squares=float(values @ values),
    )


def clustered_squared_error(sums: ClusterSums) -> float | None:
    """Squared standard error of ``total / rows`` when clusters are drawn, not rows; None for fewer than two clusters.

    ``k / (k - 1) (sum t_i^2 - 2 r sum n_i t_i + r^2 sum n_i^2) / (sum n_i)^2`` with r the mean: the delta method for a
    ratio of two means. Source: Deng, Knoblich and Lu (2018), arXiv 1803.06336. With one row to a cluster it is s^2 / n.
    """
    if sums.clusters < 2 or not sums.rows:
        return None
    mean = sums.total / sums.rows
    spread = sums.total_squared - 2 * mean * sums.product + mean * mean * sums.rows_squared
    return max(0.0, spread) * sums.clusters / (sums.clusters - 1) / sums.rows**2


def design_effect(sums: ClusterSums, covered: float = 1.0) -> float | None:
    """How many times larger the squared error is than that of as many independent rows; None for fewer than two clusters.

    Where all values are alike nothing shows how rows of one subject resemble each other, and they are taken to be
    equal: ``sum n_i^2 / sum n_i``. ``covered`` is the share of the rows that the sums hold: subjects have up to
    ``1 / covered`` times as many rows as were seen, so ``1 + (effect - 1) / covered``, and at least 1.

    >>> pairs = cluster_sums(np.array([1.0, 1.0, 0.0, 0.0]), np.array([0, 0, 1, 1]))
    >>> round(design_effect(pairs), 2)
    3.0
    """
    clustered = clustered_squared_error(sums)
    if clustered is None:
        return None
    mean = sums.total / sums.rows
    variance = (sums.squares - sums.rows * mean * mean) / (sums.rows - 1)
    effect = sums.rows_squared / sums.rows if variance <= 1e-12 * max(mean * mean, 1e-300) else clustered / (variance / sums.rows)
    return effect if covered >= 1 else max(1.0, 1 + (effect - 1) / covered)


def by_subject(estimate: Estimate, sums: ClusterSums | None) -> Estimate:
    """The estimate with the squared error that subjects give it, and as many values as there are subjects.

    Unchanged where there are no sums, or sums of fewer than two subjects.
    """
    if sums is None or not sums.rows:
        return estimate
    effect = design_effect(sums, min(1.0, sums.rows / estimate.n))
    if effect is None:
        return estimate
    return Estimate(mean=estimate.mean, variance=estimate.squared_error * effect * sums.clusters, n=sums.clusters)

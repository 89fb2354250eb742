"""What two arms on different traffic differ in: quality, errors, latency, scores. One value per metric, with its errors."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from scipy.special import kolmogorov, ndtr

from collector.statistics.clusters import by_subject, cluster_numbers, design_effect
from collector.statistics.delong import AreaDifference, RocArea, area_difference, roc_area
from collector.statistics.intervals import Estimate, sequential_p, sequential_reach, share_estimate, welch, z_value
from collector.statistics.latency import RELATIVE_ERROR, bootstrap_quantiles, quantile_seconds
from collector.statistics.performance import ClassificationQuality, RegressionQuality
from collector.statistics.sequential import distribution_reach
from collector.statistics.trial import Arm, Difference, Part, Terms
from storage.records import Floats, Ints

QUANTILES = {"latency_p50_seconds": 0.5, "latency_p95_seconds": 0.95, "latency_p99_seconds": 0.99}
GUARDED_QUANTILE = "latency_p95_seconds"
VALUES_BEYOND = 10
"""A quantile is judged once so many values lie beyond it: with fewer its intervals are too narrow."""


def split_differences(a: Arm, b: Arm, terms: Terms) -> list[Difference]:
    """Every metric of two arms on different traffic, the primary one first. Raises ValueError for arms of different tasks."""
    return [
        primary(a, b, terms),
        *further_quality(a, b, terms),
        error_rate(a, b, terms),
        *latencies(a, b, terms),
        *scores(a, b, terms),
    ]


# ---------------------------------------------------------------------------------------------- from estimates


def of_estimates(a: Estimate, b: Estimate, shown: Difference, terms: Terms) -> Difference:
    """``shown`` with b.mean - a.mean, Welch's interval and the confidence sequence; rows stay as they are."""
    interval, p_value = welch(a, b, 1 - terms.alpha)
    return with_errors(
        replace(shown, a=a.mean, b=b.mean, difference=b.mean - a.mean, interval=interval, p_value=p_value),
        a.squared_error + b.squared_error,
        a.n + b.n,
        terms,
    )


def with_errors(shown: Difference, squared_error: float, units: int, terms: Terms) -> Difference:
    """``shown`` with the confidence sequence that belongs to its difference and squared error."""
    difference = shown.difference or 0.0
    reach = sequential_reach(squared_error, units, terms.alpha, terms.horizon)
    return replace(
        shown,
        sequential_interval=(difference - reach, difference + reach),
        sequential_p_value=sequential_p(difference, squared_error, units, terms.alpha, terms.horizon),
        squared_error=squared_error,
        units=units,
    )


# ---------------------------------------------------------------------------------------------- quality


def primary(a: Arm, b: Arm, terms: Terms) -> Difference:
    """Accuracy, or the mean absolute error, clustered by subject where the arms know theirs."""
    shown = primary_shown(a, b)
    estimates = [_quality_estimate(arm) for arm in (a, b)]
    first, second = estimates
    if first is None or second is None:
        return replace(shown, a=first.mean if first else None, b=second.mean if second else None)
    known = [arm.sums is not None and arm.sums.quality.clusters > 1 for arm in (a, b)]
    method = "Welch, by subject (delta method)" if all(known) else "Welch, by prediction"
    first, second = (by_subject(one, arm.sums.quality if arm.sums else None) for one, arm in ((first, a), (second, b)))
    return of_estimates(first, second, replace(shown, method=method), terms)


def primary_shown(a: Arm, b: Arm) -> Difference:
    """The name and the sizes of the primary metric. Raises ValueError for arms of different tasks."""
    if isinstance(a.quality, RegressionQuality) is not isinstance(b.quality, RegressionQuality):
        raise ValueError("a classifier and a regression cannot be compared")
    regression = isinstance(a.quality, RegressionQuality)
    name = "mae" if regression else "accuracy"
    return Difference(name=name, part=Part.PRIMARY, less_is_better=regression, n_a=a.quality.n, n_b=b.quality.n)


def _quality_estimate(arm: Arm) -> Estimate | None:
    quality = arm.quality
    if isinstance(quality, RegressionQuality):
        return None if quality.mae is None else Estimate(mean=quality.mae, variance=quality.mae_variance or 0.0, n=quality.n)
    return None if quality.accuracy is None else share_estimate(round(quality.accuracy * quality.n), quality.n)


def further_quality(a: Arm, b: Arm, terms: Terms) -> list[Difference]:
    """Shown, never a gate: AUC with a fixed interval, the rest as plain differences."""
    names = ("rmse", "r2") if isinstance(a.quality, RegressionQuality) else ("precision", "recall", "f1")
    plain = [found for name in names if (found := _plain(name, a, b)) is not None]
    auc = _plain("roc_auc", a, b)
    return plain if auc is None else [_auc(auc, a, b, 1 - terms.alpha), *plain]


def _plain(name: str, a: Arm, b: Arm) -> Difference | None:
    first, second = getattr(a.quality, name, None), getattr(b.quality, name, None)
    if first is None or second is None:
        return None
    return Difference(
        name=name, a=first, b=second, difference=second - first, less_is_better=name == "rmse", n_a=a.quality.n, n_b=b.quality.n
    )


def _auc(shown: Difference, a: Arm, b: Arm, level: float) -> Difference:
    """DeLong on the rows where they are known, else on the counts by score bin, widened by what the bins can hide."""
    first, second = _area(a), _area(b)
    if first is not None and second is not None:
        found = area_difference(first[0], second[0], clusters=(first[1], second[1]), level=level)
        return with_area(shown, first[0], second[0], found, "DeLong on rows, by subject")
    return _binned_auc(shown, a, b, level)


def with_area(shown: Difference, a: RocArea, b: RocArea, found: AreaDifference, method: str) -> Difference:
    """``shown`` with the difference of two areas."""
    return replace(
        shown,
        a=a.area,
        b=b.area,
        difference=found.difference,
        interval=found.interval,
        p_value=found.p_value,
        method=method,
        squared_error=found.standard_error**2,
        n_a=a.influence.size,
        n_b=b.influence.size,
    )


def _area(arm: Arm) -> tuple[RocArea, Ints] | None:
    if arm.scored is None or arm.positive is None:
        return None
    positive = np.array([label == arm.positive for label in arm.scored.labels], np.bool_)
    found = roc_area(arm.scored.scores, positive)
    return None if found is None else (found, cluster_numbers(arm.scored.subjects))


def _binned_auc(shown: Difference, a: Arm, b: Arm, level: float) -> Difference:
    first, second = a.quality, b.quality
    if not isinstance(first, ClassificationQuality) or not isinstance(second, ClassificationQuality):  # pragma: no cover
        return shown
    error = math.hypot(first.roc_auc_error or 0.0, second.roc_auc_error or 0.0)
    bound = (first.roc_auc_bound or 0.0) + (second.roc_auc_bound or 0.0)
    difference, reach = shown.difference or 0.0, z_value(level) * error + bound
    z = max(0.0, abs(difference) - bound) / error if error else 0.0
    return replace(
        shown,
        interval=(difference - reach, difference + reach),
        p_value=float(2 * ndtr(-z)) if error else None,
        method="DeLong on score bins, by prediction",
    )


# ---------------------------------------------------------------------------------------------- guardrails


def error_rate(a: Arm, b: Arm, terms: Terms) -> Difference:
    """The share of errors and timeouts."""
    shown = Difference(
        name="error_rate",
        part=Part.GUARDRAIL,
        less_is_better=True,
        margin=terms.error_rate_margin,
        n_a=a.rows,
        n_b=b.rows,
        method="Welch",
    )
    if not a.rows or not b.rows:
        return replace(shown, **{side: arm.failures / arm.rows for side, arm in (("a", a), ("b", b)) if arm.rows})  # type: ignore[arg-type]
    estimates = [by_subject(share_estimate(arm.failures, arm.rows), arm.sums.failures if arm.sums else None) for arm in (a, b)]
    return of_estimates(estimates[0], estimates[1], shown, terms)


def latencies(a: Arm, b: Arm, terms: Terms) -> list[Difference]:
    """Median, 95th and 99th percentile, with errors by bootstrap from the histograms; the 95th is a guardrail."""
    names, qs = list(QUANTILES), list(QUANTILES.values())
    drawn = bootstrap_quantiles(b.latency, qs, seed=2) - bootstrap_quantiles(a.latency, qs, seed=1)
    return [_latency(name, a, b, drawn[:, position], terms) for position, name in enumerate(names)]


def _latency(name: str, a: Arm, b: Arm, drawn: Floats, terms: Terms) -> Difference:
    q = QUANTILES[name]
    first, second = quantile_seconds(a.latency, q), quantile_seconds(b.latency, q)
    sizes = [int(arm.latency.sum()) for arm in (a, b)]
    guards = name == GUARDED_QUANTILE
    shown = Difference(
        name=name,
        a=first,
        b=second,
        part=Part.GUARDRAIL if guards else Part.EXPLORATORY,
        less_is_better=True,
        margin=max(terms.latency_margin_seconds, terms.latency_margin_share * first) if guards and first is not None else None,
        n_a=sizes[0],
        n_b=sizes[1],
        method="bootstrap of the histogram",
    )
    if first is None or second is None:
        return shown
    shown = replace(shown, difference=second - first)
    if min(sizes) * (1 - q) < VALUES_BEYOND:
        return shown
    return _with_bootstrap(shown, drawn, _latency_effect(a, b), math.hypot(first, second) * RELATIVE_ERROR, terms)


def _with_bootstrap(shown: Difference, drawn: Floats, effect: float, bin_error: float, terms: Terms) -> Difference:
    """The interval holds the middle draws around their own centre, stretched by subject and widened by what bins hide."""
    difference = shown.difference or 0.0
    tails = np.quantile(drawn, [terms.alpha / 2, 1 - terms.alpha / 2]) - np.median(drawn)
    low, high = (float(tail) * math.sqrt(effect) for tail in tails)
    error = math.hypot(float(drawn.std(ddof=1)) * math.sqrt(effect), bin_error)
    p_value = float(2 * ndtr(-abs(difference) / error)) if error else None
    interval = difference - math.hypot(low, bin_error), difference + math.hypot(high, bin_error)
    units = round((shown.n_a + shown.n_b) / effect)
    return with_errors(replace(shown, interval=interval, p_value=p_value), error**2, max(2, units), terms)


def _latency_effect(a: Arm, b: Arm) -> float:
    """The larger design effect, of the arms, of being slow; subjects that sit far away are slow in all they ask."""
    effects = [
        design_effect(arm.sums.slow, min(1.0, arm.sums.slow.rows / max(1, int(arm.latency.sum()))))
        for arm in (a, b)
        if arm.sums is not None and arm.sums.slow.rows
    ]
    return max([1.0, *(effect for effect in effects if effect is not None)])


# ---------------------------------------------------------------------------------------------- scores


def scores(a: Arm, b: Arm, terms: Terms) -> list[Difference]:
    """How far the distributions of the scores are apart (Kolmogorov-Smirnov, on the score bins); none without scores."""
    if a.scores is None or b.scores is None or not a.scores[:-1].sum() or not b.scores[:-1].sum():
        return []
    first, second = a.scores[:-1], b.scores[:-1]  # the last bin holds what is missing
    n, m = int(first.sum()), int(second.sum())
    distance = float(np.abs(np.cumsum(first) / n - np.cumsum(second) / m).max())
    fixed = sum(math.sqrt(math.log(4 / terms.alpha) / (2 * size)) for size in (n, m))
    anytime = sum(distribution_reach(size, terms.alpha / 2) for size in (n, m))
    return [
        Difference(
            name="score_ks",
            difference=distance,
            interval=(max(0.0, distance - fixed), min(1.0, distance + fixed)),
            sequential_interval=(max(0.0, distance - anytime), min(1.0, distance + anytime)),
            p_value=float(kolmogorov(distance * math.sqrt(n * m / (n + m)))),
            margin=terms.score_margin,
            less_is_better=True,
            n_a=n,
            n_b=m,
            method="Kolmogorov-Smirnov on score bins; Dvoretzky-Kiefer-Wolfowitz",
        )
    ]

"""A shadow and what it shadows: both answered the same inputs, so their differences are taken input by input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import bdtr, chdtrc, stdtr, stdtrit

from collector.statistics.clusters import by_subject, cluster_numbers, cluster_sums
from collector.statistics.delong import paired_area_difference, roc_area
from collector.statistics.differences import latencies, primary_shown, scores, with_area, with_errors
from collector.statistics.intervals import Estimate, sequential_reach, share_estimate, wilson
from collector.statistics.performance import classification, regression
from collector.statistics.sequential import mixture_p
from collector.statistics.trial import Arm, Difference, Disagreement, Part, Terms
from storage.evidence import Answers, Pairs, SubjectSums
from storage.layouts import bin_indices, count_labels, count_latency, is_regression, numbers
from storage.records import Floats, Ints, Layout

MCNEMAR_PRIOR_ROWS = 2.0
"""The sequential test's prior is flat: any share of the discordant pairs is as likely as any other."""
APART = 0.01
"""Numbers that differ by more than this share of the larger one are different answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class McNemar:
    """Pairs that only one side got right, and what they say against both being as good. Of chi-squared, for reference."""

    only_a: int
    only_b: int
    exact_p: float
    sequential_p: float
    chi2: float | None
    chi2_corrected: float | None
    chi2_p: float | None


def mcnemar(only_a: int, only_b: int) -> McNemar:
    """McNemar's test from the two discordant counts: exact (binomial), sequential (flat Beta mixture), chi-squared.

    The sequential one holds at any number of looks. Sources: McNemar (1947), doi:10.1007/BF02295996; ``mixture_p``.

    >>> found = mcnemar(70, 59)
    >>> round(found.chi2, 6), round(found.exact_p, 6)
    (0.937984, 0.378688)
    """
    n = only_a + only_b
    exact = min(1.0, 2 * float(bdtr(min(only_a, only_b), n, 0.5))) if n else 1.0
    chi2 = (only_a - only_b) ** 2 / n if n else None
    return McNemar(
        only_a=only_a,
        only_b=only_b,
        exact_p=exact,
        sequential_p=mixture_p(only_b, only_a, 0.5, MCNEMAR_PRIOR_ROWS),
        chi2=chi2,
        chi2_corrected=max(0, abs(only_a - only_b) - 1) ** 2 / n if n else None,
        chi2_p=None if chi2 is None else float(chdtrc(1, chi2)),
    )


# ---------------------------------------------------------------------------------------------- arms


def paired_arms(pairs: Pairs, layout: Layout, versions: tuple[str, str]) -> tuple[Arm, Arm]:
    """Both sides of the pairs as arms: what they got right counts pairs that both answered and that have a label."""
    clusters = cluster_numbers(pairs.subjects)
    slow = float(np.nanquantile(pairs.a.latency_ms, 0.95)) if np.isfinite(pairs.a.latency_ms).any() else math.inf
    first, second = (
        _arm(pairs, side, layout, version, clusters, slow) for side, version in zip((pairs.a, pairs.b), versions, strict=True)
    )
    return first, second


def _arm(pairs: Pairs, side: Answers, layout: Layout, version: str, clusters: Ints, slow: float) -> Arm:
    usable = np.flatnonzero(_labelled(pairs))
    counts = count_labels(
        layout,
        [_none_if_nan(side.scores[i]) for i in usable],
        [side.predictions[i] for i in usable],
        [pairs.labels[i] or "" for i in usable],
        [0.0] * usable.size,
    )
    failed = (~side.ok).astype(np.float64)
    is_slow = np.where(np.isfinite(side.latency_ms), side.latency_ms > slow, np.nan)
    answered = np.flatnonzero(side.ok)
    return Arm(
        version=version,
        rows=len(pairs.labels),
        failures=int(failed.sum()),
        latency=count_latency([_none_if_nan(value) for value in side.latency_ms]),
        labelled=int(usable.size),
        quality=regression(counts) if is_regression(layout) else classification(counts),
        sums=SubjectSums(rows=len(pairs.labels), failures=cluster_sums(failed, clusters), slow=cluster_sums(is_slow, clusters)),
        scores=np.bincount(bin_indices(layout.score, side.scores[answered]), minlength=layout.score.size),
    )


def _labelled(pairs: Pairs) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return pairs.a.ok & pairs.b.ok & np.array([label is not None for label in pairs.labels], np.bool_)


def _none_if_nan(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


# ---------------------------------------------------------------------------------------------- differences


def paired_differences(pairs: Pairs, layout: Layout, a: Arm, b: Arm, terms: Terms) -> list[Difference]:
    """Every metric of a shadow, the primary one first."""
    clusters = cluster_numbers(pairs.subjects)
    found = [paired_primary(pairs, layout, a, b, clusters, terms)]
    auc = _paired_auc(pairs, layout, clusters, terms)
    guardrail = Difference(
        name="error_rate", part=Part.GUARDRAIL, less_is_better=True, margin=terms.error_rate_margin, n_a=a.rows, n_b=b.rows
    )
    failed = [(~side.ok).astype(np.float64) for side in (pairs.a, pairs.b)]
    return [
        *found,
        *([auc] if auc else []),
        _of_pairs(guardrail, failed[0], failed[1], clusters, terms, are_shares=True),
        *latencies(a, b, terms),
        *scores(a, b, terms),
    ]


def paired_primary(pairs: Pairs, layout: Layout, a: Arm, b: Arm, clusters: Ints, terms: Terms) -> Difference:
    """Right or wrong, or the absolute error, of both sides of each labelled pair.

    Where no subject has two pairs, the p-values of the accuracy are McNemar's: exact, and for any number of looks.
    """
    shown, known = primary_shown(a, b), _labelled(pairs)
    if is_regression(layout):
        actual = numbers([_number(label) for label in pairs.labels])
        errors = [np.where(known, np.abs(side.scores - actual), np.nan) for side in (pairs.a, pairs.b)]
        return _of_pairs(shown, errors[0], errors[1], clusters, terms)
    right = [np.where(known, _right(side, pairs.labels), np.nan) for side in (pairs.a, pairs.b)]
    found = _of_pairs(shown, right[0], right[1], clusters, terms, are_shares=True)
    used = clusters[known]
    if not used.size or np.unique(used).size < used.size:
        return found
    test = mcnemar(int(np.nansum(right[0] > right[1])), int(np.nansum(right[1] > right[0])))
    return replace(found, p_value=test.exact_p, sequential_p_value=test.sequential_p, method="McNemar, exact and sequential")


def _right(side: Answers, labels: Sequence[str | None]) -> Floats:
    return np.array([float(said == label) for said, label in zip(side.predictions, labels, strict=True)])


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _of_pairs(shown: Difference, a: Floats, b: Floats, clusters: Ints, terms: Terms, *, are_shares: bool = False) -> Difference:
    """The mean of b - a over pairs where both are finite: t interval and confidence sequence over subjects."""
    known = np.isfinite(a) & np.isfinite(b)
    n = int(known.sum())
    shown = replace(shown, n_a=n, n_b=n, method="paired differences, by subject")
    if not n:
        return shown
    estimate = by_subject(_mean(b[known] - a[known], are_shares), cluster_sums((b - a)[known], clusters[known]))
    interval, p_value = _t_interval(estimate, 1 - terms.alpha)
    shown = replace(shown, a=float(a[known].mean()), b=float(b[known].mean()), difference=estimate.mean, interval=interval)
    return with_errors(replace(shown, p_value=p_value), estimate.squared_error, estimate.n, terms)


def _mean(values: Floats, are_shares: bool) -> Estimate:
    """Their mean and variance; of differences of shares at least that of half a pair that differs."""
    variance = float(values.var(ddof=1)) if values.size > 1 else 0.0
    least = 0.5 / (values.size + 1) if are_shares else 0.0
    return Estimate(mean=float(values.mean()), variance=max(variance, least), n=values.size)


def _t_interval(estimate: Estimate, level: float) -> tuple[tuple[float, float], float]:
    error, freedom = math.sqrt(estimate.squared_error), max(estimate.n - 1, 1)
    if error == 0:
        return (estimate.mean, estimate.mean), 1.0 if estimate.mean == 0 else 0.0
    reach = float(stdtrit(freedom, (1 + level) / 2)) * error
    return (estimate.mean - reach, estimate.mean + reach), float(2 * stdtr(freedom, -abs(estimate.mean) / error))


def _paired_auc(pairs: Pairs, layout: Layout, clusters: Ints, terms: Terms) -> Difference | None:
    """DeLong for two scores of the same rows, by subject; None unless there are two classes and both occurred."""
    if len(layout.classes) != 2:
        return None
    known = _labelled(pairs) & np.isfinite(pairs.a.scores) & np.isfinite(pairs.b.scores)
    known &= np.array([label in layout.classes for label in pairs.labels], np.bool_)
    positive = np.array([label == layout.classes[1] for label in pairs.labels], np.bool_)[known]
    first, second = (roc_area(side.scores[known], positive) for side in (pairs.a, pairs.b))
    if first is None or second is None:
        return None
    found = paired_area_difference(first, second, clusters=clusters[known], level=1 - terms.alpha)
    return with_area(Difference(name="roc_auc"), first, second, found, "paired DeLong, by subject")


# ---------------------------------------------------------------------------------------------- without labels


def disagreement(pairs: Pairs, layout: Layout, terms: Terms) -> Disagreement:
    """How often, and for numbers how far, the answers to the same inputs differ; no label is needed.

    ``|accuracy_b - accuracy_a| <= P(answers differ)`` for any number of classes, because only an input that both answer
    differently can be right for one alone; ``|MAE_b - MAE_a| <= mean |b - a|`` by the triangle inequality.
    """
    both = pairs.a.ok & pairs.b.ok
    clusters = cluster_numbers(pairs.subjects)[both]
    if not is_regression(layout):
        differ = np.array([x != y for x, y in zip(pairs.a.predictions, pairs.b.predictions, strict=True)], np.float64)[both]
        rate = _rate(differ, clusters, terms)
        return replace(rate, bound=rate.sequential_interval[1] if rate.sequential_interval else None)
    a, b = pairs.a.scores[both], pairs.b.scores[both]
    known = np.isfinite(a) & np.isfinite(b)
    a, b, clusters = a[known], b[known], clusters[known]
    rate = _rate((np.abs(a - b) > APART * np.maximum(np.abs(a), np.abs(b))).astype(np.float64), clusters, terms)
    if not a.size:
        return rate
    far = by_subject(_mean(np.abs(a - b), are_shares=False), cluster_sums(np.abs(a - b), clusters))
    reach = sequential_reach(far.squared_error, far.n, terms.alpha, terms.horizon)
    return replace(rate, distance=far.mean, bound=far.mean + reach)


def _rate(differ: Floats, clusters: Ints, terms: Terms) -> Disagreement:
    n, count = differ.size, int(differ.sum())
    if not n:
        return Disagreement(n=0, rate=None, interval=None, sequential_interval=None)
    plain = share_estimate(count, n)
    estimate = by_subject(plain, cluster_sums(differ, clusters))
    effect = max(1.0, estimate.squared_error / plain.squared_error)
    worth = max(1, round(n / effect))  # independent pairs
    reach = sequential_reach(estimate.squared_error, estimate.n, terms.alpha, terms.horizon)
    return Disagreement(
        n=n,
        rate=count / n,
        interval=wilson(count / n * worth, worth, 1 - terms.alpha),
        sequential_interval=(max(0.0, plain.mean - reach), min(1.0, plain.mean + reach)),
    )

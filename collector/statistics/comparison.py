"""Compares two versions that share the traffic: first whether the comparison is healthy, then who is better.

Every gate holds at any number of looks: the verdict reads confidence sequences, and fixed 95 % intervals stand beside
them for the one person who looks once. The arm ``a`` is the one in charge, ``b`` the one that wants to replace it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from scipy.special import betaln, chdtrc

from collector.statistics.intervals import Estimate, sequential_p, sequential_reach, share_estimate, welch, z_value
from collector.statistics.latency import latency_quantile
from collector.statistics.performance import ClassificationQuality, RegressionQuality, classification, regression
from storage.layouts import is_regression
from storage.records import Ints, LabelCounts, Layout, PredictionCounts

Interval = tuple[float, float]

SAMPLE_RATIO_ALPHA = 0.001
COVERAGE_ALPHA = 0.001
COVERAGE_TOLERANCE = 0.01
"""Label coverages that differ by less than this are alike, however sure the difference."""
PRIOR_ROWS = 100.0
"""Weight, in rows, of the sequential sample-ratio test's prior at the expected split."""


class Outcome(StrEnum):
    """What to do: let b take over, go back to a, wait for more data, or repair the experiment first."""

    SHIP = "ship"
    ROLL_BACK = "roll back"
    KEEP_RUNNING = "keep running"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What was agreed before the comparison began. Margins are how much worse b may be in a guardrail."""

    alpha: float = 0.05
    horizon: float = 5000.0
    min_labels: int = 100
    error_rate_margin: float = 0.01
    latency_margin_share: float = 0.25
    latency_margin_seconds: float = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """What one version did. ``rows`` count all its predictions, ``failures`` the errors and timeouts among them."""

    version: str
    rows: int
    failures: int
    latency: Ints
    labelled: int
    quality: ClassificationQuality | RegressionQuality
    subjects: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One metric of both arms, and ``b - a``. The sequential interval holds at every look at once."""

    name: str
    a: float | None
    b: float | None
    difference: float | None = None
    interval: Interval | None = None
    sequential_interval: Interval | None = None
    p_value: float | None = None
    sequential_p_value: float | None = None
    margin: float | None = None
    less_is_better: bool = False
    n_a: int = 0
    n_b: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether the arms can be compared at all; ``problems`` are sentences, none when they can.

    ``sequential`` is the anytime-valid p-value of the sample ratio. Coverages are labelled / successful predictions.
    """

    sample_ratio_p: float | None
    sequential: float | None
    coverage_a: float | None
    coverage_b: float | None
    coverage_p: float | None
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The whole answer; ``winner`` is the version that should answer, None while nobody knows."""

    arms: tuple[Arm, Arm]
    health: Health
    metrics: dict[str, Difference]
    verdict: Outcome
    winner: str | None
    reasons: list[str]


def arm(version: str, layout: Layout, predictions: PredictionCounts, labels: LabelCounts, *, subjects: int | None = None) -> Arm:
    """One arm from the counts of its window. ``subjects``: how many different subjects it answered, where that is known."""
    return Arm(
        version=version,
        rows=predictions.rows,
        failures=predictions.errors + predictions.timeouts,
        latency=predictions.latency,
        labelled=labels.rows,
        quality=regression(labels) if is_regression(layout) else classification(labels),
        subjects=subjects,
    )


def compare(a: Arm, b: Arm, *, expected_share_b: float | None = None, terms: Terms | None = None) -> Comparison:
    """Health, metrics and verdict for b against a.

    ``expected_share_b`` is b's weight in the split; None where the versions did not share one (no sample-ratio check).
    Predictions are taken as independent: where few subjects send many requests each, intervals are too narrow.
    """
    terms = terms or Terms()
    health = check_health(a, b, expected_share_b)
    metrics = {difference.name: difference for difference in _differences(a, b, terms)}
    verdict, reasons = _decide(a, b, health, metrics, terms)
    winner = {Outcome.SHIP: b.version, Outcome.ROLL_BACK: a.version}.get(verdict)
    return Comparison(arms=(a, b), health=health, metrics=metrics, verdict=verdict, winner=winner, reasons=reasons)


# ---------------------------------------------------------------------------------------------- health


def check_health(a: Arm, b: Arm, expected_share_b: float | None) -> Health:
    """Sample ratio (over subjects where both arms know them, else over predictions) and label coverage by arm."""
    counted = (a.subjects, b.subjects) if a.subjects is not None and b.subjects is not None else (a.rows, b.rows)
    ratio_p = sequential = None
    if expected_share_b is not None and 0 < expected_share_b < 1:
        ratio_p = sample_ratio_p(*counted, expected_share_b)
        sequential = sequential_sample_ratio_p(*counted, expected_share_b)
    coverages = [arm.labelled / served if (served := arm.rows - arm.failures) else None for arm in (a, b)]
    coverage_p = _coverage_p(a, b)
    return Health(
        sample_ratio_p=ratio_p,
        sequential=sequential,
        coverage_a=coverages[0],
        coverage_b=coverages[1],
        coverage_p=coverage_p,
        problems=(
            *_ratio_problems(counted, expected_share_b, ratio_p, sequential),
            *_coverage_problems(a, b, coverages, coverage_p),
        ),
    )


def sample_ratio_p(n_a: int, n_b: int, share_b: float) -> float | None:
    """Pearson's chi-squared p-value that the split is as agreed, for one look; None without rows.

    >>> round(sample_ratio_p(5000, 5200, 0.5), 7)
    0.0476704
    """
    n = n_a + n_b
    if not n:
        return None
    expected = n * share_b
    return float(chdtrc(1, (n_b - expected) ** 2 * (1 / expected + 1 / (n - expected))))


def sequential_sample_ratio_p(n_a: int, n_b: int, share_b: float) -> float | None:
    """The same for any number of looks: 1 / e with e the Beta mixture against the agreed share, at most 1.

    ``ln e = ln B(u + n_b, v + n_a) - ln B(u, v) - n_b ln(s) - n_a ln(1 - s)`` with the prior (u, v) centred on s.
    Source: Lindon and Malek (2020), arXiv 2011.03567.

    >>> sequential_sample_ratio_p(500, 500, 0.5), sequential_sample_ratio_p(5000, 5600, 0.5) < 0.001
    (1.0, True)
    """
    if not n_a + n_b:
        return None
    u, v = PRIOR_ROWS * share_b, PRIOR_ROWS * (1 - share_b)
    log_e = float(betaln(u + n_b, v + n_a) - betaln(u, v)) - n_b * math.log(share_b) - n_a * math.log1p(-share_b)
    return min(1.0, math.exp(-max(log_e, 0.0)))


def _ratio_problems(counted: tuple[int, int], share: float | None, p: float | None, sequential: float | None) -> list[str]:
    if share is None or p is None or sequential is None or min(p, sequential) >= SAMPLE_RATIO_ALPHA:
        return []
    got = counted[1] / sum(counted)
    return [
        f"The split is not as agreed: {got:.1%} of {sum(counted)} went to the challenger instead of {share:.1%} "
        f"(sample ratio p = {min(p, sequential):.2g}). Find out what loses or repeats requests before reading the metrics."
    ]


def _coverage_p(a: Arm, b: Arm) -> float | None:
    served_a, served_b = a.rows - a.failures, b.rows - b.failures
    labelled = a.labelled + b.labelled
    if not served_a or not served_b or not 0 < labelled < served_a + served_b:
        return None
    pooled = labelled / (served_a + served_b)
    z2 = (a.labelled / served_a - b.labelled / served_b) ** 2 / (pooled * (1 - pooled) * (1 / served_a + 1 / served_b))
    return float(chdtrc(1, z2))


def _coverage_problems(a: Arm, b: Arm, coverages: Sequence[float | None], p: float | None) -> list[str]:
    first, second = coverages
    if p is None or first is None or second is None or p >= COVERAGE_ALPHA or abs(first - second) <= COVERAGE_TOLERANCE:
        return []
    return [
        f"Labels come unevenly: {first:.1%} of the predictions of {a.version} have one, {second:.1%} of those of {b.version} "
        f"(p = {p:.2g}). The labelled ones may differ from the others."
    ]


# ---------------------------------------------------------------------------------------------- metrics


def _differences(a: Arm, b: Arm, terms: Terms) -> list[Difference]:
    primary = _primary(a, b, terms)
    found = [primary] if primary else []
    return [*found, *_further_quality(a, b), _error_rate(a, b, terms), _latency(a, b, terms)]


def _primary(a: Arm, b: Arm, terms: Terms) -> Difference | None:
    first, second = a.quality, b.quality
    if isinstance(first, RegressionQuality) and isinstance(second, RegressionQuality):
        estimates = [
            Estimate(mean=quality.mae, variance=quality.mae_variance or 0.0, n=quality.n) if quality.mae is not None else None
            for quality in (first, second)
        ]
        return _of_estimates("mae", estimates[0], estimates[1], terms, less_is_better=True)
    if isinstance(first, ClassificationQuality) and isinstance(second, ClassificationQuality):
        shares = [
            share_estimate(round(quality.accuracy * quality.n), quality.n) if quality.accuracy is not None else None
            for quality in (first, second)
        ]
        return _of_estimates("accuracy", shares[0], shares[1], terms)
    raise ValueError("a classifier and a regression cannot be compared")


def _of_estimates(
    name: str,
    a: Estimate | None,
    b: Estimate | None,
    terms: Terms,
    *,
    less_is_better: bool = False,
    margin: float | None = None,
) -> Difference:
    if a is None or b is None:
        return Difference(
            name=name,
            a=a.mean if a else None,
            b=b.mean if b else None,
            less_is_better=less_is_better,
            margin=margin,
            n_a=a.n if a else 0,
            n_b=b.n if b else 0,
        )
    interval, p_value = welch(a, b, 1 - terms.alpha)
    return _difference(name, a, b, terms, interval, p_value, less_is_better, margin)


def _difference(
    name: str,
    a: Estimate,
    b: Estimate,
    terms: Terms,
    interval: Interval,
    p_value: float,
    less_is_better: bool,
    margin: float | None,
) -> Difference:
    difference, squared_error, n = b.mean - a.mean, a.squared_error + b.squared_error, a.n + b.n
    reach = sequential_reach(squared_error, n, terms.alpha, terms.horizon)
    return Difference(
        name=name,
        a=a.mean,
        b=b.mean,
        difference=difference,
        interval=interval,
        sequential_interval=(difference - reach, difference + reach),
        p_value=p_value,
        sequential_p_value=sequential_p(difference, squared_error, n, terms.alpha, terms.horizon),
        margin=margin,
        less_is_better=less_is_better,
        n_a=a.n,
        n_b=b.n,
    )


def _further_quality(a: Arm, b: Arm) -> list[Difference]:
    """Shown, never a gate: AUC with a fixed interval, the rest as plain differences."""
    names = ("rmse", "r2") if isinstance(a.quality, RegressionQuality) else ("roc_auc", "precision", "recall", "f1")
    return [found for name in names if (found := _plain(name, a, b)) is not None]


def _plain(name: str, a: Arm, b: Arm) -> Difference | None:
    first, second = getattr(a.quality, name), getattr(b.quality, name)
    if first is None or second is None:
        return None
    return Difference(
        name=name,
        a=first,
        b=second,
        difference=second - first,
        interval=_auc_interval(a, b, second - first) if name == "roc_auc" else None,
        less_is_better=name == "rmse",
        n_a=a.quality.n,
        n_b=b.quality.n,
    )


def _auc_interval(a: Arm, b: Arm, difference: float) -> Interval | None:
    """Unpaired DeLong: the arms hold different rows, so variances add; the binning bounds of both are added."""
    first, second = a.quality, b.quality
    if not isinstance(first, ClassificationQuality) or not isinstance(second, ClassificationQuality):
        return None
    error = math.hypot(first.roc_auc_error or 0.0, second.roc_auc_error or 0.0)
    reach = z_value(0.95) * error + (first.roc_auc_bound or 0.0) + (second.roc_auc_bound or 0.0)
    return difference - reach, difference + reach


def _error_rate(a: Arm, b: Arm, terms: Terms) -> Difference:
    shares = [share_estimate(arm.failures, arm.rows) if arm.rows else None for arm in (a, b)]
    return _of_estimates("error_rate", shares[0], shares[1], terms, less_is_better=True, margin=terms.error_rate_margin)


def _latency(a: Arm, b: Arm, terms: Terms) -> Difference:
    """The 95th percentiles, with the errors that their order statistics give."""
    first, second = latency_quantile(a.latency, 0.95), latency_quantile(b.latency, 0.95)
    margin = None
    if first.seconds is not None:
        margin = max(terms.latency_margin_seconds, terms.latency_margin_share * first.seconds)
    estimates = [
        Estimate(mean=found.seconds, variance=found.standard_error**2 * found.n, n=found.n)
        if found.seconds is not None and found.standard_error is not None
        else None
        for found in (first, second)
    ]
    return _of_estimates("latency_p95_seconds", estimates[0], estimates[1], terms, less_is_better=True, margin=margin)


# ---------------------------------------------------------------------------------------------- verdict


def _decide(a: Arm, b: Arm, health: Health, metrics: dict[str, Difference], terms: Terms) -> tuple[Outcome, list[str]]:
    if health.problems:
        return Outcome.UNHEALTHY, list(health.problems)
    guardrails = [metric for metric in metrics.values() if metric.margin is not None and (metric.a, metric.b) != (None, None)]
    broken = [_broken(metric, a, b) for metric in guardrails if _is_beyond(metric)]
    if broken:
        return Outcome.ROLL_BACK, broken
    primary = metrics["mae" if "mae" in metrics else "accuracy"]
    few = [f"{name}: {n}" for name, n in ((a.version, primary.n_a), (b.version, primary.n_b)) if n < terms.min_labels]
    if few or primary.sequential_interval is None or primary.difference is None:
        return Outcome.KEEP_RUNNING, [f"Too few labelled predictions ({'; '.join(few)}); each arm needs {terms.min_labels}."]
    return _by_primary(primary, guardrails, a, b, terms)


def _by_primary(primary: Difference, guardrails: Sequence[Difference], a: Arm, b: Arm, terms: Terms) -> tuple[Outcome, list[str]]:
    better, worse = _direction(primary)
    statement = _statement(primary, a, b)
    if worse:
        return Outcome.ROLL_BACK, [f"{b.version} is worse: {statement}"]
    if not better:
        return Outcome.KEEP_RUNNING, [f"The versions cannot be told apart yet: {statement}", *_rows_left(primary, terms)]
    open_ = [_undecided(metric) for metric in guardrails if not _is_within(metric)]
    if open_:
        return Outcome.KEEP_RUNNING, [f"{b.version} is better: {statement}", *open_]
    return Outcome.SHIP, [f"{b.version} is better: {statement}", "No guardrail is worse than its margin."]


def _direction(metric: Difference) -> tuple[bool, bool]:
    """Whether b is surely better, and whether it is surely worse."""
    if metric.sequential_interval is None:
        return False, False
    low, high = metric.sequential_interval
    return (high < 0, low > 0) if metric.less_is_better else (low > 0, high < 0)


def _is_beyond(metric: Difference) -> bool:
    return metric.sequential_interval is not None and metric.margin is not None and metric.sequential_interval[0] > metric.margin


def _is_within(metric: Difference) -> bool:
    return metric.sequential_interval is not None and metric.margin is not None and metric.sequential_interval[1] < metric.margin


def _statement(metric: Difference, a: Arm, b: Arm) -> str:
    low, high = metric.sequential_interval or (math.nan, math.nan)
    return (
        f"{metric.name} {metric.b:.4g} ({b.version}) against {metric.a:.4g} ({a.version}); the difference {metric.difference:+.4g} "
        f"lies between {low:+.4g} and {high:+.4g} at any number of looks."
    )


def _broken(metric: Difference, a: Arm, b: Arm) -> str:
    return f"{_statement(metric, a, b)} That is beyond the margin of {metric.margin:.4g}."


def _undecided(metric: Difference) -> str:
    return (
        f"{metric.name} is not yet known to be less than {metric.margin:.4g} worse." if metric.margin is not None else metric.name
    )


def _rows_left(metric: Difference, terms: Terms) -> list[str]:
    """About how many more rows would tell the versions apart if the difference stayed as it is."""
    more = rows_to_decide(metric, terms)
    return [] if more is None else [f"About {more} more labelled predictions would decide it if the difference stays as it is."]


def rows_to_decide(metric: Difference, terms: Terms, most: int = 10_000_000) -> int | None:
    """Further rows (both arms together) until the sequence leaves 0; None where that is out of reach."""
    if metric.interval is None or not metric.difference:
        return None
    n = metric.n_a + metric.n_b
    squared_error = ((metric.interval[1] - metric.interval[0]) / (2 * z_value(1 - terms.alpha))) ** 2
    total = float(n)
    while total < most:
        if sequential_reach(squared_error * n / total, math.ceil(total), terms.alpha, terms.horizon) < abs(metric.difference):
            return max(1, _rounded(total - n))
        total *= 1.1
    return None


def _rounded(number: float) -> int:
    """Two digits are all that such a forecast is worth."""
    digits = max(0, int(math.log10(max(number, 1))) - 1)
    unit: int = 10**digits
    return round(number / unit) * unit


# ---------------------------------------------------------------------------------------------- JSON


def to_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison as a JSON object: arms, health, metrics, verdict, winner, reasons."""
    return {
        "arms": {arm.version: _arm_json(arm) for arm in comparison.arms},
        "health": {
            "sample_ratio_p": comparison.health.sample_ratio_p,
            "sample_ratio_sequential_p": comparison.health.sequential,
            "label_coverage": {
                comparison.arms[0].version: comparison.health.coverage_a,
                comparison.arms[1].version: comparison.health.coverage_b,
            },
            "label_coverage_p": comparison.health.coverage_p,
            "problems": list(comparison.health.problems),
        },
        "metrics": {name: _difference_json(metric) for name, metric in comparison.metrics.items()},
        "verdict": comparison.verdict.value,
        "winner": comparison.winner,
        "reasons": comparison.reasons,
    }


def _arm_json(arm: Arm) -> dict[str, Any]:
    return {"n": arm.rows, "subjects": arm.subjects, "failures": arm.failures, "labels": arm.labelled}


def _difference_json(metric: Difference) -> dict[str, Any]:
    return {
        "a": metric.a,
        "b": metric.b,
        "difference": metric.difference,
        "interval": list(metric.interval) if metric.interval else None,
        "sequential_interval": list(metric.sequential_interval) if metric.sequential_interval else None,
        "p_value": metric.p_value,
        "sequential_p_value": metric.sequential_p_value,
        "margin": metric.margin,
        "less_is_better": metric.less_is_better,
        "n": [metric.n_a, metric.n_b],
    }

"""From health and differences to one of four words, with the reasons and how much longer it may take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from collector.statistics.intervals import sequential_p, sequential_reach
from collector.statistics.multiplicity import benjamini_hochberg, holm
from collector.statistics.trial import Arm, Design, Difference, Disagreement, Forecast, Health, Outcome, Part, Terms

MOST_GROWTH = 1e5
"""A forecast of more than so many times the present data is no forecast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The verdict, why, and how much longer it may take where that can be said."""

    verdict: Outcome
    reasons: tuple[str, ...]
    forecast: Forecast | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """All that a verdict is made from. ``seconds``: how long the comparison has run, where that is known."""

    a: Arm
    b: Arm
    health: Health
    metrics: Sequence[Difference]
    terms: Terms
    design: Design = Design.SPLIT
    seconds: float | None = None
    disagreement: Disagreement | None = None

    @property
    def primary(self) -> Difference:
        return next(metric for metric in self.metrics if metric.part is Part.PRIMARY)

    @property
    def guardrails(self) -> list[Difference]:
        """Those that have a value on either side."""
        return [metric for metric in self.metrics if metric.part is Part.GUARDRAIL and (metric.a, metric.b) != (None, None)]

    @property
    def deciding(self) -> int:
        return sum(metric.part is not Part.EXPLORATORY for metric in self.metrics)


def adjusted(metrics: Sequence[Difference], terms: Terms) -> list[Difference]:
    """The metrics with their adjusted p-values: Holm over those that decide, Benjamini and Hochberg over the others.

    The primary metric is tested for any difference, a guardrail for being worse than its margin, both at any number of
    looks; the others for any difference at one look.
    """
    deciding = {metric.name: p for metric in metrics if (p := _deciding_p(metric, terms)) is not None}
    others = {m.name: m.p_value for m in metrics if m.part is Part.EXPLORATORY and m.p_value is not None}
    found = dict(zip(deciding, holm(list(deciding.values())), strict=True))
    found |= dict(zip(others, benjamini_hochberg(list(others.values())), strict=True))
    return [replace(metric, adjusted_p_value=found.get(metric.name)) for metric in metrics]


def _deciding_p(metric: Difference, terms: Terms) -> float | None:
    if metric.part is Part.PRIMARY:
        return metric.sequential_p_value
    if metric.part is Part.EXPLORATORY or metric.difference is None or metric.squared_error is None or metric.margin is None:
        return None
    beyond = metric.difference - metric.margin
    return sequential_p(beyond, metric.squared_error, metric.units, terms.alpha, terms.horizon) if beyond > 0 else 1.0


def decide(case: Case) -> Decision:
    """Unhealthy; else roll back for a broken guardrail; else by the primary metric; else, without labels, by disagreement."""
    if case.health.problems:
        return Decision(verdict=Outcome.UNHEALTHY, reasons=case.health.problems)
    broken = [_broken(metric, case) for metric in case.guardrails if _is_sure(metric, case.terms)]
    if broken:
        return Decision(verdict=Outcome.ROLL_BACK, reasons=tuple(broken))
    few = _too_few(case)
    if few is not None:
        alike = _alike_without_labels(case)
        return _ship(case, alike) if alike else few
    return _by_primary(case)


# ---------------------------------------------------------------------------------------------- the steps


def _is_sure(metric: Difference, terms: Terms) -> bool:
    return metric.adjusted_p_value is not None and metric.adjusted_p_value < terms.alpha


def _too_few(case: Case) -> Decision | None:
    """What is missing for a word about quality, if anything."""
    primary, terms = case.primary, case.terms
    sizes = {case.a.version: primary.n_a, case.b.version: primary.n_b}
    few = [f"{name}: {n}" for name, n in sizes.items() if n < terms.min_labels]
    if few or primary.sequential_interval is None:
        reason = f"Too few labelled predictions ({'; '.join(few)}); each arm needs {terms.min_labels}."
        return Decision(verdict=Outcome.KEEP_RUNNING, reasons=(reason,), forecast=_until_enough(case))
    subjects = _labelled_subjects(case)
    if subjects is not None and subjects < terms.min_subjects:
        reason = f"Too few subjects: the labelled predictions come from {subjects} in the smaller arm; each arm needs {terms.min_subjects}."
        return Decision(verdict=Outcome.KEEP_RUNNING, reasons=(reason,))
    return None


def _labelled_subjects(case: Case) -> int | None:
    """The independent units of the smaller arm, where they are not the rows themselves."""
    if case.design is Design.SHADOW:
        return case.primary.units
    known = [arm.sums.quality.clusters for arm in (case.a, case.b) if arm.sums is not None and arm.sums.quality.rows]
    return min(known) if len(known) == 2 else None


def _by_primary(case: Case) -> Decision:
    primary, terms = case.primary, case.terms
    statement = _statement(primary, case)
    better, worse = _direction(primary)
    if worse and _is_sure(primary, terms):
        return Decision(verdict=Outcome.ROLL_BACK, reasons=(f"{case.b.version} is worse: {statement}",))
    if better and _is_sure(primary, terms):
        return _ship(case, f"{case.b.version} is better: {statement}")
    if _is_no_worse(primary, terms):
        return _ship(case, f"{case.b.version} is not worse by {terms.quality_margin:.4g} or more: {statement}")
    forecast = _until_decided(case)
    reasons = [f"The versions cannot be told apart yet: {statement}"]
    if better or worse:
        reasons = [
            f"{statement} For {case.deciding} metrics that decide together that is not enough yet: "
            f"Holm's p-value is {primary.adjusted_p_value:.2g}."
        ]
    return Decision(verdict=Outcome.KEEP_RUNNING, reasons=(*reasons, *_forecast_text(forecast, case)), forecast=forecast)


def _ship(case: Case, why: str) -> Decision:
    """Ship, unless a guardrail is still open or the comparison has not run as long as agreed."""
    open_ = [_undecided(metric) for metric in case.guardrails if not _is_within(metric)]
    least = case.terms.min_runtime_seconds
    if case.seconds is not None and case.seconds < least:
        open_.append(f"It has run for {span(case.seconds)} of the agreed {span(least)}.")
    if open_:
        return Decision(verdict=Outcome.KEEP_RUNNING, reasons=(why, *open_))
    return Decision(verdict=Outcome.SHIP, reasons=(why, "No guardrail is worse than its margin."))


def _alike_without_labels(case: Case) -> str | None:
    found, margin = case.disagreement, case.terms.quality_margin
    if found is None or margin is None or found.bound is None or found.n < case.terms.min_labels or found.bound >= margin:
        return None
    return (
        f"{case.b.version} answers {found.n} inputs so much like {case.a.version} that their {case.primary.name} cannot differ by more "
        f"than {found.bound:.4g}, whatever the labels will be; the margin is {margin:.4g}."
    )


def _direction(metric: Difference) -> tuple[bool, bool]:
    """Whether the sequence says that b is better, and whether it says that it is worse."""
    if metric.sequential_interval is None:
        return False, False
    low, high = metric.sequential_interval
    return (high < 0, low > 0) if metric.less_is_better else (low > 0, high < 0)


def _is_no_worse(metric: Difference, terms: Terms) -> bool:
    if metric.sequential_interval is None or terms.quality_margin is None:
        return False
    low, high = metric.sequential_interval
    return high < terms.quality_margin if metric.less_is_better else low > -terms.quality_margin


def _is_within(metric: Difference) -> bool:
    return metric.sequential_interval is not None and metric.margin is not None and metric.sequential_interval[1] < metric.margin


# ---------------------------------------------------------------------------------------------- how much longer


def _until_enough(case: Case) -> Forecast | None:
    least = min(case.primary.n_a, case.primary.n_b)
    if not least or least >= case.terms.min_labels:
        return None
    growth = case.terms.min_labels / least
    return _forecast(case, growth, 0.0)


def _until_decided(case: Case) -> Forecast | None:
    """Until the sequence leaves 0, or with a margin what is worse than it, if the difference and the variance stay as they are."""
    primary, terms = case.primary, case.terms
    if primary.difference is None or primary.squared_error is None:
        return None
    if terms.quality_margin is None:
        room = abs(primary.difference)
    else:
        gain = -primary.difference if primary.less_is_better else primary.difference
        room = terms.quality_margin + gain
    growth = rows_growth(primary.squared_error, primary.units, room, terms, case.deciding)
    return None if growth is None else _forecast(case, growth, terms.quality_margin or primary.difference)


def rows_growth(squared_error: float, units: int, room: float, terms: Terms, tests: int = 1) -> float | None:
    """How many times the present rows until the sequence reaches no further than ``room``; None where that is out of reach.

    The level is that of Holm's first step over ``tests`` tests.

    >>> round(rows_growth(0.0004, 2000, 0.05, Terms()), 1)
    1.5
    """
    if room <= 0 or squared_error <= 0:
        return None
    low, high = 0.0, math.log(MOST_GROWTH)

    def reaches(growth: float) -> float:
        return sequential_reach(squared_error / growth, math.ceil(units * growth), terms.alpha / tests, terms.horizon)

    if reaches(math.exp(high)) > room:
        return None
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if reaches(math.exp(middle)) > room else (low, middle)
    return math.exp(high)


def _forecast(case: Case, growth: float, effect: float) -> Forecast:
    rows = case.primary.n_a if case.design is Design.SHADOW else case.primary.n_a + case.primary.n_b
    seconds = None if case.seconds is None else case.seconds * (growth - 1)
    return Forecast(labelled=max(1, _rounded(rows * (growth - 1))), seconds=seconds, effect=effect)


def _rounded(number: float) -> int:
    """Two digits are all that such a forecast is worth."""
    digits = max(0, int(math.log10(max(number, 1))) - 1)
    unit: int = 10**digits
    return round(number / unit) * unit


# ---------------------------------------------------------------------------------------------- words


def _statement(metric: Difference, case: Case) -> str:
    low, high = metric.sequential_interval or (math.nan, math.nan)
    return (
        f"{metric.name} {metric.b:.4g} ({case.b.version}) against {metric.a:.4g} ({case.a.version}); the difference "
        f"{metric.difference:+.4g} lies between {low:+.4g} and {high:+.4g} at any number of looks."
    )


def _broken(metric: Difference, case: Case) -> str:
    return f"{_statement(metric, case)} That is beyond the margin of {metric.margin:.4g}."


def _undecided(metric: Difference) -> str:
    return (
        f"{metric.name} is not yet known to be less than {metric.margin:.4g} worse."
        if metric.margin is not None
        else f"{metric.name} is not known of both versions."
    )


def _forecast_text(forecast: Forecast | None, case: Case) -> list[str]:
    what = "labelled pairs" if case.design is Design.SHADOW else "labelled predictions"
    if forecast is None:
        return ["With a difference as small as now no amount of data that can be waited for would decide it."]
    wait = "" if forecast.seconds is None else f", {span(forecast.seconds)} at the present rate,"
    return [f"About {forecast.labelled} more {what}{wait} would decide it if the difference stays as it is."]


def span(seconds: float) -> str:
    """A duration in the unit that suits it.

    >>> span(50), span(5400), span(86400 * 12)
    ('50 seconds', '1.5 hours', '12 days')
    """
    units = (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0))
    unit, length = next((pair for pair in units if seconds >= pair[1]), units[-1])
    number = f"{seconds / length:.2g}" if seconds < 100 * length else f"{seconds / length:.0f}"
    return f"{number} {unit.removesuffix('s') if number == '1' else unit}"

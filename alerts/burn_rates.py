"""How fast the budget of failures of an objective burns, over long and short windows together. Pure.

The budget is the share of predictions that may fail: 0.1 % for a target of 99.9 %. A burn rate of 1 spends it exactly in
the time that the objective is over; 14.4 spends 2 % of a month's in an hour. A problem is where both a long and a short
window burn too fast: the long one says that it is worth waking somebody, the short one that it still goes on
(Google, The Site Reliability Workbook, chapter 5).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from alerts.lifecycle import Finding
from alerts.readings import Reading
from alerts.rules import BurnRate, BurnWindow, Objective, Rule
from alerts.wording import format_value
from storage.durations import format_duration
from storage.layouts import LATENCY_BINS, LATENCY_GROWTH, LATENCY_MIN_SECONDS
from storage.records import Ints, PredictionCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """Predictions of a window, and how many of them failed the objective."""

    total: int = 0
    failed: int = 0

    def __add__(self, other: Outcomes) -> Outcomes:
        return Outcomes(total=self.total + other.total, failed=self.failed + other.failed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What became of the predictions of one series, by the length of the window that ends ``at``. ``error``: why not known."""

    series: Mapping[str, str]
    windows: Mapping[timedelta, Outcomes]
    at: datetime
    error: str = ""


def outcomes(budget: BurnRate, counts: PredictionCounts) -> Outcomes:
    """How many predictions there were, and how many failed: errors and timeouts, or those that took too long."""
    if budget.objective is Objective.ERRORS or budget.threshold is None:
        return Outcomes(total=counts.rows, failed=counts.errors + counts.timeouts)
    return Outcomes(total=int(counts.latency.sum()), failed=slower_than(counts.latency, budget.threshold.total_seconds()))


def slower_than(histogram: Ints, seconds: float) -> int:
    """How many values of a latency histogram are above a time.

    The time is moved to the nearest edge of a bin, by 2 % at most, since the histogram knows no more.

    >>> from storage.layouts import count_latency
    >>> slower_than(count_latency([10.0, 290.0, 310.0, 5000.0]), 0.3)
    2
    """
    edge = round(math.log(max(seconds, LATENCY_MIN_SECONDS) / LATENCY_MIN_SECONDS) / math.log(LATENCY_GROWTH))
    return int(np.asarray(histogram)[min(edge, LATENCY_BINS - 1) + 1 :].sum())


def burn(budget: BurnRate, found: Outcomes) -> float | None:
    """The share of failures divided by the share that may fail; None without predictions.

    >>> budget = BurnRate(objective=Objective.ERRORS, target=0.999, windows=())
    >>> round(burn(budget, Outcomes(total=10_000, failed=144)), 6)
    14.4
    """
    return found.failed / found.total / (1 - budget.target) if found.total else None


def read_spending(rule: Rule, spending: Spending) -> list[Reading]:
    """One reading per severity of the objective's windows; none where the longest window holds no predictions at all."""
    budget = rule.burn_rate
    assert budget is not None
    severities = dict.fromkeys(window.severity for window in budget.windows)
    if spending.error:
        return [_unread(spending, severity) for severity in severities]
    if not any(found.total for found in spending.windows.values()):
        return []
    return [
        _worst([_read(rule, budget, spending, window) for window in budget.windows if window.severity == severity])
        for severity in severities
    ]


def _unread(spending: Spending, severity: str) -> Reading:
    return Reading(series={**spending.series, "severity": severity}, finding=Finding.ERROR, reason=spending.error)


def _worst(readings: Sequence[Reading]) -> Reading:
    """A problem in any pair of windows; no data only where none has enough."""
    order = (Finding.BREACH, Finding.CLEAR, Finding.NO_DATA)
    return min(readings, key=lambda reading: (order.index(reading.finding), -(reading.value or 0) / (reading.threshold or 1)))


def _read(rule: Rule, budget: BurnRate, spending: Spending, window: BurnWindow) -> Reading:
    long, short = spending.windows.get(window.long, Outcomes()), spending.windows.get(window.short, Outcomes())
    least = rule.min_samples or 1
    rate, recent = burn(budget, long), burn(budget, short)
    if rate is None or long.total < least:
        finding, reason = Finding.NO_DATA, f"only {long.total} of {least} predictions in {format_duration(window.long)}"
    else:
        burns = rate > window.burn and (recent or 0.0) > window.burn and long.failed >= budget.min_failures
        finding, reason = Finding.BREACH if burns else Finding.CLEAR, _said(budget, window, long, rate, recent)
    return Reading(
        series={**spending.series, "severity": window.severity},
        finding=finding,
        reason=reason,
        value=None if finding is Finding.NO_DATA else rate,
        threshold=window.burn,
        window_seconds=int(window.long.total_seconds()),
        n_current=long.total,
        at=None if finding is Finding.NO_DATA else spending.at,
    )


def _said(budget: BurnRate, window: BurnWindow, long: Outcomes, rate: float, recent: float | None) -> str:
    verb = "failed" if budget.objective is Objective.ERRORS else "took too long"
    last = "no predictions" if recent is None else format_value(recent)
    return (
        f"{long.failed:,} of {long.total:,} predictions of {format_duration(window.long)} {verb}: {format_value(rate)} times what "
        f"{budget.target:.6g} allows (limit {format_value(window.burn)}), in the last {format_duration(window.short)} {last}"
    )

"""What a rule finds in the points of one series: the newest, some of the newest, or the change against an earlier time. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from alerts.freshness import Freshness
from alerts.lifecycle import Finding
from alerts.rules import Rule
from alerts.wording import Unit, format_value
from storage.durations import format_duration
from storage.records import MetricPoint, Verdict

Measured = Callable[[MetricPoint], "float | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was found in one series. ``series`` are its labels, ``at`` the end of its newest point's window."""

    series: Mapping[str, str]
    finding: Finding
    reason: str = ""
    value: float | None = None
    threshold: float | None = None
    window_seconds: int | None = None
    n_current: int | None = None
    at: datetime | None = None


def is_plain(rule: Rule) -> bool:
    """Whether nothing but the newest point of each series decides."""
    return rule.points[1] == 1 and rule.change is None


def newest_point(rule: Rule, points: Iterable[MetricPoint]) -> MetricPoint:
    """Of one series, the newest point that rests on enough data, else the newest."""
    return max(points, key=lambda point: (not is_too_little(rule, point), point.at))


def is_too_little(rule: Rule, point: MetricPoint) -> bool:
    """Whether a point rests on too little data; where the rule sets no number, the collector's own verdict counts."""
    if rule.min_samples is None:
        return point.verdict is Verdict.INSUFFICIENT
    return point.n_current is not None and point.n_current < rule.min_samples


def finding_of(rule: Rule, point: MetricPoint) -> Finding:
    """What the newest point says by itself, without the words."""
    if is_too_little(rule, point):
        return Finding.NO_DATA
    return compared(rule, point.value, point.threshold)


def compared(rule: Rule, value: float | None, threshold: float | None) -> Finding:
    """What a value says."""
    if value is None or not math.isfinite(value):
        return Finding.NO_DATA
    when, resolve_when = rule.when, rule.resolve_when
    if threshold is None and (when.of_threshold or resolve_when.of_threshold):
        return Finding.ERROR
    if when.holds(value, threshold):
        return Finding.BREACH
    return Finding.CLEAR if resolve_when.holds(value, threshold) else Finding.BETWEEN


def read(rule: Rule, series: Mapping[str, str], points: Sequence[MetricPoint], freshness: Freshness) -> Reading:
    """What the rule finds in the points of one series, none of them older than what it may look at."""
    newest = newest_point(rule, points)
    if is_plain(rule):
        finding, value = finding_of(rule, newest), newest.value
        return _reading(rule, series, newest, finding, value, _said(rule, newest, finding, value))
    step = freshness.step(rule, newest.window_seconds)
    measured = _measured(rule, points, freshness.tolerance(rule, newest.window_seconds))
    value = None if is_too_little(rule, newest) else measured(newest)
    if rule.points[1] == 1:
        finding = compared(rule, value, newest.threshold) if value is not None else finding_of(rule, newest)
        finding = Finding.NO_DATA if value is None and finding is not Finding.ERROR else finding
        return _reading(rule, series, newest, finding, value, _said(rule, newest, finding, value))
    finding, counted = _several(rule, points, newest, measured, step)
    said = f"{_value_text(rule, value)}; {counted}" if value is not None else counted
    return _reading(rule, series, newest, finding, value, said)


def _reading(
    rule: Rule, series: Mapping[str, str], point: MetricPoint, finding: Finding, value: float | None, reason: str
) -> Reading:
    judged = finding in (Finding.BREACH, Finding.CLEAR, Finding.BETWEEN)
    return Reading(
        series=series,
        finding=finding,
        reason=reason,
        value=value if judged else None,
        threshold=rule.when.bound(point.threshold),
        window_seconds=point.window_seconds,
        n_current=point.n_current,
        at=point.at,
    )


# ---------------------------------------------------------------------------------------------- some of the newest


def _several(
    rule: Rule, points: Sequence[MetricPoint], newest: MetricPoint, measured: Measured, step: timedelta
) -> tuple[Finding, str]:
    """Whether ``least`` of the last ``of`` points are a problem; points without enough data are not counted.

    Clear where so many are clear that the rest cannot be enough. Points from before a gap of the collector are too old to
    be among the last ones.
    """
    least, of = rule.points
    oldest = newest.at - (of + 1) * step
    usable = {point.at: point for point in points if oldest <= point.at <= newest.at and not is_too_little(rule, point)}
    last = [usable[at] for at in sorted(usable, reverse=True)[:of]]
    findings = [compared(rule, measured(point), point.threshold) for point in last]
    breaching, clear = findings.count(Finding.BREACH), findings.count(Finding.CLEAR)
    counted = f"{breaching} of the last {of} points {rule.when}"
    if Finding.ERROR in findings:
        return Finding.ERROR, _no_threshold(rule)
    if breaching >= least:
        return Finding.BREACH, counted
    if clear > of - least:
        return Finding.CLEAR, counted
    known = breaching + clear + findings.count(Finding.BETWEEN)
    if known < of:
        return Finding.NO_DATA, f"only {known} of the last {of} points are there"
    return Finding.BETWEEN, counted


# ---------------------------------------------------------------------------------------------- against an earlier time


def _measured(rule: Rule, points: Sequence[MetricPoint], tolerance: timedelta) -> Measured:
    """What of a point is judged: its value, or the change of it; None where there is nothing to hold it against."""
    change = rule.change
    if change is None:
        return lambda point: point.value

    def changed(point: MetricPoint) -> float | None:
        then = point.at - change.against
        near = [other for other in points if abs(other.at - then) <= tolerance and not is_too_little(rule, other)]
        earlier = min(near, key=lambda other: abs(other.at - then), default=None)
        return None if earlier is None else change_between(earlier.value, point.value, is_relative=change.is_relative)

    return changed


def change_between(earlier: float | None, now: float | None, *, is_relative: bool) -> float | None:
    """The difference of two values, or its share of the earlier one; None where one is missing or the share has no meaning.

    >>> change_between(0.8, 0.6, is_relative=False), change_between(0.5, 0.4, is_relative=True)
    (-0.20000000000000007, -0.19999999999999996)
    >>> change_between(0.0, 0.4, is_relative=True) is None
    True
    """
    if earlier is None or now is None or not (math.isfinite(earlier) and math.isfinite(now)):
        return None
    if not is_relative:
        return now - earlier
    return (now - earlier) / abs(earlier) if earlier else None


# ---------------------------------------------------------------------------------------------- words


def _said(rule: Rule, point: MetricPoint, finding: Finding, value: float | None) -> str:
    if finding is Finding.NO_DATA:
        return _without(rule, point)
    if finding is Finding.ERROR:
        return _no_threshold(rule)
    return verdict_text(rule, finding, value, point.threshold)


def verdict_text(rule: Rule, finding: Finding, value: float | None, threshold: float | None) -> str:
    """The value against the bound that decided."""
    said = _value_text(rule, value)
    unit = rule.words.unit
    if finding is Finding.BREACH:
        return f"{said} {rule.when.operator} {format_value(rule.when.bound(threshold), unit)}"
    bound = format_value(rule.resolve_when.bound(threshold), unit)
    if finding is Finding.CLEAR:
        return f"{said} {rule.resolve_when.operator} {bound}"
    return f"{said}, not {rule.resolve_when.operator} {bound} yet"


def _value_text(rule: Rule, value: float | None) -> str:
    words = rule.words
    sign = "+" if rule.change and value is not None and value > 0 and words.unit is Unit.SHARE else ""
    return f"{words.title} {sign}{format_value(value, words.unit)}"


def _without(rule: Rule, point: MetricPoint) -> str:
    if is_too_little(rule, point):
        if rule.min_samples is None:
            return "too little data for a verdict"
        return f"only {point.n_current} of the {rule.min_samples} predictions that the rule asks for"
    if rule.change is not None and point.value is not None and math.isfinite(point.value):
        return f"no point of {format_duration(rule.change.against)} earlier to hold it against"
    return "the point has no value"


def _no_threshold(rule: Rule) -> str:
    return f"{rule.metric} has no threshold of its own; compare it with a number"

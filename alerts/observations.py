"""From the newest points of a metric, and the alerts there are, to what a rule finds in each series. Pure.

A point that is too old says nothing about now; a point over too few predictions is no data, not a good sign.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from alerts.lifecycle import LIVE, Finding, Observation
from alerts.rules import Policy, Rule
from alerts.wording import LABELLED, format_value, words_of
from alerts.yaml_types import WHERE_KEYS
from storage.durations import format_duration
from storage.records import STEPS_PER_WINDOW, AlertHealth, AlertRow, MetricPoint, Verdict

FORGET_AFTER = timedelta(days=1)
"""An alert that is kept without data resolves after this: nobody knows any more whether it is still true."""

LEAST_LIMIT = timedelta(seconds=15)
"""No point is too old before this: a busy machine may make any collector a few seconds late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """How old a point may be and still tell of now. The fields are the collector's settings of the same names."""

    collect_interval: timedelta = timedelta(minutes=1)
    window_lag: timedelta = timedelta(seconds=5)
    rollup: timedelta = timedelta(minutes=1)
    restate_labels: timedelta = timedelta(days=1)

    def limit(self, rule: Rule, window_seconds: int) -> timedelta:
        """The greatest age of a point of the window length: three rounds of the collector, or of the evaluation.

        Where labels decide, as much longer as the collector waits for labels.
        """
        step = max(self.collect_interval, timedelta(seconds=window_seconds / STEPS_PER_WINDOW), rule.interval)
        if window_seconds:
            step = max(step, self.rollup)
        late = self.restate_labels if rule.metric in LABELLED else timedelta(0)
        return max(3 * step, LEAST_LIMIT) + self.window_lag + late

    def lookback(self, rule: Rule, window_seconds: int) -> timedelta:
        """How far back points are of interest: further where a series that falls silent is itself a problem."""
        limit = self.limit(rule, window_seconds)
        return limit + max(timedelta(hours=1), rule.hold) if rule.no_data is Policy.ALERT else limit


def fingerprint(rule_name: str, labels: Mapping[str, str]) -> str:
    """The identity of an alert: 16 hexadecimal digits of the rule's name and the labels."""
    text = json.dumps([rule_name, sorted(labels.items())], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def judged_window(rule: Rule, newest: Mapping[int, datetime], freshness: Freshness) -> int | None:
    """The length of window, in seconds, that the rule judges; None where there is none.

    ``newest`` says when each length was written last. Without a window of its own, a rule judges the shortest that is
    still written: a length that was taken out of the settings lags behind the others; when the collector stops, all stop
    together, and the shortest stays the one.
    """
    if rule.window is not None:
        return int(rule.window.total_seconds())
    last = max(newest.values(), default=None)
    written = [length for length, at in newest.items() if last is not None and last - at <= freshness.limit(rule, length)]
    return min(written, default=None)


def observe(
    rule: Rule, points: Iterable[MetricPoint], rows: Sequence[AlertRow], *, freshness: Freshness, now: datetime
) -> list[Observation]:
    """What the rule finds: one observation per fresh series, and one per live alert whose series is not there.

    ``points`` are the newest of each series, all of the judged window.
    """
    chosen = [_judged_point(rule, series) for series in _selected(rule, points).values()]
    fresh = [point for point in chosen if now - point.at <= freshness.limit(rule, point.window_seconds)]
    found = [_judge(rule, point) for point in fresh]
    alive = {point.model for point in fresh}
    if rule.no_data is Policy.ALERT:
        found += _silent(rule, [point for point in chosen if point not in fresh and point.model not in alive])
        if not chosen:
            found.append(_nothing_at_all(rule))
    seen = {observation.fingerprint for observation in found}
    live = [row for row in rows if row.state in LIVE and row.fingerprint not in seen]
    return found + [_without_series(rule, row, alive, freshness, now) for row in live]


def series_labels(point: MetricPoint) -> dict[str, str]:
    """What names the point's series; what does not apply is left out."""
    return {key: value for key in WHERE_KEYS if (value := getattr(point, key))}


def _selected(rule: Rule, points: Iterable[MetricPoint]) -> dict[tuple[str, ...], list[MetricPoint]]:
    """The points of the series that the rule judges, by series."""
    found: dict[tuple[str, ...], list[MetricPoint]] = defaultdict(list)
    for point in points:
        if rule.selects(series_labels(point)):
            found[point.model, point.version, point.role, point.segment, point.feature].append(point)
    return found


def _judged_point(rule: Rule, points: Iterable[MetricPoint]) -> MetricPoint:
    """Of one series, the newest point that rests on enough data, else the newest."""
    return max(points, key=lambda point: (not _too_little(rule, point), point.at))


def _labels(rule: Rule, series: Mapping[str, str]) -> dict[str, str]:
    return {**series, **rule.labels}


def _judge(rule: Rule, point: MetricPoint) -> Observation:
    finding, reason = _finding(rule, point)
    labels = _labels(rule, series_labels(point))
    judged = finding in (Finding.BREACH, Finding.CLEAR, Finding.BETWEEN)
    return Observation(
        fingerprint=fingerprint(rule.name, labels),
        labels=labels,
        finding=finding,
        value=point.value if judged else None,
        threshold=rule.when.bound(point.threshold),
        window_seconds=point.window_seconds,
        n_current=point.n_current,
        at=point.at,
        reason=reason,
    )


def _finding(rule: Rule, point: MetricPoint) -> tuple[Finding, str]:
    too_little = _too_little(rule, point)
    if too_little:
        return Finding.NO_DATA, too_little
    if point.value is None or not math.isfinite(point.value):
        return Finding.NO_DATA, "the point has no value"
    if rule.when.bound(point.threshold) is None or rule.resolve_when.bound(point.threshold) is None:
        return Finding.ERROR, f"{rule.metric} has no threshold of its own; compare it with a number"
    words = words_of(rule.metric)
    said = f"{words.title} {format_value(point.value, words.unit)}"
    if rule.when.holds(point.value, point.threshold):
        bound = format_value(rule.when.bound(point.threshold), words.unit)
        return Finding.BREACH, f"{said} {rule.when.operator} {bound}"
    bound = format_value(rule.resolve_when.bound(point.threshold), words.unit)
    if rule.resolve_when.holds(point.value, point.threshold):
        return Finding.CLEAR, f"{said} {rule.resolve_when.operator} {bound}"
    return Finding.BETWEEN, f"{said}, not {rule.resolve_when.operator} {bound} yet"


def _too_little(rule: Rule, point: MetricPoint) -> str:
    """Why a point rests on too little data; where the rule sets no number, the collector's own verdict counts."""
    if rule.min_samples is None:
        return "too little data for a verdict" if point.verdict is Verdict.INSUFFICIENT else ""
    if point.n_current is not None and point.n_current < rule.min_samples:
        return f"only {point.n_current} of the {rule.min_samples} predictions that the rule asks for"
    return ""


def _silent(rule: Rule, points: Iterable[MetricPoint]) -> list[Observation]:
    found = []
    for point in points:
        labels = _labels(rule, series_labels(point))
        found.append(
            Observation(
                fingerprint=fingerprint(rule.name, labels),
                labels=labels,
                finding=Finding.NO_DATA,
                window_seconds=point.window_seconds,
                at=point.at,
                reason=f"no data since {point.at:%Y-%m-%d %H:%M:%S} UTC",
            )
        )
    return found


def _nothing_at_all(rule: Rule) -> Observation:
    """A rule that alerts on missing data, and whose series are not there at all: one alert for what it names."""
    named = {key: pattern for key, pattern in rule.where.items() if not any(sign in pattern for sign in "*?[")}
    labels = _labels(rule, named)
    return Observation(
        fingerprint=fingerprint(rule.name, labels),
        labels=labels,
        finding=Finding.NO_DATA,
        reason=f"there is no {rule.metric} at all",
    )


def _without_series(rule: Rule, row: AlertRow, alive: set[str], freshness: Freshness, now: datetime) -> Observation:
    finding, reason = _absence(rule, row, alive, freshness, now)
    return Observation(fingerprint=row.fingerprint, labels=row.labels, finding=finding, reason=reason)


def _absence(rule: Rule, row: AlertRow, alive: set[str], freshness: Freshness, now: datetime) -> tuple[Finding, str]:
    """Why a live alert has no fresh point, and what to make of it."""
    series = {key: value for key, value in row.labels.items() if key in WHERE_KEYS}
    if row.labels != _labels(rule, series) or not rule.selects(series):
        return Finding.GONE, "the rule no longer selects this series"
    if row.last_point_at is None:
        return (Finding.GONE, "the data came back") if alive else (Finding.NO_DATA, row.reason)
    limit = freshness.limit(rule, row.window_seconds or 0)
    age = now - row.last_point_at
    if series.get("model", "") in alive:
        # Seen missing once before, so that one slow round of the collector ends no alert.
        seen_before = row.health is AlertHealth.NO_DATA and age > limit + 2 * rule.interval
        return (
            (Finding.GONE, "the series ended, others of the model go on")
            if seen_before
            else (Finding.MISSING, "the series is missing")
        )
    if rule.no_data is Policy.KEEP and age > limit + FORGET_AFTER:
        return Finding.GONE, f"no data for {format_duration(FORGET_AFTER)}; whether it is over is not known"
    return Finding.NO_DATA, f"no data since {row.last_point_at:%Y-%m-%d %H:%M:%S} UTC"

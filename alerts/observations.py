"""From the newest points of a metric, and the alerts there are, to what a rule finds in each series. Pure.

A point that is too old says nothing about now; a point over too few predictions is no data, not a good sign.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from alerts.burn_rates import Spending, read_spending
from alerts.compound import join
from alerts.conditions import PRESENT
from alerts.freshness import Freshness as Freshness
from alerts.freshness import judged_window as judged_window
from alerts.lifecycle import LIVE, Finding, Observation
from alerts.promql import Answer, read_answer
from alerts.readings import Reading, finding_of, is_plain, newest_point, read
from alerts.rules import Policy, Rule
from alerts.selection import is_literal, selector
from alerts.yaml_types import WHERE_KEYS
from storage.durations import format_duration
from storage.records import AlertHealth, AlertRow, MetricPoint

FORGET_AFTER = timedelta(days=1)
"""An alert that is kept without data resolves after this: nobody knows any more whether it is still true."""


RETIRED_AFTER = timedelta(days=7)
"""An alert that tells of missing data ends after this: what was taken away for good would otherwise be told for ever."""


def fingerprint(rule_name: str, labels: Mapping[str, str]) -> str:
    """The identity of an alert: 16 hexadecimal digits of the rule's name and the labels."""
    text = json.dumps([rule_name, sorted(labels.items())], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What rules are judged on beside points: the answers of Prometheus by query, and what became of budgets by rule.

    A query without an answer has not been answered yet; one that failed has an answer that says so.
    """

    answers: Mapping[str, Answer] = field(default_factory=dict)
    spending: Mapping[str, Sequence[Spending]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What was found of a rule or a part of it. ``stale`` points are too old, and nothing newer is there of their model.

    ``alive`` are the models that have series now; ``error`` says why nothing can be judged.
    """

    readings: Sequence[Reading] = ()
    stale: Sequence[MetricPoint] = ()
    alive: frozenset[str] = frozenset()
    is_empty: bool = False
    error: str = ""


def observe(
    rule: Rule,
    points: Iterable[MetricPoint],
    rows: Sequence[AlertRow],
    *,
    freshness: Freshness,
    now: datetime,
    asked: Asked | None = None,
    all_series: bool = True,
) -> list[Observation]:
    """What the rule finds: one observation per fresh series, and one per live alert whose series is not there.

    ``points`` are those of the judged windows: the newest of each series, and where several count or an earlier time does,
    those as well. ``all_series`` False leaves out what has no effect: series without a problem and without a live alert.
    """
    live = [row for row in rows if row.state in LIVE]
    found = _find(rule, points, None if all_series else live, freshness, now, asked or Asked())
    if found is None:
        return []
    if found.error:
        return _failed(rule, live, found.error)
    observations = [_observation(rule, reading) for reading in found.readings]
    if rule.no_data is Policy.ALERT:
        observations += [_silent(rule, point) for point in found.stale]
        if found.is_empty and (rule.promql or any(is_literal(pattern) for pattern in rule.where.values())):
            observations.append(_nothing_at_all(rule))
    seen = {observation.fingerprint for observation in observations}
    if len(seen) < len(observations):
        return _failed(rule, live, "several series would be alerts with the same labels; take a label out of the rule's `labels`")
    missing = [row for row in live if row.fingerprint not in seen]
    return observations + [_without_series(rule, row, found, freshness, now) for row in missing]


def _find(
    rule: Rule,
    points: Iterable[MetricPoint],
    live: Sequence[AlertRow] | None,
    freshness: Freshness,
    now: datetime,
    asked: Asked,
) -> _Found | None:
    """What there is to judge the rule on; None while Prometheus has not answered yet. ``live`` None asks for every series."""
    if any(query not in asked.answers for query in rule.sources):
        return None
    if rule.burn_rate is not None:
        return _in_budgets(rule, asked.spending.get(rule.name, ()))
    if not rule.parts:
        return _in_part(rule, points, live, freshness, now, asked)
    points = list(points)
    parts = [_in_part(part, points, None, freshness, now, asked) for part in rule.parts]
    assert rule.combine is not None
    return _Found(
        readings=join(
            rule.combine,
            [part.readings for part in parts],
            rule.equal,
            absent=[Finding.CLEAR if part.when == PRESENT else None for part in rule.parts],
        ),
        alive=frozenset().union(*(part.alive for part in parts)),
        is_empty=all(part.is_empty for part in parts),
        error=next((part.error for part in parts if part.error), ""),
    )


def _in_part(
    rule: Rule, points: Iterable[MetricPoint], live: Sequence[AlertRow] | None, freshness: Freshness, now: datetime, asked: Asked
) -> _Found:
    if not rule.promql:
        return _in_points(rule, points, live, freshness, now)
    answer = asked.answers[rule.promql]
    readings = [] if answer.error else read_answer(rule, answer)
    alive = frozenset(reading.series.get("model", "") for reading in readings)
    return _Found(readings=readings, alive=alive, is_empty=not readings and rule.when != PRESENT, error=answer.error)


def _in_budgets(rule: Rule, spending: Sequence[Spending]) -> _Found:
    readings = [reading for one in spending for reading in read_spending(rule, one)]
    return _Found(
        readings=readings, alive=frozenset(reading.series.get("model", "") for reading in readings), is_empty=not readings
    )


def _in_points(
    rule: Rule, points: Iterable[MetricPoint], live: Sequence[AlertRow] | None, freshness: Freshness, now: datetime
) -> _Found:
    """A hundred thousand series are looked at here, nearly all of them in order: words are made for the others only."""
    wanted = None if live is None else {tuple(row.labels.get(key, "") for key in WHERE_KEYS) for row in live}
    counts = _effective(rule)
    plain = is_plain(rule)
    limits: dict[int, timedelta] = {}
    alive: set[str] = set()
    readings: list[Reading] = []
    stale: list[MetricPoint] = []
    series = _selected(rule, points)
    for key, several in series.items():
        point = several[0] if len(several) == 1 else newest_point(rule, several)
        seconds = point.window_seconds
        if seconds not in limits:
            limits[seconds] = freshness.limit(rule, seconds)
        age = now - point.at
        if age > limits[seconds]:
            if age <= freshness.lookback(rule, seconds):
                stale.append(point)
            continue
        alive.add(point.model)
        if wanted is None or not plain or key in wanted or finding_of(rule, point) in counts:
            readings.append(read(rule, series_labels(point), several, freshness))
    is_empty = not alive and not stale
    stale = [point for point in stale if point.model not in alive]
    return _Found(readings=readings, stale=stale, alive=frozenset(alive), is_empty=is_empty)


def _effective(rule: Rule) -> frozenset[Finding]:
    """The findings that begin something where nothing was before."""
    policies = {Finding.NO_DATA: rule.no_data, Finding.ERROR: rule.on_error}
    return frozenset({Finding.BREACH, *(finding for finding, policy in policies.items() if policy is Policy.ALERT)})


def series_labels(point: MetricPoint) -> dict[str, str]:
    """What names the point's series; what does not apply is left out."""
    return {key: value for key in WHERE_KEYS if (value := getattr(point, key))}


def _selected(rule: Rule, points: Iterable[MetricPoint]) -> dict[tuple[str, ...], list[MetricPoint]]:
    """The points of the series that the rule judges, by series."""
    selects, metric = selector(rule.where, empty=rule.empty_unless_named), rule.metric
    window = None if rule.window is None else rule.window.total_seconds()
    found: dict[tuple[str, ...], list[MetricPoint]] = defaultdict(list)
    for point in points:
        if point.name == metric and (window is None or point.window_seconds == window) and selects(point):
            found[point.model, point.version, point.role, point.segment, point.feature].append(point)
    return found


def _labels(rule: Rule, series: Mapping[str, str]) -> dict[str, str]:
    """The labels of an alert: the series', and the rule's over them. How bad a burn rate is depends on its windows."""
    labels = {**series, **rule.labels}
    return {**labels, "severity": series["severity"]} if rule.burn_rate else labels


def _observation(rule: Rule, reading: Reading) -> Observation:
    labels = _labels(rule, reading.series)
    return Observation(
        fingerprint=fingerprint(rule.name, labels),
        labels=labels,
        finding=reading.finding,
        value=reading.value,
        threshold=reading.threshold,
        window_seconds=reading.window_seconds,
        n_current=reading.n_current,
        at=reading.at,
        reason=reading.reason,
    )


def _silent(rule: Rule, point: MetricPoint) -> Observation:
    reading = Reading(
        series=series_labels(point),
        finding=Finding.NO_DATA,
        window_seconds=point.window_seconds,
        at=point.at,
        reason=f"no data since {point.at:%Y-%m-%d %H:%M:%S} UTC",
    )
    return _observation(rule, reading)


def _failed(rule: Rule, live: Sequence[AlertRow], error: str) -> list[Observation]:
    """A source that does not answer: every live alert stays as its policy says, and none begins but by that policy."""
    found = [Observation(fingerprint=row.fingerprint, labels=row.labels, finding=Finding.ERROR, reason=error) for row in live]
    if found or rule.on_error is not Policy.ALERT:
        return found
    return [_observation(rule, Reading(series={}, finding=Finding.ERROR, reason=error))]


def _nothing_at_all(rule: Rule) -> Observation:
    """A rule that alerts on missing data, and whose series are not there at all: one alert for what it names.

    A rule that names nothing asks for whatever there is, and nothing may be right.
    """
    named = {key: pattern for key, pattern in rule.where.items() if is_literal(pattern)}
    said = f"there is no {rule.metric} at all" if rule.metric else "the query gives nothing at all"
    return _observation(rule, Reading(series=named, finding=Finding.NO_DATA, reason=said))


def _without_series(rule: Rule, row: AlertRow, found: _Found, freshness: Freshness, now: datetime) -> Observation:
    finding, reason = _absence(rule, row, found, freshness, now)
    return Observation(fingerprint=row.fingerprint, labels=row.labels, finding=finding, reason=reason)


def _absence(rule: Rule, row: AlertRow, found: _Found, freshness: Freshness, now: datetime) -> tuple[Finding, str]:
    """Why a live alert has no fresh point, and what to make of it."""
    if not _is_of(rule, row):
        return Finding.GONE, "the rule no longer selects this series"
    if all(part.when == PRESENT for part in rule.judged):
        return Finding.CLEAR, "the query no longer gives this series"
    if row.last_point_at is None:
        return (Finding.GONE, "the data came back") if found.alive else (Finding.NO_DATA, row.reason)
    limit = freshness.limit(rule, row.window_seconds or 0)
    age = now - row.last_point_at
    if _others_go_on(rule, row, found):
        # Seen missing once before, so that one slow round of the collector ends no alert.
        seen_before = row.health is AlertHealth.NO_DATA and age > limit + 2 * rule.interval
        return (Finding.GONE, _ended(rule)) if seen_before else (Finding.MISSING, "the series is missing")
    if rule.no_data is Policy.KEEP and age > limit + FORGET_AFTER:
        return Finding.GONE, f"no data for {format_duration(FORGET_AFTER)}; whether it is over is not known"
    if rule.no_data is Policy.ALERT and age > limit + RETIRED_AFTER:
        return Finding.GONE, f"no data for {format_duration(RETIRED_AFTER)}, of which people were told; it counts as retired"
    return Finding.NO_DATA, f"no data since {row.last_point_at:%Y-%m-%d %H:%M:%S} UTC"


def _others_go_on(rule: Rule, row: AlertRow, found: _Found) -> bool:
    """Whether the series ended alone: a query gives others, or others of its model go on."""
    return bool(found.alive) if rule.promql else row.labels.get("model", "") in found.alive


def _ended(rule: Rule) -> str:
    return "the series ended, others of the query go on" if rule.promql else "the series ended, others of the model go on"


def _is_of(rule: Rule, row: AlertRow) -> bool:
    """Whether the alert is one that the rule, as it is now, would make."""
    if any(row.labels.get(name) != value for name, value in rule.labels.items() if not (rule.burn_rate and name == "severity")):
        return False
    series = {key: value for key, value in row.labels.items() if key not in rule.labels}
    if rule.promql:
        return rule.selects(series)
    if rule.burn_rate is not None:
        series.pop("severity", None)
    if rule.parts:
        return series.keys() <= set(rule.equal)
    return series.keys() <= set(WHERE_KEYS) and rule.selects(series)

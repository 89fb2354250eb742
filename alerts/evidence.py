"""What is known of why an alert fires: the course of its value, the features that moved, the worst segment, what changed.

All of it is read from points and counts over the window that was judged, a few indexed reads however long the log is. What
cannot be found is left out: evidence never keeps a message from going out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection

from alerts.cards import Card, Change, Mover
from alerts.causes import began, behind, in_words
from alerts.movements import movement
from alerts.rules import Rule
from alerts.wording import words_of
from storage import deployments, metrics, profiles, registry, rollups
from storage.layouts import split_bins
from storage.records import AlertRow, AlertState, MetricPoint, Verdict, Version
from storage.worst_segments import worst_segments

MOST_MOVERS = 5
MOST_CHANGES = 5
COURSE_POINTS = 30
MOVERS_METRIC = "drift_psi"
TOLD_LOOKBACK = timedelta(hours=24)


class Evidence:
    """Gathers cause cards. ``rules`` by name, to know which metric an alert is about."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._rules = rules

    def card(self, c: Connection, alerts: Sequence[AlertRow], now: datetime) -> Card | None:
        """The card of the alert that stands for an incident, the worst of those that fire; None where nothing is known."""
        firing = [alert for alert in alerts if alert.state in (AlertState.FIRING, AlertState.RECOVERING)]
        if not firing:
            return None
        first = firing[0]
        course = self._course(c, first)
        card = Card(
            movers=_movers(c, first),
            worst_segment=self._worst_segment(c, first),
            changes=_changes(c, firing, now),
            course=course,
            threshold=first.threshold,
        )
        return None if card == Card(threshold=first.threshold) else card

    def _metric(self, alert: AlertRow) -> str:
        rule = self._rules.get(alert.rule)
        return rule.metric if rule else ""

    def _course(self, c: Connection, alert: AlertRow) -> tuple[float, ...]:
        metric, at = self._metric(alert), alert.last_point_at
        if not metric or at is None or alert.window_seconds is None:
            return ()
        labels = alert.labels
        points = metrics.read_points(
            c,
            names=[metric],
            model=labels.get("model", ""),
            version=labels.get("version", ""),
            feature=labels.get("feature", ""),
            segment=labels.get("segment", ""),
            window_seconds=alert.window_seconds,
            start=at - max(timedelta(seconds=alert.window_seconds) * COURSE_POINTS, timedelta(minutes=30)),
            end=at + timedelta(microseconds=1),
            limit=4 * COURSE_POINTS,
        )
        role = labels.get("role", "")
        values = [point.value for point in points if point.value is not None and point.role == role]
        return tuple(values[-COURSE_POINTS:])

    def _worst_segment(self, c: Connection, alert: AlertRow) -> str:
        """The segment that stands worst in what the alert is about, else the one that does worst against the rest."""
        metric, at = self._metric(alert), alert.last_point_at
        model, version = alert.labels.get("model", ""), alert.labels.get("version", "")
        if not (metric and at and model and version) or alert.labels.get("segment"):
            return ""
        for name in (metric, "segment_gap"):
            for worst in worst_segments(c, model, version, name, at, 1, window_seconds=alert.window_seconds):
                of = f" of {worst.feature}" if worst.feature else ""
                return f"{worst.segment}: {words_of(name).title}{of} {worst.value:.3g}, {worst.n:,} predictions"
        return ""


def _times_threshold(point: MetricPoint) -> float:
    return abs(point.value or 0.0) / point.threshold if point.threshold else abs(point.value or 0.0)


# ---------------------------------------------------------------------------------------------- features


def _movers(c: Connection, alert: AlertRow) -> tuple[Mover, ...]:
    """The features of the version that drifted most in the judged window, furthest over their thresholds first."""
    model, version, at = alert.labels.get("model", ""), alert.labels.get("version", ""), alert.last_point_at
    if not model or not version or at is None or not alert.window_seconds:
        return ()
    points = metrics.points_at(
        c, [at], names=[MOVERS_METRIC], model=model, version=version, role="", window_seconds=alert.window_seconds
    )
    judged = [point for point in points if point.feature and point.value is not None and point.verdict is not Verdict.INSUFFICIENT]
    worst = sorted(judged, key=_times_threshold, reverse=True)[:MOST_MOVERS]
    moved = [point for point in worst if point.threshold is None or (point.value or 0.0) > point.threshold]
    if not moved:
        return ()
    words = _movements(c, model, version, at - timedelta(seconds=alert.window_seconds), at)
    return tuple(
        Mover(
            name=point.feature,
            value=point.value or 0.0,
            threshold=point.threshold,
            metric=words_of(MOVERS_METRIC).title,
            movement=words.get(point.feature, ""),
            course=_feature_course(c, point),
        )
        for point in moved
    )


def _feature_course(c: Connection, point: MetricPoint) -> tuple[float, ...]:
    points = metrics.read_points(
        c,
        names=[point.name],
        model=point.model,
        version=point.version,
        feature=point.feature,
        segment="",
        window_seconds=point.window_seconds,
        start=point.at - timedelta(seconds=point.window_seconds) * COURSE_POINTS,
        end=point.at + timedelta(microseconds=1),
        limit=COURSE_POINTS,
    )
    return tuple(found.value for found in points if found.value is not None and found.role == "")[-COURSE_POINTS:]


def _movements(c: Connection, model: str, version: str, start: datetime, end: datetime) -> dict[str, str]:
    """Where each feature moved to between the reference and the window."""
    known = registry.get_version(c, model, version)
    if known is None:
        return {}
    layout = rollups.load_layout(c, known.layout_id)
    profile = profiles.load_profile(c, model, version, layout)
    if profile is None:
        return {}
    current = rollups.read_predictions(c, layout, version, *rollups.widened(c, layout, version, start, end))
    sides = zip(split_bins(layout, profile.counts.bins)[0], split_bins(layout, current.bins)[0], strict=True)
    return {bins.name: movement(bins, *side) for bins, side in zip(layout.features, sides, strict=True)}


# ---------------------------------------------------------------------------------------------- changes


def _changes(c: Connection, alerts: Sequence[AlertRow], now: datetime) -> tuple[Change, ...]:
    """What changed in the day before the beginning and since, newest first; the likely cause among it is marked."""
    model = alerts[0].labels.get("model", "")
    if not model:
        return ()
    since = began(alerts, now) - TOLD_LOOKBACK
    deployed = [one for one in deployments.history(c, model) if since <= one.at <= now]
    registered = [one for one in registry.list_versions(c, model) if since <= one.created_at <= now]
    likely = behind(alerts, deployed, now)
    found = [(one.at, in_words(one), one is likely) for one in deployed]
    found += [(one.created_at, _registered(one), False) for one in registered]
    newest = sorted(found, key=lambda change: change[0], reverse=True)[:MOST_CHANGES]
    return tuple(Change(at=at.isoformat(), what=what, likely=is_likely) for at, what, is_likely in newest)


def _registered(version: Version) -> str:
    return f"version {version.version} was registered" + (f" by {version.created_by}" if version.created_by else "")

"""How old a point may be and still tell of now. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from alerts.rules import Policy, Rule
from alerts.wording import LABELLED
from storage.records import STEPS_PER_WINDOW

LEAST_LIMIT = timedelta(seconds=15)
"""No point is too old before this: a busy machine may make any collector a few seconds late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """How old a point may be and still tell of now. The fields are the collector's settings of the same names."""

    collect_interval: timedelta = timedelta(minutes=1)
    window_lag: timedelta = timedelta(seconds=5)
    rollup: timedelta = timedelta(minutes=1)
    restate_labels: timedelta = timedelta(days=1)

    def step(self, rule: Rule, window_seconds: int) -> timedelta:
        """How long after a point of the window length the next one comes, at the latest."""
        step = max(self.collect_interval, timedelta(seconds=window_seconds / STEPS_PER_WINDOW), rule.interval)
        return max(step, self.rollup) if window_seconds else step

    def limit(self, rule: Rule, window_seconds: int) -> timedelta:
        """The greatest age of a point of the window length: three rounds of the collector, or of the evaluation.

        Where labels decide, as much longer as the collector waits for labels.
        """
        late = self.restate_labels if rule.metric in LABELLED else timedelta(0)
        return max(3 * self.step(rule, window_seconds), LEAST_LIMIT) + self.window_lag + late

    def tolerance(self, rule: Rule, window_seconds: int) -> timedelta:
        """How far from the earlier time the point may be that a value is held against."""
        given = rule.change.tolerance if rule.change else None
        return given or 1.5 * self.step(rule, window_seconds)

    def lookback(self, rule: Rule, window_seconds: int) -> timedelta:
        """How far back points are of interest: further where several count, or where a series that falls silent is a problem."""
        limit = self.limit(rule, window_seconds)
        if rule.points[1] > 1:
            limit += (rule.points[1] + 1) * self.step(rule, window_seconds)
        return limit + max(timedelta(hours=1), rule.hold) if rule.no_data is Policy.ALERT else limit


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

"""Whether a change of the deployment is the likely cause of an incident: it came shortly before its first alert. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from storage.durations import format_duration
from storage.records import AlertRow, Deployment, Mode

LOOK_BACK = timedelta(minutes=10)
WINDOWS_BACK = 2


def began(alerts: Iterable[AlertRow], now: datetime) -> datetime:
    """When the first of the alerts began to be a problem."""
    return min((alert.pending_at or alert.fired_at or now for alert in alerts), default=now)


def likely_cause(alerts: Sequence[AlertRow], deployments: Iterable[Deployment], now: datetime) -> str | None:
    """The deployment that is behind the alerts, in a sentence; None where there is none."""
    found = behind(alerts, deployments, now)
    return None if found is None else _sentence(found, began(alerts, now))


def behind(alerts: Sequence[AlertRow], deployments: Iterable[Deployment], now: datetime) -> Deployment | None:
    """The last deployment shortly before the first alert; None where there was none.

    Shortly: within 10 minutes, or two windows of what was judged, since a window tells of a change only as it fills.
    """
    first = began(alerts, now)
    windows = max((alert.window_seconds or 0 for alert in alerts), default=0)
    back = max(LOOK_BACK, timedelta(seconds=WINDOWS_BACK * windows))
    before = [one for one in deployments if first - back <= one.at <= first]
    return max(before, key=lambda one: (one.at, one.id), default=None)


def _sentence(deployment: Deployment, first: datetime) -> str:
    ago = format_duration(max(timedelta(seconds=round((first - deployment.at).total_seconds())), timedelta(seconds=1)))
    return f"Likely cause: {in_words(deployment)}, {ago} before."


def in_words(deployment: Deployment) -> str:
    """What a deployment did, and who made it."""
    return _what(deployment) + (f" by {deployment.actor}" if deployment.actor else "")


def _what(deployment: Deployment) -> str:
    if deployment.action == "rollback":
        return f"{deployment.model} was rolled back to version {deployment.champion}"
    if deployment.challenger is None:
        return f"version {deployment.champion} of {deployment.model} was promoted"
    mode = {Mode.AB: "an A/B test", Mode.CANARY: "a canary"}.get(deployment.mode, deployment.mode.value)
    return f"version {deployment.challenger} of {deployment.model} got {deployment.weight:.0%} of the traffic in {mode}"

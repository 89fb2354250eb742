"""Silences: which alerts nobody is told of, because somebody said so for a while. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from storage.matchers import Matchers, labels_for_matching
from storage.records import AlertRow, Silence


def silenced(alerts: Iterable[AlertRow], silences: Sequence[Silence]) -> dict[str, str]:
    """For each alert that one of the silences in force hides, by fingerprint, which: ``silence 3``, the oldest of several."""
    matchers = [(f"silence {silence.id}", Matchers.of(silence.matchers)) for silence in silences]
    if not matchers:
        return {}
    found = {}
    for alert in alerts:
        labels = labels_for_matching(alert.rule, alert.labels)
        name = next((name for name, matcher in matchers if matcher.match(labels)), None)
        if name is not None:
            found[alert.fingerprint] = name
    return found

"""From when predictions usually come to whether a silence is too long: the point ``data_freshness_seconds``. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from collector.judging import Subject
from collector.statistics.freshness import FLOOR_SECONDS, LEAST_GAPS, Rhythm, silence
from storage.durations import format_duration
from storage.records import MetricPoint, Verdict

_WEEK = timedelta(days=7)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def freshness_point(subject: Subject, span: tuple[datetime, datetime], rhythm: Rhythm | None) -> MetricPoint:
    """The seconds since the last prediction, held against the silences that were usual before.

    ``span``: from the version's first to the end of its last bucket with predictions. A version in its first week that is
    silent in hours of a kind that it has not seen yet, such as its first weekend, is insufficient data.
    """
    now, (first, last) = subject.window.end, span
    age = max(0.0, (now - last).total_seconds())
    point = replace(subject.point("data_freshness_seconds", age), window_seconds=0)
    if rhythm is None:
        basis = f"less than a day, or fewer than {LEAST_GAPS} minutes with predictions, to learn from"
        return replace(point, verdict=Verdict.INSUFFICIENT, basis=basis)
    found = silence(rhythm, _seconds(last), max(_seconds(now), _seconds(last)))
    if age > FLOOR_SECONDS and not found.is_known and now - first < _WEEK:
        return replace(point, verdict=Verdict.INSUFFICIENT, basis="silent in hours of the week that have not been seen yet")
    limit = timedelta(seconds=round(found.limit))  # whole seconds, so that rounding of sums shows nowhere
    learned = f"{rhythm.gaps} silences of {rhythm.days:.0f} days"
    basis = f"by {learned}, predictions are due within {_words(limit)} of the last, at {last + limit:%a %Y-%m-%d %H:%M} UTC"
    verdict = Verdict.DRIFT if age > limit.total_seconds() else Verdict.OK
    return replace(point, threshold=limit.total_seconds(), verdict=verdict, basis=basis)


def _words(length: timedelta) -> str:
    return format_duration(timedelta(minutes=max(1, round(length.total_seconds() / 60))))


def _seconds(moment: datetime) -> int:
    return int((moment - _EPOCH).total_seconds())

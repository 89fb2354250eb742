"""The point of freshness: its verdict, threshold and basis."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest

from collector.freshness_points import freshness_point
from collector.statistics.freshness import Rhythm
from collector.windows import Window
from storage.records import MetricPoint, Verdict
from tests.unit.collector.test_points import BINARY, NOW, subject_of

RATES = np.where(np.arange(168) < 120, 60.0, 0.0)
EVERY_MINUTE = Rhythm(rates=RATES, patience=5.0, days=7.0, gaps=7000)
MINUTE = timedelta(minutes=1)


def point_of(age: timedelta, rhythm: Rhythm | None = EVERY_MINUTE, *, now: datetime = NOW, history: int = 10) -> MetricPoint:
    subject = subject_of(BINARY, None)
    subject = type(subject)(layout=BINARY, profile=None, version="1", window=Window(start=now - 5 * MINUTE, end=now))
    return freshness_point(subject, (now - timedelta(days=history), now - age), rhythm)


@pytest.mark.parametrize(("minutes", "verdict"), [(0, Verdict.OK), (5, Verdict.OK), (6, Verdict.DRIFT), (600, Verdict.DRIFT)])
def test_a_silence_beyond_its_limit_is_drift(minutes: int, verdict: Verdict) -> None:
    point = point_of(minutes * MINUTE)

    assert (point.value, point.threshold, point.verdict, point.window_seconds) == (60.0 * minutes, 300.0, verdict, 0)


def test_the_basis_says_what_was_learned_and_when_predictions_are_due() -> None:
    saturday = datetime.fromisoformat("2026-03-07T10:00:00+00:00")

    point = point_of(timedelta(hours=10), now=saturday)

    assert point.verdict is Verdict.OK
    assert point.basis == "by 7000 silences of 7 days, predictions are due within 2d5m of the last, at Mon 2026-03-09 00:05 UTC"


def test_before_a_day_of_history_there_is_no_verdict() -> None:
    point = point_of(timedelta(hours=2), None)

    assert (point.value, point.threshold, point.verdict) == (7200.0, None, Verdict.INSUFFICIENT)
    assert "less than a day" in point.basis


@pytest.mark.parametrize(("history", "verdict"), [(3, Verdict.INSUFFICIENT), (8, Verdict.DRIFT)])
def test_hours_that_were_never_seen_are_no_verdict_in_the_first_week(history: int, verdict: Verdict) -> None:
    unknown = Rhythm(rates=np.where(np.arange(168) == 12, np.nan, 60.0), patience=5.0, days=3.0, gaps=3000)

    point = point_of(80 * MINUTE, unknown, now=NOW + timedelta(minutes=70), history=history)

    assert point.verdict is verdict


def test_a_prediction_from_a_clock_ahead_is_fresh() -> None:
    point = point_of(-timedelta(hours=1))

    assert (point.value, point.verdict) == (0.0, Verdict.OK)

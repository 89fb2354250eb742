"""Points become sparser with age; changes of verdict and what alerts refer to stay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from storage.engine import reading, writing
from storage.metrics import latest_points, read_points, write_points
from storage.records import MetricPoint, Verdict
from storage.resolution import DAY, floor_time
from storage.schema import alert_events, alerts, metrics
from storage.thinning import PointAges, thin_points
from tests.factories import NOW

DAY_ONE = floor_time(NOW, DAY)
AGES = PointAges(every=timedelta(days=7), apart=timedelta(days=30), hours=timedelta(days=90))


def nothing() -> None:
    """Nobody to ask whether to go on."""


def series(
    minutes: Sequence[int], verdict: Callable[[int], Verdict] = lambda _: Verdict.OK, **changes: object
) -> list[MetricPoint]:
    """Points of windows of five minutes that end so many minutes after the day began."""
    values = {
        "name": "drift_ks",
        "value": 0.1,
        "model": "churn",
        "version": "1",
        "feature": "age",
        "window_seconds": 300,
        **changes,
    }
    return [MetricPoint(at=DAY_ONE + timedelta(minutes=n), verdict=verdict(n), **values) for n in minutes]  # type: ignore[arg-type]


def write(engine: Engine, *points: list[MetricPoint]) -> None:
    with writing(engine) as c:
        write_points(c, [point for part in points for point in part])


def thin(engine: Engine, days: float, *, since: float | None = None) -> int:
    """As of so many days after the first day."""
    before = None if since is None else DAY_ONE + timedelta(days=since)
    return thin_points(engine, AGES, now=DAY_ONE + timedelta(days=days), since=before, keep=nothing)


def left(engine: Engine, **which: object) -> list[int]:
    """The minutes after the day began of the points that are there."""
    with reading(engine) as c:
        found = read_points(c, start=DAY_ONE - timedelta(days=9), end=DAY_ONE + timedelta(days=400), **which)  # type: ignore[arg-type]
    return [round((point.at - DAY_ONE).total_seconds() / 60) for point in found]


def test_points_stay_as_they_are_until_they_are_old(engine: Engine) -> None:
    write(engine, series(range(1, 1441)))

    assert thin(engine, 7.9) == 0


@pytest.mark.parametrize(("days", "minutes"), [(8, 5), (30, 5), (31, 60), (90, 60), (91, 1440), (300, 1440)])
def test_windows_that_do_not_overlap_then_one_an_hour_then_one_a_day(engine: Engine, days: int, minutes: int) -> None:
    write(engine, series(range(-600, 3 * 1440)))

    thin(engine, days)

    kept = [minute for minute in left(engine) if 0 < minute <= 1440]
    assert kept == list(range(minutes, 1441, minutes))


def test_longer_windows_are_kept_by_their_own_length(engine: Engine) -> None:
    write(engine, series(range(-2880, 6000, 120), window_seconds=DAY), series(range(-600, 3000, 5), window_seconds=3600))

    thin(engine, 200)

    assert [n for n in left(engine, window_seconds=DAY) if 0 < n <= 1440] == [1440]
    assert [n for n in left(engine, window_seconds=3600) if 0 < n <= 1440] == [1440]


def test_both_points_of_every_change_of_verdict_stay(engine: Engine) -> None:
    drifting = (*range(101, 104), 333, *range(700, 1000))
    write(engine, series(range(-60, 1500), lambda n: Verdict.DRIFT if n in drifting else Verdict.OK))

    thin(engine, 100)

    kept = [minute for minute in left(engine) if 0 < minute <= 1440]
    assert kept == [100, 101, 103, 104, 332, 333, 334, 699, 700, 999, 1000, 1440]


def test_a_change_over_a_gap_stays(engine: Engine) -> None:
    write(engine, series([*range(-9000, -8000), *range(400, 500)], lambda n: Verdict.OK if n < 0 else Verdict.DRIFT))

    thin(engine, 100)

    assert [minute for minute in left(engine) if minute > 0] == [400, 499]
    assert left(engine)[-3] == -8001


def test_series_do_not_hide_each_other(engine: Engine) -> None:
    parts = [
        series(range(-9, 1450), **dict[str, Any]({name: "other"}))
        for name in ("name", "model", "version", "role", "segment", "feature")
    ]
    write(engine, series(range(-9, 1450)), *parts)

    thin(engine, 100)

    assert [minute for minute in left(engine) if 0 < minute <= 1440] == [1440] * 7


def test_the_newest_point_of_a_series_that_fell_silent_stays(engine: Engine) -> None:
    write(engine, series(range(-9, 778)))

    thin(engine, 300)

    with reading(engine) as c:
        assert [point.at for point in latest_points(c, "drift_ks", since=DAY_ONE)] == [DAY_ONE + timedelta(minutes=777)]


def test_what_an_alert_refers_to_stays(engine: Engine) -> None:
    labels = {"model": "churn", "version": "1", "feature": "age", "severity": "page"}
    write(engine, series(range(-9, 1450)), series(range(-9, 1450), feature="income"), series(range(-9, 1450), name="drift_psi"))
    event = {"fingerprint": "f", "rule": "r", "labels": labels, "from_state": "inactive", "to_state": "firing", "reason": ""}
    row = {"fingerprint": "f", "rule": "r", "labels": labels, "state": "firing", "health": "ok", "reason": ""}
    with writing(engine) as c:
        c.execute(alert_events.insert(), [event | {"at": DAY_ONE + timedelta(minutes=203, seconds=12)}])
        c.execute(alerts.insert(), [row | {"last_point_at": DAY_ONE + timedelta(minutes=707)}])

    thin(engine, 300)

    assert [n for n in left(engine, feature="age", names=["drift_ks"]) if 0 < n <= 1440] == [203, 707, 1440]
    assert [n for n in left(engine, feature="age", names=["drift_psi"]) if 0 < n <= 1440] == [203, 707, 1440]
    assert [n for n in left(engine, feature="income") if 0 < n <= 1440] == [1440]


def test_a_second_time_and_other_ways_round_take_nothing_more_away(engine: Engine) -> None:
    write(engine, series(range(-2000, 6000), lambda n: Verdict.DRIFT if n % 97 == 0 else Verdict.OK))

    thin(engine, 20)
    thin(engine, 50)
    thin(engine, 200)
    step_by_step = left(engine)
    again = thin(engine, 200)
    write(engine, series(range(-2000, 6000), lambda n: Verdict.DRIFT if n % 97 == 0 else Verdict.OK))
    thin(engine, 200)

    assert again == 0
    assert left(engine) == step_by_step


def test_only_days_that_came_of_an_age_since_are_looked_at(engine: Engine) -> None:
    write(engine, series(range(-9, 3 * 1440)))

    assert thin(engine, 8.5, since=8.1) == 0
    assert thin(engine, 8.5, since=7.9) > 0
    assert [minute for minute in left(engine) if 0 < minute <= 1440] == list(range(5, 1441, 5))
    assert len(left(engine)) > 2 * 1440


def test_points_of_a_moment_are_thinned_too(engine: Engine) -> None:
    write(engine, series(range(-9, 1450), window_seconds=0, name="uptime"))

    thin(engine, 8)

    assert [minute for minute in left(engine) if 0 < minute <= 1440] == list(range(5, 1441, 5))


def test_a_run_that_is_stopped_is_finished_by_the_next(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.thinning.AT_ONCE", 50)
    write(engine, series(range(-9, 1450)), series(range(-9, 1450), name="drift_psi"))
    calls = iter([None, None])

    with pytest.raises(StopIteration):
        thin_points(engine, AGES, now=DAY_ONE + timedelta(days=100), since=None, keep=lambda: next(calls))
    between = len(left(engine))
    thin(engine, 100)

    assert len(left(engine)) < between < 2 * 1459
    assert [minute for minute in left(engine) if 0 < minute <= 1440] == [1440, 1440]


def test_nothing_to_do_on_an_empty_table(engine: Engine) -> None:
    assert thin(engine, 1000) == 0
    with reading(engine) as c:
        assert c.scalar(select(func.count()).select_from(metrics)) == 0


def test_the_ages_of_a_day() -> None:
    def apart(day: datetime, days: float) -> int:
        return AGES.seconds_apart(day, DAY_ONE + timedelta(days=days))

    assert [apart(DAY_ONE, days) for days in (1, 7.9, 8, 30.9, 31, 90.9, 91)] == [0, 0, 1, 1, 3600, 3600, DAY]
    longer = PointAges(every=timedelta(days=40), apart=timedelta(days=30), hours=timedelta(days=20))
    assert [longer.seconds_apart(DAY_ONE, DAY_ONE + timedelta(days=n)) for n in (35, 41)] == [0, DAY]

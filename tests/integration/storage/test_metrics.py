"""Metric points: written over, read by time, the newest of each series."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import Engine

from storage.engine import reading, writing
from storage.metrics import latest_points, newest_by_window, read_points, window_lengths, write_points
from storage.records import MetricPoint, Verdict
from tests.factories import at


def point(when: datetime, value: float | None = 0.1, **changes: Any) -> MetricPoint:
    values: dict[str, Any] = {"name": "drift_psi", "model": "churn", "version": "1", "feature": "age", "window_seconds": 60}
    return MetricPoint(at=when, value=value, **{**values, **changes})


def test_a_point_comes_back_as_it_was(engine: Engine) -> None:
    whole = point(
        at(0.5), lower=0.05, upper=0.2, p_value=1e-9, n_reference=10**10, n_current=500, threshold=0.2, verdict=Verdict.DRIFT
    )
    with writing(engine) as c:
        write_points(c, [whole, point(at(), None, name="accuracy", model="")])

    with reading(engine) as c:
        assert read_points(c, start=at(), end=at(60)) == [point(at(), None, name="accuracy", model=""), whole]


def test_a_point_of_the_same_series_and_time_is_overwritten(engine: Engine) -> None:
    with writing(engine) as c:
        write_points(c, [point(at(), 0.1), point(at(), 0.2), point(at(), 0.3, feature="income")])
        write_points(c, [point(at(), 0.4)])

        assert sorted(p.value or 0 for p in read_points(c, start=at(), end=at(1))) == [0.3, 0.4]


def test_numbers_of_numpy_and_nan_are_stored(engine: Engine) -> None:
    with writing(engine) as c:
        write_points(
            c, [point(at(), np.float64("nan"), n_current=np.int64(7), p_value=np.float32(0.5)), point(at(1), np.float64(0.5))]
        )

        first, second = read_points(c, start=at(), end=at(60))
    assert (first.value, first.n_current, first.p_value, second.value) == (None, 7, 0.5, 0.5)


def test_nothing_may_be_written(engine: Engine) -> None:
    with writing(engine) as c:
        write_points(c, [])


def test_many_points_are_written_at_once(engine: Engine) -> None:
    with writing(engine) as c:
        for _ in range(2):
            write_points(c, [point(at(number)) for number in range(6000)])

        assert len(read_points(c, start=at(), end=at(10_000))) == 6000


def test_the_newest_point_of_each_series_is_found(engine: Engine) -> None:
    points = [point(at(number), number / 10, feature=feature) for number in range(5) for feature in ("age", "income")]
    points += [point(at(9), window_seconds=3600), point(at(9), name="drift_ks"), point(at(-500), feature="stale")]
    with writing(engine) as c:
        write_points(c, points)

    with reading(engine) as c:
        found = latest_points(c, "drift_psi", since=at(-60))
        assert [(p.feature, p.window_seconds, p.at) for p in found] == [
            ("age", 60, at(4)),
            ("age", 3600, at(9)),
            ("income", 60, at(4)),
        ]
        assert [p.feature for p in latest_points(c, "drift_psi", window_seconds=60, since=at(-60))] == ["age", "income"]
        assert latest_points(c, "drift_psi", since=at(10)) == []


def test_points_are_filtered_and_in_the_order_of_time(engine: Engine) -> None:
    with writing(engine) as c:
        write_points(c, [point(at(number), float(number)) for number in (3, 1, 2, 0)])
        write_points(
            c,
            [
                point(at(1), 9.0, **{key: value})
                for key, value in {"model": "m", "version": "2", "feature": "f", "window_seconds": 5, "name": "n"}.items()
            ],
        )

        def values(**wanted: Any) -> list[float | None]:
            return [p.value for p in read_points(c, **{"start": at(), "end": at(60), **wanted})]

        base = {"names": ["drift_psi"], "model": "churn", "version": "1", "feature": "age", "window_seconds": 60}
        assert values(**base) == [0.0, 1.0, 2.0, 3.0]
        assert values(**base, end=at(3)) == [0.0, 1.0, 2.0]
        assert values(**base, limit=2) == [2.0, 3.0]
        assert values(names=["n", "m"]) == [9.0]
        assert values(names=[]) == []
        assert window_lengths(c, "churn") == [5, 60]


def test_newest_point_of_each_window_length(engine: Engine) -> None:
    with writing(engine) as c:
        write_points(c, [point(at(number), window_seconds=seconds) for seconds, number in ((3600, 1), (0, 2), (60, 3), (60, 9))])
        write_points(c, [point(at(20), name="other", window_seconds=5)])

        assert list(newest_by_window(c, "drift_psi").items()) == [(0, at(2)), (60, at(9)), (3600, at(1))]
        assert newest_by_window(c, "nothing") == {}


def test_newest_points_with_enough_behind_them(engine: Engine) -> None:
    with writing(engine) as c:
        write_points(
            c,
            [
                point(at(0), 0.1, n_current=500),
                point(at(1), 0.2, n_current=50),
                point(at(2), 0.3, n_current=5, verdict=Verdict.INSUFFICIENT),
                point(at(3), 0.4, n_current=None, verdict=Verdict.INSUFFICIENT),
            ],
        )

        assert [p.value for p in latest_points(c, "drift_psi", since=at())] == [0.4]
        assert [p.value for p in latest_points(c, "drift_psi", since=at(), sufficient=True)] == [0.2]
        assert [p.value for p in latest_points(c, "drift_psi", since=at(), least_n=100)] == [0.1]

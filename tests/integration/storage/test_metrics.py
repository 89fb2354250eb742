"""Metric points: written over, read by time, the newest of each series."""

from __future__ import annotations

import itertools
from datetime import datetime
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine

from storage.engine import reading, writing
from storage.metrics import SERIES, latest_points, newest_by_window, read_points, window_lengths, write_points
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


def many_points(seed: int) -> list[MetricPoint]:
    """Points of series whose names are prefixes of one another, differ in case or script, or are empty."""
    random = np.random.default_rng(seed)
    names = ["", "a", "A", "a b", "ab", "ä", "z", "\N{CJK UNIFIED IDEOGRAPH-4E2D}", "\N{GRINNING FACE}", "0", "10", "9", "~"]

    def any_of(*values: Any) -> Any:
        return values[random.integers(len(values))]

    return [
        point(
            at(int(random.integers(60))),
            float(random.random()),
            name=any_of("drift_psi", "drift_ks", "drift_ps"),
            model=any_of("", "churn", "churn2"),
            version=any_of("1", "10", "2"),
            role=any_of("", "shadow"),
            segment=any_of("", "", "plan=pro"),
            feature=any_of(*names),
            window_seconds=any_of(0, 60, 3600),
            n_current=any_of(None, 10, 1000),
            verdict=any_of(*Verdict),
        )
        for _ in range(3000)
    ]


def series_of(point: MetricPoint) -> tuple[Any, ...]:
    return tuple(getattr(point, column) for column in SERIES)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_newest_points_are_those_that_a_look_at_every_point_finds(engine: Engine, seed: int) -> None:
    written = {(*series_of(p), p.at): p for p in many_points(seed)}
    with writing(engine) as c:
        write_points(c, list(written.values()))

    for window, since, sufficient, least_n in itertools.product(
        (None, 60), (at(-1), at(30), at(59), at(60)), (False, True), (None, 11)
    ):
        wanted: dict[tuple[Any, ...], MetricPoint] = {}
        for p in sorted(written.values(), key=lambda p: p.at):
            enough = (not sufficient or p.verdict is not Verdict.INSUFFICIENT) and (
                least_n is None or (p.n_current or 0) >= least_n
            )
            if p.name == "drift_psi" and p.at >= since and enough and window in (None, p.window_seconds):
                wanted[series_of(p)] = p
        with reading(engine) as c:
            found = latest_points(c, "drift_psi", window_seconds=window, since=since, sufficient=sufficient, least_n=least_n)

        assert {series_of(p): p for p in found} == wanted
        assert len(found) == len(wanted)


def test_the_lengths_of_window_are_those_that_a_look_at_every_point_finds(engine: Engine) -> None:
    written = many_points(3)
    with writing(engine) as c:
        write_points(
            c, [*written, point(at(), model="churn", window_seconds=7), point(at(), model="", name="drift_ks", window_seconds=5)]
        )

    with reading(engine) as c:
        assert window_lengths(c, "churn", ["drift_psi", "drift_ks"]) == [7, 60, 3600]
        assert window_lengths(c, "churn", ["drift_ks"]) == [60, 3600]
        assert window_lengths(c, "", ["drift_ks"]) == [5, 60, 3600]


def test_finding_the_newest_points_reads_no_more_as_series_grow_longer(sqlite_engine: Engine) -> None:
    steps = []
    for length in (10, 1000):
        with writing(sqlite_engine) as c:
            write_points(c, [point(at(number), feature=f) for number in range(length) for f in ("age", "income", "plan")])
        with reading(sqlite_engine) as c:
            counted = 0

            def count() -> int:
                nonlocal counted
                counted += 1
                return 0

            driver: Any = c.connection.driver_connection
            driver.set_progress_handler(count, 1)  # called at every instruction of SQLite's machine
            latest_points(c, "drift_psi", since=at(-1))
            window_lengths(c, "churn", ["drift_psi"])
            driver.set_progress_handler(None, 0)
        steps.append(counted)

    assert steps[1] < 1.1 * steps[0], steps


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
        assert window_lengths(c, "churn", ["drift_psi", "absent"]) == [5, 60]
        assert window_lengths(c, "churn", ["n"]) == [60]
        assert window_lengths(c, "churn", []) == window_lengths(c, "absent", ["drift_psi"]) == []


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

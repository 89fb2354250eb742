"""Housekeeping by the collector: once an hour, by one collector, and only what the settings say."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select, update

from collector.settings import CollectorSettings
from storage import rollups
from storage.archived import list_archives
from storage.engine import reading, writing
from storage.metrics import write_points
from storage.records import Layout, MetricPoint
from storage.resolution import DAY, WindowTooFine, floor_time
from storage.retention import sole_keeper
from storage.rollups import load_layout
from storage.schema import metrics, versions
from storage.schema import predictions as table
from storage.schema import rollups as counts
from storage.settings import SettingsError
from tests.factories import NOW
from tests.integration.collector.test_jobs import Bench
from tests.integration.collector.traffic import predictions, register, send, settings_for

HOUR = timedelta(hours=1)


def make_bench(engine: Engine, url: str, home: Path, **changes: object) -> Bench:
    with writing(engine) as c:
        register(c)
    for hour in range(6):
        send(engine, predictions(NOW + hour * HOUR, 3600, 120))
    return Bench(engine, settings_for(url, home, **changes))


@pytest.fixture
def bench(engine: Engine, database_url: str, home: Path) -> Bench:
    """Six hours of traffic, and the default settings."""
    return make_bench(engine, database_url, home)


def number(engine: Engine, query: object) -> int:
    with reading(engine) as c:
        return c.scalar(query) or 0  # type: ignore[call-overload]


LOOSE = select(func.count()).where(counts.c.writer > "")
RAW = select(func.count()).select_from(table)


def layout_of(engine: Engine) -> Layout:
    with reading(engine) as c:
        return load_layout(c, c.scalars(select(versions.c.layout_id)).one())


def test_hours_are_merged_once_they_have_settled(engine: Engine, bench: Bench) -> None:
    assert bench.run(NOW + 2 * HOUR + timedelta(minutes=9), "compact")
    early = number(engine, LOOSE)
    assert bench.run(NOW + 2 * HOUR + timedelta(minutes=10), "compact")
    late = number(engine, LOOSE)

    assert (early, late) == (300, 240)
    assert bench.job("compact").done_until == NOW + 2 * HOUR
    assert bench.job("compact").error is None


def test_a_second_collector_finds_nothing_left_to_merge(engine: Engine, bench: Bench) -> None:
    other = Bench(engine, bench.jobs["compact"].settings, owner="b")  # type: ignore[attr-defined]
    at = NOW + 7 * HOUR

    assert bench.run(at, "compact")
    assert not other.run(at, "compact")
    assert other.run(at + timedelta(hours=1), "compact")

    with reading(engine) as c:
        assert rollups.read_predictions(c, layout_of(engine), "1", NOW, at).rows == 720


def test_a_damaged_day_is_named_and_the_others_are_merged(engine: Engine, bench: Bench) -> None:
    with writing(engine) as c:
        c.execute(update(counts).where(counts.c.start == NOW).values(bins=b"\x01x"))
    send(engine, predictions(NOW + timedelta(days=1), 3600, 120))

    assert bench.run(NOW + timedelta(days=2), "compact")

    assert "CorruptCounts" in (bench.job("compact").error or "")
    assert "churn 1 2026-03-02" in (bench.job("compact").error or "")
    assert number(engine, LOOSE) == 360


def test_counts_become_coarser_with_age(engine: Engine, bench: Bench) -> None:
    layout = layout_of(engine)
    bench.run(NOW + timedelta(days=6), "compact")
    with reading(engine) as c:
        assert rollups.read_predictions(c, layout, "1", NOW + timedelta(minutes=5), NOW + HOUR).rows == 110

    bench.run(NOW + timedelta(days=9), "compact")
    with reading(engine) as c:
        assert rollups.read_predictions(c, layout, "1", NOW + HOUR, NOW + 3 * HOUR).rows == 240
        with pytest.raises(WindowTooFine, match="by the hour only"):
            rollups.read_predictions(c, layout, "1", NOW + timedelta(minutes=5), NOW + HOUR)

    bench.run(NOW + timedelta(days=95), "compact")
    with reading(engine) as c:
        assert rollups.read_predictions(c, layout, "1", NOW - timedelta(hours=12), NOW + timedelta(hours=12)).rows == 720
        with pytest.raises(WindowTooFine, match="by the day only"):
            rollups.read_predictions(c, layout, "1", NOW + HOUR, NOW + 3 * HOUR)


def test_predictions_stay_unless_a_setting_says_otherwise(engine: Engine, bench: Bench) -> None:
    assert bench.run(NOW + timedelta(days=1000), "retention")

    assert number(engine, RAW) == 720


def test_old_predictions_are_archived_and_their_counts_stay(engine: Engine, database_url: str, home: Path) -> None:
    bench = make_bench(engine, database_url, home, retention_raw="30d")

    bench.run(NOW + timedelta(days=29), "retention")
    before = number(engine, RAW)
    bench.run(NOW + timedelta(days=32), "retention")

    assert (before, number(engine, RAW)) == (720, 0)
    with reading(engine) as c:
        files = list_archives(c)
        assert rollups.read_predictions(c, layout_of(engine), "1", NOW, NOW + 6 * HOUR).rows == 720
    assert [archive.rows for archive in files] == [720]
    assert Path(files[0].path).parent == (home / "archive" / "churn" / "1").resolve()


def test_points_are_thinned_as_they_come_of_an_age(engine: Engine, bench: Bench) -> None:
    minutes = range(-9, 1450)
    midnight = floor_time(NOW, DAY)
    with writing(engine) as c:
        write_points(c, [MetricPoint(at=midnight + timedelta(minutes=n), name="n", value=1.0, window_seconds=300) for n in minutes])
    of_day = select(func.count()).where(metrics.c.at > midnight, metrics.c.at <= midnight + timedelta(days=1))
    found = []

    for days in (7, 9, 32, 92):
        bench.run(midnight + timedelta(days=days), "retention")
        found.append(number(engine, of_day))

    assert found == [1440, 288, 24, 1]


def test_points_that_jobs_look_up_again_are_never_thinned(database_url: str, home: Path) -> None:
    plain, longer = settings_for(database_url, home), settings_for(database_url, home, windows="5m,7d")

    assert plain.point_ages.every == timedelta(days=7)
    assert longer.point_ages.every > 3 * timedelta(days=7)


def test_a_budget_prunes_without_archives_where_they_are_off(engine: Engine, database_url: str, home: Path) -> None:
    bench = make_bench(engine, database_url, home, retention_max_bytes="1KB", retention_archive=False)
    send(engine, predictions(NOW + timedelta(days=1), 3600, 1))

    bench.run(NOW + timedelta(days=2), "retention")

    assert number(engine, RAW) == 1
    with reading(engine) as c:
        assert [(archive.path, archive.rows) for archive in list_archives(c)] == [("", 720)]


def test_a_folder_that_cannot_be_written_is_a_problem_and_nothing_is_lost(engine: Engine, database_url: str, home: Path) -> None:
    (home / "file").write_text("no folder")
    bench = make_bench(engine, database_url, home, retention_raw="30d", retention_folder=str(home / "file"))

    bench.run(NOW + timedelta(days=40), "retention")

    assert "No row was deleted" in (bench.job("retention").error or "")
    assert bench.job("retention").succeeded_at is None
    assert number(engine, RAW) == 720


def test_the_job_waits_while_a_command_archives(engine: Engine, database_url: str, home: Path) -> None:
    bench = make_bench(engine, database_url, home, retention_raw="30d")
    from collector.outcome import now_utc

    with sole_keeper(engine, "cli", now_utc):
        bench.run(NOW + timedelta(days=40), "retention")
    waiting = number(engine, RAW)
    bench.run(NOW + timedelta(days=40), "retention")

    assert (waiting, number(engine, RAW)) == (720, 0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"retention_minutes": "1h"}, r"RETENTION_MINUTES is wrong: the windows of 5m are computed again for"),
        ({"retention_hours": "1d", "windows": "1d"}, r"RETENTION_HOURS is wrong: the windows of 1d are computed again for"),
        ({"retention_raw": "0s"}, "RETENTION_RAW is wrong"),
    ],
)
def test_counts_must_outlast_the_windows_that_are_computed_again(changes: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        CollectorSettings.load(**changes)

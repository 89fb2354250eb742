"""Addresses and the time they stand for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dashboard import links

NOW = datetime(2026, 11, 21, 12, 0, 3, tzinfo=UTC)


def test_a_preset_ends_now_rounded_so_that_reads_can_be_shared() -> None:
    shown = links.resolve_range({"range": "1h"}, "24h", NOW)

    assert shown.end == datetime(2026, 11, 21, 12, 0, 5, tzinfo=UTC)
    assert shown.length == timedelta(hours=1)
    assert shown.is_live


def test_from_and_to_win_over_a_preset() -> None:
    shown = links.resolve_range({"range": "1h", "from": "2026-11-20T10:00:00Z", "to": "2026-11-20T11:30:00+01:00"}, "24h", NOW)

    assert shown.start == datetime(2026, 11, 20, 10, tzinfo=UTC)
    assert shown.end == datetime(2026, 11, 20, 10, 30, tzinfo=UTC)
    assert not shown.is_live


@pytest.mark.parametrize(
    "params",
    [
        {"from": "yesterday"},
        {"from": "2026-11-21T10:00:00Z", "to": "2026-11-21T09:00:00Z"},
        {"to": "0000-99-99"},
        {"range": "3 weeks"},
        {"from": "9999-12-31T23:59:59-23:00"},
    ],
)
def test_a_time_that_makes_no_sense_shows_the_default_and_says_so(params: dict[str, str]) -> None:
    shown = links.resolve_range(params, "6h", NOW)

    assert shown.preset == "6h"
    assert shown.problem == "range.problem"


@pytest.mark.parametrize(
    ("age", "preset"),
    [(timedelta(minutes=2), "15m"), (timedelta(minutes=50), "1h"), (timedelta(hours=5), "6h"), (timedelta(days=40), "24h")],
)
def test_the_default_time_is_the_shortest_that_shows_all_the_data(age: timedelta, preset: str) -> None:
    assert links.fitting_preset((NOW - age, NOW), NOW) == preset


def test_without_data_the_default_time_is_a_day() -> None:
    assert links.fitting_preset(None, NOW) == "24h"


@pytest.mark.parametrize("preset", list(links.PRESETS))
@pytest.mark.parametrize("least", [1, 7, 60, 3600])
def test_a_line_has_a_bounded_number_of_points_of_whole_buckets(preset: str, least: int) -> None:
    length = links.PRESETS[preset]

    step = links.step_seconds(length, least)

    assert step % least == 0
    assert length.total_seconds() / step <= links.MAX_STEPS


def test_steps_keep_their_place_as_time_goes_on() -> None:
    first = links.aligned(links.resolve_range({"range": "1h"}, "24h", NOW), 60)
    later = links.aligned(links.resolve_range({"range": "1h"}, "24h", NOW + timedelta(seconds=30)), 60)

    assert first == later
    assert first[0].second == 0


def test_links_keep_what_they_do_not_know_and_drop_what_is_empty() -> None:
    kept = links.ordered({"zzz": "1", "to": "b", "model": "m x", "feature": None, "version": ""})

    assert list(kept.items()) == [("model", "m x"), ("to", "b"), ("zzz", "1")]

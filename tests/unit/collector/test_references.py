"""Which spans a window is held against, whatever the reference, the window and the exclusions are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.references import reference_spans
from collector.windows import Window
from storage.records import Exclusion, ModelReference, ReferenceKind

NOON = datetime(2026, 6, 17, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
WINDOW = Window(start=NOON, end=NOON + HOUR)


def reference(kind: ReferenceKind, **details: Any) -> ModelReference:
    return ModelReference(model="m", name="r", kind=kind, created_at=NOON, created_by="ana", **details)


def exclusion(start: datetime, end: datetime) -> Exclusion:
    return Exclusion(model="m", start=start, end=end, reason="incident", created_at=NOON, created_by="ana")


def spans(kind: ReferenceKind, *exclusions: Exclusion, window: Window = WINDOW, **details: Any) -> list[tuple[datetime, datetime]]:
    return [(span.start, span.end) for span in reference_spans(reference(kind, **details), window, exclusions)]


def test_previous_period_is_as_long_as_the_window_and_ends_where_it_begins() -> None:
    assert spans(ReferenceKind.PREVIOUS) == [(NOON - HOUR, NOON)]


def test_sliding_reference_leaves_its_gap() -> None:
    found = spans(ReferenceKind.SLIDING, length_seconds=7 * 86400, gap_seconds=86400)

    assert found == [(NOON - 8 * DAY, NOON - DAY)]


def test_same_hours_of_the_weeks_before() -> None:
    found = spans(ReferenceKind.SAME_HOURS, weeks=3)

    assert found == [(NOON - weeks * 7 * DAY, NOON - weeks * 7 * DAY + HOUR) for weeks in (3, 2, 1)]


def test_same_hours_of_a_window_longer_than_a_week_count_no_hour_twice() -> None:
    window = Window(start=NOON - 10 * DAY, end=NOON)

    found = spans(ReferenceKind.SAME_HOURS, window=window, weeks=2)

    assert found == [(NOON - 24 * DAY, NOON - 17 * DAY), (NOON - 17 * DAY, NOON - 10 * DAY)]


def test_pinned_period_gives_way_to_the_window_under_test() -> None:
    found = spans(ReferenceKind.PINNED, start=NOON - DAY, end=NOON + DAY)

    assert found == [(NOON - DAY, NOON), (NOON + HOUR, NOON + DAY)]


def test_excluded_time_is_cut_out_to_whole_buckets() -> None:
    incident = exclusion(NOON - HOUR + timedelta(minutes=10, seconds=30), NOON - HOUR + timedelta(minutes=20, seconds=30))

    found = spans(ReferenceKind.PREVIOUS, incident)

    assert found == [(NOON - HOUR, NOON - HOUR + timedelta(minutes=10)), (NOON - HOUR + timedelta(minutes=21), NOON)]


def test_nothing_is_left_of_a_reference_that_is_excluded_whole() -> None:
    assert spans(ReferenceKind.PREVIOUS, exclusion(NOON - DAY, NOON)) == []


def test_other_arm_is_the_window_itself() -> None:
    assert spans(ReferenceKind.OTHER_ARM, exclusion(NOON - DAY, NOON + DAY)) == [(NOON, NOON + HOUR)]


def test_pinned_reference_without_a_period_is_empty() -> None:
    assert spans(ReferenceKind.PINNED) == []


moments = st.integers(-3000, 3000).map(lambda minutes: NOON + timedelta(minutes=minutes, seconds=7))
periods = st.tuples(moments, moments).map(sorted)
kinds = st.sampled_from([kind for kind in ReferenceKind if kind is not ReferenceKind.OTHER_ARM])


@given(kind=kinds, pinned=periods, holes=st.lists(periods, max_size=4), minutes=st.integers(1, 3000), weeks=st.integers(1, 4))
def test_spans_are_whole_buckets_that_overlap_neither_each_other_nor_what_is_taken(
    kind: ReferenceKind, pinned: list[datetime], holes: list[list[datetime]], minutes: int, weeks: int
) -> None:
    window = Window(start=NOON, end=NOON + timedelta(minutes=minutes))
    details: dict[str, Any] = {
        "start": pinned[0],
        "end": pinned[1],
        "length_seconds": minutes * 90,
        "gap_seconds": 75,
        "weeks": weeks,
    }

    found = reference_spans(reference(kind, **details), window, [exclusion(*hole) for hole in holes])

    assert all(span.start < span.end and not span.start.second and not span.end.second for span in found)
    assert all(left.end <= right.start for left, right in pairwise(found))
    taken = [(window.start, window.end), *((start, end) for start, end in holes if start < end)]
    assert all(span.end <= start or end <= span.start for span in found for start, end in taken)


@pytest.mark.parametrize("kind", [kind for kind in ReferenceKind if kind is not ReferenceKind.OTHER_ARM])
def test_buckets_of_a_second_are_cut_to_the_second(kind: ReferenceKind) -> None:
    details: dict[str, Any] = {"start": NOON - DAY, "end": NOON - HOUR, "length_seconds": 3600, "weeks": 1}
    hole = exclusion(NOON - DAY, NOON - HOUR - timedelta(seconds=1))

    found = reference_spans(reference(kind, **details), WINDOW, [hole], bucket_seconds=1)

    if kind is ReferenceKind.PINNED:
        assert [(span.start, span.end) for span in found] == [(NOON - HOUR - timedelta(seconds=1), NOON - HOUR)]
    else:
        assert sum(span.seconds for span in found) == 3600

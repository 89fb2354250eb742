"""Predictions as columns are the same predictions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.batches import as_batch, first_of_each_id, in_order_of_ids, time_texts
from tests.factories import at, make_prediction_row, make_prediction_rows


def test_rows_that_became_columns_come_back_as_they_were() -> None:
    india = timezone(timedelta(hours=5, minutes=30))
    rows = [*make_prediction_rows(range(3)), make_prediction_row(9, at=at(0.123457).astimezone(india), warnings="[1]", score=None)]

    assert as_batch(rows).rows() == rows


def test_no_rows_are_an_empty_batch() -> None:
    batch = as_batch([])

    assert len(batch) == 0
    assert batch.rows() == []
    assert time_texts(batch.at_us) == []
    assert len(first_of_each_id(batch)) == len(in_order_of_ids(batch)) == 0


@pytest.mark.parametrize("places", [[2, 0], [], [1, 1]])
def test_taken_are_the_rows_at_the_places_in_their_order(places: list[int]) -> None:
    rows = make_prediction_rows(range(3))

    assert as_batch(rows).take(places).rows() == [rows[place] for place in places]


def test_of_rows_with_one_id_the_first_stays() -> None:
    rows = [make_prediction_row(1), make_prediction_row(2), make_prediction_row(1, score=0.9), make_prediction_row(0)]

    assert first_of_each_id(as_batch(rows)).rows() == [rows[0], rows[1], rows[3]]
    assert first_of_each_id(as_batch(rows[:2])).rows() == rows[:2]


def test_order_of_ids_is_that_of_their_characters() -> None:
    rows = [make_prediction_row(id=text) for text in ("b", "a", "Z", "é", "aa")]

    assert in_order_of_ids(as_batch(rows)).ids == ["Z", "a", "aa", "b", "é"]


@given(st.datetimes(timezones=st.just(UTC)))
def test_time_is_kept_to_the_microsecond_and_written_as_sqlalchemy_writes_it(moment: datetime) -> None:
    batch = as_batch([make_prediction_row(at=moment)])

    assert batch.row(0).at == moment
    assert time_texts(batch.at_us) == [moment.replace(tzinfo=None).isoformat(" ", "microseconds")]

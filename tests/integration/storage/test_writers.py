"""Processes that write at once lose nothing and count nothing twice."""

from __future__ import annotations

from sqlalchemy import Engine, func, select

from storage.engine import reading, writing
from storage.rollups import read_labels, read_predictions
from storage.schema import labels, predictions
from tests.factories import at, register_model
from tests.programs import run_side_by_side

BATCHES, ROWS = 12, 50

# Each process sends every batch twice, and then the labels of its rows.
PROGRAM = f"""
import sys
from storage.engine import create_engine, writing
from storage.labels import record_labels
from storage.records import Label
from storage.registry import LayoutLookup
from tests.factories import at, make_prediction_row, record

url, writer, first = sys.argv[1], sys.argv[2], int(sys.argv[3])
engine = create_engine(url)
for batch in range({BATCHES}):
    start = first + batch * {ROWS}
    numbers = range(start, start + {ROWS})
    for _ in range(2):
        with writing(engine) as c:
            record(c, [make_prediction_row(number, at=at(number % 60)) for number in numbers], writer=writer)
    with writing(engine) as c:
        new = [Label(prediction_id=f"p{{number}}", label="yes", at=at(9000)) for number in numbers]
        record_labels(c, "churn", new, LayoutLookup(c), writer=writer, bucket_seconds=60, now=at(9000))
"""


def run_together(database_url: str, writers: list[tuple[str, int]]) -> None:
    run_side_by_side([[PROGRAM, database_url, writer, str(first)] for writer, first in writers])


def test_two_writers_at_once_lose_and_double_nothing(engine: Engine, database_url: str) -> None:
    with writing(engine) as c:
        layout = register_model(c)

    run_together(database_url, [("w1", 0), ("w2", BATCHES * ROWS // 2)])

    expected = BATCHES * ROWS * 3 // 2
    with reading(engine) as c:
        assert c.scalar(select(func.count()).select_from(predictions)) == expected
        assert c.scalar(select(func.count()).select_from(labels)) == expected
        counts = read_predictions(c, layout, "1", at(), at(86400))
        assert (counts.rows, counts.classes.sum()) == (expected, expected)
        uncounted = c.scalar(select(func.count()).select_from(labels).where(labels.c.counted.is_(False)))
        assert read_labels(c, layout, "1", at(), at(86400)).rows + (uncounted or 0) == expected


def test_two_processes_of_one_writer_lose_no_counts(engine: Engine, database_url: str) -> None:
    with writing(engine) as c:
        layout = register_model(c)

    run_together(database_url, [("w1", 0), ("w1", 10_000)])

    with reading(engine) as c:
        assert read_predictions(c, layout, "1", at(), at(86400)).rows == 2 * BATCHES * ROWS
        assert read_labels(c, layout, "1", at(), at(86400)).rows == 2 * BATCHES * ROWS

"""Predictions are stored and counted once."""

from __future__ import annotations

from sqlalchemy import Engine

from storage.engine import reading, writing
from storage.rollups import read_predictions
from tests.factories import at, make_prediction_rows, record, register_model


def test_rows_are_inserted_and_counted(engine: Engine) -> None:
    with writing(engine) as c:
        layout = register_model(c)
        receipt = record(c, make_prediction_rows(range(100)))

    assert receipt == (100, 0)
    with reading(engine) as c:
        counts = read_predictions(c, layout, "1", at(), at(120))
    assert counts.rows == 100

"""`modelwatch models segments`: the table of segments on both databases, worst first."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from storage.engine import writing
from storage.labels import record_labels
from storage.records import Label
from storage.registry import LayoutLookup
from storage.segment_fields import SegmentFields
from tests.factories import make_prediction_row, record, register_model
from tests.integration.cli.conftest import Run

FIELDS = SegmentFields(names=("country",))


@pytest.fixture
def churn(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An hour ago 600 predictions from three countries, wrong for half of the French and a tenth of the others."""
    monkeypatch.setenv("MODELWATCH_SEGMENTS", "country")
    sent = datetime.now(UTC) - timedelta(hours=1)
    rows = [make_prediction_row(n, at=sent, prediction="yes", segment=f"country={('de', 'fr', 'us')[n % 3]}") for n in range(600)]
    wrong = [number // 3 % 2 == 0 if number % 3 == 1 else number // 3 % 10 == 0 for number in range(600)]
    new = [Label(prediction_id=row.id, label="no" if no else "yes", at=sent) for row, no in zip(rows, wrong, strict=True)]
    with writing(engine) as c:
        register_model(c)
        record(c, rows, segments=FIELDS)
        record_labels(c, "churn", new, LayoutLookup(c), writer="w1", bucket_seconds=60, now=sent, segments=FIELDS)
    return engine


def test_segments_are_shown_worst_first(on_database: Run, churn: Engine) -> None:
    shown = on_database("models", "segments", "churn", "1").out
    found = json.loads(on_database("models", "segments", "churn", "1", "--since", "2h", "--json").out)

    assert [line.split()[0] for line in shown.splitlines()[4:]] == ["country=fr", "country=de", "country=us"]
    assert "accuracy of version 1 of churn from" in shown
    assert found["metric"] == "accuracy"
    worst = found["segments"][0]
    assert (worst["segment"], worst["verdict"], worst["n"], worst["n_rest"]) == ("country=fr", "drift", 200, 400)
    assert (worst["value"], worst["rest"], worst["difference"]) == (0.5, 0.9, pytest.approx(-0.4))
    assert worst["interval"][0] < -0.4 < worst["interval"][1] < 0
    assert {row["verdict"] for row in found["segments"][1:]} == {"ok"}


def test_time_without_labels_says_so(on_database: Run, churn: Engine) -> None:
    result = on_database("models", "segments", "churn", "1", "--since", "1m")

    assert (result.status, "No segment has labels in this time." in result.out) == (0, True)


def test_nothing_declared_says_what_to_set(on_database: Run, engine: Engine) -> None:
    with writing(engine) as c:
        register_model(c)

    result = on_database("models", "segments", "churn", "1")

    assert (result.status, "set MODELWATCH_SEGMENTS" in result.err) == (1, True)

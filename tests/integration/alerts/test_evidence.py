"""What a message says of why: from points, counts and deployments in a real database."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, Engine

from alerts.evidence import Evidence
from storage import deployments, metrics, profiles
from storage.engine import reading, writing
from storage.layouts import count_predictions, empty_label_counts
from storage.records import AlertRow, AlertState, Layout, MetricPoint, Mode, Profile, Verdict
from storage.schema import segment_values
from tests.factories import NOW, at, make_prediction_rows, make_rows, make_signature, record, register_model
from tests.unit.alerts.rows import make_alert, make_rule

HOUR = 3600
EVIDENCE = Evidence({"FeatureDrift": make_rule()})


def alert(**changes: object) -> AlertRow:
    given: dict[str, object] = {
        "window_seconds": HOUR,
        "last_point_at": at(HOUR),
        "pending_at": at(HOUR),
        "fired_at": at(HOUR),
        **changes,
    }
    return make_alert(AlertState.FIRING, **given)


def reference(c: Connection, layout: Layout) -> None:
    rows = make_rows(make_signature(), 500)
    counts = count_predictions(layout, rows, list(np.linspace(0, 1, 500)), ["no"] * 500)
    profile = Profile(
        model="churn", version="1", layout_id=layout.id, rows=500, counts=counts, labels=empty_label_counts(layout),
        performance={}, sample=b"", created_at=NOW,
    )  # fmt: skip
    profiles.save_profile(c, profile)


def point(feature: str, value: float, hour: int = 1, **changes: object) -> MetricPoint:
    given = {
        "at": at(hour * HOUR), "name": "drift_psi", "value": value, "model": "churn", "version": "1", "feature": feature,
        "window_seconds": HOUR, "n_current": 1000, "n_reference": 500, "threshold": 0.2, "verdict": Verdict.DRIFT, **changes,
    }  # fmt: skip
    return MetricPoint(**given)  # type: ignore[arg-type]


@pytest.fixture
def drifted(engine: Engine) -> Engine:
    """The last of three hours: everybody is over 80, one half comes from a new region, and the income is as it was."""
    with writing(engine) as c:
        layout = register_model(c, versions=("1", "2"))
        reference(c, layout)
        rows = make_prediction_rows(range(200))
        features = [json.dumps([85, (i % 100) / 100, True, ("north", "east")[i % 2]]) for i in range(200)]
        record(c, [type(row)(**{**_fields(row), "features": text}) for row, text in zip(rows, features, strict=True)])
        values = [{"model": "churn", "field": "country", "value": value} for value in ("de", "fr", "it")]
        c.execute(segment_values.insert(), values)
        metrics.write_points(
            c,
            [
                *(point("age", value, hour) for hour, value in ((-1, 0.01), (0, 0.02), (1, 2.5))),
                point("region", 0.9),
                point("income", 0.05, verdict=Verdict.OK),
                point("age", 3.5, segment="country=de,reference=before", n_current=900),
                point("age", 2.6, segment="country=fr,reference=before", n_current=500),
                point("age", 9.9, segment="country=it,reference=before", verdict=Verdict.INSUFFICIENT),
            ],
        )
    return engine


def _fields(row: object) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__slots__}  # type: ignore[attr-defined]


def test_features_that_moved_are_named_furthest_over_their_threshold_first(drifted: Engine) -> None:
    with reading(drifted) as c:
        card = EVIDENCE.card(c, [alert()], at(HOUR))

    assert card is not None
    age, region = card.movers
    assert (age.name, age.value, age.threshold, age.metric) == ("age", 2.5, 0.2, "PSI")
    assert age.movement == "median 57.4 to 85.5"
    assert age.course == (0.01, 0.02, 2.5)
    assert (region.name, region.movement) == ("region", "south 51.4 % to 0 %")


def test_course_of_the_value_and_its_threshold_are_on_the_card(drifted: Engine) -> None:
    with reading(drifted) as c:
        card = EVIDENCE.card(c, [alert(threshold=0.2)], at(HOUR))

    assert card is not None
    assert (card.course, card.threshold) == ((0.01, 0.02, 2.5), 0.2)


def test_worst_segment_is_one_with_enough_data(drifted: Engine) -> None:
    with reading(drifted) as c:
        card = EVIDENCE.card(c, [alert()], at(HOUR))

    assert card is not None
    assert card.worst_segment == "country=de,reference=before: PSI of age 3.5, 900 predictions"


@pytest.mark.parametrize(("minutes", "is_cause"), [(5, True), (119, True), (121, False)])
def test_deployment_shortly_before_the_beginning_is_the_likely_cause(drifted: Engine, minutes: int, is_cause: bool) -> None:
    began = at(3 * HOUR)
    with writing(drifted) as c:
        deployments.promote(c, "churn", "2", actor="ada", reason="better", now=began - timedelta(minutes=minutes))
        card = EVIDENCE.card(c, [alert(pending_at=began)], began)

    assert card is not None
    assert card.changes[0].what == "version 2 of churn was promoted by ada"
    assert card.changes[0].likely is is_cause


def test_each_kind_of_deployment_is_said_in_its_words(drifted: Engine) -> None:
    with writing(drifted) as c:
        deployments.promote(c, "churn", "1", actor="ada", reason="", now=at(1))
        deployments.deploy(c, "churn", mode=Mode.AB, champion="1", challenger="2", weight=0.1, actor="ada", reason="", now=at(2))
        deployments.promote(c, "churn", "2", actor="", reason="", now=at(3))
        deployments.rollback(c, "churn", actor="bob", reason="", now=at(4))
        card = EVIDENCE.card(c, [alert()], at(HOUR))

    assert card is not None
    assert [change.what for change in card.changes][:4] == [
        "churn was rolled back to version 1 by bob",
        "version 2 of churn was promoted",
        "version 2 of churn got 10% of the traffic in an A/B test by ada",
        "version 1 of churn was promoted by ada",
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": {}},
        {"labels": {"model": "gone", "version": "1"}},
        {"labels": {"model": "churn", "version": "9", "feature": "x"}},
        {"rule": "Unknown"},
        {"last_point_at": None},
        {"window_seconds": None},
    ],
)
def test_what_cannot_be_found_is_left_out(drifted: Engine, changes: dict[str, object]) -> None:
    with reading(drifted) as c:
        card = EVIDENCE.card(c, [alert(**changes)], at(HOUR))

    assert card is None or card.course == () or card.movers == ()


def test_alert_that_is_over_has_no_card(drifted: Engine) -> None:
    with reading(drifted) as c:
        over = make_alert(AlertState.RESOLVED, window_seconds=HOUR, last_point_at=at(HOUR))
        assert EVIDENCE.card(c, [over], at(HOUR)) is None

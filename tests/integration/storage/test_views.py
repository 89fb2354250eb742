"""The SQL view of a version shows features by name, whatever their names are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import Engine, inspect

from storage.engine import reading, writing
from storage.labels import record_labels
from storage.records import Feature, FeatureType, Label, Signature, Task
from storage.registry import LayoutLookup
from storage.views import FIXED_COLUMNS, MOST_FEATURES, feature_columns, view_name
from tests.factories import at, make_prediction_row, record, register_model

HOSTILE = [
    "id",
    "ID",
    "label",
    'a "quoted" name',
    "it's; DROP TABLE predictions; --",
    "100 %s %(x)s %%",
    "größe in m² ☃ 漢字",
    "x" * 200,
    "x" * 199 + "y",
    "漢" * 70,
    ":colon :p",
    "",
    " ",
    "new\nline\ttab",
    "nul\0nul",
    "select",
    "back\\slash",
    "{brace}",
    "$1 ?",
]


def rows_of(engine: Engine, name: str) -> list[dict[str, Any]]:
    with reading(engine) as c:
        quoted = name.replace('"', '""')
        rows = c.exec_driver_sql(f'SELECT * FROM "{quoted}" ORDER BY id', execution_options={"no_parameters": True})
        return [dict(row) for row in rows.mappings()]


def numbers(names: list[str]) -> Signature:
    features = tuple(Feature(name=name, type=FeatureType.NUMBER, missing_allowed=True) for name in names)
    return Signature(task=Task.REGRESSION, features=features)


def test_features_and_labels_have_columns_of_their_types(engine: Engine) -> None:
    with writing(engine) as c:
        register_model(c)
        record(c, [make_prediction_row(1), make_prediction_row(2, features='[30, null, true, "north"]')])
        labels = [Label(prediction_id="p2", label="yes", at=at(60))]
        record_labels(c, "churn", labels, LayoutLookup(c), writer="w", bucket_seconds=60, now=at(60))

    first, second = rows_of(engine, "churn_v1")

    assert (first["age"], first["income"], first["member"], first["region"]) == (21.0, 0.01, False, "south")
    assert (second["age"], second["income"], second["member"], second["region"]) == (30.0, None, True, "north")
    assert (first["label"], second["label"]) == (None, "yes")
    assert isinstance(first["age"], float)
    assert tuple(first)[: len(FIXED_COLUMNS)] == FIXED_COLUMNS


def test_a_view_shows_its_version_only(engine: Engine) -> None:
    with writing(engine) as c:
        register_model(c, versions=("1", "2"))
        register_model(c, "churn2")
        record(c, [make_prediction_row(1), make_prediction_row(2, version="2"), make_prediction_row(3, model="churn2")])

    assert [row["id"] for row in rows_of(engine, "churn_v2")] == ["p2"]
    assert [row["id"] for row in rows_of(engine, "churn2_v1")] == ["p3"]


def test_hostile_names_of_features_work(engine: Engine) -> None:
    signature = numbers(HOSTILE)
    features = json.dumps(list(range(len(HOSTILE))))
    with writing(engine) as c:
        register_model(c, signature=signature)
        record(c, [make_prediction_row(1, features=features, prediction=None)])

    [row] = rows_of(engine, "churn_v1")

    assert [row[column] for column in feature_columns(signature)] == list(range(len(HOSTILE)))
    assert row["id"] == "p1"
    assert len(row) == len(FIXED_COLUMNS) + len(HOSTILE)


@pytest.mark.parametrize(
    ("model", "version"), [("a.b-c", "2026-03.rc1"), ("m" * 63, "V" * 63), ("a_v1", "2"), ("a", "1_v2"), ("select", "1")]
)
def test_views_of_unusual_models_and_versions_work(engine: Engine, model: str, version: str) -> None:
    with writing(engine) as c:
        register_model(c, "a_v1", ("2",)) if model == "a" else None
        register_model(c, model, (version,))
        record(c, [make_prediction_row(1, model=model, version=version)])

    assert [row["id"] for row in rows_of(engine, view_name(model, version))] == ["p1"]


def test_categories_that_are_numbers_or_booleans_show_as_text(engine: Engine) -> None:
    signature = Signature(task=Task.REGRESSION, features=(Feature(name="x", type=FeatureType.CATEGORY, missing_allowed=True),))
    with writing(engine) as c:
        register_model(c, signature=signature)
        record(
            c,
            [make_prediction_row(n, features=text, prediction=None) for n, text in enumerate(["[7]", "[true]", "[null]", '["é"]'])],
        )

    assert [row["x"] for row in rows_of(engine, "churn_v1")] == ["7", "true", None, "é"]


def test_a_view_has_as_many_features_as_a_database_allows(engine: Engine) -> None:
    names = [f"f{number}" for number in range(MOST_FEATURES + 20)]
    with writing(engine) as c:
        register_model(c, signature=numbers(names))
        record(c, [make_prediction_row(1, features=json.dumps([1.5] * len(names)), prediction=None)])

    [row] = rows_of(engine, "churn_v1")

    assert len(row) == MOST_FEATURES + len(FIXED_COLUMNS)
    assert row[f"f{MOST_FEATURES - 1}"] == 1.5


def test_views_are_no_tables(engine: Engine) -> None:
    with writing(engine) as c:
        register_model(c)

    with reading(engine) as c:
        assert inspect(c).get_view_names() == ["churn_v1"]

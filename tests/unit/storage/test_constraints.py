"""Constraints: learned, written, edited, read, and exchanged with SageMaker's files."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from storage.constraint_files import ConstraintsError, constraints_text, parse_constraints
from storage.constraints import Constraints, FeatureConstraints, constraints_of, duplicate_share, learn_constraints
from storage.layouts import build_layout, count_predictions
from storage.records import Feature, FeatureType, Layout, PredictionCounts, Scalar, Signature, Task
from storage.sagemaker import (
    constraints_document,
    is_constraints,
    is_statistics,
    statistics_document,
    with_constraints_document,
    with_statistics_document,
)

SIGNATURE = Signature(
    task=Task.REGRESSION,
    features=(
        Feature(name="age", type=FeatureType.INTEGER, missing_allowed=False, minimum=18, maximum=90),
        Feature(name="balance", type=FeatureType.NUMBER, missing_allowed=True, minimum=-5.5, maximum=10.0),
        Feature(name="member", type=FeatureType.BOOLEAN, missing_allowed=False),
        Feature(name="plan", type=FeatureType.CATEGORY, missing_allowed=False, categories=("no", "1", "grün: ja")),
    ),
)
NAMES = list(SIGNATURE.names)
ROWS: list[list[Scalar]] = [
    [18, -5.5, True, "no"],
    [90, 10.0, False, "no"],
    [40, None, True, "1"],
    [41, 1.5, True, "grün: ja"],
]


@pytest.fixture
def reference() -> tuple[Layout, PredictionCounts]:
    layout = build_layout("m", SIGNATURE, list(zip(*ROWS, strict=True)), np.zeros(2))
    return layout, count_predictions(layout, ROWS, [0.0] * 4, ["0"] * 4)


@pytest.fixture
def constraints(reference: tuple[Layout, PredictionCounts]) -> Constraints:
    return learn_constraints(SIGNATURE, *reference, ROWS)


# ---------------------------------------------------------------------------------------------- learning


def test_reference_teaches_shares_with_room_ranges_and_categories(constraints: Constraints) -> None:
    age, balance, member, plan = (constraints.features[name] for name in NAMES)

    assert (age.type, age.minimum, age.maximum, age.missing, age.most_common) == (FeatureType.INTEGER, 18, 90, 0.05, 0.25)
    assert (balance.minimum, balance.missing) == (-5.5, 0.3)
    assert (member.minimum, member.categories, member.most_common) == (None, None, 0.75)
    assert (plan.categories, plan.unseen, plan.most_common) == (("no", "1", "grün: ja"), 0.01, 0.5)
    assert (constraints.duplicates, constraints.extra_columns) == (0.05, False)


def test_duplicates_have_no_limit_where_they_are_in_the_nature_of_the_data(reference: tuple[Layout, PredictionCounts]) -> None:
    repeated = learn_constraints(SIGNATURE, *reference, ROWS[:1] * 5)
    unknown = learn_constraints(SIGNATURE, *reference, [])

    assert (repeated.duplicates, unknown.duplicates) == (None, None)


def test_duplicates_are_counted_among_a_bounded_number_of_rows() -> None:
    assert duplicate_share([[1]] * 5000) == (1999, 2000)
    assert duplicate_share([]) == (0, 0)


def test_column_without_values_is_learned_without_range(reference: tuple[Layout, PredictionCounts]) -> None:
    signature = Signature(task=Task.REGRESSION, features=(Feature(name="x", type=FeatureType.NUMBER, missing_allowed=True),))
    layout = build_layout("m", signature, [[None, None]], np.zeros(2))

    found = learn_constraints(signature, layout, count_predictions(layout, [[None], [None]], [0, 0], ["0", "0"]), [])

    assert found.features["x"] == FeatureConstraints(type=FeatureType.NUMBER, missing=1.0)


def test_stored_constraints_win_over_learning(reference: tuple[Layout, PredictionCounts], constraints: Constraints) -> None:
    edited = constraints.model_copy(update={"duplicates": 0.4})

    assert constraints_of(edited.model_dump(mode="json"), SIGNATURE, *reference, ROWS) == edited
    assert constraints_of({}, SIGNATURE, *reference, ROWS) == constraints


# ---------------------------------------------------------------------------------------------- the file


def test_file_reads_back_as_what_was_written(constraints: Constraints) -> None:
    text = constraints_text(constraints, "churn", "2")

    assert parse_constraints(text, NAMES) == constraints
    assert text.startswith("# What data quality holds the rows of churn, version 2, against.\n")
    assert "'no'" in text


def test_json_is_read_too(constraints: Constraints) -> None:
    assert parse_constraints(constraints.model_dump_json(), NAMES) == constraints


WRONG: list[tuple[str, str]] = [
    ("features: [", "Line 1: expected the node content, but found '<stream end>'; the file must be YAML or JSON."),
    ("- a", "The file is not a mapping; begin with `features:`, as the file that --export writes does."),
    ("duplicates: 0.1", "features is missing; add it."),
    ("features:\n  age:\n    missing: 0", "Line 2: features.age.type is missing; add it."),
    (
        "features:\n  age:\n    type: number\n    missing: 2",
        "Line 4: features.age.missing: input should be less than or equal to 1.",
    ),
    (
        "features:\n  age:\n    type: number\n    minimun: 2",
        "Line 4: features.age.minimun is no key of a constraints file; remove it, or look at the comments of an exported one.",
    ),
    ("features:\n  age: {type: number, minimum: 3, maximum: 2}", "Line 2: features.age: minimum 3 is above maximum 2."),
    (
        "features:\n  plan: {type: category, categories: [no]}",
        "Line 2: features.plan.categories.0: input should be a valid string.",
    ),
    (
        "features:\n  zip: {type: number}",
        "Line 2: the version has no feature 'zip'; its features are age, balance, member, plan.",
    ),
    ("features:\n  age: {type: number, minimum: .inf}", "Line 2: features.age.minimum: input should be a finite number."),
]


@pytest.mark.parametrize(("text", "sentence"), WRONG)
def test_wrong_file_is_refused_in_a_sentence_that_says_where(text: str, sentence: str) -> None:
    with pytest.raises(ConstraintsError) as error:
        parse_constraints(text, NAMES)

    assert str(error.value) == sentence


# ---------------------------------------------------------------------------------------------- SageMaker


def test_constraints_json_round_trip_keeps_all_that_it_can_say(constraints: Constraints) -> None:
    document = json.loads(json.dumps(constraints_document(constraints)))

    assert is_constraints(document)
    assert with_constraints_document(constraints, document) == constraints
    assert document["features"][0] == {
        "name": "age",
        "inferred_type": "Integral",
        "completeness": 0.95,
        "num_constraints": {"is_non_negative": True},
        "monitoringConfigOverrides": {},
    }
    assert document["features"][3]["string_constraints"] == {"domains": ["no", "1", "grün: ja"]}


def test_thresholds_of_single_features_survive_the_round_trip(constraints: Constraints) -> None:
    plan = constraints.features["plan"].model_copy(update={"unseen": 0.2, "wrong_type": 0.1})
    constraints = constraints.model_copy(update={"features": constraints.features | {"plan": plan}})

    document = constraints_document(constraints)

    assert document["monitoring_config"]["domain_content_threshold"] == 0.2
    assert document["features"][0]["monitoringConfigOverrides"] == {
        "datatype_check_threshold": 0.0,
        "domain_content_threshold": 0.01,
    }
    assert with_constraints_document(constraints, document) == constraints


def test_constraints_json_as_sagemaker_writes_it_changes_what_it_names(constraints: Constraints) -> None:
    document: dict[str, Any] = {
        "version": 0.0,
        "features": [
            {"name": "balance", "inferred_type": "Fractional", "completeness": 1.0, "num_constraints": {"is_non_negative": True}},
            {"name": "plan", "inferred_type": "String", "completeness": 0.9, "string_constraints": {"domains": ["x", "y"]}},
        ],
        "monitoring_config": {
            "evaluate_constraints": "Enabled",
            "emit_metrics": "Enabled",
            "datatype_check_threshold": 0.1,
            "domain_content_threshold": 0.1,
            "distribution_constraints": {
                "perform_comparison": "Enabled",
                "comparison_threshold": 0.1,
                "comparison_method": "Robust",
            },
        },
    }

    found = with_constraints_document(constraints, document).features

    assert (found["balance"].missing, found["balance"].minimum, found["balance"].maximum) == (0.0, 0.0, 10.0)
    assert (found["plan"].missing, found["plan"].categories, found["plan"].unseen) == (0.1, ("x", "y"), 0.1)
    assert found["age"] == constraints.features["age"]


def test_statistics_json_round_trip_keeps_ranges_missing_shares_and_categories(
    constraints: Constraints, reference: tuple[Layout, PredictionCounts]
) -> None:
    sample = dict(zip(NAMES, map(list, zip(*ROWS, strict=True)), strict=True))

    document = json.loads(json.dumps(statistics_document(constraints, *reference, sample)))

    assert is_statistics(document)
    assert not is_constraints(document)
    found = with_statistics_document(constraints, document).features
    assert {name: feature.missing for name, feature in found.items()} == {
        name: feature.missing for name, feature in constraints.features.items()
    }
    assert (found["balance"].minimum, found["balance"].maximum) == (-5.5, 10.0)
    assert set(found["plan"].categories or ()) == {"no", "1", "grün: ja"}


def test_statistics_json_holds_the_moments_and_ten_buckets(
    constraints: Constraints, reference: tuple[Layout, PredictionCounts]
) -> None:
    sample = dict(zip(NAMES, map(list, zip(*ROWS, strict=True)), strict=True))

    document = statistics_document(constraints, *reference, sample)

    balance = document["features"][1]["numerical_statistics"]
    assert document["dataset"] == {"item_count": 4}
    assert balance["common"] == {"num_present": 3, "num_missing": 1}
    assert [balance[key] for key in ("mean", "sum", "std_dev", "min", "max")] == pytest.approx(
        [2.0, 6.0, np.std([-5.5, 10, 1.5]), -5.5, 10.0]
    )
    kll = balance["distribution"]["kll"]
    assert [bucket["count"] for bucket in kll["buckets"]] == [1, 0, 0, 0, 1, 0, 0, 0, 0, 1]
    assert kll["sketch"]["data"] == [[-5.5, 10.0, 1.5]]
    assert document["features"][3]["string_statistics"]["distribution"]["categorical"]["buckets"][0] == {"value": "no", "count": 2}


@pytest.mark.parametrize("read", [with_constraints_document, with_statistics_document])
def test_documents_that_do_not_fit_are_refused_in_a_sentence(read: Any, constraints: Constraints) -> None:
    with pytest.raises(ConstraintsError, match=r"The version has no feature 'label'; its features are age, balance, member, plan"):
        read(constraints, {"features": [{"name": "label"}]})
    with pytest.raises(ConstraintsError, match=r"This is no .*\.json of SageMaker: features\.0\.name: field required\."):
        read(constraints, {"features": [{}]})

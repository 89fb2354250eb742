"""Checks of a batch of rows and of the counts of a window against constraints."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from collector.statistics.quality import Check, Finding, check_batch, check_counts, violations
from storage.constraints import Constraints, FeatureConstraints, learn_constraints
from storage.layouts import build_layout, count_predictions
from storage.records import Feature, FeatureType, Layout, PredictionCounts, Scalar, Signature, Task, Verdict

SIGNATURE = Signature(
    task=Task.REGRESSION,
    features=(
        Feature(name="age", type=FeatureType.INTEGER, missing_allowed=False, minimum=18, maximum=90),
        Feature(name="income", type=FeatureType.NUMBER, missing_allowed=True, minimum=0.0, maximum=10.0),
        Feature(name="member", type=FeatureType.BOOLEAN, missing_allowed=False),
        Feature(name="plan", type=FeatureType.CATEGORY, missing_allowed=False, categories=("a", "b")),
    ),
)


def make_columns(rows: int = 400, seed: int = 0) -> dict[str, list[Scalar]]:
    random = np.random.default_rng(seed)
    columns: dict[str, list[Scalar]] = {
        "age": random.integers(18, 91, rows).tolist(),
        "income": random.uniform(0, 10, rows).tolist(),
        "member": (random.random(rows) < 0.5).tolist(),
        "plan": random.choice(["a", "b"], rows).tolist(),
    }
    columns["age"][:2], columns["income"][:2] = [18, 90], [0.0, 10.0]
    return columns


def learned(columns: dict[str, list[Scalar]]) -> tuple[Layout, Constraints]:
    layout = build_layout("m", SIGNATURE, list(columns.values()), np.zeros(2))
    return layout, learn_constraints(SIGNATURE, layout, counts_of(layout, columns), list(zip(*columns.values(), strict=True)))


def counts_of(layout: Layout, columns: dict[str, list[Scalar]]) -> PredictionCounts:
    rows = list(zip(*columns.values(), strict=True))
    return count_predictions(layout, rows, [0.0] * len(rows), ["0"] * len(rows))


def find(findings: list[Finding], feature: str, check: Check) -> Finding:
    (found,) = [finding for finding in findings if (finding.feature, finding.check) == (feature, check)]
    return found


def violated(columns: dict[str, list[Scalar]]) -> set[tuple[str, Check]]:
    _, constraints = learned(make_columns())
    return {(finding.feature, finding.check) for finding in check_batch(constraints, columns) if finding.is_violation}


def test_reference_meets_what_was_learned_from_it_in_rows_and_in_counts() -> None:
    columns = make_columns()
    layout, constraints = learned(columns)

    for findings in (check_batch(constraints, columns), check_counts(constraints, layout, counts_of(layout, columns))):
        assert len(findings) > 8
        assert {finding.verdict for finding in findings} == {Verdict.OK}


CHANGES: list[tuple[str, list[Any], Check]] = [
    ("age", [None] * 60, Check.MISSING),
    ("income", [math.nan] * 60, Check.MISSING),
    ("age", ["old"] * 3, Check.WRONG_TYPE),
    ("age", [20.5] * 3, Check.WRONG_TYPE),
    ("age", [True] * 3, Check.WRONG_TYPE),
    ("member", [1] * 3, Check.WRONG_TYPE),
    ("age", [10**400] * 30, Check.OUT_OF_RANGE),
    ("age", [17] * 30, Check.OUT_OF_RANGE),
    ("income", [math.inf] * 30, Check.OUT_OF_RANGE),
    ("plan", ["z"] * 30, Check.UNSEEN),
    ("plan", [3] * 30, Check.UNSEEN),
    ("age", [50] * 400, Check.CONSTANT),
    ("plan", ["a"] * 400, Check.CONSTANT),
]


@pytest.mark.parametrize(("feature", "values", "check"), CHANGES)
def test_change_is_found_as_what_it_is_and_as_nothing_else(feature: str, values: list[Any], check: Check) -> None:
    columns = make_columns(seed=1)
    columns[feature][: len(values)] = values

    assert violated(columns) == {(feature, check)}


def test_schema_changes_are_found() -> None:
    columns = make_columns()
    del columns["plan"]
    columns["zip"] = [1] * 400

    assert violated(columns) == {("plan", Check.MISSING_COLUMN), ("zip", Check.EXTRA_COLUMN)}


def test_extra_columns_may_be_allowed() -> None:
    _, constraints = learned(make_columns())
    constraints = constraints.model_copy(update={"extra_columns": True})

    assert not violations(check_batch(constraints, make_columns() | {"zip": [1] * 400}))


def test_repeated_rows_are_found() -> None:
    columns = {name: column[:200] * 2 for name, column in make_columns().items()}

    _, constraints = learned(make_columns())
    found = find(check_batch(constraints, columns), "", Check.DUPLICATES)

    assert (found.observed, found.limit, found.verdict) == (0.5, 0.05, Verdict.DRIFT)


def test_all_missing_column_is_missing_and_nothing_more() -> None:
    columns = make_columns() | {"age": [None] * 400}

    assert violated(columns) == {("age", Check.MISSING)}


@pytest.mark.parametrize("rows", [0, 1])
def test_a_row_or_none_is_no_violation(rows: int) -> None:
    _, constraints = learned(make_columns())
    columns: dict[str, list[Scalar]] = {"age": [17] * rows, "income": [None] * rows, "member": [True] * rows, "plan": ["z"] * rows}

    findings = check_batch(constraints, columns)

    assert {finding.verdict for finding in findings} <= {Verdict.OK, Verdict.INSUFFICIENT}
    assert find(findings, "plan", Check.UNSEEN).verdict is Verdict.INSUFFICIENT


@given(hits=st.integers(0, 300), limit=st.sampled_from([0.0, 0.01, 0.05, 0.5, 1.0]))
def test_verdict_of_a_share_is_that_of_the_exact_binomial_test(hits: int, limit: float) -> None:
    constraints = Constraints(features={"x": FeatureConstraints(type=FeatureType.NUMBER, missing=limit)})
    values: list[Scalar] = [*[None] * hits, *[1.0] * (300 - hits)]

    found = find(check_batch(constraints, {"x": values}), "x", Check.MISSING)

    if hits / 300 <= limit:
        assert found.verdict is Verdict.OK
    else:
        assert found.is_violation == (binom.sf(hits - 1, 300, limit) < 0.001)


def test_counts_find_what_rows_find() -> None:
    layout, constraints = learned(make_columns())
    columns = make_columns(seed=1)
    columns["age"][:60] = [None] * 60
    columns["income"][:30] = [11.0] * 30
    columns["plan"][:30] = ["z"] * 30
    columns["member"] = [True] * 400

    by_rows = check_batch(constraints, columns)
    by_counts = check_counts(constraints, layout, counts_of(layout, columns))

    for finding in by_counts:
        assert find(by_rows, finding.feature, finding.check).verdict is finding.verdict
    assert {(f.feature, f.check) for f in by_counts if f.is_violation} == {
        ("age", Check.MISSING),
        ("income", Check.OUT_OF_RANGE),
        ("plan", Check.UNSEEN),
        ("member", Check.CONSTANT),
    }


def test_counts_say_nothing_of_a_range_that_was_edited() -> None:
    layout, constraints = learned(make_columns())
    edited = constraints.features["income"].model_copy(update={"maximum": 20.0})
    constraints = constraints.model_copy(update={"features": constraints.features | {"income": edited}})

    findings = check_counts(constraints, layout, counts_of(layout, make_columns()))

    assert ("income", Check.OUT_OF_RANGE) not in {(finding.feature, finding.check) for finding in findings}
    assert ("age", Check.OUT_OF_RANGE) in {(finding.feature, finding.check) for finding in findings}


def test_counts_of_no_rows_are_insufficient_data() -> None:
    layout, constraints = learned(make_columns())

    findings = check_counts(constraints, layout, counts_of(layout, {name: [] for name in make_columns()}))

    assert {finding.verdict for finding in findings} == {Verdict.INSUFFICIENT}

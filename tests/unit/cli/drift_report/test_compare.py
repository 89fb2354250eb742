"""What the comparison of two tables finds, and what it does not call drift."""

from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cli.drift_report import columns, compare, plots, view
from cli.drift_report.compare import Feature, Report, compare_tables
from storage.records import FeatureType, Verdict
from tests.unit.cli.drift_report.tables import current_table, reference_table


def compared(current: pd.DataFrame, reference: pd.DataFrame | None = None, **options: Any) -> Report:
    return compare_tables(("a.csv", reference_table() if reference is None else reference), ("b.csv", current), **options)


def feature(report: Report, name: str) -> Feature:
    return next(one for one in report.features if one.name == name)


@pytest.mark.parametrize("module", [columns, compare, plots, view], ids=lambda module: module.__name__)
def test_docstring_examples_run(module: Any) -> None:
    assert doctest.testmod(module).failed == 0


def test_same_distribution_is_ok() -> None:
    report = compared(current_table())

    assert (report.verdict, report.share) == (Verdict.OK, 0.0)
    assert [one.verdict for one in report.features] == [Verdict.OK] * 5


def test_shifted_number_drifts_and_comes_first() -> None:
    report = compared(current_table(age=np.random.default_rng(3).normal(50, 10, 500)))

    assert (report.verdict, report.share) == (Verdict.DRIFT, 0.2)
    assert report.features[0].name == "age"
    assert report.features[0].wasserstein == pytest.approx(1.0, abs=0.25)


def test_new_category_is_named() -> None:
    report = compared(current_table(plan=["family"] * 50 + ["basic"] * 450))

    assert feature(report, "plan").new_categories == ("family",)
    assert feature(report, "plan").judgements["unseen"].verdict is Verdict.DRIFT


@pytest.mark.parametrize("distinct", [1000, 10**9], ids=["names", "identifiers"])
def test_values_that_are_new_by_chance_are_no_drift(distinct: int) -> None:
    generator = np.random.default_rng(5)
    reference, current = (pd.DataFrame({"x": generator.integers(0, distinct, 2000)}).astype(str) for _ in range(2))

    report = compared(current, reference)

    assert report.features[0].new_categories
    assert report.verdict is Verdict.OK


def test_missing_values_drift_where_nothing_else_does() -> None:
    report = compared(current_table(age=[None] * 50 + reference_table()["age"].tolist()[:450]))

    drifted = {name for name, judgement in feature(report, "age").judgements.items() if judgement.verdict is Verdict.DRIFT}
    assert "missing" in drifted
    assert "ks" not in drifted


def test_target_is_judged_but_not_counted_in_the_share() -> None:
    report = compared(current_table(churned=np.ones(500, int)), target="churned")

    assert (report.share, report.verdict) == (0.0, Verdict.DRIFT)
    assert feature(report, "churned").is_target


def test_only_the_wanted_columns_are_compared() -> None:
    report = compared(current_table().drop(columns="visits"), columns=["age", "plan"])

    assert {one.name for one in report.features} == {"age", "plan"}
    assert report.findings == ()


def test_vanished_column_breaks_the_schema_and_a_new_one_does_not() -> None:
    vanished = compared(current_table().drop(columns="age"))
    added = compared(current_table(extra=1))

    assert ([finding.is_break for finding in vanished.findings], vanished.verdict) == ([True], Verdict.DRIFT)
    assert ([finding.is_break for finding in added.findings], added.verdict) == ([False], Verdict.OK)
    assert added.findings[0].sentence == "extra is in the current table but not in the reference."


def test_text_among_numbers_is_quoted_and_drift_however_rare() -> None:
    values = pd.Series([*reference_table()["visits"].tolist()[:499], "n/a?"], dtype=object)

    report = compared(current_table(visits=values))

    visits = feature(report, "visits")
    assert (visits.verdict, visits.type, visits.current_type) == (Verdict.DRIFT, FeatureType.INTEGER, FeatureType.CATEGORY)
    assert "1 of 500 values are no numbers ('n/a?') and count as missing" in report.findings[0].sentence


def test_codes_that_became_numbers_are_compared_as_text() -> None:
    reference = pd.DataFrame({"code": ["1", "2", "x"] * 100})
    current = pd.DataFrame({"code": [1, 2] * 150})

    report = compared(current, reference)

    assert feature(report, "code").new_categories == ()
    assert (report.findings[0].change, report.findings[0].is_break) == ("type", False)


def test_number_that_became_a_time_breaks_the_schema() -> None:
    report = compared(current_table(age=pd.Timestamp("2026-01-01")))

    assert [(finding.column, finding.is_break) for finding in report.findings] == [("age", True)]


def test_column_of_times_on_both_sides_is_left_out_with_a_word() -> None:
    moment = pd.Timestamp("2026-01-01")

    report = compared(current_table().assign(when=moment), reference_table().assign(when=moment))

    assert [(finding.change, finding.is_break) for finding in report.findings] == [("not compared", False)]
    assert report.verdict is Verdict.OK


@pytest.mark.parametrize(
    ("reference", "current", "verdict"),
    [
        ([1.0] * 100, [1.0] * 80, Verdict.OK),
        ([1.0] * 100, [2.0] * 80, Verdict.DRIFT),
        ([None] * 100, [None] * 80, Verdict.OK),
        ([None] * 100, [1.0] * 80, Verdict.DRIFT),
        ([1.0, 2.0] * 50, [None] * 80, Verdict.DRIFT),
        ([1.0, np.inf] * 50, [1.0, np.inf] * 40, Verdict.OK),
        ([1.0, 2.0] * 50, [np.inf] * 80, Verdict.DRIFT),
        (["a", "b"] * 50, [None] * 80, Verdict.DRIFT),
        (["a", "b"] * 50, ["c"] * 80, Verdict.DRIFT),
        ([1.0, 2.0] * 50, [1.0], Verdict.INSUFFICIENT),
        ([1.0], [2.0], Verdict.INSUFFICIENT),
        ([1e308, -1e308] * 50, [1e308, -1e308] * 40, Verdict.OK),
    ],
)
def test_odd_columns_have_a_verdict(reference: list[Any], current: list[Any], verdict: Verdict) -> None:
    with np.errstate(all="ignore"):
        report = compared(pd.DataFrame({"x": current}), pd.DataFrame({"x": reference}))

    assert report.verdict is verdict


def test_long_tail_of_categories_in_a_small_reference_is_no_drift() -> None:
    generator = np.random.default_rng(6)

    alarms = 0
    for _ in range(40):
        reference, current = (pd.DataFrame({"x": generator.zipf(1.6, rows)}).astype(str) for rows in (100, 200))
        alarms += compared(current, reference).verdict is Verdict.DRIFT

    assert alarms <= 7  # 2 are expected at most; 8 or more have a probability below 0.001


def test_false_alarms_of_a_whole_report_are_few() -> None:
    generator = np.random.default_rng(4)

    def drawn(rows: int) -> pd.DataFrame:
        numbers = {f"n{index}": generator.lognormal(size=rows) for index in range(15)}
        texts = {f"c{index}": generator.choice(list("abcde"), rows, p=[0.4, 0.3, 0.15, 0.1, 0.05]) for index in range(5)}
        return pd.DataFrame(numbers | texts)

    alarms = sum(compared(drawn(80), drawn(120)).verdict is Verdict.DRIFT for _ in range(60))

    assert alarms <= 9  # 3 are expected; 10 or more have a probability below 0.001

"""Any table becomes one that can be learned from and replayed, or a sentence says why not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from cli.demo.tables import TableProblem, prepare
from storage.records import Task

ROWS = 400


def table(**columns: Any) -> pd.DataFrame:
    random = np.random.default_rng(0)
    base = {"age": random.normal(40, 10, ROWS), "bought": np.where(random.random(ROWS) < 0.3, "yes", "no")}
    return pd.DataFrame(base | columns)


def test_first_half_is_learned_and_the_rest_replayed_in_order() -> None:
    frame = table()

    prepared = prepare(frame, "bought")

    assert len(prepared.reference) == len(prepared.live) == ROWS // 2
    assert prepared.live["age"].tolist() == frame["age"].iloc[ROWS // 2 :].tolist()


def test_rows_follow_the_time_column_which_is_no_feature() -> None:
    days = pd.Series(pd.date_range("2026-01-01", periods=ROWS, freq="D")).astype(str).sample(frac=1, random_state=1).to_numpy()

    prepared = prepare(table(day=days), "bought", "day")

    assert prepared.features == ["age"]
    expected = table(day=days).sort_values("day")["age"].iloc[ROWS // 2 :]
    assert prepared.live["age"].tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (np.tile(["a", "b"], ROWS // 2), Task.CLASSIFICATION),
        (np.tile([True, False], ROWS // 2), Task.CLASSIFICATION),
        (np.tile([1, 2, 3, 4], ROWS // 4), Task.CLASSIFICATION),
        (np.tile([0.0, 1.0], ROWS // 2), Task.CLASSIFICATION),
        (np.arange(ROWS), Task.REGRESSION),
        (np.tile([0.5, 1.5], ROWS // 2), Task.REGRESSION),
    ],
)
def test_task_follows_from_the_target(values: Any, task: Task) -> None:
    assert prepare(table(target=values), "target").task is task


def test_classes_are_canonical_text() -> None:
    assert set(prepare(table(target=np.tile([0.0, 1.0], ROWS // 2)), "target").reference["target"]) == {"0", "1"}


@pytest.mark.parametrize(
    ("name", "values", "note"),
    [
        ("row", np.arange(ROWS), "row numbers the rows and is left out."),
        ("customer_id", np.arange(ROWS) * 7, "customer_id numbers the rows and is left out."),
        ("constant", 1, "constant is always 1 and left out."),
        ("empty", np.nan, "empty is empty and left out."),
        (
            "comment",
            [f"text {number}" for number in range(ROWS)],
            "comment has 400 different texts, more than 100, and is left out.",
        ),
    ],
)
def test_useless_column_is_left_out_with_a_note(name: str, values: Any, note: str) -> None:
    prepared = prepare(table(**{name: values}), "bought")

    assert prepared.features == ["age"]
    assert note in prepared.notes


def test_dates_become_days() -> None:
    prepared = prepare(table(since=pd.Series(pd.date_range("2026-01-01", periods=ROWS, freq="D")).astype(str)), "bought")

    assert prepared.reference["since"].tolist()[:3] == [0.0, 1.0, 2.0]
    assert "The dates in since become days since the first of them." in prepared.notes


def test_booleans_with_gaps_and_texts_are_categories() -> None:
    random = np.random.default_rng(1)
    prepared = prepare(
        table(member=random.choice(np.array([True, False, None], dtype=object), ROWS), city=random.choice(["Bonn", "Köln"], ROWS)),
        "bought",
    )

    assert prepared.categories == ["member", "city"]
    assert set(prepared.reference["member"].dropna()) == {"true", "false"}


def test_gaps_only_in_the_replayed_half_are_allowed_for() -> None:
    values = np.arange(ROWS) * 1.5
    values[-1] = np.nan

    prepared = prepare(table(late=values), "bought")

    assert prepared.reference["late"].isna().sum() == 1
    assert any("late miss values only among the replayed rows" in note for note in prepared.notes)


def test_infinite_values_count_as_missing() -> None:
    values = np.arange(ROWS) * 1.5
    values[3] = np.inf

    assert prepare(table(odd=values), "bought").reference["odd"].isna().sum() == 1


def test_rows_without_target_are_left_out() -> None:
    frame = table()
    frame.loc[:9, "bought"] = None

    prepared = prepare(frame, "bought")

    assert len(prepared.reference) + len(prepared.live) == ROWS - 10
    assert "10 rows without a bought are left out." in prepared.notes


def test_rows_sorted_by_target_are_shuffled() -> None:
    prepared = prepare(table().sort_values("bought"), "bought")

    assert set(prepared.reference["bought"]) == {"no", "yes"}
    assert any("shuffled" in note for note in prepared.notes)


@pytest.mark.parametrize(
    ("frame", "target", "time", "sentence"),
    [
        (table(), "nope", None, r"--target nope: the table has no such column; its columns are age, bought\."),
        (table(), "bought", "when", r"--time when: the table has no such column"),
        (table(), "bought", "bought", "both the target and the time"),
        (table(city=np.tile(["a", "b"], ROWS // 2)), "bought", "city", "neither numbers nor dates"),
        (table().head(50), "bought", None, "has 50 rows with a bought; the demo needs at least 200"),
        (table(target="x"), "target", None, r"Every row has the same target \(x\)"),
        (table(target=[f"c{n}" for n in range(ROWS)]), "target", None, "400 different values, too many for classes"),
        (table(target=None), "target", None, "No row has a target"),
        (table()[["bought"]].assign(one=1), "bought", None, "No column besides bought can be used"),
    ],
)
def test_unusable_table_gets_a_sentence(frame: pd.DataFrame, target: str, time: str | None, sentence: str) -> None:
    with pytest.raises(TableProblem, match=sentence):
        prepare(frame, target, time)


def test_same_name_twice_is_refused() -> None:
    frame = table(extra=1)
    frame.columns = pd.Index(["age", "bought", "age"])

    with pytest.raises(TableProblem, match="more than one column called age"):
        prepare(frame, "bought")

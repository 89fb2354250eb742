"""Labels from a table."""

from __future__ import annotations

from datetime import UTC, datetime

import pandas as pd
import pytest

from cli.errors import CommandError
from cli.labels import table_labels
from storage.records import Task

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def test_labels_become_canonical_text_and_get_the_present_time() -> None:
    found, skipped = table_labels(pd.DataFrame({"id": ["a", "b"], "label": [1.0, 0.0]}), "x.csv", NOW, Task.CLASSIFICATION)

    assert [(label.prediction_id, label.label, label.at) for label in found] == [("a", "1", NOW), ("b", "0", NOW)]
    assert skipped == 0


def test_rows_without_id_or_label_are_skipped_and_counted() -> None:
    found, skipped = table_labels(
        pd.DataFrame({"id": ["a", None, "c"], "label": ["x", "y", None]}), "x.csv", NOW, Task.CLASSIFICATION
    )

    assert [label.prediction_id for label in found] == ["a"]
    assert skipped == 2


def test_times_of_the_table_count() -> None:
    frame = pd.DataFrame({"id": ["a", "b"], "label": ["x", "y"], "at": ["2026-01-02T03:04:05Z", None]})

    found, _ = table_labels(frame, "x.csv", NOW, Task.CLASSIFICATION)

    assert [label.at for label in found] == [datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), NOW]


def test_missing_column_is_named_with_those_there_are() -> None:
    with pytest.raises(CommandError, match=r"x\.csv has no column label; it has id, outcome\."):
        table_labels(pd.DataFrame({"id": ["a"], "outcome": [1]}), "x.csv", NOW, Task.CLASSIFICATION)


def test_unreadable_time_is_refused() -> None:
    with pytest.raises(CommandError, match="not a time"):
        table_labels(pd.DataFrame({"id": ["a"], "label": [1], "at": ["soon"]}), "x.csv", NOW, Task.CLASSIFICATION)


def test_label_of_a_regression_must_be_a_number() -> None:
    with pytest.raises(CommandError, match="holds 'many', but the model predicts numbers"):
        table_labels(pd.DataFrame({"id": ["a", "b"], "label": ["1.5", "many"]}), "x.csv", NOW, Task.REGRESSION)

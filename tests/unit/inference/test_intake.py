"""Labels that others bring: canonical text, times in UTC, and the place of what cannot be taken."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from inference.intake import LabelItem, LabelsRequest, canonical_labels
from inference.problems import Problem
from storage.records import Task
from tests.factories import NOW


def labels(*items: LabelItem, task: Task = Task.CLASSIFICATION) -> list[Any]:
    return canonical_labels(LabelsRequest(labels=list(items)), task, NOW)


@pytest.mark.parametrize(("value", "text"), [(1, "1"), (1.0, "1"), (True, "true"), ("yes", "yes")])
def test_a_class_has_one_text_however_it_is_spelt(value: Any, text: str) -> None:
    assert labels(LabelItem(id="a", label=value))[0].label == text


@pytest.mark.parametrize(("value", "text"), [(1, "1.0"), ("2.5", "2.5"), (0.1, "0.1")])
def test_the_label_of_a_regression_is_a_number(value: Any, text: str) -> None:
    assert labels(LabelItem(id="a", label=value), task=Task.REGRESSION)[0].label == text


def test_times_are_utc_and_now_by_default() -> None:
    plus_two = timezone(timedelta(hours=2))
    items = [LabelItem(id="a", label=1), LabelItem(id="b", label=1, at=datetime(2026, 3, 1, 10, tzinfo=plus_two))]
    items.append(LabelItem(id="c", label=1, at=datetime(2026, 3, 1, 10)))  # noqa: DTZ001 - what a caller may send

    assert [label.at for label in labels(*items)] == [
        NOW,
        datetime(2026, 3, 1, 8, tzinfo=UTC),
        datetime(2026, 3, 1, 10, tzinfo=UTC),
    ]


@pytest.mark.parametrize(
    ("item", "field"),
    [
        (LabelItem(id="a\n", label=1), "id"),
        (LabelItem(id="a", label="much"), "label"),
        (LabelItem(id="a", label="nan"), "label"),
        (LabelItem(id="a", label=True), "label"),
        (LabelItem(id="a", label=1, at=NOW + timedelta(days=2)), "at"),
        (LabelItem(id="a", label=1, at=datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))), "at"),
    ],
)
def test_one_bad_label_refuses_the_request_and_is_named(item: LabelItem, field: str) -> None:
    with pytest.raises(Problem) as caught:
        labels(LabelItem(id="ok", label=1), item, task=Task.REGRESSION)

    assert [(detail["row"], detail["field"]) for detail in caught.value.details] == [(1, field)]

"""The demo's data, its traffic and what it makes of the points it finds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice

import pandas as pd
import pytest

from alerts.rules import parse_rules
from cli.demo import builtin, rules
from cli.demo.command import model_name
from cli.demo.findings import course, drift_summary
from cli.demo.standins import slack_message, slack_texts
from cli.demo.story import completed, json_rows
from cli.demo.traffic import batches_of, request_size
from storage.records import MetricPoint, Verdict

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def test_every_pass_holds_every_row_once() -> None:
    passes = builtin.shuffled_passes(10, seed=1)

    first, second = list(islice(passes, 10)), list(islice(passes, 10))

    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_shift_stretches_lengths_and_areas_only() -> None:
    frame = pd.DataFrame({"mean radius": [1.0], "worst perimeter": [2.0], "mean area": [1.0], "mean texture": [5.0]})

    moved = builtin.shifted(frame)

    assert moved.iloc[0].tolist() == [builtin.STRETCH, 2 * builtin.STRETCH, builtin.STRETCH**2, 5.0]


def test_batches_hold_every_row_once_in_order() -> None:
    batches = list(batches_of([{"x": n} for n in range(5)], ["a"] * 5, 2))

    assert [row["x"] for batch in batches for row in batch.rows] == [0, 1, 2, 3, 4]
    assert [len(batch.labels) for batch in batches] == [2, 2, 1]
    assert len({batch.subject for batch in batches}) == 3


@pytest.mark.parametrize(("rows_per_second", "size"), [(10, 1), (25, 1), (300, 12), (6000, 240)])
def test_requests_grow_before_they_come_faster(rows_per_second: float, size: int) -> None:
    assert request_size(rows_per_second) == size


def test_missing_values_are_null_and_numbers_stay_numbers() -> None:
    frame = pd.DataFrame({"n": [1, 2], "x": [0.5, None], "c": pd.Series(["a", None], dtype="str"), "b": [True, False]})

    assert json_rows(frame) == [{"n": 1, "x": 0.5, "c": "a", "b": True}, {"n": 2, "x": None, "c": None, "b": False}]


@pytest.mark.parametrize("content", [rules.builtin_rules("m", "x"), rules.table_rules("m")])
def test_rules_of_the_demo_are_valid(content: dict[str, object]) -> None:
    import yaml

    parsed = parse_rules(yaml.safe_dump(content), "demo-rules.yml")

    assert len(parsed.rules) == 2
    assert not parsed.warnings


def psi(feature: str, value: float, verdict: Verdict, minute: int = 0, window_seconds: int = 30) -> MetricPoint:
    return MetricPoint(
        at=NOON + timedelta(minutes=minute),
        name="drift_psi",
        value=value,
        model="m",
        version="1",
        feature=feature,
        window_seconds=window_seconds,
        verdict=verdict,
    )


def test_drift_is_summed_up_by_feature_most_drifted_first() -> None:
    points = [
        psi("a", 0.1, Verdict.OK),
        psi("b", 0.9, Verdict.DRIFT),
        psi("b", 1.2, Verdict.DRIFT, 1),
        psi("b", 5.0, Verdict.INSUFFICIENT, 2),
        psi("a", 9.0, Verdict.DRIFT, window_seconds=10),
    ]

    assert drift_summary(points, 30) == [
        {"feature": "b", "windows": 2, "drifted": 2, "largest_psi": 1.2},
        {"feature": "a", "windows": 1, "drifted": 0, "largest_psi": 0.1},
    ]


def test_course_holds_first_lowest_and_last() -> None:
    points = [psi("", value, Verdict.OK, minute) for minute, value in enumerate([0.9, 0.7, 0.8])]

    assert course(points, 30) == {"1": {"first": 0.9, "lowest": 0.7, "last": 0.8, "windows": 3}}


@pytest.mark.parametrize(
    ("parts", "name"),
    [(("Kunden 2026", "Gekündigt?"), "kunden-2026-gek-ndigt"), (("???",), "table"), (("x" * 80,), "x" * 63)],
)
def test_any_file_gives_a_valid_model_name(parts: tuple[str, ...], name: str) -> None:
    assert model_name(*parts) == name


def test_slack_message_arrives_as_json_or_as_a_form() -> None:
    assert slack_message(b'{"text": "hi"}', "application/json") == {"text": "hi"}
    assert slack_message(b"channel=%23a&text=hi&blocks=%5B%5D", "application/x-www-form-urlencoded") == {
        "channel": "#a",
        "text": "hi",
        "blocks": [],
    }


def test_title_of_a_slack_message_is_its_header() -> None:
    blocks = [{"type": "header", "text": {"type": "plain_text", "text": "FeatureDrift"}}]

    assert slack_texts({"text": "fallback"}, blocks) == ("FeatureDrift", "fallback")
    assert slack_texts({"text": "one\ntwo"}, []) == ("one", "one\ntwo")


@pytest.mark.parametrize(
    ("state", "pending_after", "slack", "problem"),
    [
        ("resolved", 1, 1, None),
        ("firing", 1, 1, "was not resolved"),
        ("resolved", 1, 0, "No message reached the slack"),
        ("resolved", -1, 1, "before the shift began"),
    ],
)
def test_story_is_complete_only_with_its_end(state: str, pending_after: int, slack: int, problem: str | None) -> None:
    found = {
        "alerts": [{"name": rules.DRIFT_RULE, "state": state, "pending_at": NOON + timedelta(seconds=pending_after)}],
        "notifications": {"slack": slack, "email": 1},
        "shift": {"began_at": NOON},
    }

    said = completed(found)

    assert (said is None) if problem is None else (said is not None and problem in said)

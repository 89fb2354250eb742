"""Answers of Prometheus, and what a rule finds in them."""

import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.freshness import Freshness
from alerts.lifecycle import Finding, Observation
from alerts.observations import FORGET_AFTER, Asked, fingerprint, observe
from alerts.promql import MOST_SERIES, Answer, Sample, UnusableAnswer, parse_result
from alerts.rules import Rule, parse_rules
from storage.records import AlertHealth, AlertRow, AlertState
from tests.unit.alerts.rows import NOW

FRESHNESS = Freshness()


def rule(**keys: str) -> Rule:
    lines = "".join(f", {key}: {value}" for key, value in keys.items())
    return parse_rules(f"groups: [{{name: g, rules: [{{alert: A, promql: up{lines}}}]}}]", "rules.yml").rules[0]


def found(asking: Rule, samples: dict[str, float], rows: list[AlertRow] | None = None, error: str = "") -> list[Observation]:
    """What the rule finds where the query gives these values, by job."""
    series = tuple(Sample(labels={"job": job}, value=value) for job, value in samples.items())
    asked = Asked(answers={"up": Answer(at=NOW, samples=series, error=error)})
    return observe(asking, [], rows or [], freshness=FRESHNESS, now=NOW, asked=asked)


def live(job: str, **changes: Any) -> AlertRow:
    given: dict[str, Any] = {
        "labels": {"job": job},
        "state": AlertState.FIRING,
        "last_point_at": NOW - timedelta(minutes=1),
        **changes,
    }
    return AlertRow(fingerprint=fingerprint("A", given["labels"]), rule="A", **given)


BELOW = rule(when='"< 1"', resolve_when='">= 2"')


@pytest.mark.parametrize(
    ("value", "finding"),
    [
        (0.5, Finding.BREACH),
        (1.5, Finding.BETWEEN),
        (2.0, Finding.CLEAR),
        (-math.inf, Finding.BREACH),
        (math.inf, Finding.CLEAR),
        (math.nan, Finding.NO_DATA),
    ],
)
def test_value_is_held_against_the_rule(value: float, finding: Finding) -> None:
    (seen,) = found(BELOW, {"api": value})

    assert seen.finding is finding
    assert seen.value is None or math.isfinite(seen.value)


@pytest.mark.parametrize("value", [0.0, -5.0, math.inf, math.nan])
def test_without_a_condition_every_series_is_a_problem(value: float) -> None:
    assert [one.finding for one in found(rule(), {"api": value})] == [Finding.BREACH]


def test_series_that_is_gone_ends_at_once_without_a_condition() -> None:
    (seen,) = found(rule(), {}, [live("api")])

    assert (seen.finding, seen.reason) == (Finding.CLEAR, "the query no longer gives this series")


def test_series_that_is_gone_ends_after_two_looks_while_others_go_on() -> None:
    first = live("api")
    later = live("api", health=AlertHealth.NO_DATA, last_point_at=NOW - timedelta(minutes=30))

    assert found(BELOW, {"db": 5.0}, [first])[-1].finding is Finding.MISSING
    assert (found(BELOW, {"db": 5.0}, [later])[-1].finding, found(BELOW, {"db": 5.0}, [later])[-1].reason) == (
        Finding.GONE,
        "the series ended, others of the query go on",
    )


def test_query_that_gives_nothing_is_no_data_and_after_a_day_forgotten() -> None:
    assert found(BELOW, {}, [live("api")])[0].finding is Finding.NO_DATA
    assert found(BELOW, {}, [live("api", last_point_at=NOW - FORGET_AFTER - timedelta(hours=1))])[0].finding is Finding.GONE


def test_query_that_gives_nothing_fires_where_no_data_is_a_problem() -> None:
    (seen,) = found(rule(when='"< 1"', no_data="alert"), {})

    assert (seen.finding, seen.reason, dict(seen.labels)) == (Finding.NO_DATA, "the query gives nothing at all", {})


def test_failed_query_says_so_of_each_live_alert_and_begins_none() -> None:
    assert [(one.finding, one.reason) for one in found(BELOW, {}, [live("api")], error="why")] == [(Finding.ERROR, "why")]
    assert found(BELOW, {}, error="why") == []


def test_rule_whose_labels_hide_the_difference_of_series_cannot_be_judged() -> None:
    hiding = rule(when='"< 1"', labels="{job: all}")

    (seen,) = found(hiding, {"api": 0.0, "db": 0.0}, [live("all")])

    assert seen.finding is Finding.ERROR
    assert "the same labels" in seen.reason


def test_label_that_names_rules_gives_way() -> None:
    samples = parse_result([{"metric": {"alert": "x", "rule": "y", "__name__": "z"}, "value": [1, "1"]}])

    assert dict(samples[0].labels) == {"exported_alert": "x", "exported_rule": "y"}


@pytest.mark.parametrize(
    "result",
    [
        None,
        {},
        [1],
        ["a", "b"],
        [{"metric": {}}],
        [{"metric": {}, "values": [[1, "1"]]}],
        [{"metric": {}, "value": [1, "one"]}],
        [{"metric": {"a": "1"}, "value": [1, "1"]}] * 2,
        [{"metric": {"a": str(number)}, "value": [1, "1"]} for number in range(MOST_SERIES + 1)],
        [1772366400, "text"],
    ],
)
def test_what_is_no_number_per_series_is_refused(result: Any) -> None:
    with pytest.raises(UnusableAnswer):
        parse_result(result)


@given(st.dictionaries(st.text(max_size=5), st.floats(), max_size=8))
def test_every_number_of_prometheus_is_read(values: dict[str, float]) -> None:
    texts = {math.inf: "+Inf", -math.inf: "-Inf"}
    result = [
        {"metric": {"job": job}, "value": [1, "NaN" if value != value else texts.get(value, repr(value))]}
        for job, value in values.items()
    ]

    samples = parse_result(result)

    assert [repr(sample.value) for sample in samples] == [repr(value) for value in values.values()]

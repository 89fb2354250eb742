"""Rules of several parts: what is found in each, together."""

from datetime import timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.compound import join
from alerts.freshness import Freshness
from alerts.lifecycle import Finding
from alerts.observations import Asked, fingerprint, observe
from alerts.promql import Answer, Sample
from alerts.readings import Reading
from alerts.rules import Combine, Rule, parse_rules
from storage.records import AlertRow, AlertState, MetricPoint
from tests.unit.alerts.rows import NOW, make_point

FRESHNESS = Freshness()
JUDGED = (Finding.BREACH, Finding.BETWEEN, Finding.CLEAR, Finding.ERROR, Finding.NO_DATA)
TRUTH = {Finding.BREACH: True, Finding.CLEAR: False}


def reading(finding: Finding, **series: str) -> Reading:
    return Reading(series=series, finding=finding, reason=finding.value)


def compound(text: str) -> Rule:
    (rule,) = parse_rules(f"groups:\n  - name: g\n    rules:\n      - alert: A\n{text}", "rules.yml").rules[:1]
    return rule


BOTH = compound(
    """
        all:
          - {metric: drift_psi, where: {feature: "*"}, window: 5m, when: "> 0.2"}
          - {metric: error_rate, window: 5m, when: "> 1%", resolve_when: "< 0.5%"}
        labels: {severity: page}
"""
)


@pytest.mark.parametrize("found", list(product(JUDGED, repeat=2)))
def test_two_parts_agree_with_kleenes_logic(found: tuple[Finding, Finding]) -> None:
    parts = [[reading(one, model="a")] for one in found]
    known = [TRUTH.get(one) for one in found]

    (everything,) = join(Combine.ALL, parts, ["model"])
    (anything,) = join(Combine.ANY, parts, ["model"])

    assert (everything.finding is Finding.BREACH) == all(one is True for one in known)
    assert (everything.finding is Finding.CLEAR) == any(one is False for one in known)
    assert (anything.finding is Finding.BREACH) == any(one is True for one in known)
    assert (anything.finding is Finding.CLEAR) == all(one is False for one in known)


@given(st.lists(st.sampled_from(JUDGED), min_size=2, max_size=5), st.randoms())
def test_the_order_of_the_parts_changes_no_finding(found: list[Finding], random: object) -> None:
    shuffled = list(found)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    for combine in Combine:
        first = join(combine, [[reading(one, model="a")] for one in found], ["model"])
        second = join(combine, [[reading(one, model="a")] for one in shuffled], ["model"])
        assert first[0].finding is second[0].finding


def test_series_meet_where_they_agree_in_the_common_labels() -> None:
    drifts = [reading(Finding.BREACH, model="a", feature="x"), reading(Finding.CLEAR, model="b", feature="x")]
    errors = [reading(Finding.BREACH, model="a"), reading(Finding.BREACH, model="b")]

    found = {one.series["model"]: one.finding for one in join(Combine.ALL, [drifts, errors], ["model"])}

    assert found == {"a": Finding.BREACH, "b": Finding.CLEAR}


def test_a_part_holds_where_one_of_its_series_does() -> None:
    drifts = [reading(Finding.CLEAR, model="a", feature="x"), reading(Finding.BREACH, model="a", feature="y")]

    (found,) = join(Combine.ALL, [drifts, [reading(Finding.BREACH, model="a")]], ["model"])

    assert found.finding is Finding.BREACH


def test_series_without_the_label_counts_for_every_value_of_it() -> None:
    slow = [reading(Finding.BREACH, model="a"), reading(Finding.BREACH, model="b")]
    full = [reading(Finding.BREACH, segment="host=web1")]

    found = join(Combine.ALL, [slow, full], ["model"])

    assert [(one.series, one.finding) for one in found] == [({"model": "a"}, Finding.BREACH), ({"model": "b"}, Finding.BREACH)]


def test_part_without_a_series_is_no_data_for_all_and_nothing_for_any() -> None:
    parts = [[reading(Finding.BREACH, model="a")], []]

    assert [one.finding for one in join(Combine.ALL, parts, ["model"])] == [Finding.NO_DATA]
    assert [one.finding for one in join(Combine.ANY, parts, ["model"])] == [Finding.BREACH]


# ---------------------------------------------------------------------------------------------- from a file to alerts


def points(drift: float, errors: float, **changes: str) -> list[MetricPoint]:
    return [
        make_point(drift, **changes),
        make_point(0.01, feature="other", **changes),
        make_point(errors, name="error_rate", feature="", threshold=None, **changes),
    ]


def found(rule: Rule, given: list[MetricPoint], rows: list[AlertRow] | None = None) -> dict[str, Finding]:
    seen = observe(rule, given, rows or [], freshness=FRESHNESS, now=NOW)
    return {one.labels.get("model", ""): one.finding for one in seen}


def test_common_labels_of_metrics_are_known_without_any_point() -> None:
    assert BOTH.equal == ("model", "version")


def test_both_parts_make_an_alert_with_the_common_labels() -> None:
    (seen,) = observe(BOTH, points(0.3, 0.02), [], freshness=FRESHNESS, now=NOW)

    assert seen.finding is Finding.BREACH
    assert seen.labels == {"model": "churn", "version": "1", "severity": "page"}
    assert seen.reason == "PSI 0.3 > 0.2 and error rate 2 % > 1 %"
    assert seen.value == 0.3


@pytest.mark.parametrize(
    ("drift", "errors", "finding"),
    [(0.3, 0.0, Finding.CLEAR), (0.1, 0.02, Finding.CLEAR), (0.3, 0.007, Finding.BETWEEN), (0.3, float("nan"), Finding.NO_DATA)],
)
def test_both_parts_have_to_hold(drift: float, errors: float, finding: Finding) -> None:
    assert found(BOTH, points(drift, errors)) == {"churn": finding}


def test_alert_whose_labels_are_no_longer_common_is_gone() -> None:
    row = AlertRow(
        fingerprint="f", rule="A", labels={"model": "churn", "feature": "age", "severity": "page"}, state=AlertState.FIRING
    )

    assert Finding.GONE in [one.finding for one in observe(BOTH, points(0.3, 0.02), [row], freshness=FRESHNESS, now=NOW)]


def test_alert_without_any_series_keeps_its_state() -> None:
    row = AlertRow(
        fingerprint="f",
        rule="A",
        labels={"model": "churn", "version": "1", "severity": "page"},
        state=AlertState.FIRING,
        last_point_at=NOW - timedelta(minutes=10),
        window_seconds=300,
    )

    assert found(BOTH, [], [row]) == {"churn": Finding.NO_DATA}


MIXED = compound(
    """
        any:
          - {metric: error_rate, window: 5m, when: "> 1%"}
          - {promql: "restarts", when: "> 3"}
"""
)


def test_metric_and_query_are_joined_on_the_labels_of_the_metric() -> None:
    answers = {"restarts": Answer(at=NOW, samples=(Sample(labels={"model": "churn", "version": "1", "pod": "p"}, value=5.0),))}

    (seen,) = observe(MIXED, points(0, 0.0), [], freshness=FRESHNESS, now=NOW, asked=Asked(answers=answers))

    assert (seen.finding, dict(seen.labels)) == (Finding.BREACH, {"model": "churn", "version": "1"})
    assert seen.reason == "value of the query 5 > 3"


def test_rule_waits_for_the_answer_to_its_query() -> None:
    row = AlertRow(fingerprint="f", rule="A", labels={"model": "churn", "version": "1"}, state=AlertState.FIRING)

    assert observe(MIXED, points(0, 0.0), [row], freshness=FRESHNESS, now=NOW, asked=Asked()) == []


QUERIES = compound(
    """
        all: [{promql: "a > 1"}, {promql: "b > 1"}]
        equal: [model]
"""
)


@pytest.mark.parametrize(("models", "finding"), [(("churn",), Finding.BREACH), (("fraud",), Finding.CLEAR), ((), Finding.CLEAR)])
def test_query_without_a_condition_that_does_not_give_a_series_is_clear(models: tuple[str, ...], finding: Finding) -> None:
    row = AlertRow(fingerprint=fingerprint("A", {"model": "churn"}), rule="A", labels={"model": "churn"}, state=AlertState.FIRING)
    churn = Sample(labels={"model": "churn"}, value=2.0)
    others = tuple(Sample(labels={"model": model}, value=2.0) for model in models)
    answers = {"a > 1": Answer(at=NOW, samples=(churn,)), "b > 1": Answer(at=NOW, samples=others)}

    seen = observe(QUERIES, [], [row], freshness=FRESHNESS, now=NOW, asked=Asked(answers=answers))

    assert {one.labels["model"]: one.finding for one in seen}["churn"] is finding


def test_alert_ends_when_no_query_gives_anything_any_more() -> None:
    row = AlertRow(fingerprint=fingerprint("A", {"model": "churn"}), rule="A", labels={"model": "churn"}, state=AlertState.FIRING)
    answers = {"a > 1": Answer(at=NOW), "b > 1": Answer(at=NOW)}

    (seen,) = observe(QUERIES, [], [row], freshness=FRESHNESS, now=NOW, asked=Asked(answers=answers))

    assert (seen.finding, seen.reason) == (Finding.CLEAR, "the query no longer gives this series")


def test_query_that_failed_freezes_the_whole_rule() -> None:
    row = AlertRow(fingerprint="f", rule="A", labels={"model": "churn", "version": "1"}, state=AlertState.FIRING)
    answers = {"restarts": Answer(at=NOW, error="prometheus: it cannot be reached")}

    (seen,) = observe(MIXED, points(0, 0.0), [row], freshness=FRESHNESS, now=NOW, asked=Asked(answers=answers))

    assert (seen.finding, seen.reason) == (Finding.ERROR, "prometheus: it cannot be reached")

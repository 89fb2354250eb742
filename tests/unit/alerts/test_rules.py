"""Rules files: what they become, and what is said about mistakes in them."""

import contextlib
from datetime import timedelta
from fnmatch import fnmatchcase

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.receivers import Receiver
from alerts.rule_files import DEFAULT_RULES
from alerts.rules import Change, Combine, Objective, Policy, RulesError, parse_rules
from alerts.selection import selector
from alerts.wording import METRICS
from alerts.yaml_types import WHERE_KEYS
from storage.records import MetricPoint
from tests.unit.alerts.rows import NOW, make_rule

CONTRACT = """
groups:
  - name: drift
    interval: 1m
    rules:
      - alert: FeatureDrift
        metric: drift_psi
        where: {model: churn, feature: "*"}
        window: 1h
        when: "> 0.2"
        resolve_when: "< 0.1"
        for: 10m
        keep_firing_for: 5m
        min_samples: 200
        no_data: keep
        on_error: keep
        labels: {severity: warning, team: risk}
        annotations: {summary: "{{ feature }} of {{ model }} drifted: PSI {{ value }}", runbook_url: "https://example.com"}
routes:
  receiver: oncall
receivers:
  - name: oncall
    slack: {channel: "#ml-oncall"}
    email: {to: [oncall@example.com]}
inhibit: []
mute_windows: []
"""


def problems_of(text: str) -> str:
    with pytest.raises(RulesError) as caught:
        parse_rules(text, "rules.yml")
    return "\n".join(caught.value.problems)


def one_rule(**changes: object) -> str:
    rule = {"alert": "A", "metric": "drift_psi", "when": "> 0.2", **changes}
    return yaml.safe_dump({"groups": [{"name": "g", "rules": [rule]}]})


def test_every_key_of_a_rule_is_read() -> None:
    rules = parse_rules(CONTRACT, "rules.yml")

    (rule,) = rules.rules
    assert (rule.name, rule.metric, rule.group, rule.interval) == ("FeatureDrift", "drift_psi", "drift", timedelta(minutes=1))
    assert (rule.window, rule.hold, rule.keep_firing_for) == (timedelta(hours=1), timedelta(minutes=10), timedelta(minutes=5))
    assert (str(rule.when), str(rule.resolve_when), rule.min_samples) == ("> 0.2", "< 0.1", 200)
    assert (rule.no_data, rule.on_error) == (Policy.KEEP, Policy.KEEP)
    assert rule.labels == {"severity": "warning", "team": "risk"}
    assert rules.routing.receivers == (
        Receiver(name="oncall", slack=True, slack_channel="#ml-oncall", email_to=("oncall@example.com",)),
    )
    assert (rules.routing.root.receiver, rules.warnings) == ("oncall", ())


def test_what_is_left_out_has_a_default() -> None:
    (rule,) = parse_rules(one_rule(), "rules.yml").rules

    assert str(rule.resolve_when) == "<= 0.2"
    assert (rule.hold, rule.keep_firing_for, rule.window, rule.min_samples) == (timedelta(0), timedelta(0), None, None)
    assert rule.interval == timedelta(minutes=1)


@pytest.mark.parametrize(
    ("where", "series", "selected"),
    [
        ({}, {"model": "churn", "version": "1", "feature": "age"}, True),
        ({"model": "churn"}, {"model": "fraud"}, False),
        ({"model": "ch*"}, {"model": "churn"}, True),
        ({"feature": "*"}, {"model": "churn"}, True),
        ({"feature": "a?e"}, {"model": "churn", "feature": "age"}, True),
        ({"version": 1}, {"model": "churn", "version": "1"}, True),
        ({}, {"model": "churn", "role": "shadow"}, False),
        ({"role": "*"}, {"model": "churn", "role": "shadow"}, True),
        ({}, {"segment": "host=web1"}, False),
        ({"segment": "host=*"}, {"segment": "host=web1"}, True),
        ({"model": "churn"}, {"model": "Churn"}, False),
    ],
)
def test_matchers_select_series(where: dict[str, object], series: dict[str, str], selected: bool) -> None:
    (rule,) = parse_rules(one_rule(where=where), "rules.yml").rules

    assert rule.selects(series) is selected


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"for": 10}, 'group "g": rule "A": for: 10 has no unit; write for example 30s'),
        ({"for": "soon"}, "for: 'soon' is not a duration; write for example"),
        ({"window": "0s"}, "window: must be longer than zero"),
        ({"when": 0.2}, 'when: 0.2 has no comparison; write for example "> 0.2"'),
        ({"when": "high"}, "when: 'high' is not a condition; write for example"),
        ({"resolve_when": "< 0.3"}, 'resolve_when: "< 0.3" and when "> 0.2" can be true at once'),
        ({"resolve_whem": "< 0.1"}, "unknown key 'resolve_whem'; did you mean 'resolve_when'?"),
        ({"min_samples": -1}, "min_samples: Input should be greater than or equal to 0"),
        ({"min_samples": "many"}, "min_samples: Input should be a valid integer"),
        ({"no_data": False}, "no_data: Input should be 'keep', 'alert' or 'ok'"),
        ({"when": None}, "the key 'when' is missing; write for example"),
        ({"points": "5 of 3"}, "points: '5 of 3' is not a number of points; write for example 3 of 5"),
        ({"points": 3}, "points: 3 is not a number of points"),
        ({"change": {"kind": "relative"}}, "change: the key 'against' is missing"),
        ({"change": {"against": "1d", "kind": "double"}}, "kind: Input should be 'relative' or 'absolute'"),
        ({"equal": ["model"]}, "equal: is for rules with `all` or `any`"),
        ({"all": []}, "all: List should have at least 2 items"),
        ({"where": {"modle": "x"}}, "'modle' cannot be matched; use model, version, role, segment, feature"),
        ({"where": {"version": 1.1}}, "where.version: 1.1 is not text; put it in quotes"),
        ({"labels": {"model": "x"}}, "'model' is set from the series"),
        ({"labels": {"a b": "x"}}, "'a b' is not a label name"),
        ({"labels": {"team": "{{ model }}"}}, "labels.team: labels are plain text"),
        ({"promql": "up == 0"}, "metric and promql cannot be together; give it one of them"),
        ({"metric": None}, "the key 'metric' is missing"),
        ({"alert": ""}, "alert: String should have at least 1 character"),
    ],
)
def test_mistake_in_a_rule_is_told_with_its_place(changes: dict[str, object], said: str) -> None:
    assert said in problems_of(one_rule(**changes))


TWO = [{"metric": "drift_psi", "when": "> 1"}, {"metric": "accuracy", "when": "< 1"}]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({}, "the key 'metric' is missing"),
        ({"promql": "up", "window": "1h"}, "window: is for metrics; let the query of promql say it"),
        ({"promql": "up", "resolve_when": "> 1"}, "resolve_when: needs a `when`"),
        ({"all": TWO, "any": TWO}, "all and any cannot be together"),
        ({"all": TWO, "when": "> 1"}, "when: belongs into each part of `all`"),
        ({"any": [TWO[0], {"metric": "mae"}]}, "any: part number 2: the key 'when' is missing"),
        ({"any": [TWO[0], {"metirc": "mae"}]}, "part number 2: unknown key 'metirc'; did you mean 'metric'?"),
        ({"any": [TWO[0], {"when": "> 1"}]}, "any: part number 2: the key 'metric' is missing"),
        ({"all": [{"promql": "a"}, {"promql": "b"}]}, "all: say which labels the series of the parts have in common"),
        ({"burn_rate": {"objective": "error_rate", "target": 99.9}}, "target: 99.9 is not a share between 0% and 100%"),
        ({"burn_rate": {"objective": "error_rate", "target": "100%"}}, "target: '100%' is not a share"),
        ({"burn_rate": {"objective": "latency", "target": "99%"}}, "burn_rate: `threshold` is how long a prediction may take"),
        ({"burn_rate": {"objective": "error_rate", "target": "99%", "threshold": "1s"}}, "burn_rate: `threshold`"),
        ({"burn_rate": {"objective": "error_rate", "target": "99%"}, "when": "> 1"}, "when: is set by burn_rate"),
        ({"burn_rate": {"objective": "error_rate", "target": "99%"}, "where": {"feature": "x"}}, "a budget is by model"),
        (
            {
                "burn_rate": {
                    "objective": "error_rate",
                    "target": "99%",
                    "windows": [{"long": "1h", "short": "2h", "burn": 2, "severity": "page"}],
                }
            },
            "is not shorter than its long one",
        ),
    ],
)
def test_mistake_in_what_is_judged_is_told(rule: dict[str, object], said: str) -> None:
    text = yaml.safe_dump({"groups": [{"name": "g", "rules": [{"alert": "A", **rule}]}]})

    assert said in problems_of(text)


def test_every_way_to_judge_is_read() -> None:
    text = """
groups:
  - name: g
    rules:
      - {alert: Some, metric: drift_psi, points: 3 of 5, when: "> 20%"}
      - {alert: Fell, metric: accuracy, change: {against: 7d, kind: absolute, tolerance: 1h}, when: "< -5%"}
      - {alert: Query, promql: up, where: {job: "api*"}, when: "== 0"}
      - alert: Both
        any: [{metric: drift_psi, where: {model: a}, when: "> 0.2"}, {promql: up, when: "< 1"}]
        equal: [model]
      - alert: Budget
        burn_rate:
          objective: latency
          target: 0.99
          threshold: 300ms
          min_failures: 2
          windows: [{long: 2h, short: 10m, burn: 5, severity: page}]
"""
    some, fell, query, both, budget, built_in = parse_rules(text, "rules.yml").rules

    assert (some.points, some.when.limit) == ((3, 5), 0.2)
    assert fell.change == Change(against=timedelta(days=7), is_relative=False, tolerance=timedelta(hours=1))
    assert (query.promql, query.selects({"job": "api1"}), query.selects({"job": "db"})) == ("up", True, False)
    assert (both.combine, both.equal, [part.promql for part in both.parts]) == (Combine.ANY, ("model",), ["", "up"])
    assert budget.burn_rate is not None
    assert (budget.burn_rate.objective, budget.burn_rate.threshold) == (Objective.LATENCY, timedelta(milliseconds=300))
    assert [(window.burn, window.severity) for window in budget.burn_rate.windows] == [(5, "page")]
    assert (built_in.name, built_in.metric) == ("DataSourceFailing", "rules_unjudged")


def test_failing_source_is_told_of_once_by_the_rule_that_the_file_has() -> None:
    own = "groups: [{name: g, rules: [{alert: Q, promql: up}, {alert: Mine, metric: rules_unjudged, when: '> 2'}]}]"
    taken = "groups: [{name: g, rules: [{alert: DataSourceFailing, promql: up}]}]"

    assert [rule.name for rule in parse_rules(own, "rules.yml").rules] == ["Q", "Mine"]
    assert [rule.name for rule in parse_rules(taken, "rules.yml").rules] == ["DataSourceFailing", "DataSourceFailing_"]
    assert [rule.name for rule in parse_rules(one_rule(), "rules.yml").rules] == ["A"]


def test_metrics_of_a_machine_are_judged_for_each_machine_without_naming_the_segment() -> None:
    (memory,) = parse_rules(one_rule(metric="memory_percent"), "rules.yml").rules
    (drift,) = parse_rules(one_rule(), "rules.yml").rules

    assert memory.selects({"segment": "host=web1"})
    assert not drift.selects({"segment": "country=US"})


@given(
    st.dictionaries(st.sampled_from(WHERE_KEYS), st.text("ab*?[]!-", max_size=4), max_size=4),
    st.dictionaries(st.sampled_from(WHERE_KEYS), st.text("ab[]!", min_size=1, max_size=3), max_size=5),
)
def test_selector_selects_what_the_rule_does(where: dict[str, str], series: dict[str, str]) -> None:
    rule = make_rule(where=where)

    selects = selector(where, empty=rule.empty_unless_named)

    named = all(fnmatchcase(series.get(key, ""), pattern) for key, pattern in where.items())
    expected = named and not any(series.get(key) for key in ("role", "segment") if key not in where)
    assert selects(MetricPoint(at=NOW, name="x", value=0.0, **series)) is expected  # type: ignore[arg-type]
    assert rule.selects(series) is expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "line 1, column 5"),
        ("groups: []\ngroups: []", "line 2, column 1: the key 'groups' is there twice"),
        ("- 1", "it is not a mapping; begin with `groups:`"),
        ("\x00", "it is not text that YAML allows"),
        ("a: &a [*a]", "recursive"),
        ("grops: []", "unknown key 'grops'; did you mean 'groups'?"),
        ("groups: [{rules: []}]", "group number 1: the key 'name' is missing"),
        ("groups: [{name: a, rules: [{when: '> 1'}]}]", "group \"a\": rule number 1: the key 'alert' is missing"),
        ("groups: [{name: a, rules: []}, {name: a, rules: []}]", 'group "a": the name is used twice'),
        ("receivers: [{name: a}]", 'receiver "a": it has no channel'),
        ("receivers: [{name: a, email: {to: x}}]", "'x' is not an email address"),
        ("receivers: [{name: a, email: {to: ['a@b.c\\nBcc: d@e.f']}}]", "is not an email address"),
        ("routes: {receiver: q}", 'receiver "q" does not exist'),
    ],
)
def test_mistake_in_a_file_is_told(text: str, said: str) -> None:
    assert said in problems_of(text)


def test_same_rule_name_in_two_groups_is_refused() -> None:
    rule = {"alert": "A", "metric": "drift_psi", "when": "> 1"}
    text = yaml.safe_dump({"groups": [{"name": "a", "rules": [rule]}, {"name": "b", "rules": [rule]}]})

    assert 'group "b": rule "A": the name is used twice' in problems_of(text)


def test_message_of_the_error_is_one_sentence_that_counts_the_rest() -> None:
    with pytest.raises(RulesError) as caught:
        parse_rules(one_rule(**{"for": 1, "window": 2}), "rules.yml")

    assert str(caught.value).startswith('rules.yml: group "g": rule "A": ')
    assert str(caught.value).endswith("(1 more; `modelwatch alerts check` lists them)")


def test_metric_that_nothing_writes_is_a_warning_with_a_guess() -> None:
    rules = parse_rules(one_rule(metric="drift_pis"), "rules.yml")

    assert "nothing writes 'drift_pis'; did you mean 'drift_psi'?" in rules.warnings[0]


def test_shipped_rules_are_valid_and_name_metrics_that_exist() -> None:
    rules = parse_rules(DEFAULT_RULES.read_text(encoding="utf-8"), "default_rules.yml")

    assert rules.warnings == ()
    assert {part.metric for rule in rules.rules for part in rule.judged if rule.burn_rate is None} <= set(METRICS)
    assert all(rule.labels.get("severity") or rule.burn_rate for rule in rules.rules)


def test_each_shipped_rule_has_a_runbook_that_it_names() -> None:
    rules = parse_rules(DEFAULT_RULES.read_text(encoding="utf-8"), "default_rules.yml")
    page = (DEFAULT_RULES.parents[1] / "docs" / "runbooks.md").read_text(encoding="utf-8")
    sections = {part.split("\n", 1)[0].strip(): part for part in page.split("\n## ")[1:]}

    for rule in rules.rules:
        assert rule.annotations["description"] == f"Runbook: docs/runbooks.md#{rule.name.lower()}"
        assert all(f"**{word}.**" in sections[rule.name] for word in ("Meaning", "Impact", "Diagnosis", "Mitigation")), rule.name
    assert sorted(sections) == sorted(rule.name for rule in rules.rules)


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_any_content_is_rules_or_a_rules_error(content: object) -> None:
    for text in (
        yaml.safe_dump(content),
        yaml.safe_dump({"groups": content}),
        yaml.safe_dump({"groups": [{"name": "g", "rules": [content]}]}),
    ):
        with contextlib.suppress(RulesError):
            parse_rules(text, "rules.yml")

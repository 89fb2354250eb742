"""Tests of rules on a virtual clock: the shipped ones hold, and one that does not hold says what differs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from alerts.rule_files import DEFAULT_RULES
from alerts.ruletest_text import RuleTestsError, parse_values
from alerts.ruletests import RuleTestReport, run_file

RULES = """
groups:
  - name: g
    rules:
      - {alert: Drift, metric: drift_psi, where: {feature: "*"}, when: "> 0.2", for: 2m, labels: {severity: warning}}
      - {alert: Asked, promql: "sum by (job) (up)", when: "< 2"}
      - {alert: Failures, burn_rate: {objective: error_rate, target: 99%}}
receivers:
  - {name: oncall, slack: {}}
"""
DRIFTS = """
rules: rules.yml
tests:
  - name: age
    series:
      - {metric: drift_psi, labels: {model: churn, feature: age}, window: 1h, values: "0.1 0.3x9 0.1x5"}
"""


def run(folder: Path, tests: str, rules: str = RULES) -> RuleTestReport:
    (folder / "rules.yml").write_text(rules, encoding="utf-8")
    (folder / "rules_test.yml").write_text(tests, encoding="utf-8")
    return run_file(folder / "rules_test.yml")


def test_tests_of_the_shipped_rules_hold() -> None:
    report = run_file(DEFAULT_RULES.with_name("default_rules_test.yml"))

    assert report.ok, report.text()


def test_shipped_tests_cover_rules_of_every_kind_and_fail_with_other_rules(tmp_path: Path) -> None:
    shipped = DEFAULT_RULES.with_name("default_rules_test.yml").read_text(encoding="utf-8")
    lax = DEFAULT_RULES.read_text(encoding="utf-8").replace('when: "> threshold"', 'when: "> 9 * threshold"')

    (tmp_path / "default_rules.yml").write_text(lax, encoding="utf-8")
    (tmp_path / "default_rules_test.yml").write_text(shipped, encoding="utf-8")
    report = run_file(tmp_path / "default_rules_test.yml")

    assert not report.ok
    assert "expected, not found: firing FeatureDrift{feature=age, model=churn, severity=warning, version=1}" in report.text()


def test_example_of_the_documents_holds(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "rules.md").read_text(encoding="utf-8")
    example = {
        name: text.partition("```yaml\n")[2].partition("```")[0]
        for name, text in re.findall(r"^## (.+)\n((?:(?!^## ).*\n)+)", page, re.M)
    }

    report = run(tmp_path, example["Testing rules"], example["An example"])

    assert report.ok, report.text()
    assert [test.name for test in report.tests] == ["a feature that drifts is told after ten minutes"]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1 2 -3.5", [1.0, 2.0, -3.5]),
        ("0x5", [0.0] * 6),
        ("0x2 0.3x1 _x3", [0.0, 0.0, 0.0, 0.3, 0.3, None, None, None]),
        ("1+2x3", [1.0, 3.0, 5.0, 7.0]),
        ("1-0.5x2", [1.0, 0.5, 0.0]),
        ("_ 1e-3", [None, 0.001]),
        ("", []),
    ],
)
def test_values_are_written_as_for_promtool(text: str, values: list[float | None]) -> None:
    assert parse_values(text) == values


@pytest.mark.parametrize("text", ["a", "1x", "x3", "1+x3", "__", "1x-2", "1x1000000"])
def test_other_values_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no value|more than"):
        parse_values(text)


def test_alert_goes_through_its_states_at_the_times_that_the_rule_says(tmp_path: Path) -> None:
    expected = """
    alerts:
      - {at: 0s, alert: Drift, expect: []}
      - {at: 2m59s, alert: Drift, expect: [{state: pending, labels: {feature: age}}]}
      - {at: 3m, alert: Drift, expect: [{labels: {feature: age, severity: warning}}]}
      - {at: 11m, alert: Drift, expect: [{state: resolved}]}
    notifications:
      - {at: 3m30s, receiver: oncall, alerts: [Drift]}
      - {at: 11m, receiver: oncall, kind: resolved}
"""
    report = run(tmp_path, DRIFTS + expected)

    assert report.ok, report.text()


def test_alert_that_must_not_fire_and_does_is_shown(tmp_path: Path) -> None:
    report = run(tmp_path, DRIFTS + "    alerts: [{at: 5m, alert: Drift, expect: []}]\n")

    assert not report.ok
    assert "at 5m, Drift:" in report.text()
    assert "found, not expected: firing Drift{feature=age, model=churn, severity=warning}" in report.text()


def test_alert_that_only_waits_is_shown_beside_the_one_that_is_expected(tmp_path: Path) -> None:
    report = run(tmp_path, DRIFTS + "    alerts: [{at: 2m, expect: [{alert: Drift, labels: {feature: age}}]}]\n")

    assert "expected, not found: firing Drift{feature=age}" in report.text()
    assert "also there: pending Drift{feature=age, model=churn, severity=warning}" in report.text()


def test_texts_of_annotations_are_compared(tmp_path: Path) -> None:
    rules = RULES.replace("for: 2m,", 'for: 2m, annotations: {summary: "{{ feature }} {{ value }}"},')
    wanted = "    alerts: [{at: 5m, expect: [{alert: Drift, annotations: {summary: %s}}]}]\n"

    assert run(tmp_path, DRIFTS + wanted % "age 0.3", rules).ok
    assert "expected 'income', found 'age 0.3'" in run(tmp_path, DRIFTS + wanted % "income", rules).text()


def test_message_more_or_less_than_expected_is_shown(tmp_path: Path) -> None:
    none = run(tmp_path, DRIFTS + "    notifications: []\n").text()
    late = run(tmp_path, DRIFTS + "    notifications: [{at: 9m, receiver: oncall}, {receiver: oncall, kind: resolved}]\n").text()

    assert "sent, not expected: at 3m30s firing to oncall (Drift): Drift: churn, age" in none
    assert "sent, not expected: at 11m resolved to oncall (Drift)" in none
    assert "expected, not sent: at 9m firing to oncall" in late
    assert "resolved" not in late


def test_answers_of_prometheus_are_given_as_series(tmp_path: Path) -> None:
    tests = """
rules: rules.yml
tests:
  - series:
      - {promql: "sum by (job) (up)", labels: {job: api}, values: "2x3 1x3 _x5"}
    alerts:
      - {at: 3m, alert: Asked, expect: []}
      - {at: 4m, alert: Asked, expect: [{labels: {job: api}}]}
"""
    assert run(tmp_path, tests).ok


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"nonsense": 1}, "test number 1: unknown key 'nonsense'"),
        ({"alerts": [{"at": "5m", "alert": "Drifts", "expect": []}]}, "test number 1: alerts at 5m: there is no rule 'Drifts'"),
        ({"alerts": [{"at": "5m", "alert": "Failures", "expect": []}]}, "Failures is about a budget"),
        ({"alerts": [{"at": 5, "expect": []}]}, "test number 1: alerts number 1: at: 5 has no unit"),
        ({"notifications": [{"receiver": "nobody"}]}, "there is no receiver 'nobody'; known are oncall"),
        ({"series": [{"metric": "drift_psi", "values": "what"}]}, "series number 1: values: 'what' is no value"),
        ({"series": [{"metric": "drift_ks", "values": "1"}]}, "series number 1: no rule asks for 'drift_ks'"),
        ({"series": [{"metric": "drift_psi", "labels": {"job": "a"}, "values": "1"}]}, "points have no label 'job'"),
        ({"series": [{"values": "1"}]}, "it needs one of `metric` and `promql`"),
        ({"alerts": []}, "it expects nothing"),
    ],
)
def test_mistake_in_a_file_is_named_with_its_place(tmp_path: Path, change: dict[str, object], said: str) -> None:
    content = yaml.safe_load(DRIFTS)
    content["tests"][0] |= {"alerts": [{"at": "1m", "expect": []}]} | change

    with pytest.raises(RuleTestsError) as caught:
        run(tmp_path, yaml.safe_dump(content))

    assert said in str(caught.value)
    assert str(tmp_path / "rules_test.yml") in str(caught.value)


def test_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RuleTestsError, match="it cannot be read"):
        run_file(tmp_path / "missing.yml")

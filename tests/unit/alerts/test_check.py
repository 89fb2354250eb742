"""The report on rules files."""

import re
from pathlib import Path

import pytest

from alerts.check import check_rules
from alerts.rule_files import DEFAULT_RULES, WatchedRules
from alerts.rules import RulesError
from alerts.settings import AlertsSettings
from tests.unit.alerts.test_rules import CONTRACT, one_rule


def write(folder: Path, text: str) -> Path:
    path = folder / "rules.yml"
    path.write_text(text, encoding="utf-8")
    return path


def test_good_file_is_shown_with_its_messages_and_whom_they_reach(tmp_path: Path) -> None:
    report = check_rules([write(tmp_path, CONTRACT)])

    assert report.ok
    text = report.text()
    assert "FeatureDrift: drift_psi > 0.2, over 1h, for 10m, until < 0.1 for 5m, every 1m" in text
    assert "age of churn drifted: PSI 0.3" in text
    assert "oncall by slack (#ml-oncall); oncall by email (oncall@example.com)" in text


def test_text_that_cannot_be_made_is_a_problem(tmp_path: Path) -> None:
    report = check_rules([write(tmp_path, one_rule(annotations={"summary": "{{ featur }}"}))])

    assert not report.ok
    assert 'group "g": rule "A": annotations: summary: \'featur\' is undefined' in report.text()


ROUTES = """
routes:
  receiver: oncall
  escalate: [{after: 30m, receiver: lead}]
  routes:
    - {match: {severity: info}, digest: {at: "09:00", time_zone: Europe/Berlin, weekdays: [mon, fri]}}
    - match: {severity: critical}
      continue: true
      group_by: ["..."]
      mute: nights
      routes: [{match: {model: [churn, fraud]}, receiver: lead, only: nights, mute: []}]
    - {match: {alert: "A*"}, group_by: []}
receivers:
  - {name: oncall, slack: {channel: "#ml"}}
  - {name: lead, email: {to: [lead@example.com]}, send_resolved: false}
mute_windows: [{name: nights, times: [{from: "22:00", to: "07:00"}]}]
"""


@pytest.mark.parametrize(
    ("severity", "lines"),
    [
        (
            "info",
            [
                "routes > route 1 (severity=info): tells oncall (slack #ml)",
                "all in one; digest at 09:00 Europe/Berlin, mon, fri",
            ],
        ),
        (
            "critical",
            [
                "routes > route 2 (severity=critical) > route 2.1 (model=churn or fraud): tells lead (email lead@example.com)",
                "each alert by itself; first after 30s, changes every 5m, reminders every 4h; only during nights; "
                "escalates to lead after 30m; ends are not told",
                "routes > route 3 (alert=A*): tells oncall (slack #ml)",
                "all in one; first after 30s, changes every 5m, reminders every 4h; escalates to lead after 30m",
            ],
        ),
    ],
)
def test_every_route_of_an_alert_is_shown_with_what_holds_there(tmp_path: Path, severity: str, lines: list[str]) -> None:
    text = one_rule(labels={"severity": severity}, where={"model": "churn"}) + ROUTES

    [file] = check_rules([write(tmp_path, text)]).files

    assert [line for route in file.rules[0].routes for line in route.lines()] == lines


def test_channels_that_are_not_set_up_are_warnings(tmp_path: Path) -> None:
    report = check_rules([write(tmp_path, CONTRACT)], AlertsSettings.load())

    assert report.ok
    assert 'receiver "oncall": slack is not set up' in report.text()


def test_every_problem_of_every_file_is_reported(tmp_path: Path) -> None:
    bad = write(tmp_path, one_rule(**{"for": 1, "window": 2}))

    report = check_rules([bad, tmp_path / "missing.yml", DEFAULT_RULES])

    assert [len(file.problems) for file in report.files] == [2, 1, 0]
    assert "No such file" in report.text()
    assert report.to_json()["ok"] is False


def test_shipped_rules_make_all_their_texts() -> None:
    report = check_rules([DEFAULT_RULES])

    assert report.ok
    assert not any(re.search(r"<\w|no value", rule.summary) for file in report.files for rule in file.rules)


# ---------------------------------------------------------------------------------------------- a file that changes


def test_shipped_rules_apply_where_there_is_no_file(tmp_path: Path) -> None:
    watched = WatchedRules(tmp_path / "rules.yml")

    assert watched.rules.source == str(DEFAULT_RULES)
    write(tmp_path, CONTRACT)
    assert watched.reload()
    assert [rule.name for rule in watched.rules.rules] == ["FeatureDrift"]


def test_file_that_was_named_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(RulesError, match="it cannot be read"):
        WatchedRules(tmp_path / "rules.yml", required=True)


def test_bad_file_keeps_the_rules_and_says_why(tmp_path: Path) -> None:
    watched = WatchedRules(write(tmp_path, CONTRACT))
    before = watched.rules

    write(tmp_path, CONTRACT + "nonsense: 1\n")

    assert not watched.reload()
    assert watched.rules is before
    assert "unknown key 'nonsense'" in watched.problem


def test_mended_file_comes_into_force(tmp_path: Path) -> None:
    watched = WatchedRules(write(tmp_path, CONTRACT))
    (tmp_path / "rules.yml").unlink()
    assert not watched.reload()
    assert "it is gone" in watched.problem

    write(tmp_path, CONTRACT.replace("FeatureDrift", "Other"))

    assert watched.reload()
    assert (watched.rules.rules[0].name, watched.problem) == ("Other", "")
    assert not watched.reload()


def test_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rules.yml"
    path.write_bytes(b"\xef\xbb\xbf" + CONTRACT.encode())

    assert check_rules([path]).ok

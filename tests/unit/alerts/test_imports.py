"""Rules of Prometheus and routes of Alertmanager: what is carried over means the same, and what is not is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from alerts.check import check_rules
from alerts.conditions import PRESENT
from alerts.imports.files import Imported, import_files
from alerts.imports.go_templates import translate
from alerts.imports.notes import ImportProblem
from alerts.imports.patterns import NoPattern, parse_matcher, patterns_of, regex_patterns, split_matchers
from alerts.imports.prometheus_rules import split_comparison
from alerts.rules import RuleSet, parse_rules
from storage.matchers import Matchers

DATA = Path(__file__).parents[2] / "data" / "prometheus"


@pytest.fixture(scope="module")
def imported() -> Imported:
    return import_files([DATA / "rules.yml"], DATA / "alertmanager.yml")


@pytest.fixture(scope="module")
def rules(imported: Imported) -> RuleSet:
    return parse_rules(imported.text, "rules.yml")


def load(text: str) -> object:
    return yaml.safe_load(text)


def receivers(rules: RuleSet, **labels: str) -> list[str]:
    return [route.receiver for route in rules.routing.root.find(labels)]


# ---------------------------------------------------------------------------------------------- files


def test_file_that_comes_of_it_passes_the_check(imported: Imported, tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(imported.text, encoding="utf-8")

    report = check_rules([tmp_path / "rules.yml"])

    assert report.ok, report.text()
    assert imported.rules == 5


def test_no_secret_is_carried_over(imported: Imported) -> None:
    assert "not-a-secret" in (DATA / "alertmanager.yml").read_text(encoding="utf-8")
    assert "not-a-secret" not in imported.text + "".join(imported.notes)
    assert load(imported.text)["receivers"][1] == {"name": "pager", "pagerduty": {"routing_key_env": "PAGER_PAGERDUTY_KEY"}}  # type: ignore[index]


def test_comparison_becomes_a_condition_where_it_is_all_that_the_query_says(rules: RuleSet) -> None:
    found = {rule.name: rule for rule in rules.rules}

    assert str(found["HighErrorRate"].when) == "> 0.05"
    assert found["InstanceDown"].promql == "up"
    assert found["InstanceDown"].no_data == "ok"
    assert found["HighErrorRate_2"].when is PRESENT
    assert found["HighErrorRate"].labels == {"team": "platform", "severity": "critical"}
    assert found["TargetMissing"].hold.days == 1


def test_alerts_go_where_alertmanager_sends_them(rules: RuleSet) -> None:
    assert receivers(rules, alert="InstanceDown", severity="page", job="db") == ["pager"]
    assert receivers(rules, alert="InstanceDown", severity="page", job="batch") == ["team-platform"]
    assert receivers(rules, alert="X", severity="page", job="api-1", team="platform") == ["pager", "team-platform"]
    assert receivers(rules, alert="X", severity="info", job="api-1", team="platform") == ["hooks"]
    assert receivers(rules, alert="HighErrorRate_2", env="prod") == ["opsgenie"]
    assert receivers(rules, alert="HighErrorRate", env="dev-1") == ["team-platform"]


def test_route_to_nobody_is_muted_and_hands_its_silence_to_nobody(rules: RuleSet) -> None:
    watchdog, pager, office = rules.routing.root.routes[:3]

    assert watchdog.mute == ("nobody",)
    assert pager.mute == ()
    assert (office.mute, office.only) == (("nights",), ("office", "office_2"))
    assert (office.routes[0].mute, office.routes[0].only) == ((), ())


def test_times_are_read_as_they_are_written(rules: RuleSet) -> None:
    nights, office, days = (rules.routing.window(name) for name in ("nights", "office", "office_2"))

    assert nights is not None
    assert office is not None
    assert days is not None
    assert [f"{start:%H:%M}-{end:%H:%M}" for start, end in nights.times] == ["22:00-00:00", "00:00-07:00"]
    assert office.weekdays == frozenset(range(5))
    assert days.days == frozenset([1, 2, 3, 4, 5, 6, 7, -3, -2, -1])
    assert days.months == frozenset([1, 2, 3, 12])


@pytest.mark.parametrize(
    "said",
    [
        "the recording rule job:requests:rate5m",
        "the label region is a template",
        "the label model is set from the series",
        'the annotation summary has a condition or a loop ({{ if eq $labels.job "db" }})',
        "{{ $externalURL }} has no like here",
        "limit has no like here",
        "only the first of 2 slack configurations (#platform-archive)",
        "slack_configs: title: messages have their own form here",
        "time interval holidays: a part with years",
        "route.routes[3]: left out with all below it",
        "none of several values at once",
        "inhibit_rules[1]: left out",
        "templates: messages have their own form here",
        "this one is called HighErrorRate_2",
        "receiver blackhole: it has no channel",
        "repeat_interval 5m is shorter than group_interval 10m",
        "set HOOKS_WEBHOOK_URL to the address of the webhook of receiver hooks",
        "set OPSGENIE_APPRISE_URL",
        "set MODELWATCH_SMTP_HOST",
        "set MODELWATCH_PROMETHEUS_URL",
    ],
)
def test_what_is_lost_changed_or_to_do_is_named(imported: Imported, said: str) -> None:
    assert any(said in note for note in imported.notes)


def test_rules_alone_tell_whom_the_settings_name(tmp_path: Path) -> None:
    made = import_files([DATA / "rules.yml"])

    assert sorted(load(made.text)) == ["groups"]  # type: ignore[call-overload]
    assert parse_rules(made.text, "rules.yml").routing.receivers == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("groups: [{name: a, rules: [{alert: A}]}]", "no `alert` or no `expr`"),
        ("groups: [{name: a, rules: [{alert: A, expr: up, for: soon}]}]", "'soon' is not a duration"),
        ("- a", "it is not a mapping"),
        ("a: [", "it is not YAML"),
        ("groups: {a: 1}", "groups: it is not a list"),
    ],
)
def test_file_that_makes_no_sense_is_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "rules.yml").write_text(text, encoding="utf-8")

    with pytest.raises(ImportProblem, match=re.escape(said)):
        import_files([tmp_path / "rules.yml"])


def test_receiver_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "am.yml").write_text(
        "route: {receiver: a}\nreceivers: [{name: b, email_configs: [{to: b@example.com}]}]", encoding="utf-8"
    )

    with pytest.raises(ImportProblem, match="there is no receiver 'a'"):
        import_files([DATA / "rules.yml"], tmp_path / "am.yml")


# ---------------------------------------------------------------------------------------------- pieces


@pytest.mark.parametrize(
    ("expression", "query", "when"),
    [
        ("up == 0", "up", "== 0"),
        ('x{a=">1"} >= 1e3 # so much', 'x{a=">1"}', ">= 1e3"),
        ("a > b", "a > b", ""),
        ("a > bool 1", "a > bool 1", ""),
        ("0.5 < a", "0.5 < a", ""),
        ("(a > 1)", "(a > 1)", ""),
        ("a > 1 or b > 2", "a > 1 or b > 2", ""),
        ("a > 5 * 1024", "a > 5 * 1024", ""),
        ("sum(a > 0) by (job) > 2", "sum(a > 0) by (job)", "> 2"),
        ("absent(a)", "absent(a)", ""),
    ],
)
def test_comparison_is_taken_from_the_end_of_a_query(expression: str, query: str, when: str) -> None:
    assert split_comparison(expression) == (query, when)


@pytest.mark.parametrize(
    ("text", "translated"),
    [
        ("{{ $value }}", "{{ value }}"),
        ("{{- .Value | humanize -}}", "{{- value -}}"),
        ("{{ $labels.items }}", '{{ labels["items"] | default }}'),
        ('{{ index $labels "job" }}', "{{ labels.job | default }}"),
        ('{{ $value | printf "%.1f%%" }}', '{{ "%.1f%%" | format(value) }}'),
        ("{{ humanizeDuration $value }}", '{{ "%.4gs" | format(value) }}'),
        ("{{/* not told */}}a", "a"),
        ("50 {% of it %}", '50 {{ "{%" }} of it {{ "%}" }}'),
        ("{{ if $labels.a }}b{{ end }}", None),
    ],
)
def test_go_template_becomes_one_of_ours(text: str, translated: str | None) -> None:
    assert translate(text).text == translated


@pytest.mark.parametrize("text", ["{{ query `up` }}", "{{ $labels.a | printf `%s` }}", "{{ $x }}", '{{ printf "%d" $labels.a }}'])
def test_piece_without_a_like_is_named(text: str) -> None:
    found = translate(text)

    assert (found.text, len(found.lost)) == ("…", 1)


def test_matchers_are_divided_at_commas_outside_of_quotes() -> None:
    assert split_matchers('{a="b,c", d!~"e"}') == ['a="b,c"', 'd!~"e"']
    assert parse_matcher("a = b") == ("a", "=", "b")
    assert parse_matcher(r'a="\"x\\y"') == ("a", "=", '"x\\y')


EXPRESSIONS = [
    "critical|page",
    "(dev|test)-.*",
    "https?",
    "a.c",
    ".+",
    "node[12]",
    r"a\.b",
    "",
    "x(y|)z",
    "^a$",
    "(a|b)(c|d)",
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
@given(
    value=st.one_of(st.text("abcdxyz12.-", max_size=5), st.sampled_from(["dev-", "test-1", "http", "https", "node1", "critical"]))
)
def test_patterns_match_what_the_expression_matches(expression: str, value: str) -> None:
    whole = re.fullmatch(f"(?:{expression})", value) is not None

    assert Matchers.of({"a": patterns_of("=~", expression)}).match({"a": value}) == whole
    if len(regex_patterns(expression)) == 1:
        assert Matchers.of({"a": patterns_of("!~", expression)}).match({"a": value}) != whole


@pytest.mark.parametrize(
    ("how", "value"),
    [
        *[("=~", text) for text in ("[0-9]+", r"\d", "a+", "a{2}", "(?i)a", "(a", "a)", "[a-c]", r"a\*", "[]", "a$b", "*", "!a")][
            :13
        ],
        ("!~", "a|b"),
        ("=", "a*"),
        ("!=", "!a"),
        ("=~", "[abcdefgh][abcdefgh][abcdefgh]"),
    ],
)
def test_what_patterns_cannot_say_is_refused(how: str, value: str) -> None:
    with pytest.raises(NoPattern):
        patterns_of(how, value)

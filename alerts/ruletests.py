"""Tests of rules on a virtual clock: what `modelwatch alerts test-rules` runs. Pure but for reading the files.

A test gives points and says which alerts and messages have to come of them; ``alerts.virtual`` plays it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from alerts.annotations import render_annotations
from alerts.freshness import Freshness
from alerts.observations import Asked
from alerts.promql import Answer, Sample
from alerts.rule_files import read_rules
from alerts.rules import RuleSet
from alerts.ruletest_text import (
    AlertsAtText,
    ExpectedAlertText,
    NotificationText,
    RuleTestsError,
    RuleTestText,
    SeriesText,
    parse_values,
    read_tests,
)
from alerts.virtual import Rehearsal, Sent
from storage.durations import format_duration
from storage.records import AlertRow, AlertState, MetricPoint, Verdict

_TOLD = (AlertState.FIRING, AlertState.RECOVERING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One test. ``failures`` say what was expected and what was found, and at which time."""

    name: str
    failures: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.failures


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleTestReport:
    """One file of tests."""

    path: str
    rules: str
    tests: tuple[Outcome, ...]

    @property
    def ok(self) -> bool:
        return all(test.ok for test in self.tests)

    def to_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "rules": self.rules,
            "ok": self.ok,
            "tests": [asdict(test) | {"ok": test.ok} for test in self.tests],
        }

    def text(self) -> str:
        """A line per test, and below those that fail, what differs."""
        lines = [f"{self.path}: {sum(test.ok for test in self.tests)} of {len(self.tests)} tests passed (rules: {self.rules})"]
        for test in self.tests:
            lines.append(f"  {'ok' if test.ok else 'FAILED'}  {test.name}")
            lines += [f"      {line}" for failure in test.failures for line in failure.splitlines()]
        return "\n".join(lines)


def run_file(path: Path) -> RuleTestReport:
    """Runs the tests of a file. Raises RuleTestsError for a wrong file, RulesError for wrong rules."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise RuleTestsError(str(path), [f"it cannot be read ({reason})"]) from error
    tests = read_tests(text, str(path))
    rules = read_rules(path.parent / tests.rules)
    problems = [
        problem for number, test in enumerate(tests.tests) for problem in _unknown(test, f"test number {number + 1}", rules)
    ]
    if problems:
        raise RuleTestsError(str(path), problems)
    outcomes = tuple(run_test(test, rules, number) for number, test in enumerate(tests.tests))
    return RuleTestReport(path=str(path), rules=rules.source, tests=outcomes)


def _unknown(test: RuleTestText, place: str, rules: RuleSet) -> list[str]:
    """Names that the rules do not have: a test of nothing would pass."""
    known = {rule.name: rule for rule in rules.rules}
    named = [(one.at, name) for one in test.alerts for name in (one.alert, *(alert.alert for alert in one.expect)) if name]
    problems = [f"{place}: alerts at {format_duration(at)}: there is no rule {name!r}" for at, name in named if name not in known]
    problems += [
        f"{place}: alerts at {format_duration(at)}: {name} is about a budget, which is counted from predictions and cannot be tested"
        for at, name in named
        if name in known and known[name].burn_rate is not None
    ]
    receivers = {receiver.name for receiver in rules.routing.receivers} or {"default"}
    problems += [
        f"{place}: notifications: there is no receiver {one.receiver!r}; known are {', '.join(sorted(receivers))}"
        for one in test.notifications or ()
        if one.receiver not in receivers
    ]
    asked = {part.metric for rule in rules.rules for part in rule.judged} | {
        query for rule in rules.rules for query in rule.sources
    }
    return problems + [
        f"{place}: series number {number + 1}: no rule asks for {series.metric or series.promql!r}"
        for number, series in enumerate(test.series)
        if (series.metric or series.promql) not in asked
    ]


def run_test(test: RuleTestText, rules: RuleSet, number: int = 0) -> Outcome:
    """Plays one test to the last time that it names."""
    rehearsal = Rehearsal(rules, start=test.start, freshness=Freshness(collect_interval=test.interval))
    points = sorted(
        (point for series in test.series if series.metric for point in _points(series, test)), key=lambda point: point.at
    )
    queries = {query for rule in rules.rules for query in rule.sources}
    failures: list[str] = []
    sent: list[Sent] = []
    place = 0
    for stop, wanted in _stops(test):
        while (due := rehearsal.due_at) is not None and due <= test.start + stop:
            while place < len(points) and points[place].at <= due:
                rehearsal.add([points[place]])
                place += 1
            sent += rehearsal.step(due, Asked(answers={query: _answer(query, test, due) for query in queries}))
        failures += [failure for one in wanted for failure in _alert_failures(one, rehearsal)]
    if test.notifications is not None:
        failures += _message_failures(test.notifications, sent, rehearsal.alerts, test.start)
    return Outcome(name=test.name or f"test number {number + 1}", failures=tuple(failures))


def _stops(test: RuleTestText) -> list[tuple[timedelta, list[AlertsAtText]]]:
    """The times at which something is compared, and the end."""
    at: dict[timedelta, list[AlertsAtText]] = {}
    for one in test.alerts:
        at.setdefault(one.at, []).append(one)
    longest = max((len(parse_values(series.values)) for series in test.series), default=1) - 1
    ends = [one.at for one in test.notifications or () if one.at is not None]
    last = test.until or (max([longest * test.interval, *ends]) if test.notifications is not None else timedelta(0))
    at.setdefault(max([last, *at]), [])
    return sorted(at.items(), key=lambda one: one[0])


def _points(series: SeriesText, test: RuleTestText) -> Iterable[MetricPoint]:
    labels: Mapping[str, Any] = series.labels
    for number, value in enumerate(parse_values(series.values)):
        if value is not None:
            yield MetricPoint(
                at=test.start + number * test.interval,
                name=series.metric or "",
                value=value,
                window_seconds=int(series.window.total_seconds()) if series.window else 0,
                n_current=series.n,
                threshold=None if series.threshold is None else float(series.threshold),
                verdict=Verdict.OK,
                **labels,
            )


def _answer(query: str, test: RuleTestText, now: datetime) -> Answer:
    """What Prometheus would give: of each series the value of the interval that the time lies in."""
    number = int((now - test.start) / test.interval)
    samples = []
    for series in test.series:
        values = parse_values(series.values) if series.promql == query else []
        if number < len(values) and (value := values[number]) is not None:
            samples.append(Sample(labels=dict(series.labels), value=value))
    return Answer(at=now, samples=tuple(samples))


# ---------------------------------------------------------------------------------------------- alerts


def _alert_failures(wanted: AlertsAtText, rehearsal: Rehearsal) -> list[str]:
    """What differs: an alert that is expected and not there, and one that fires and is not expected."""
    rows = [row for row in rehearsal.alerts.values() if wanted.alert in (None, row.rule) and row.state is not AlertState.INACTIVE]
    left = sorted(rows, key=lambda row: (row.rule, sorted(row.labels.items())))
    missing, problems = [], []
    for expected in sorted(wanted.expect, key=lambda one: -len(one.labels)):
        found = next((row for row in left if row.state.value == expected.state and _fits(row, expected)), None)
        if found is None:
            missing.append(expected)
            continue
        left.remove(found)
        problems += _text_problems(expected, found, rehearsal)
    extra = [row for row in left if row.state in _TOLD]
    if not (missing or extra or problems):
        return []
    lines = [f"at {format_duration(wanted.at)}" + (f", {wanted.alert}:" if wanted.alert else ":")]
    lines += [f"  expected, not found: {_expected(one, wanted.alert)}" for one in missing]
    lines += [f"  found, not expected: {_found(row)}" for row in extra]
    if missing:
        others = [row for row in left if row not in extra]
        lines += [f"  also there: {_found(row)}" for row in others] or ([] if extra else ["  there is no alert"])
    return ["\n".join([*lines, *(f"  {problem}" for problem in problems)])]


def _fits(row: AlertRow, expected: ExpectedAlertText) -> bool:
    return expected.alert in (None, row.rule) and all(row.labels.get(key, "") == value for key, value in expected.labels.items())


def _text_problems(expected: ExpectedAlertText, row: AlertRow, rehearsal: Rehearsal) -> list[str]:
    if not expected.annotations:
        return []
    rule = next(rule for rule in rehearsal.rules.rules if rule.name == row.rule)
    texts = render_annotations(rule, row).texts
    return [
        f"{_name(row.rule, row.labels)}: {name}: expected {text!r}, found {texts.get(name, '')!r}"
        for name, text in expected.annotations.items()
        if texts.get(name, "") != text
    ]


def _expected(expected: ExpectedAlertText, rule: str | None) -> str:
    return f"{expected.state} {_name(expected.alert or rule or 'any rule', expected.labels)}"


def _found(row: AlertRow) -> str:
    return f"{row.state.value} {_name(row.rule, row.labels)}" + (f" ({row.reason})" if row.reason else "")


def _name(rule: str, labels: Mapping[str, str]) -> str:
    return f"{rule}{{{', '.join(f'{name}={value}' for name, value in sorted(labels.items()))}}}"


# ---------------------------------------------------------------------------------------------- messages


def _message_failures(
    wanted: Sequence[NotificationText], sent: Sequence[Sent], alerts: Mapping[str, AlertRow], start: datetime
) -> list[str]:
    """The messages in a list are all that may be sent."""
    left = list(sent)
    missing = []
    for expected in sorted(wanted, key=lambda one: (one.at is None, one.alerts is None)):
        found = next((one for one in left if _is_it(one, expected, alerts, start)), None)
        if found is None:
            missing.append(expected)
        else:
            left.remove(found)
    if not missing and not left:
        return []
    lines = ["notifications:"]
    lines += [f"  expected, not sent: {_wanted_text(one)}" for one in missing]
    lines += [f"  sent, not expected: {_sent_text(one, alerts, start)}" for one in left]
    if missing and not left:
        lines.append(f"  sent and expected: {len(sent)}")
    return ["\n".join(lines)]


def _is_it(one: Sent, expected: NotificationText, alerts: Mapping[str, AlertRow], start: datetime) -> bool:
    if (one.receiver, one.kind.value) != (expected.receiver, expected.kind):
        return False
    if expected.at is not None and one.at - start != expected.at:
        return False
    return expected.alerts is None or sorted(set(expected.alerts)) == _rules_in(one, alerts)


def _rules_in(one: Sent, alerts: Mapping[str, AlertRow]) -> list[str]:
    return sorted({alerts[name].rule for name in (*one.new, *one.still, *one.ended)})


def _wanted_text(one: NotificationText) -> str:
    when = "at any time" if one.at is None else f"at {format_duration(one.at)}"
    return f"{when} {one.kind} to {one.receiver}" + (f" ({', '.join(one.alerts)})" if one.alerts else "")


def _sent_text(one: Sent, alerts: Mapping[str, AlertRow], start: datetime) -> str:
    return f"at {format_duration(one.at - start)} {one.kind.value} to {one.receiver} ({', '.join(_rules_in(one, alerts))}): {one.title}"

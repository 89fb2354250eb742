"""Budgets: what fails, how fast that burns, and in which windows it is a problem."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.burn_rates import Outcomes, Spending, burn, outcomes, read_spending, slower_than
from alerts.freshness import Freshness
from alerts.lifecycle import Finding
from alerts.observations import Asked, observe
from alerts.rules import BurnRate, Objective, Rule, parse_rules, usual_windows
from storage.layouts import LATENCY_GROWTH, count_latency
from storage.records import AlertRow, AlertState, PredictionCounts
from tests.unit.alerts.rows import NOW

HOUR = timedelta(hours=1)
RULE = parse_rules(
    "groups: [{name: g, rules: [{alert: Burn, burn_rate: {objective: error_rate, target: 99.9%, min_failures: 5}}]}]", "rules.yml"
).rules[0]
HEALTHY = Outcomes(total=1_000_000, failed=100)


def spending(**windows: Outcomes) -> Spending:
    """A healthy series but for the windows that are named, such as ``h1`` and ``m5``."""
    units = {"m": timedelta(minutes=1), "h": HOUR}
    named = {int(name[1:]) * units[name[0]]: found for name, found in windows.items()}
    lengths = {length for window in usual_windows(timedelta(days=30)) for length in (window.long, window.short)}
    return Spending(series={"model": "churn"}, windows={length: named.get(length, HEALTHY) for length in lengths}, at=NOW)


def failing(rate: float, total: int = 1_000_000) -> Outcomes:
    """As many failures as burn the budget of 0.1 % so fast."""
    return Outcomes(total=total, failed=round(total * 0.001 * rate))


def findings(given: Spending, rule: Rule = RULE) -> dict[str, Finding]:
    return {reading.series["severity"]: reading.finding for reading in read_spending(rule, given)}


def test_usual_windows_are_those_of_the_workbook() -> None:
    found = [(w.long / HOUR, w.short / HOUR, w.burn, w.severity) for w in usual_windows(timedelta(days=30))]

    assert found == [
        (1, pytest.approx(5 / 60), 14.4, "page"),
        (6, 0.5, 6, "page"),
        (24, 2, 3, "ticket"),
        (72, 6, 1, "ticket"),
    ]


def test_shorter_objective_has_slower_burns_for_the_same_share_of_its_budget() -> None:
    assert [window.burn for window in usual_windows(timedelta(days=7))] == [3.36, 1.4, 0.7, 0.2333]


@pytest.mark.parametrize(
    ("windows", "page", "ticket"),
    [
        ({}, Finding.CLEAR, Finding.CLEAR),
        ({"h1": failing(14.5), "m5": failing(14.5)}, Finding.BREACH, Finding.CLEAR),
        # Only one of two windows: a spike that is over, or one that has just begun.
        ({"h1": failing(20)}, Finding.CLEAR, Finding.CLEAR),
        ({"m5": failing(900)}, Finding.CLEAR, Finding.CLEAR),
        ({"h1": failing(14.39), "m5": failing(100)}, Finding.CLEAR, Finding.CLEAR),
        ({"h6": failing(6.1), "m30": failing(6.1)}, Finding.BREACH, Finding.CLEAR),
        ({"h24": failing(3.1), "h2": failing(3.1)}, Finding.CLEAR, Finding.BREACH),
        ({"h72": failing(1.1), "h6": failing(1.1)}, Finding.CLEAR, Finding.BREACH),
        # Windows of different pairs do not make one.
        ({"h1": failing(20), "m30": failing(20)}, Finding.CLEAR, Finding.CLEAR),
        # Traffic that stopped fails no more.
        ({"h1": failing(20), "m5": Outcomes()}, Finding.CLEAR, Finding.CLEAR),
    ],
)
def test_both_windows_of_a_pair_have_to_burn(windows: dict[str, Outcomes], page: Finding, ticket: Finding) -> None:
    assert findings(spending(**windows)) == {"page": page, "ticket": ticket}


def test_few_failures_are_no_problem_however_large_their_share() -> None:
    few, enough = Outcomes(total=120, failed=4), Outcomes(total=120, failed=5)

    assert findings(spending(h1=few, m5=few))["page"] is Finding.CLEAR
    assert findings(spending(h1=enough, m5=enough))["page"] is Finding.BREACH


def test_window_with_few_predictions_is_not_judged() -> None:
    few = Outcomes(total=99, failed=50)
    nothing = dict.fromkeys(("h6", "m30", "h24", "h2", "h72"), few)

    assert findings(spending(h1=few, m5=few))["page"] is Finding.CLEAR, "six hours were enough, and are healthy"
    assert set(findings(spending(h1=few, m5=few, **nothing)).values()) == {Finding.NO_DATA}


def test_series_without_predictions_is_none() -> None:
    assert read_spending(RULE, Spending(series={"model": "a"}, windows={HOUR: Outcomes()}, at=NOW)) == []


def test_reason_says_what_was_counted() -> None:
    page = read_spending(RULE, spending(h1=failing(15, 100_000), m5=failing(20, 10_000)))[0]

    assert page.reason == "1,500 of 100,000 predictions of 1h failed: 15 times what 0.999 allows (limit 14.4), in the last 5m 20"
    assert page.value == pytest.approx(15)
    assert (page.threshold, page.window_seconds, page.n_current) == (14.4, 3600, 100_000)


def test_each_severity_is_an_alert_of_its_own() -> None:
    asked = Asked(spending={"Burn": [spending(h1=failing(20), m5=failing(20))]})

    seen = observe(RULE, [], [], freshness=Freshness(), now=NOW, asked=asked)

    assert {one.labels["severity"]: one.finding for one in seen} == {"page": Finding.BREACH, "ticket": Finding.CLEAR}
    assert len({one.fingerprint for one in seen}) == 2


def test_counts_that_are_not_kept_so_finely_freeze_the_alert() -> None:
    given = Spending(series={"model": "churn"}, windows={}, at=NOW, error="kept by the day only")
    row = AlertRow(fingerprint="f", rule="Burn", labels={"model": "churn", "severity": "page"}, state=AlertState.FIRING)

    seen = observe(RULE, [], [row], freshness=Freshness(), now=NOW, asked=Asked(spending={"Burn": [given]}))

    assert {one.finding for one in seen if one.labels["severity"] == "page"} >= {Finding.ERROR}


# ---------------------------------------------------------------------------------------------- what fails


def counts(**given: Any) -> PredictionCounts:
    empty = np.zeros(0)
    fields = {
        "rows": 0,
        "errors": 0,
        "timeouts": 0,
        "bins": empty,
        "moments": empty,
        "classes": empty,
        "latency": count_latency([]),
    }
    return PredictionCounts(**{**fields, **given})


def test_errors_and_timeouts_fail() -> None:
    budget = BurnRate(objective=Objective.ERRORS, target=0.99, windows=())

    assert outcomes(budget, counts(rows=100, errors=3, timeouts=2)) == Outcomes(total=100, failed=5)


def test_slow_predictions_fail() -> None:
    budget = BurnRate(objective=Objective.LATENCY, target=0.99, windows=(), threshold=timedelta(milliseconds=300))

    found = outcomes(budget, counts(rows=9, latency=count_latency([1.0, 100.0, 280.0, 320.0, 5000.0])))

    assert found == Outcomes(total=5, failed=2)


@given(st.lists(st.floats(0.01, 1e6), max_size=60), st.floats(1e-4, 60))
def test_count_of_slow_ones_is_exact_but_for_two_percent_around_the_threshold(latencies_ms: list[float], threshold: float) -> None:
    found = slower_than(count_latency(latencies_ms), threshold)

    error = LATENCY_GROWTH**0.5 * (1 + 1e-6)
    assert sum(one / 1000 > threshold * error for one in latencies_ms) <= found
    assert found <= sum(one / 1000 > threshold / error for one in latencies_ms)


@given(st.floats(0.5, 0.9999), st.integers(1, 10**7), st.floats(0, 1))
def test_burn_of_one_spends_exactly_the_budget(target: float, total: int, share: float) -> None:
    failed = round(total * share)
    budget = BurnRate(objective=Objective.ERRORS, target=target, windows=())

    assert burn(budget, Outcomes(total=total, failed=failed)) == pytest.approx(failed / total / (1 - target))

"""What a rule finds in the newest points."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from alerts.lifecycle import Finding, Observation
from alerts.observations import FORGET_AFTER, Freshness, fingerprint, judged_window, observe
from alerts.rules import Policy, Rule
from storage.records import AlertHealth, AlertRow, AlertState, MetricPoint, Verdict
from tests.unit.alerts.rows import NOW, make_alert, make_point, make_rule, seconds

FRESHNESS = Freshness()


def found(rule: Rule, points: list[MetricPoint], rows: list[AlertRow] | None = None) -> list[Observation]:
    return observe(rule, points, rows or [], freshness=FRESHNESS, now=NOW)


def only(rule: Rule, points: list[MetricPoint], rows: list[AlertRow] | None = None) -> Observation:
    (observation,) = found(rule, points, rows)
    return observation


@pytest.mark.parametrize(
    ("changes", "point", "finding"),
    [
        ({}, make_point(0.3), Finding.BREACH),
        ({}, make_point(0.05), Finding.CLEAR),
        ({}, make_point(0.15), Finding.BETWEEN),
        ({}, make_point(None), Finding.NO_DATA),
        ({}, make_point(float("nan")), Finding.NO_DATA),
        ({}, make_point(0.3, verdict=Verdict.INSUFFICIENT), Finding.NO_DATA),
        ({"min_samples": 200}, make_point(0.3, n_current=199), Finding.NO_DATA),
        ({"min_samples": 200}, make_point(0.3, n_current=200), Finding.BREACH),
        # The rule's own number stands over the collector's verdict.
        ({"min_samples": 50}, make_point(0.3, n_current=60, verdict=Verdict.INSUFFICIENT), Finding.BREACH),
        ({"when": "> threshold", "resolve_when": None}, make_point(0.3, threshold=0.25), Finding.BREACH),
        ({"when": "> threshold", "resolve_when": None}, make_point(0.3, threshold=0.35), Finding.CLEAR),
        ({"when": "> threshold", "resolve_when": None}, make_point(0.3, threshold=None), Finding.ERROR),
        ({"when": "> threshold", "resolve_when": "< 0.5 * threshold"}, make_point(0.3, threshold=0.35), Finding.BETWEEN),
    ],
)
def test_point_is_held_against_the_rule(changes: dict[str, object], point: MetricPoint, finding: Finding) -> None:
    assert only(make_rule(**changes), [point]).finding is finding


def test_observation_carries_what_was_compared() -> None:
    point = make_point(0.3, threshold=0.25, n_current=700)

    observation = only(make_rule(when="> threshold", resolve_when=None, labels={"severity": "page"}), [point])

    assert (observation.value, observation.threshold, observation.n_current) == (0.3, 0.25, 700)
    assert (observation.window_seconds, observation.at) == (300, point.at)
    assert observation.labels == {"model": "churn", "version": "1", "feature": "age", "severity": "page"}
    assert observation.reason == "PSI 0.3 > 0.25"


def test_each_series_is_judged_by_itself() -> None:
    points = [make_point(0.3), make_point(0.01, feature="income"), make_point(0.3, version="2")]

    findings = {tuple(o.labels.values()): o.finding for o in found(make_rule(where={"feature": "*"}), points)}

    assert findings == {
        ("churn", "1", "age"): Finding.BREACH,
        ("churn", "1", "income"): Finding.CLEAR,
        ("churn", "2", "age"): Finding.BREACH,
    }


def test_shadow_and_segments_are_not_judged_unless_named() -> None:
    points = [make_point(0.3), make_point(0.3, role="shadow"), make_point(0.3, segment="country=US")]

    assert len(found(make_rule(), points)) == 1
    assert len(found(make_rule(where={"role": "shadow"}), points)) == 1


# ---------------------------------------------------------------------------------------------- windows and age


@pytest.mark.parametrize(
    ("window", "newest", "judged"),
    [
        (timedelta(hours=1), {}, 3600),
        (None, {300: NOW, 3600: NOW, 86400: NOW - timedelta(hours=2)}, 300),
        (None, {0: NOW}, 0),
        (None, {}, None),
        # The shortest was taken out of the settings half an hour ago.
        (None, {300: NOW - timedelta(minutes=30), 600: NOW}, 600),
        # The collector stopped: nothing tells of now, least of all the longest window.
        (None, {300: NOW - timedelta(hours=9), 86400: NOW - timedelta(hours=9)}, 300),
    ],
)
def test_window_is_the_named_one_or_the_shortest_that_is_written(
    window: timedelta | None, newest: dict[int, datetime], judged: int | None
) -> None:
    assert judged_window(make_rule(window=window), newest, FRESHNESS) == judged


@pytest.mark.parametrize(
    ("freshness", "rule", "window_seconds", "limit"),
    [
        (Freshness(), make_rule(), 300, seconds(185)),
        (Freshness(), make_rule(), 3600, timedelta(minutes=15, seconds=5)),
        (Freshness(), make_rule(interval=timedelta(minutes=10)), 300, timedelta(minutes=30, seconds=5)),
        (
            Freshness(collect_interval=seconds(1), rollup=seconds(1), window_lag=seconds(0)),
            make_rule(interval=seconds(1)),
            12,
            seconds(15),
        ),
        (Freshness(), make_rule(metric="accuracy"), 300, timedelta(days=1, seconds=185)),
        (Freshness(), make_rule(metric="memory_percent"), 0, seconds(185)),
    ],
)
def test_point_ages_by_rounds_of_the_collector(freshness: Freshness, rule: Rule, window_seconds: int, limit: timedelta) -> None:
    assert freshness.limit(rule, window_seconds) == limit


def test_old_point_says_nothing() -> None:
    assert found(make_rule(), [make_point(0.3, at=NOW - timedelta(hours=1))]) == []


def test_newest_window_with_enough_labels_is_judged() -> None:
    rule = make_rule(metric="accuracy", when="< 0.8", resolve_when=None, min_samples=100)
    points = [
        make_point(0.95, name="accuracy", at=NOW, n_current=3),
        make_point(0.7, name="accuracy", at=NOW - timedelta(hours=2), n_current=500),
    ]

    observation = only(rule, points)

    assert (observation.finding, observation.n_current) == (Finding.BREACH, 500)


# ---------------------------------------------------------------------------------------------- without a series


def row_of(rule: Rule, point: MetricPoint, **changes: object) -> AlertRow:
    observation = only(rule, [replace(point, at=NOW)])
    row = make_alert(fingerprint=observation.fingerprint, labels=dict(observation.labels), last_point_at=point.at)
    return replace(row, **changes)  # type: ignore[arg-type]


def test_silence_of_a_whole_model_is_no_data() -> None:
    rule = make_rule(where={"feature": "*"})
    row = row_of(rule, make_point(at=NOW - timedelta(minutes=10)))

    observation = found(rule, [make_point(0.01, model="fraud")], [row])[1]

    assert observation.finding is Finding.NO_DATA
    assert observation.reason == "no data since 2026-03-01 11:50:00 UTC"


def test_series_that_others_outlive_is_missing_first_and_gone_later() -> None:
    rule = make_rule(where={"feature": "*"})
    old = make_point(at=NOW - timedelta(minutes=10))
    other = make_point(0.01, version="2")

    first = found(rule, [other], [row_of(rule, old)])[1]
    second = found(rule, [other], [row_of(rule, old, health=AlertHealth.NO_DATA)])[1]

    assert first.finding is Finding.MISSING
    assert second.finding is Finding.GONE
    assert "ended" in second.reason


def test_kept_alert_ends_after_a_day_without_data() -> None:
    rule = make_rule()
    row = row_of(rule, make_point(at=NOW - FORGET_AFTER - timedelta(hours=1)))

    observation = only(rule, [], [row])

    assert observation.finding is Finding.GONE
    assert observation.reason == "no data for 1d; whether it is over is not known"


@pytest.mark.parametrize(("days", "finding"), [(6, Finding.NO_DATA), (8, Finding.GONE)])
def test_alert_on_missing_data_ends_after_a_week(days: int, finding: Finding) -> None:
    rule = make_rule(no_data=Policy.ALERT)

    observation = only(rule, [], [row_of(rule, make_point(at=NOW - timedelta(days=days)))])

    assert observation.finding is finding


def test_rule_that_names_nothing_takes_an_empty_database_for_no_silence() -> None:
    assert found(make_rule(no_data=Policy.ALERT, where={"model": "*"}), []) == []


def test_only_what_has_an_effect_is_observed_where_that_is_asked_for() -> None:
    rule = make_rule(where={"feature": "*"})
    points = [
        make_point(0.3),
        make_point(0.01, feature="calm"),
        make_point(0.01, feature="live"),
        make_point(None, feature="empty"),
    ]
    row = row_of(rule, points[2])

    seen = observe(rule, points, [row], freshness=FRESHNESS, now=NOW, all_series=False)

    assert {one.labels["feature"]: one.finding for one in seen} == {"age": Finding.BREACH, "live": Finding.CLEAR}


def test_alert_that_the_rule_no_longer_selects_is_gone() -> None:
    row = row_of(make_rule(), make_point())

    narrowed = only(make_rule(where={"model": "fraud"}), [], [row])
    relabelled = only(make_rule(labels={"severity": "page"}), [], [row])

    assert {narrowed.finding, relabelled.finding} == {Finding.GONE}


def test_alert_that_is_over_needs_no_observation() -> None:
    row = row_of(make_rule(), make_point(at=NOW - timedelta(days=3)), state=AlertState.RESOLVED)

    assert found(make_rule(), [], [row]) == []


def test_rule_that_alerts_on_no_data_sees_a_series_fall_silent() -> None:
    rule = make_rule(no_data=Policy.ALERT)
    silent = make_point(0.01, at=NOW - timedelta(minutes=10))

    observation = only(rule, [silent])

    assert observation.finding is Finding.NO_DATA
    assert observation.labels["feature"] == "age"


def test_rule_that_alerts_on_no_data_takes_a_replaced_version_for_no_silence() -> None:
    rule = make_rule(no_data=Policy.ALERT)
    points = [make_point(0.01, at=NOW - timedelta(minutes=10)), make_point(0.01, version="2")]

    assert [o.finding for o in found(rule, points)] == [Finding.CLEAR]


def test_rule_that_alerts_on_no_data_tells_of_a_metric_that_is_not_there() -> None:
    rule = make_rule(no_data=Policy.ALERT, where={"model": "churn", "feature": "*"})

    observation = only(rule, [])

    assert (observation.finding, observation.labels) == (Finding.NO_DATA, {"model": "churn"})


def test_alert_on_a_missing_metric_ends_when_data_comes() -> None:
    rule = make_rule(no_data=Policy.ALERT, where={"model": "churn"})
    missing = only(rule, [])
    row = make_alert(fingerprint=missing.fingerprint, labels=dict(missing.labels), last_point_at=None)

    observations = found(rule, [make_point(0.01)], [row])

    assert [o.finding for o in observations] == [Finding.CLEAR, Finding.GONE]


def test_fingerprint_depends_on_rule_and_labels_and_not_on_their_order() -> None:
    assert fingerprint("A", {"a": "1", "b": "2"}) == fingerprint("A", {"b": "2", "a": "1"})
    assert fingerprint("A", {"a": "1"}) != fingerprint("B", {"a": "1"})
    assert fingerprint("A", {"a": "1"}) != fingerprint("A", {"a": "2"})
    assert fingerprint("A", {"a": '1","b":"2'}) != fingerprint("A", {"a": "1", "b": "2"})

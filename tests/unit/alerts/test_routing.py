"""The tree of routes: which nodes an alert finds, what they inherit, and what a file cannot say."""

from __future__ import annotations

from datetime import time, timedelta
from zoneinfo import ZoneInfo

import pytest

from alerts.receivers import Receiver
from alerts.routing import Digest, Escalation, Route
from alerts.rules import RulesError, parse_rules
from tests.unit.alerts.timeline import routing

TREE = """
routes:
  receiver: oncall
  group_by: [model, team]
  group_wait: 10s
  mute: nights
  routes:
    - match: {severity: [critical, page]}
      receiver: boss
      continue: true
      group_wait: 0s
    - match: {team: risk*}
      group_by: []
      repeat_interval: 1d
      routes:
        - {match: {alert: "*Drift", model: "!test?"}, receiver: head, mute: []}
        - {match: {alert: EndpointDown}, receiver: boss}
    - match: {team: risky}
      receiver: quiet
mute_windows:
  - {name: nights, times: [{from: "22:00", to: "24:00"}, {from: "00:00", to: "07:00"}]}
"""


@pytest.mark.parametrize(
    ("labels", "paths"),
    [
        ({}, [""]),
        ({"severity": "critical"}, ["0"]),
        ({"severity": "page", "team": "risk"}, ["0", "1"]),
        ({"team": "risk", "alert": "FeatureDrift", "model": "churn"}, ["1.0"]),
        ({"team": "risk", "alert": "FeatureDrift", "model": "test1"}, ["1"]),
        ({"team": "risk", "alert": "EndpointDown"}, ["1.1"]),
        ({"team": "risky"}, ["1"]),  # the first that fits
        ({"severity": "critical", "team": "risk", "alert": "EndpointDown"}, ["0", "1.1"]),
    ],
)
def test_alert_finds_its_routes(labels: dict[str, str], paths: list[str]) -> None:
    assert [route.path for route in routing(TREE).root.find(labels)] == paths


def test_child_has_from_its_parent_what_it_does_not_say() -> None:
    routes = {route.path: route for route in routing(TREE).root.walk()}

    assert [routes[path].receiver for path in ("", "0", "1", "1.0", "2")] == ["oncall", "boss", "oncall", "head", "quiet"]
    assert [routes[path].group_by for path in ("", "0", "1", "1.0")] == [("model", "team"), ("model", "team"), (), ()]
    assert [routes[path].group_wait.total_seconds() for path in ("", "0", "1.0")] == [10, 0, 10]
    assert [routes[path].repeat_interval for path in ("1.1", "2")] == [timedelta(days=1), timedelta(hours=4)]
    assert [routes[path].mute for path in ("0", "1.0")] == [("nights",), ()]


def test_escalations_are_in_order_and_digests_have_zones() -> None:
    found = routing(
        """
routes:
  receiver: oncall
  escalate: [{after: 1h, receiver: head}, {after: 15m, receiver: boss}]
  routes:
    - {match: {severity: info}, digest: {at: ["17:30", "09:00"], time_zone: Europe/Berlin, weekdays: [mon, fri]}}
"""
    )

    steps = [Escalation(after=timedelta(minutes=15), receiver="boss"), Escalation(after=timedelta(hours=1), receiver="head")]
    assert found.root.escalate == tuple(steps)
    digest = Digest(at=(time(9), time(17, 30)), zone=ZoneInfo("Europe/Berlin"), weekdays=frozenset({0, 4}))
    assert found.root.routes[0].digest == digest


def test_file_without_receivers_tells_the_receiver_of_the_settings() -> None:
    rules = parse_rules("routes: {routes: [{match: {severity: info}, group_wait: 5m}]}", "rules.yml")
    found = rules.routing.with_fallback(Receiver(name="default", slack=True))

    assert [route.receiver for route in found.root.walk()] == ["default", "default"]
    assert found.receiver("default") == Receiver(name="default", slack=True)
    assert routing(TREE).with_fallback(Receiver(name="default")) == routing(TREE)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("routes: {match: {model: churn}}", "the root is for everything"),
        ("routes: {routes: [{receiver: nobody}]}", 'routes: route number 1: receiver "nobody" does not exist'),
        ("routes: {escalate: [{after: 5m, receiver: nobody}]}", 'receiver "nobody" does not exist'),
        ("routes: {escalate: [{after: 0s, receiver: boss}]}", "longer than zero"),
        ("routes: {mute: nights}", 'there is no mute window "nights"'),
        ("routes: {only: [nights]}", 'there is no mute window "nights"'),
        ("routes: {group_interval: 5h}", "repeat_interval is shorter than group_interval"),
        ("routes: {digest: {at: '09:00'}, escalate: [{after: 5m, receiver: boss}]}", "a digest does not escalate"),
        ("routes: {digest: {at: '9 am'}}", "is not a time of day"),
        ("routes: {digest: {at: '09:00', time_zone: Berlin}}", "is not a time zone"),
        ("inhibit: [{source: {}, target: {alert: a}}]", "source"),
        ("mute_windows: [{name: a, days_of_month: [0]}]", "-1 is the last one"),
        ("mute_windows: [{name: a}, {name: a}]", "the name is used twice"),
    ],
)
def test_mistake_is_named(text: str, problem: str) -> None:
    with pytest.raises(RulesError) as caught:
        routing(text)

    assert problem in str(caught.value)


def test_route_by_itself_is_for_everything() -> None:
    route = Route(path="", receiver="r")

    assert route.find({"alert": "a"}) == (route,)

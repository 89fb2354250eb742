"""Inhibition and silences: which alerts nobody is told of."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.inhibition import inhibited
from alerts.routing import Inhibition
from alerts.silencing import silenced
from storage.matchers import Matchers
from storage.records import AlertRow, Silence
from tests.unit.alerts.rows import NOW, make_alert


def alert(name: str, **labels: str) -> AlertRow:
    return make_alert(fingerprint=name, rule=name.split("-")[0], labels=labels)


def inhibition(source: dict[str, str], target: dict[str, str], *equal: str) -> Inhibition:
    return Inhibition(source=Matchers.of(source), target=Matchers.of(target), equal=equal)


DOWN_HIDES_DRIFT = inhibition({"alert": "EndpointDown"}, {"alert": "*Drift"}, "model")
CRITICAL_HIDES_ALL = inhibition({"severity": "critical"}, {"alert": "*"})


@pytest.mark.parametrize(
    ("rules", "alerts", "hidden"),
    [
        (
            [DOWN_HIDES_DRIFT],
            [alert("EndpointDown", model="churn"), alert("FeatureDrift", model="churn")],
            {"FeatureDrift": "EndpointDown"},
        ),
        ([DOWN_HIDES_DRIFT], [alert("FeatureDrift", model="churn")], {}),
        ([DOWN_HIDES_DRIFT], [alert("EndpointDown", model="fraud"), alert("FeatureDrift", model="churn")], {}),
        # A label that only one of them has is not equal; one that neither has is.
        ([DOWN_HIDES_DRIFT], [alert("EndpointDown"), alert("FeatureDrift", model="churn")], {}),
        ([DOWN_HIDES_DRIFT], [alert("EndpointDown"), alert("FeatureDrift")], {"FeatureDrift": "EndpointDown"}),
        # An alert that matches both sides: not by itself, and not by others that do so, too.
        ([CRITICAL_HIDES_ALL], [alert("A", severity="critical")], {}),
        (
            [CRITICAL_HIDES_ALL],
            [alert("A", severity="critical"), alert("B", severity="critical"), alert("C", severity="warning")],
            {"C": "A"},
        ),
        # A circle over two rules hides neither; what they both hide stays hidden.
        (
            [
                inhibition({"alert": "A"}, {"alert": "B"}),
                inhibition({"alert": "B"}, {"alert": "A"}),
                inhibition({"alert": "B"}, {"alert": "C"}),
            ],
            [alert("A"), alert("B"), alert("C")],
            {"C": "B"},
        ),
        (
            [inhibition({"alert": one}, {"alert": other}) for one, other in ("AB", "BC", "CA")],
            [alert("A"), alert("B"), alert("C")],
            {},
        ),
        # A circle that only hangs together where the third is there.
        (
            [inhibition({"alert": one}, {"alert": other}) for one, other in ("AB", "BC", "CA")],
            [alert("A"), alert("B")],
            {"B": "A"},
        ),
        # A chain: an inhibited source inhibits all the same.
        (
            [inhibition({"alert": "A"}, {"alert": "B"}), inhibition({"alert": "B"}, {"alert": "C"})],
            [alert("A"), alert("B"), alert("C")],
            {"B": "A", "C": "B"},
        ),
        # A source outside of the circle hides all of it.
        (
            [
                inhibition({"alert": "A"}, {"alert": "B"}),
                inhibition({"alert": "B"}, {"alert": "A"}),
                inhibition({"alert": "D"}, {"alert": "?"}),
            ],
            [alert("A"), alert("B"), alert("D")],
            {"A": "D", "B": "D"},
        ),
    ],
)
def test_inhibition(rules: list[Inhibition], alerts: list[AlertRow], hidden: dict[str, str]) -> None:
    assert inhibited(alerts, rules) == {name: f"inhibited by {source}" for name, source in hidden.items()}


names = st.sampled_from("ABCDEF")


@settings(deadline=None)
@given(st.lists(st.tuples(names, names), max_size=12), st.sets(names))
def test_alert_is_inhibited_by_what_it_does_not_inhibit_itself(edges: list[tuple[str, str]], there: set[str]) -> None:
    found = inhibited([alert(name) for name in sorted(there)], [inhibition({"alert": a}, {"alert": b}) for a, b in edges])

    reach = {(a, b) for a, b in edges if a in there and b in there}
    for _ in there:
        reach |= {(a, d) for a, b in reach for c, d in reach if b == c}
    expected = {b for a, b in edges if a in there and b in there and (b, a) not in reach and a != b}
    assert set(found) == expected
    assert not there or set(found) != there, "somebody has to be told of something"


def test_inhibition_of_many_alerts_costs_little() -> None:
    alerts = [alert(f"A-{number}", severity="critical", model=f"m{number % 3}") for number in range(5000)]
    started = time.process_time()

    assert inhibited(alerts, [CRITICAL_HIDES_ALL, DOWN_HIDES_DRIFT]) == {}
    assert time.process_time() - started < 5


def silence(number: int, **matchers: list[str]) -> Silence:
    return Silence(
        matchers=matchers,
        starts_at=NOW,
        ends_at=NOW + timedelta(hours=1),
        author="ada",
        comment="",
        created_at=NOW,
        id=number,
    )


def test_silence_hides_what_matches_and_the_oldest_is_named() -> None:
    alerts = [alert("FeatureDrift", model="churn"), alert("EndpointDown", model="churn"), alert("Other", model="fraud")]
    silences = [silence(3, model=["churn"], alert=["*Drift"]), silence(5, model=["ch*"])]

    assert silenced(alerts, silences) == {"FeatureDrift": "silence 3", "EndpointDown": "silence 5"}
    assert silenced(alerts, []) == {}

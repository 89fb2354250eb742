"""Routing: the same subject, the same version; shares as the weight says; nobody moves back as it grows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.routing import pinned, place, split
from storage.records import Deployment, Mode, Role
from tests.factories import NOW

DEPLOYMENT = Deployment(
    model="churn",
    mode=Mode.AB,
    champion="1",
    challenger="2",
    weight=0.3,
    salt="5eed",
    at=NOW,
    actor="ana",
    action="deploy",
    reason="",
)
SUBJECTS = [f"customer-{number}" for number in range(20_000)]


def test_a_subject_meets_the_same_version_every_time() -> None:
    first = [split(DEPLOYMENT, subject, "r1").version for subject in SUBJECTS[:500]]

    again = [split(DEPLOYMENT, subject, "r2").version for subject in SUBJECTS[:500]]

    assert first == again


@pytest.mark.parametrize("weight", [0.0, 0.05, 0.3, 0.5, 1.0])
def test_the_challenger_gets_the_share_of_its_weight(weight: float) -> None:
    deployment = replace(DEPLOYMENT, weight=weight)

    share = sum(split(deployment, subject, "").role is Role.CHALLENGER for subject in SUBJECTS) / len(SUBJECTS)

    # Five standard errors of a share of 20,000.
    assert share == pytest.approx(weight, abs=5 * (weight * (1 - weight) / len(SUBJECTS)) ** 0.5 + 1e-12)


@given(st.text(max_size=40), st.floats(0, 1), st.floats(0, 1))
def test_no_subject_leaves_the_challenger_when_the_weight_grows(subject: str, one: float, other: float) -> None:
    smaller, larger = sorted((one, other))
    before = split(replace(DEPLOYMENT, weight=smaller), subject, "")

    after = split(replace(DEPLOYMENT, weight=larger), subject, "")

    assert before.role is Role.CHAMPION or after.role is Role.CHALLENGER


def test_another_salt_places_subjects_anew() -> None:
    places = [(place("a", subject), place("b", subject)) for subject in SUBJECTS[:1000]]

    moved = sum((first < 0.5) != (second < 0.5) for first, second in places)

    assert 400 < moved < 600


def test_without_a_subject_the_request_decides_and_the_reason_says_so() -> None:
    routes = [split(DEPLOYMENT, None, f"request-{number}") for number in range(2000)]

    assert {route.version for route in routes} == {"1", "2"}
    assert all(route.reason.startswith("request (no subject)") for route in routes)


def test_mode_single_sends_all_to_the_champion() -> None:
    deployment = replace(DEPLOYMENT, mode=Mode.SINGLE, challenger=None, weight=0.0)

    assert {split(deployment, subject, "").version for subject in SUBJECTS[:100]} == {"1"}


def test_a_pinned_version_has_its_own_role() -> None:
    assert (pinned("7").version, pinned("7").role) == ("7", Role.PINNED)

"""What counts of a series: some of its newest points, and the change against an earlier time."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.freshness import Freshness
from alerts.lifecycle import Finding
from alerts.readings import change_between, read
from alerts.rules import Change, Rule
from storage.records import MetricPoint, Verdict
from tests.unit.alerts.rows import NOW, make_point, make_rule, seconds

FRESHNESS = Freshness()
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
VALUES = {"B": 0.3, "c": 0.05, "~": 0.15}


def course(text: str, **changes: Any) -> list[MetricPoint]:
    """A point a minute, the newest last: B a problem, c clear, ~ between, i over too little data, - none."""
    points = []
    for age, letter in enumerate(reversed(text)):
        verdict = Verdict.INSUFFICIENT if letter == "i" else Verdict.OK
        if letter != "-":
            at = NOW - seconds(10) - age * MINUTE
            points.append(make_point(VALUES.get(letter, 0.3), at=at, verdict=verdict, **changes))
    return points


def found(rule: Rule, points: list[MetricPoint]) -> Finding:
    return read(rule, {}, points, FRESHNESS).finding


# ---------------------------------------------------------------------------------------------- some of the newest


@pytest.mark.parametrize(
    ("points", "text", "finding"),
    [
        ((3, 5), "BBBcc", Finding.BREACH),
        ((3, 5), "ccBBB", Finding.BREACH),
        ((3, 5), "BcBcB", Finding.BREACH),
        ((3, 5), "BBccc", Finding.CLEAR),
        # Older points no longer count.
        ((3, 5), "BBBcBcc", Finding.CLEAR),
        # Neither enough problems, nor so many that are clear that there cannot be enough.
        ((3, 5), "BBcc~", Finding.BETWEEN),
        ((3, 5), "B~~~c", Finding.BETWEEN),
        ((3, 5), "ccc~B", Finding.CLEAR),
        # Three problems are enough before there are five points, three that are clear as well; two of each decide nothing.
        ((3, 5), "BBB", Finding.BREACH),
        ((3, 5), "ccc", Finding.CLEAR),
        ((3, 5), "BBcc", Finding.NO_DATA),
        # What rests on too little data is not counted, nor does it push anything out.
        ((3, 5), "BiBiB", Finding.BREACH),
        ((2, 2), "BB", Finding.BREACH),
        ((2, 2), "cB", Finding.CLEAR),
        ((1, 3), "Bcc", Finding.BREACH),
        ((1, 3), "ccc", Finding.CLEAR),
        # From before a gap of the collector nothing is among the last ones.
        ((3, 3), "BB" + "-" * 20 + "B", Finding.NO_DATA),
    ],
)
def test_some_of_the_last_points_decide(points: tuple[int, int], text: str, finding: Finding) -> None:
    assert found(make_rule(points=points), course(text)) is finding


def test_reason_counts_the_points() -> None:
    reading = read(make_rule(points=(3, 5)), {}, course("BBBcB"), FRESHNESS)

    assert reading.reason == "PSI 0.3; 4 of the last 5 points > 0.2"
    assert reading.value == 0.3


@given(st.lists(st.sampled_from("Bc"), min_size=1, max_size=12), st.integers(1, 6), st.integers(0, 6))
def test_without_hysteresis_as_many_problems_as_asked_for_are_one(letters: list[str], least: int, more: int) -> None:
    of = least + more
    rule = make_rule(points=(least, of), resolve_when=None)
    text = "".join(letters)

    finding = found(rule, course(text))

    problems, known = text[-of:].count("B"), len(text[-of:])
    if problems >= least:
        assert finding is Finding.BREACH
    elif problems + of - known >= least:
        assert finding is Finding.NO_DATA
    else:
        assert finding is Finding.CLEAR


def test_point_that_is_read_twice_counts_once() -> None:
    points = course("Bcc")

    assert found(make_rule(points=(2, 3)), [*points, points[-1], points[-1]]) is Finding.CLEAR


# ---------------------------------------------------------------------------------------------- against an earlier time


def then_and_now(then: float | None, now: float, *, back: timedelta = DAY, **changes: Any) -> list[MetricPoint]:
    newest = make_point(now)
    return [newest, make_point(then, at=newest.at - back, **changes)]


def change_rule(when: str = "< -20%", **changes: Any) -> Rule:
    return make_rule(when=when, resolve_when=None, change=Change(against=DAY, **changes))


@pytest.mark.parametrize(
    ("rule", "points", "finding"),
    [
        (change_rule(), then_and_now(1.0, 0.79), Finding.BREACH),
        (change_rule(), then_and_now(1.0, 0.81), Finding.CLEAR),
        (change_rule(), then_and_now(-1.0, -1.3), Finding.BREACH),
        (change_rule("> 50%"), then_and_now(0.2, 0.31), Finding.BREACH),
        (change_rule("< -0.1", is_relative=False), then_and_now(0.9, 0.75), Finding.BREACH),
        (change_rule("< -0.1", is_relative=False), then_and_now(0.9, 0.85), Finding.CLEAR),
        # Nothing to hold it against.
        (change_rule(), [make_point(0.1)], Finding.NO_DATA),
        (change_rule(), then_and_now(None, 0.1), Finding.NO_DATA),
        (change_rule(), then_and_now(0.0, 0.1), Finding.NO_DATA),
        (change_rule(), then_and_now(1.0, 0.1, verdict=Verdict.INSUFFICIENT), Finding.NO_DATA),
        (change_rule("> 0.05", is_relative=False), then_and_now(0.0, 0.1), Finding.BREACH),
        # The earlier point may be a step and a half away, or as far as the rule says.
        (change_rule(), then_and_now(1.0, 0.1, back=DAY + seconds(80)), Finding.BREACH),
        (change_rule(), then_and_now(1.0, 0.1, back=DAY + seconds(100)), Finding.NO_DATA),
        (change_rule(tolerance=timedelta(minutes=5)), then_and_now(1.0, 0.1, back=DAY - seconds(290)), Finding.BREACH),
        (change_rule(), then_and_now(1.0, 0.1, back=timedelta(days=7)), Finding.NO_DATA),
    ],
)
def test_value_is_held_against_the_same_time_of_another_day(rule: Rule, points: list[MetricPoint], finding: Finding) -> None:
    assert found(rule, points) is finding


def test_nearest_point_of_the_earlier_time_counts() -> None:
    points = [*then_and_now(1.0, 0.9), make_point(5.0, at=NOW - DAY - seconds(70))]

    assert found(change_rule(), points) is Finding.CLEAR


def test_change_is_told_as_a_share() -> None:
    reading = read(change_rule(), {}, then_and_now(0.8, 0.6), FRESHNESS)

    assert reading.value == pytest.approx(-0.25)
    assert reading.reason == "change of the PSI -25 % < -20 %"


def test_missing_counterpart_says_so() -> None:
    assert read(change_rule(), {}, [make_point(0.1)], FRESHNESS).reason == "no point of 1d earlier to hold it against"


def test_some_of_the_last_changes_decide() -> None:
    newest = course("BBcBB")
    earlier = [make_point(1.0, at=point.at - DAY) for point in newest[:4]]

    rule = make_rule(when="< -20%", resolve_when=None, change=Change(against=DAY), points=(4, 5))
    assert found(rule, newest + earlier) is Finding.BREACH
    assert found(rule, newest + earlier[:1]) is Finding.NO_DATA


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_change_is_the_difference_or_its_share(earlier: float, now: float) -> None:
    assert change_between(earlier, now, is_relative=False) == now - earlier
    relative = change_between(earlier, now, is_relative=True)
    if earlier == 0:
        assert relative is None
    else:
        assert relative == pytest.approx((now - earlier) / abs(earlier))

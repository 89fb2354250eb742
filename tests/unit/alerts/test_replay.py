"""Rules played over points of the past."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from alerts.freshness import Freshness
from alerts.receivers import Receiver
from alerts.replay import Pages, Replay, looks_back, playable, replay
from alerts.rule_files import DEFAULT_RULES, read_rules
from alerts.rules import parse_rules
from alerts.virtual_points import PointHistory
from storage.records import MetricPoint
from tests.unit.alerts.rows import make_point

START = datetime(2026, 3, 2, tzinfo=UTC)
FALLBACK = Receiver(name="default", slack=True)
RULES = """
groups:
  - name: g
    rules:
      - {alert: Drift, metric: drift_psi, where: {feature: "*"}, when: "> 0.2", labels: {severity: critical}}
      - {alert: Asked, promql: up, when: "< 1"}
      - {alert: Budget, burn_rate: {objective: error_rate, target: 99%}}
      - {alert: Disk, metric: disk_percent, when: "> 90"}
routes: {group_wait: 0s, repeat_interval: 1h}
"""


def stored(points: Iterable[MetricPoint]) -> Pages:
    """Points in pages of three."""
    found = sorted(points, key=lambda point: point.at)

    def pages(names: frozenset[str], start: datetime, end: datetime) -> Iterable[Sequence[MetricPoint]]:
        wanted = [point for point in found if point.name in names and start <= point.at < end]
        return [wanted[i : i + 3] for i in range(0, len(wanted), 3)]

    return pages


def played(points: Iterable[MetricPoint], text: str = RULES, hours: float = 24, warm_up: timedelta = timedelta(0)) -> Replay:
    end = START + timedelta(hours=hours)
    return replay(
        parse_rules(text, "rules.yml"),
        stored(points),
        start=START,
        end=end,
        freshness=Freshness(),
        fallback=FALLBACK,
        warm_up=warm_up,
    )


def minutes(first: int, last: int, value: float) -> list[MetricPoint]:
    return [make_point(value, at=START + timedelta(minutes=minute)) for minute in range(first, last)]


def test_problem_is_told_repeated_and_ended_and_counted_by_the_week() -> None:
    found = played([*minutes(0, 60, 0.1), *minutes(60, 150, 0.3), *minutes(150, 200, 0.1)])

    told = [((one.at - START) / timedelta(minutes=1), one.kind, one.is_page) for one in found.told]
    assert told == [(61, "firing", True), (121, "repeat", True), (151, "resolved", False)]
    [load] = found.receivers
    assert (load.receiver, load.channels, load.messages, load.pages) == ("default", ("slack",), 3, 2)
    assert (load.messages_per_week, load.pages_per_week) == (21.0, 14.0)
    assert found.points == 200


def test_quiet_history_tells_nobody_and_an_empty_one_says_so() -> None:
    quiet, empty = played(minutes(0, 100, 0.1)), played([])

    assert (quiet.told, quiet.first) == ((), START)
    assert (empty.told, empty.first, empty.receivers[0].messages) == ((), None, 0)


def test_week_is_reckoned_from_the_first_point_where_history_begins_late() -> None:
    found = played(minutes(720, 780, 0.3), hours=24)

    assert found.first == START + timedelta(hours=12)
    assert found.receivers[0].messages_per_week == len(found.told) * 14


def test_points_before_the_start_are_known_at_the_start() -> None:
    before = [make_point(0.3, at=START - timedelta(minutes=1))]

    assert played(before).told == ()
    assert played(before, warm_up=timedelta(minutes=5)).told[0].at == START


def test_rules_that_points_do_not_decide_are_left_out_and_named() -> None:
    found = played([])

    assert [one.split(":")[0] for one in found.left_out] == ["Asked", "Budget", "Disk", "DataSourceFailing"]
    assert [rule.name for rule in playable(parse_rules(RULES, "rules.yml"))[0].rules] == ["Drift"]


def test_clock_is_reported_and_never_goes_back() -> None:
    at: list[datetime] = []

    replay(
        parse_rules(RULES, "rules.yml"),
        stored(minutes(0, 30, 0.3)),
        start=START,
        end=START + timedelta(hours=1),
        freshness=Freshness(),
        fallback=FALLBACK,
        passed=at.append,
    )

    assert at == sorted(at)
    assert len(at) >= 60
    assert START <= at[0] <= at[-1] < START + timedelta(hours=1)


def test_no_more_points_are_kept_than_rules_look_back_to() -> None:
    text = RULES.replace('when: "> 0.2"', 'when: "> 0.2", points: 3 of 5')
    history = PointHistory(playable(parse_rules(text, "rules.yml"))[0].rules, Freshness())
    rule = parse_rules(text, "rules.yml").rules[0]

    for minute in range(5000):
        history.add(minutes(minute, minute + 1, 0.1))
        history.of(history.resolved(rule), START + timedelta(minutes=minute))

    assert history.points < 300


@pytest.mark.parametrize(
    ("change", "least"),
    [("", timedelta(minutes=3)), (", points: 3 of 5", timedelta(minutes=9)), (", change: {against: 7d}", timedelta(days=7))],
)
def test_rules_look_back_as_far_as_they_say(change: str, least: timedelta) -> None:
    rules = parse_rules(RULES.replace('when: "> 0.2"', f'when: "> 0.2"{change}'), "rules.yml")

    assert least <= looks_back(rules, lambda _: [300], Freshness()) < 2 * least


def test_shipped_rules_can_be_replayed_but_for_those_that_are_named() -> None:
    rules, left_out = playable(read_rules(DEFAULT_RULES))

    assert len(rules.rules) > 25
    assert len(left_out) < 10

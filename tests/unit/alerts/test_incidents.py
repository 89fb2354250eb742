"""Who is told of what, when: timelines on a virtual clock. Seconds are counted from a Monday noon, UTC."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from alerts.grouping import incident_key
from alerts.routing import Route
from tests.unit.alerts.rows import make_alert
from tests.unit.alerts.timeline import ROUTES, Timeline, routing

MINUTE = 60
HOUR = 3600
Script = Callable[[Timeline], list[tuple[int, Callable[[], object]]]]


def play(text: str, script: Script, until: int) -> list[tuple[int, str]]:
    """What is told; planning only when something is due or changed, and planning every second, has to come to the same."""
    sparse, dense = Timeline(routing(text)), Timeline(routing(text), every_second=True)
    heard = sparse.run(*script(sparse), until=until)
    if until <= 20 * MINUTE:
        assert heard == dense.run(*script(dense), until=until)
    return heard


CASES: dict[str, tuple[Script, int, list[tuple[int, str]]]] = {
    "first message waits for group_wait": (
        lambda t: [(0, lambda: t.fire("a")), (10, lambda: t.fire("b"))],
        MINUTE,
        [(30, "firing to oncall: +a +b")],
    ),
    "what ends before it was told is not told": (
        lambda t: [(0, lambda: t.fire("a")), (29, lambda: t.end("a"))],
        10 * MINUTE,
        [],
    ),
    "of two alerts the one that ended before it was told is left out": (
        lambda t: [(0, lambda: t.fire("a", "b")), (29, lambda: t.end("a"))],
        MINUTE,
        [(30, "firing to oncall: +b")],
    ),
    "end is told at once": (
        lambda t: [(0, lambda: t.fire("a")), (45, lambda: t.end("a"))],
        10 * MINUTE,
        [(30, "firing to oncall: +a"), (45, "resolved to oncall: -a")],
    ),
    "new alert waits for group_interval": (
        lambda t: [(0, lambda: t.fire("a")), (60, lambda: t.fire("b"))],
        10 * MINUTE,
        [(30, "firing to oncall: +a"), (330, "update to oncall: a +b")],
    ),
    "partial end waits for group_interval": (
        lambda t: [(0, lambda: t.fire("a", "b")), (60, lambda: t.end("a"))],
        10 * MINUTE,
        [(30, "firing to oncall: +a +b"), (330, "update to oncall: -a b")],
    ),
    "changes of one interval are told together": (
        lambda t: [(0, lambda: t.fire("a", "b")), (60, lambda: t.fire("c")), (90, lambda: t.end("a"))],
        10 * MINUTE,
        [(30, "firing to oncall: +a +b"), (330, "update to oncall: -a b +c")],
    ),
    "after a quiet interval a new alert waits only for others of its kind": (
        lambda t: [(0, lambda: t.fire("a")), (600, lambda: t.fire("b")), (620, lambda: t.fire("c"))],
        15 * MINUTE,
        [(30, "firing to oncall: +a"), (630, "update to oncall: a +b +c")],
    ),
    "alert that came and went within an interval is not told": (
        lambda t: [(0, lambda: t.fire("a")), (60, lambda: t.fire("b")), (90, lambda: t.end("b"))],
        10 * MINUTE,
        [(30, "firing to oncall: +a")],
    ),
    "alert that ended and came back within an interval is no change": (
        lambda t: [(0, lambda: t.fire("a", "b")), (60, lambda: t.end("b")), (90, lambda: t.fire("b"))],
        10 * MINUTE,
        [(30, "firing to oncall: +a +b")],
    ),
    "alert that comes back after its end was told is new": (
        lambda t: [(0, lambda: t.fire("a", "b")), (60, lambda: t.end("b")), (400, lambda: t.fire("b"))],
        15 * MINUTE,
        [(30, "firing to oncall: +a +b"), (330, "update to oncall: a -b"), (630, "update to oncall: a +b")],
    ),
    "all over while a new one waits is an update, not an end": (
        lambda t: [(0, lambda: t.fire("a")), (60, lambda: t.fire("b")), (70, lambda: t.end("a"))],
        10 * MINUTE,
        [(30, "firing to oncall: +a"), (330, "update to oncall: -a +b")],
    ),
    "all over and the new one too before it was told": (
        lambda t: [(0, lambda: t.fire("a")), (60, lambda: t.fire("b")), (70, lambda: t.end("a")), (80, lambda: t.end("b"))],
        10 * MINUTE,
        [(30, "firing to oncall: +a"), (80, "resolved to oncall: -a")],
    ),
    "alert that comes back after the end is another incident": (
        lambda t: [(0, lambda: t.fire("a")), (45, lambda: t.end("a")), (50, lambda: t.fire("a"))],
        10 * MINUTE,
        [(30, "firing to oncall: +a"), (45, "resolved to oncall: -a"), (80, "firing to oncall: +a")],
    ),
    "models are told apart": (
        lambda t: [(0, lambda: t.fire("a")), (5, lambda: t.fire("b", model="fraud"))],
        MINUTE,
        [(30, "firing to oncall: +a"), (35, "firing to oncall: +b")],
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_timeline(case: tuple[Script, int, list[tuple[int, str]]]) -> None:
    script, until, expected = case

    assert play(ROUTES, script, until) == expected


def test_what_goes_on_unchanged_is_repeated() -> None:
    heard = play(ROUTES, lambda t: [(0, lambda: t.fire("a"))], 9 * HOUR)

    assert heard == [(30, "firing to oncall: +a"), (30 + 4 * HOUR, "repeat to oncall: a"), (30 + 8 * HOUR, "repeat to oncall: a")]


def test_update_puts_off_the_repeat() -> None:
    heard = play(ROUTES, lambda t: [(0, lambda: t.fire("a")), (HOUR, lambda: t.fire("b"))], 6 * HOUR)

    assert heard == [
        (30, "firing to oncall: +a"),
        (HOUR + 30, "update to oncall: a +b"),
        (5 * HOUR + 30, "repeat to oncall: a b"),
    ]


@pytest.mark.parametrize("hours", [-24, -1, 1, 24])
def test_clock_that_jumps_makes_nobody_wait_and_tells_nothing_twice(hours: int) -> None:
    timeline = Timeline()
    timeline.run((0, lambda: timeline.fire("a")), until=10)
    timeline.start += timedelta(hours=hours)
    timeline.plan()
    timeline.run((50, lambda: timeline.fire("b")), until=10 * MINUTE)
    timeline.start += timedelta(hours=hours)
    timeline.plan()
    timeline.run((10 * MINUTE + 5, lambda: timeline.end("a", "b")), until=12 * MINUTE)

    told = [text for _, text in timeline.heard if "repeat" not in text]
    assert told == ["firing to oncall: +a", "update to oncall: a +b", "resolved to oncall: -a -b"]
    seconds = [second for second, text in timeline.heard if "repeat" not in text]
    assert seconds[0] <= 40


# ---------------------------------------------------------------------------------------------- acknowledgement


def test_acknowledged_incident_is_not_repeated_and_its_end_is_told() -> None:
    heard = play(ROUTES, lambda t: [(0, lambda: t.fire("a")), (60, t.acknowledge), (10 * HOUR, lambda: t.end("a"))], 11 * HOUR)

    assert heard == [(30, "firing to oncall: +a"), (10 * HOUR, "resolved to oncall: -a")]


def test_new_alert_is_told_and_lifts_the_acknowledgement() -> None:
    timeline = Timeline()
    heard = timeline.run(
        (0, lambda: timeline.fire("a")), (60, timeline.acknowledge), (HOUR, lambda: timeline.fire("b")), until=6 * HOUR
    )

    assert heard[1:] == [(HOUR + 30, "update to oncall: a +b"), (5 * HOUR + 30, "repeat to oncall: a b")]
    (incident,) = timeline.open()
    assert (incident.acked_at, incident.acked_by, incident.ack_note) == (None, None, None)


def test_partial_end_leaves_the_acknowledgement() -> None:
    timeline = Timeline()
    heard = timeline.run(
        (0, lambda: timeline.fire("a", "b")), (60, timeline.acknowledge), (70, lambda: timeline.end("a")), until=6 * HOUR
    )

    assert heard == [(30, "firing to oncall: +a +b"), (330, "update to oncall: -a b")]
    assert timeline.open()[0].acked_by == "ada"


# ---------------------------------------------------------------------------------------------- escalation

ESCALATING = ROUTES.replace("}", ", escalate: [{after: 15m, receiver: boss}, {after: 1h, receiver: head}]}")


def test_nobody_acknowledges_so_others_are_told_and_hear_of_all_that_follows() -> None:
    heard = play(
        ESCALATING,
        lambda t: [(0, lambda: t.fire("a")), (1000, lambda: t.fire("b")), (2 * HOUR, lambda: t.end("a", "b"))],
        3 * HOUR,
    )

    assert heard == [
        (30, "firing to oncall: +a"),
        (900, "escalation to boss: a"),
        (1030, "update to oncall and boss: a +b"),
        (HOUR, "escalation to head: a b"),
        (2 * HOUR, "resolved to oncall and boss and head: -a -b"),
    ]


def test_acknowledgement_stops_the_escalation() -> None:
    heard = play(ESCALATING, lambda t: [(0, lambda: t.fire("a")), (1000, t.acknowledge)], 3 * HOUR)

    assert heard == [(30, "firing to oncall: +a"), (900, "escalation to boss: a")]


def test_after_a_lifted_acknowledgement_the_escalation_counts_anew() -> None:
    heard = play(ESCALATING, lambda t: [(0, lambda: t.fire("a")), (60, t.acknowledge), (2 * HOUR, lambda: t.fire("b"))], 3 * HOUR)

    lifted = 2 * HOUR + 30
    assert heard == [
        (30, "firing to oncall: +a"),
        (lifted, "update to oncall: a +b"),
        (lifted + 900, "escalation to boss: a b"),
    ]


def test_escalation_that_is_due_with_the_first_message_comes_with_it() -> None:
    text = ROUTES.replace("}", ", escalate: [{after: 10s, receiver: boss}, {after: 20s, receiver: head}]}")

    heard = play(text, lambda t: [(0, lambda: t.fire("a"))], MINUTE)

    assert heard == [(30, "firing to oncall: +a"), (30, "escalation to boss and head: a")]


# ---------------------------------------------------------------------------------------------- ends that are not wanted

QUIET = ROUTES.replace("oncall", "quiet")


def test_receiver_that_wants_no_ends_gets_none() -> None:
    timeline = Timeline(routing(QUIET))
    heard = timeline.run(
        (0, lambda: timeline.fire("a", "b")), (60, lambda: timeline.end("a")), (700, lambda: timeline.end("b")), until=HOUR
    )

    assert heard == [(30, "firing to quiet: +a +b")]
    assert timeline.open() == []


def test_ends_go_to_the_receivers_that_want_them() -> None:
    text = QUIET.replace("}", ", escalate: [{after: 1m, receiver: boss}]}")

    heard = play(text, lambda t: [(0, lambda: t.fire("a", "b")), (90, lambda: t.end("a")), (700, lambda: t.end("b"))], HOUR)

    assert heard == [
        (30, "firing to quiet: +a +b"),
        (60, "escalation to boss: a b"),
        (330, "update to boss: -a b"),
        (700, "resolved to boss: -b"),
    ]


# ---------------------------------------------------------------------------------------------- suppression

SUPPRESSED: dict[str, tuple[Script, int, list[tuple[int, str]]]] = {
    "silenced alert is told when the silence ends and it still fires": (
        lambda t: [(0, lambda: t.silence(600, alert="a")), (10, lambda: t.fire("a"))],
        15 * MINUTE,
        [(630, "firing to oncall: +a")],
    ),
    "silenced alert that ends under the silence is never told": (
        lambda t: [(0, lambda: t.silence(600, alert="a")), (10, lambda: t.fire("a")), (500, lambda: t.end("a"))],
        15 * MINUTE,
        [],
    ),
    "alert that is silenced before it was told is not told": (
        lambda t: [(0, lambda: t.fire("a")), (20, lambda: t.silence(600, alert="a"))],
        10 * MINUTE,
        [],
    ),
    "end of an alert that was told is told under a silence": (
        lambda t: [(0, lambda: t.fire("a")), (60, lambda: t.silence(6000, alert="*")), (100, lambda: t.end("a"))],
        10 * MINUTE,
        [(30, "firing to oncall: +a"), (100, "resolved to oncall: -a")],
    ),
    "partial end is told under a silence": (
        lambda t: [(0, lambda: t.fire("a", "b")), (60, lambda: t.silence(6000, alert="*")), (100, lambda: t.end("a"))],
        10 * MINUTE,
        [(30, "firing to oncall: +a +b"), (330, "update to oncall: -a b")],
    ),
    "silenced alert does not join an incident": (
        lambda t: [(0, lambda: t.fire("a")), (60, lambda: t.silence(700, alert="b")), (70, lambda: t.fire("b"))],
        18 * MINUTE,
        [(30, "firing to oncall: +a"), (760, "update to oncall: a +b")],
    ),
    "incident ends although a silenced alert of it goes on": (
        lambda t: [
            (0, lambda: t.fire("a")),
            (40, lambda: t.silence(6000, alert="b")),
            (50, lambda: t.fire("b")),
            (90, lambda: t.end("a")),
        ],
        10 * MINUTE,
        [(30, "firing to oncall: +a"), (90, "resolved to oncall: -a")],
    ),
}


@pytest.mark.parametrize("case", SUPPRESSED.values(), ids=SUPPRESSED.keys())
def test_silence(case: tuple[Script, int, list[tuple[int, str]]]) -> None:
    script, until, expected = case

    assert play(ROUTES, script, until) == expected


def test_nothing_is_repeated_or_escalated_while_all_of_it_is_silenced() -> None:
    heard = play(ESCALATING, lambda t: [(0, lambda: t.fire("a")), (60, lambda: t.silence(5 * HOUR, alert="a"))], 5 * HOUR + 120)

    assert heard == [
        (30, "firing to oncall: +a"),
        (5 * HOUR + 60, "repeat to oncall: a"),
        (5 * HOUR + 60, "escalation to boss and head: a"),
    ]


INHIBITING = ROUTES + "\ninhibit: [{source: {alert: down}, target: {alert: drift}, equal: [model]}]"


def test_inhibited_alert_is_told_when_its_source_is_over() -> None:
    heard = play(
        INHIBITING,
        lambda t: [(0, lambda: t.fire("drift")), (20, lambda: t.fire("down")), (600, lambda: t.end("down"))],
        15 * MINUTE,
    )

    assert heard == [(30, "firing to oncall: +down"), (600, "update to oncall: -down +drift")]


def test_inhibited_alert_that_ends_with_its_source_is_never_told() -> None:
    heard = play(INHIBITING, lambda t: [(0, lambda: t.fire("drift", "down")), (600, lambda: t.end("down", "drift"))], 15 * MINUTE)

    assert heard == [(30, "firing to oncall: +down"), (600, "resolved to oncall: -down")]


def test_silenced_source_inhibits_all_the_same() -> None:
    timeline = Timeline(routing(INHIBITING))
    heard = timeline.run((0, lambda: timeline.silence(HOUR, alert="down")), (1, lambda: timeline.fire("down", "drift")), until=600)

    assert heard == []
    assert timeline.suppressed == {"down": "silence 1", "drift": "inhibited by down"}


# Noon on Monday is the start: the window is open from 12:10 to 12:20.
MUTED = ROUTES.replace("}", ", mute: lunch}") + '\nmute_windows: [{name: lunch, times: [{from: "12:10", to: "12:20"}]}]'
ONLY = ROUTES.replace("}", ", only: lunch}") + '\nmute_windows: [{name: lunch, times: [{from: "12:10", to: "12:20"}]}]'


def test_alert_in_a_mute_window_is_told_after_it() -> None:
    heard = play(MUTED, lambda t: [(700, lambda: t.fire("a"))], 20 * MINUTE - 1)
    timeline = Timeline(routing(MUTED))
    longer = timeline.run((700, lambda: timeline.fire("a")), until=25 * MINUTE)

    assert heard == []
    assert longer == [(20 * MINUTE + 30, "firing to oncall: +a")]


def test_end_of_what_was_told_is_told_in_a_mute_window() -> None:
    heard = play(MUTED, lambda t: [(0, lambda: t.fire("a")), (700, lambda: t.end("a"))], 20 * MINUTE)

    assert heard == [(30, "firing to oncall: +a"), (700, "resolved to oncall: -a")]


def test_nothing_is_repeated_in_a_mute_window() -> None:
    timeline = Timeline(routing(MUTED.replace("repeat_interval: 4h", "repeat_interval: 10m")))
    heard = timeline.run((0, lambda: timeline.fire("a")), until=25 * MINUTE)

    assert heard == [(30, "firing to oncall: +a"), (20 * MINUTE, "repeat to oncall: a")]


def test_route_that_tells_only_in_a_window_waits_for_it() -> None:
    timeline = Timeline(routing(ONLY))
    heard = timeline.run((0, lambda: timeline.fire("a")), until=15 * MINUTE)

    assert heard == [(10 * MINUTE + 30, "firing to oncall: +a")]
    timeline = Timeline(routing(ONLY))
    timeline.run((0, lambda: timeline.fire("a")), until=10)
    assert timeline.suppressed == {"a": "outside of lunch"}


def test_alert_that_one_of_two_routes_tells_is_not_suppressed() -> None:
    text = """
routes:
  receiver: oncall
  routes: [{receiver: boss, continue: true, mute: always}, {receiver: head}]
mute_windows: [{name: always}]
"""
    timeline = Timeline(routing(text))
    heard = timeline.run((0, lambda: timeline.fire("a")), until=MINUTE)

    assert heard == [(30, "firing to head: +a")]
    assert timeline.suppressed == {}


# ---------------------------------------------------------------------------------------------- digests

DIGEST = 'routes: {receiver: oncall, digest: {at: ["12:10", "12:30"]}}'


def test_digest_tells_everything_at_its_times_in_one_message() -> None:
    timeline = Timeline(routing(DIGEST))
    heard = timeline.run(
        (0, lambda: timeline.fire("a", "b")),
        (10, lambda: timeline.fire("c", model="fraud")),
        (20, lambda: timeline.fire("gone")),
        (60, lambda: timeline.end("gone")),
        (700, lambda: timeline.end("a", "b")),
        (800, lambda: timeline.fire("d")),
        (1900, lambda: timeline.end("c", "d")),
        until=24 * HOUR + 700,
    )

    assert heard == [
        (600, "digest to oncall: +a +b +c"),
        (1800, "digest to oncall: -a -b c +d"),
        (24 * HOUR + 600, "digest to oncall: -c -d"),
    ]
    assert timeline.open() == []


def test_digest_says_again_what_still_fires_unless_it_is_acknowledged() -> None:
    timeline = Timeline(routing(DIGEST))
    heard = timeline.run((0, lambda: timeline.fire("a")), (2000, timeline.acknowledge), until=25 * HOUR)

    assert heard == [(600, "digest to oncall: +a"), (1800, "digest to oncall: a")]


# ---------------------------------------------------------------------------------------------- routes


def test_alert_goes_to_each_route_that_it_finds_its_way_to() -> None:
    text = """
routes:
  receiver: oncall
  routes:
    - {receiver: boss, match: {severity: critical}, continue: true, group_by: [alert]}
    - {receiver: head, match: {model: churn}, group_wait: 10s}
"""
    timeline = Timeline(routing(text))
    heard = timeline.run(
        (0, lambda: timeline.fire("a", "b", severity="critical")),
        (0, lambda: timeline.fire("c", model="fraud")),
        until=MINUTE,
    )

    assert heard == [
        (10, "firing to head: +a +b"),
        (30, "firing to boss: +a"),
        (30, "firing to boss: +b"),
        (30, "firing to oncall: +c"),
    ]


def test_route_that_vanished_goes_on_until_the_end_to_whom_it_told() -> None:
    timeline = Timeline(routing("routes: {receiver: oncall, routes: [{receiver: boss, match: {alert: a}}]}"))
    heard = timeline.run(
        (0, lambda: timeline.fire("a", "c")),
        (60, lambda: timeline.route("routes: {receiver: head}")),
        (90, lambda: timeline.end("c")),
        (5 * HOUR, lambda: timeline.end("a")),
        until=6 * HOUR,
    )

    assert [(second, text) for second, text in heard if "boss" in text or "oncall" in text] == [
        (30, "firing to boss: +a"),
        (30, "firing to oncall: +c"),
        (90, "resolved to oncall: -c"),
        (4 * HOUR + 30, "repeat to boss: a"),
        (5 * HOUR, "resolved to boss: -a"),
    ]
    assert [(second, text) for second, text in heard if "head" in text] == [
        (90, "firing to head: +a"),
        (90 + 4 * HOUR, "repeat to head: a"),
        (5 * HOUR, "resolved to head: -a"),
    ]


def test_route_in_front_of_others_tells_nobody_anew() -> None:
    before = "routes: {receiver: oncall, routes: [{receiver: boss, match: {alert: a}}]}"
    after = "routes: {receiver: oncall, routes: [{receiver: head, match: {alert: b}}, {receiver: boss, match: {alert: 'a*'}}]}"
    timeline = Timeline(routing(before))
    heard = timeline.run(
        (0, lambda: timeline.fire("a")),
        (60, lambda: timeline.route(after)),
        (70, lambda: timeline.fire("a1")),
        (80, lambda: timeline.end("a")),
        (700, lambda: timeline.end("a1")),
        until=HOUR,
    )

    assert heard == [
        (30, "firing to boss: +a"),
        (80, "resolved to boss: -a"),
        (100, "firing to boss: +a1"),
        (700, "resolved to boss: -a1"),
    ]


@pytest.mark.parametrize(
    ("route", "key"),
    [
        (Route(path="", receiver="r"), ":r:model=churn"),
        (Route(path="0.1", receiver="r", group_by=("feature", "alert", "team")), "0.1:r:feature=age,alert=FeatureDrift"),
        (Route(path="", receiver="r", group_by=()), ":r:"),
        (Route(path="", receiver="r", group_by=None), ":r:0123456789abcdef"),
    ],
)
def test_incident_is_named_by_route_receiver_and_labels(route: Route, key: str) -> None:
    assert incident_key(route, make_alert())[0] == key


def test_names_with_commas_do_not_meet_in_one_incident() -> None:
    route = Route(path="", receiver="r", group_by=("feature", "team"))
    one = make_alert(labels={"feature": "a,team=b"})
    other = make_alert(labels={"feature": "a", "team": "b"})

    assert incident_key(route, one)[0] != incident_key(route, other)[0]


def test_title_and_severity_follow_the_alerts_that_fire() -> None:
    timeline = Timeline()
    timeline.run(
        (0, lambda: timeline.fire("a", severity="warning", feature="age")),
        (0, lambda: timeline.fire("b", severity="critical", feature="income")),
        until=40,
    )
    (incident,) = timeline.open()
    assert (incident.title, incident.severity) == ("2 alerts for churn: a age; b income", "critical")

    timeline.end("b")
    timeline.second += int(timedelta(minutes=6).total_seconds())
    timeline.plan()
    (incident,) = timeline.open()
    assert (incident.title, incident.severity) == ("a: churn, age", "warning")

"""Incidents under any course of events, against a model of what people have heard."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from alerts.incident_messages import MOST_LINES, Sources, incident_message
from alerts.incidents import Notice
from alerts.lifecycle import OPEN
from alerts.messages import Kind
from storage.records import Incident
from tests.unit.alerts.timeline import Timeline, routing

SHORTEST_REPEAT = 300
NAMES = ["a", "b", "down", "drift", "c1", "c2"]
ROUTES = {
    "plain": "routes: {receiver: oncall, group_wait: 30s, group_interval: 1m, repeat_interval: 10m}",
    "escalating": (
        "routes: {receiver: oncall, group_wait: 0s, group_interval: 1m, repeat_interval: 5m,"
        " escalate: [{after: 2m, receiver: boss}, {after: 4m, receiver: head}]}"
    ),
    "split": (
        "routes: {receiver: oncall, group_wait: 10s, group_interval: 30s, repeat_interval: 5m, group_by: [alert],"
        " routes: [{match: {alert: 'c*'}, receiver: boss, continue: true}, {match: {severity: critical}, group_by: ['...']}]}"
    ),
    "muted": (
        "routes: {receiver: oncall, group_wait: 10s, group_interval: 30s, repeat_interval: 5m, mute: [first]}\n"
        'mute_windows: [{name: first, times: [{from: "12:02", to: "12:06"}]}]'
    ),
    "digest": 'routes: {receiver: oncall, digest: {at: ["12:03", "12:05", "12:09", "12:20"]}}',
}
INHIBIT = "\ninhibit: [{source: {alert: down}, target: {alert: drift}}, {source: {alert: drift}, target: {alert: down}}]"


class Incidents(RuleBasedStateMachine):
    """Alerts come and go, silences and acknowledgements too, and the file changes; time passes in between."""

    def __init__(self) -> None:
        super().__init__()
        self.timeline = Timeline(routing())
        self.seen = 0
        self.believed: Counter[tuple[int, str]] = Counter()  # alerts that people believe to fire, by incident
        self.last: dict[int, int] = {}  # when each incident was told of last, but for escalations

    @initialize(kind=st.sampled_from(sorted(ROUTES)), inhibit=st.booleans())
    def begin(self, kind: str, inhibit: bool) -> None:
        self.timeline.routing = routing(ROUTES[kind] + (INHIBIT if inhibit else ""))

    @rule(name=st.sampled_from(NAMES))
    def fire(self, name: str) -> None:
        if name not in self.timeline.alerts or self.timeline.alerts[name].state not in OPEN:
            self.timeline.fire(name, severity="critical" if name == "b" else "warning")
            self.look()

    @rule(name=st.sampled_from(NAMES))
    def end(self, name: str) -> None:
        if name in self.timeline.alerts and self.timeline.alerts[name].state in OPEN:
            self.timeline.end(name)
            self.look()

    @rule(name=st.sampled_from([*NAMES, "*"]), seconds=st.integers(1, 400))
    def silence(self, name: str, seconds: int) -> None:
        self.timeline.silence(seconds, alert=name)
        self.look()

    @rule()
    def acknowledge(self) -> None:
        self.timeline.acknowledge()
        self.look()

    @rule(kind=st.sampled_from(sorted(ROUTES)))
    def change_the_file(self, kind: str) -> None:
        self.timeline.routing = routing(ROUTES[kind])
        self.look()

    @rule(seconds=st.integers(1, 300))
    def pass_time(self, seconds: int) -> None:
        self.timeline.run(until=self.timeline.second + seconds)
        self.listen()

    # ------------------------------------------------------------------------------------------ what must hold

    def look(self) -> None:
        self.timeline.plan()
        self.listen()

    def listen(self) -> None:
        """What people make of the new notices. Between two of them they believe what they heard last."""
        seconds = [second for second, _ in self.timeline.heard[self.seen :]]
        for second, (incident, notice) in zip(seconds, self.timeline.notices[self.seen :], strict=True):
            believed = {name for number, name in self.believed if number == incident.id and self.believed[number, name]}
            assert notice.recipients
            assert not believed & set(notice.new), "told as new, though people know of it"
            assert set(notice.ended) <= believed, "an end without a beginning, or told twice"
            assert set(notice.still) <= believed
            assert notice.alerts
            assert notice.kind is not Kind.UPDATE or notice.new or notice.ended
            assert notice.kind is not Kind.REPEAT or second - self.last[incident.id] >= SHORTEST_REPEAT
            if notice.kind in (Kind.REPEAT, Kind.ESCALATION):
                assert not notice.new
                assert not notice.ended
            for name in notice.new:
                self.believed[incident.id, name] = 1
            for name in notice.ended:
                self.believed[incident.id, name] = 0
            if notice.kind is Kind.RESOLVED:
                assert not notice.still
                assert not notice.new
            assert notice.kind is not Kind.FIRING or incident.id not in self.last
            self.bounded(incident, notice)
            if notice.kind is not Kind.ESCALATION:
                self.last[incident.id] = second
        self.seen = len(self.timeline.notices)

    def bounded(self, incident: Incident, notice: Notice) -> None:
        sources = Sources(alerts=self.timeline.alerts, rules={}, dashboard="https://w.example.com", now=self.timeline.now)
        message, problems = incident_message(incident, notice, sources)
        assert not problems
        assert len(message.lines) + message.more == len(notice.alerts)
        assert len(message.lines) <= MOST_LINES

    @invariant()
    def at_most_one_open_incident_of_a_key(self) -> None:
        keys = Counter(incident.key for incident in self.timeline.open())
        assert not keys or max(keys.values()) == 1

    @invariant()
    def closed_incident_leaves_nobody_in_the_belief_that_something_fires(self) -> None:
        for incident in self.timeline.incidents.values():
            if incident.closed_at is not None:
                assert not any(self.believed[incident.id, name] for name in NAMES)
                assert "firing" not in incident.told.values()

    @invariant()
    def planning_again_at_once_changes_nothing(self) -> None:
        self.look()
        before, heard = dict(self.timeline.incidents), len(self.timeline.heard)
        self.timeline.plan()
        assert len(self.timeline.heard) == heard, "a notice without a change or a repeat that is due"
        assert self.timeline.incidents == before

    @invariant()
    def what_is_due_is_due_later(self) -> None:
        self.look()
        assert all(incident.due_at is None or incident.due_at > self.timeline.now for incident in self.timeline.open())

    def teardown(self) -> None:
        """When everything is over and a day has passed, everybody knows that it is over, and nothing is left open."""
        self.timeline.silences.clear()
        for name, row in self.timeline.alerts.items():
            if row.state in OPEN:
                self.timeline.end(name)
        self.timeline.plan()
        for _ in range(26):  # hours, of which the last digest takes at most 24
            self.timeline.second += 3600
            self.timeline.plan()
        self.listen()
        assert self.timeline.open() == []
        assert not any(self.believed.values())


TestIncidents = Incidents.TestCase
TestIncidents.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)

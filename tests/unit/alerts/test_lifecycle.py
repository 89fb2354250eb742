"""The life of an alert: sequences of states, and a comparison with a model that is told in another way."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.lifecycle import OUTAGE_TOLERANCE, Finding, explain, next_state
from alerts.rules import Policy, Rule
from storage.records import AlertHealth, AlertRow, AlertState
from tests.unit.alerts.rows import NOW, make_alert, make_rule, seconds, seen

LETTERS = {
    "B": Finding.BREACH,
    "c": Finding.CLEAR,
    "~": Finding.BETWEEN,
    "?": Finding.NO_DATA,
    "m": Finding.MISSING,
    "e": Finding.ERROR,
    "x": Finding.GONE,
}
STATES = {
    AlertState.INACTIVE: "i",
    AlertState.PENDING: "P",
    AlertState.FIRING: "F",
    AlertState.RECOVERING: "R",
    AlertState.RESOLVED: "d",
}
HELD = make_rule(hold=seconds(20), keep_firing_for=seconds(20))


def play(rule: Rule, findings: str, step: float = 10.0) -> str:
    """One letter of state per evaluation, every ``step`` seconds; ``-`` is an evaluation that never took place."""
    row: AlertRow | None = None
    states = ""
    for number, letter in enumerate(findings):
        if letter != "-":
            transition = next_state(row, seen(LETTERS[letter]), rule, NOW + seconds(number * step))
            row = transition.row if transition else row
        states += STATES[row.state] if row else "."
    return states


@pytest.mark.parametrize(
    ("rule", "findings", "states"),
    [
        # `for`: pending until it has held for 20 s, measured from the first breach.
        (HELD, "ccBBBBB", "..PPFFF"),
        (HELD, "BBcBB", "PPiPP"),
        (HELD, "BB~BB", "PPiPP"),
        (make_rule(), "cBB", ".FF"),
        # Hysteresis: between the thresholds nothing resolves; recovering goes back to firing.
        (make_rule(), "B~~c", "FFFd"),
        (HELD, "BBBc~cccc", "PPFRFRRdd"),
        # `keep_firing_for`: clear for 20 s, each breach starts it again.
        (HELD, "BBBccBcccc", "PPFRRFRRdd"),
        (HELD, "BBBccc", "PPFRRd"),
        # A new problem after a resolved one.
        (HELD, "BBBcccBBB", "PPFRRdPPF"),
        # What did not last after a resolved problem leaves that on record.
        (HELD, "BBBcccBcc", "PPFRRdPdd"),
        # No data and errors freeze by default, pending as well as firing.
        (HELD, "BB??BB", "PPPPFF"),
        (HELD, "BBB???c", "PPFFFFR"),
        (HELD, "BBBeeecce", "PPFFFFRRR"),
        (HELD, "???eee", "......"),
        # The other policies.
        (make_rule(hold=seconds(20), no_data=Policy.ALERT), "c???", ".PPF"),
        (make_rule(hold=seconds(20), on_error=Policy.ALERT), "ceeec", ".PPFd"),
        (make_rule(no_data=Policy.OK), "BB?", "FFd"),
        (make_rule(hold=seconds(20), no_data=Policy.OK), "BB?B", "PPiP"),
        (make_rule(on_error=Policy.OK), "Be", "Fd"),
        # A missing series freezes whatever the policy says; an ended one resolves.
        (make_rule(no_data=Policy.ALERT), "cmm", "..."),
        (HELD, "BBBmx", "PPFFd"),
        (HELD, "BBx", "PPi"),
        (HELD, "BBBcx", "PPFRd"),
        (HELD, "cx", ".."),
        # An engine that was away for a few rounds takes up where it was.
        (HELD, "B----B", "PPPPPF"),
    ],
)
def test_states_follow_findings(rule: Rule, findings: str, states: str) -> None:
    assert play(rule, findings) == states


PROMETHEUS = make_rule(hold=seconds(20), no_data=Policy.OK, on_error=Policy.KEEP)
"""The nearest to a rule of Prometheus: a series that is not there is no problem, an error changes nothing."""


@pytest.mark.parametrize(
    ("rule", "findings", "states"),
    [
        # No `for`: fires at the first evaluation.
        (make_rule(), "B", "F"),
        # `for`: active at every evaluation until then; one miss begins again.
        (PROMETHEUS, "BBBB", "PPFF"),
        (PROMETHEUS, "B?BB", "PiPP"),
        (PROMETHEUS, "BBcBBB", "PPiPPF"),
        # Firing ends with the first evaluation that does not find it, when there is no keep_firing_for.
        (PROMETHEUS, "BBBc", "PPFd"),
        (PROMETHEUS, "BBB?", "PPFd"),
        # keep_firing_for holds a firing alert only: a pending one is dropped at once.
        (make_rule(hold=seconds(20), keep_firing_for=seconds(30), no_data=Policy.OK), "Bc", "Pi"),
        (make_rule(keep_firing_for=seconds(30), no_data=Policy.OK), "B????", "FRRRd"),
        # It is measured from when the condition was last true.
        (make_rule(keep_firing_for=seconds(20), no_data=Policy.OK), "BccBccc", "FRRFRRd"),
        # An error freezes every state.
        (PROMETHEUS, "BeBe", "PPFF"),
        (PROMETHEUS, "BBBee", "PPFFF"),
        # A restart in between: what was pending goes on, what fires goes on firing.
        (PROMETHEUS, "B-B", "PPF"),
        (PROMETHEUS, "BBB--B", "PPFFFF"),
        (PROMETHEUS, "BBB--c", "PPFFFd"),
    ],
)
def test_sequences_of_prometheus(rule: Rule, findings: str, states: str) -> None:
    """Firing that is kept is called recovering here (R); an alert that ended stays on record as resolved (d)."""
    assert play(rule, findings) == states


def reloaded(before: Rule, after: Rule, findings: str, more: str) -> str:
    """The states where another rule comes into force after the first findings."""
    row: AlertRow | None = None
    states = ""
    for number, letter in enumerate(findings + more):
        rule = before if number < len(findings) else after
        transition = next_state(row, seen(LETTERS[letter]), rule, NOW + seconds(10 * number))
        row = transition.row if transition else row
        states += STATES[row.state] if row else "."
    return states


@pytest.mark.parametrize(
    ("hold", "findings", "more", "states"),
    [
        # Raised: what is pending waits longer, from its beginning on. What fires is known to be a problem, and goes on;
        # Prometheus makes it pending again, and would tell of its end and of a second beginning.
        (40, "BB", "BBB", "PPPPF"),
        (40, "BBB", "BB", "PPFFF"),
        (40, "BBB", "cBB", "PPFdPP"),
        # Lowered: what has held long enough fires at the next evaluation, not before.
        (10, "BB", "B", "PPF"),
        (0, "B", "?B", "PPF"),
    ],
)
def test_hold_that_is_changed_by_a_reload(hold: int, findings: str, more: str, states: str) -> None:
    assert reloaded(make_rule(hold=seconds(20)), make_rule(hold=seconds(hold)), findings, more) == states


@pytest.mark.parametrize(
    ("away", "state"),
    [(timedelta(minutes=59), "F"), (OUTAGE_TOLERANCE, "F"), (OUTAGE_TOLERANCE + seconds(1), "P"), (timedelta(days=1), "P")],
)
def test_outage_up_to_an_hour_counts_as_held(away: timedelta, state: str) -> None:
    pending = next_state(None, seen(Finding.BREACH), PROMETHEUS, NOW)
    assert pending is not None

    after = next_state(pending.row, seen(Finding.BREACH), PROMETHEUS, NOW + away)

    assert after is not None
    assert STATES[after.row.state] == state


def test_pending_alert_fires_after_hold_and_not_before() -> None:
    rule = make_rule(hold=seconds(60))
    pending = next_state(None, seen(Finding.BREACH, 0.3), rule, NOW)
    assert pending is not None

    early = next_state(pending.row, seen(Finding.BREACH, 0.3), rule, NOW + seconds(59.9))
    late = next_state(pending.row, seen(Finding.BREACH, 0.3), rule, NOW + seconds(60))

    assert early is not None
    assert early.row.state is AlertState.PENDING
    assert late is not None
    assert (late.row.state, late.row.pending_at, late.row.fired_at) == (AlertState.FIRING, NOW, NOW + seconds(60))
    assert late.fires


def test_pending_alert_that_nobody_looked_at_for_long_begins_again() -> None:
    rule = make_rule(hold=seconds(60))
    pending = next_state(None, seen(Finding.BREACH), rule, NOW)
    assert pending is not None
    later = NOW + OUTAGE_TOLERANCE + seconds(1)

    again = next_state(pending.row, seen(Finding.BREACH), rule, later)

    assert again is not None
    assert (again.row.state, again.row.pending_at) == (AlertState.PENDING, later)


def test_longer_hold_leaves_a_firing_alert_firing() -> None:
    firing = make_alert(AlertState.FIRING)

    after = next_state(firing, seen(Finding.BREACH), make_rule(hold=timedelta(hours=9)), NOW + seconds(1))

    assert after is not None
    assert (after.row.state, after.changed) == (AlertState.FIRING, False)


def test_clock_that_goes_back_neither_fires_nor_resolves() -> None:
    pending = make_alert(AlertState.PENDING, pending_at=NOW, fired_at=None, evaluated_at=NOW)
    recovering = make_alert(AlertState.RECOVERING, recovering_at=NOW)
    earlier = NOW - timedelta(hours=1)

    for row, finding in ((pending, Finding.BREACH), (recovering, Finding.CLEAR)):
        after = next_state(row, seen(finding), HELD, earlier)
        assert after is not None
        assert not after.changed


def test_what_was_seen_last_is_stored() -> None:
    breach = seen(Finding.BREACH, 0.9, threshold=0.2, n_current=50, window_seconds=60, at=NOW - seconds(5))

    after = next_state(None, breach, HELD, NOW)

    assert after is not None
    row = after.row
    assert (row.value, row.threshold, row.n_current, row.window_seconds) == (0.9, 0.2, 50, 60)
    assert (row.last_point_at, row.evaluated_at, row.health) == (NOW - seconds(5), NOW, AlertHealth.OK)


@pytest.mark.parametrize(("finding", "health"), [(Finding.NO_DATA, AlertHealth.NO_DATA), (Finding.ERROR, AlertHealth.ERROR)])
def test_frozen_alert_keeps_its_value_and_says_why(finding: Finding, health: AlertHealth) -> None:
    after = next_state(make_alert(), seen(finding, reason="why"), make_rule(), NOW)

    assert after is not None
    assert (after.row.state, after.row.value, after.row.health, after.row.reason) == (AlertState.FIRING, 0.34567, health, "why")


def test_acknowledgement_ends_with_the_problem() -> None:
    resolved = make_alert(AlertState.RESOLVED, acked_by="ana", resolved_at=NOW)

    after = next_state(resolved, seen(Finding.BREACH), make_rule(), NOW + seconds(1))

    assert after is not None
    assert after.row.acked_by is None
    assert after.row.resolved_at is None


def test_explanation_says_how_long_it_held() -> None:
    after = next_state(
        make_alert(AlertState.PENDING, pending_at=NOW), seen(Finding.BREACH, reason="PSI 0.3 > 0.2"), HELD, NOW + seconds(30)
    )

    assert after is not None
    assert explain(after, HELD.hold) == "PSI 0.3 > 0.2, for 20s or longer"


# ---------------------------------------------------------------------------------------------- against a model


@dataclass
class Model:
    """The same life told from the whole history: no stored state, only what was found at each evaluation so far."""

    hold: int
    keep: int
    history: list[Finding] = field(default_factory=list)

    def state_after(self, finding: Finding) -> AlertState:
        self.history.append(finding)
        began: int | None = None
        clear_since: int | None = None
        state = AlertState.INACTIVE
        resting = AlertState.INACTIVE
        for at, found in enumerate(self.history):
            if found in (Finding.NO_DATA, Finding.ERROR, Finding.MISSING):
                continue
            if state in (AlertState.FIRING, AlertState.RECOVERING):
                if found is Finding.GONE:
                    state = resting = AlertState.RESOLVED
                    continue
                clear_since = (at if clear_since is None else clear_since) if found is Finding.CLEAR else None
                if clear_since is None:
                    state = AlertState.FIRING
                elif at - clear_since >= self.keep:
                    state = resting = AlertState.RESOLVED
                else:
                    state = AlertState.RECOVERING
            elif found is Finding.BREACH:
                began = at if state is not AlertState.PENDING or began is None else began
                state, clear_since = (AlertState.FIRING if at - began >= self.hold else AlertState.PENDING), None
            else:
                state = resting
        return state


@settings(max_examples=300)
@given(st.integers(0, 4), st.integers(0, 4), st.lists(st.sampled_from(list(Finding)), max_size=40))
def test_lifecycle_equals_the_simple_model(hold: int, keep: int, findings: list[Finding]) -> None:
    rule = make_rule(hold=seconds(hold), keep_firing_for=seconds(keep))
    model = Model(hold=hold, keep=keep)
    row: AlertRow | None = None

    for number, finding in enumerate(findings):
        transition = next_state(row, seen(finding), rule, NOW + seconds(number))
        row = transition.row if transition else row

        expected = model.state_after(finding)
        assert (row.state if row else AlertState.INACTIVE) is expected


POLICIES = {Policy.ALERT: Finding.BREACH, Policy.OK: Finding.CLEAR}


@given(
    st.integers(0, 4),
    st.integers(0, 4),
    st.sampled_from(list(Policy)),
    st.sampled_from(list(Policy)),
    st.lists(st.tuples(st.sampled_from(list(Finding)), st.integers(1, 5)), max_size=30),
)
def test_policies_and_restarts_equal_the_simple_model(
    hold: int, keep: int, no_data: Policy, on_error: Policy, found: list[tuple[Finding, int]]
) -> None:
    """Every evaluation is one after a restart here: nothing but the row is carried over, and some never took place."""
    rule = make_rule(hold=seconds(hold), keep_firing_for=seconds(keep), no_data=no_data, on_error=on_error)
    model = Model(hold=hold, keep=keep)
    row: AlertRow | None = None
    now = 0

    for finding, later in found:
        now += later
        policy = {Finding.NO_DATA: no_data, Finding.ERROR: on_error}.get(finding, Policy.KEEP)
        transition = next_state(row, seen(finding), rule, NOW + seconds(now))
        row = replace(transition.row) if transition else row

        # In the model an evaluation that never took place is one that could not be made.
        for _ in range(later - 1):
            model.state_after(Finding.MISSING)
        expected = model.state_after(POLICIES.get(policy, finding))
        assert (row.state if row else AlertState.INACTIVE) is expected


@given(st.integers(0, 3), st.integers(0, 3), st.lists(st.sampled_from(list(Finding)), max_size=60))
def test_firing_and_resolved_alternate(hold: int, keep: int, findings: list[Finding]) -> None:
    rule = make_rule(hold=seconds(hold), keep_firing_for=seconds(keep), no_data=Policy.ALERT, on_error=Policy.OK)
    row: AlertRow | None = None
    told: list[str] = []

    for number, finding in enumerate(findings):
        transition = next_state(row, seen(finding), rule, NOW + seconds(number))
        if transition:
            row = transition.row
            told += ["firing"] * transition.fires + ["resolved"] * transition.resolves

    assert told == ["firing", "resolved"] * (len(told) // 2) + ["firing"] * (len(told) % 2)

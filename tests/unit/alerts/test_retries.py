"""What is decided about a message that a channel did not take."""

from datetime import timedelta

import pytest

from alerts.channels.channel import PERMANENT, Fault, NotDelivered
from alerts.deliver import Pace
from alerts.retries import GIVE_UP_AFTER, LONGEST_HOLD, LONGEST_RETRY, RetryDecision, Step, back_off, decide
from storage.records import OutboxItem
from tests.unit.alerts.rows import NOW, seconds

YOUNG = seconds(1)


def decided(error: NotDelivered, *, age: timedelta = YOUNG, attempts: int = 0, others: bool = True) -> RetryDecision:
    item = OutboxItem(
        dedup_key="k",
        channel="slack",
        receiver="oncall",
        kind="firing",
        payload={},
        created_at=NOW - age,
        next_attempt_at=NOW,
        attempts=attempts,
    )
    return decide(error, item, now=NOW, others=others, jitter=0.0)


@pytest.mark.parametrize(("attempts", "wait"), [(0, 5), (1, 10), (2, 20), (3, 40), (9, 300), (10_000, 300)])
def test_waits_double_up_to_a_limit(attempts: int, wait: int) -> None:
    assert back_off(attempts, 0) == seconds(wait)
    assert seconds(0.8 * wait) <= back_off(attempts, 1) <= LONGEST_RETRY


@pytest.mark.parametrize("fault", [Fault.SERVER_ERROR, Fault.UNREACHABLE])
def test_passing_fault_is_tried_again(fault: Fault) -> None:
    found = decided(NotDelivered(fault, "x"), attempts=2)

    assert (found.step, found.at, found.tell_others) == (Step.RETRY, NOW + seconds(20), False)


def test_unreachable_channel_is_left_alone_for_a_moment() -> None:
    assert decided(NotDelivered(Fault.UNREACHABLE, "x")).hold_until == NOW + seconds(10)
    assert decided(NotDelivered(Fault.SERVER_ERROR, "x")).hold_until is None


@pytest.mark.parametrize(
    ("retry_after", "wait"),
    [(seconds(7), seconds(7)), (None, seconds(30)), (timedelta(days=9), LONGEST_HOLD), (seconds(0), seconds(30))],
)
def test_rate_limit_holds_the_channel_as_long_as_it_says(retry_after: timedelta | None, wait: timedelta) -> None:
    found = decided(NotDelivered(Fault.RATE_LIMITED, "x", retry_after=retry_after))

    assert (found.step, found.at, found.hold_until) == (Step.RETRY, NOW + wait, NOW + wait)


@pytest.mark.parametrize("fault", sorted(PERMANENT))
def test_lasting_fault_fails_where_another_channel_takes_over(fault: Fault) -> None:
    found = decided(NotDelivered(fault, "x"))

    assert (found.step, found.tell_others) == (Step.FAIL, True)


@pytest.mark.parametrize("fault", sorted(PERMANENT))
def test_lasting_fault_is_tried_now_and_then_where_no_other_channel_is(fault: Fault) -> None:
    found = decided(NotDelivered(fault, "x"), others=False)

    assert (found.step, found.at) == (Step.RETRY, NOW + timedelta(minutes=15))


@pytest.mark.parametrize("fault", list(Fault))
def test_message_is_given_up_after_a_day(fault: Fault) -> None:
    for others in (True, False):
        assert decided(NotDelivered(fault, "x"), age=GIVE_UP_AFTER, others=others).step is Step.FAIL


def test_others_are_told_when_a_fault_does_not_pass() -> None:
    found = decided(NotDelivered(Fault.SERVER_ERROR, "x"), age=timedelta(minutes=10), attempts=5)

    assert (found.step, found.tell_others) == (Step.RETRY, True)


def test_pace_allows_a_burst_and_then_one_per_second() -> None:
    now = 0.0
    pace = Pace(per_second=1, burst=3, clock=lambda: now)

    waits = [pace.wait_seconds("a") for _ in range(5)]
    now = 100.0

    assert waits == [0, 0, 0, 1, 2]
    assert pace.wait_seconds("a") == 0
    assert pace.wait_seconds("b") == 0

"""What to do with a message that a channel did not take. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from alerts.channels.channel import Fault, NotDelivered
from storage.records import OutboxItem

GIVE_UP_AFTER = timedelta(hours=24)
FIRST_RETRY = timedelta(seconds=5)
LONGEST_RETRY = timedelta(minutes=5)
LONGEST_HOLD = timedelta(hours=1)
UNREACHABLE_HOLD = timedelta(seconds=10)
PERSON_NEEDED_RETRY = timedelta(minutes=15)
TELL_OTHERS_AFTER = timedelta(minutes=10)


class Step(StrEnum):
    """What happens to the message."""

    RETRY = "retry"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryDecision:
    """``at`` is the next attempt (RETRY only). ``hold_until`` keeps every message from this receiver. ``tell_others``:
    another channel, if there is one, has to carry the news.
    """

    step: Step
    at: datetime | None = None
    hold_until: datetime | None = None
    tell_others: bool = False


def decide(error: NotDelivered, item: OutboxItem, *, now: datetime, others: bool, jitter: float) -> RetryDecision:
    """The next step for a message. ``others``: whether another channel can carry it. ``jitter`` from 0 to 1 spreads retries.

    A fault that only a person can mend fails the message where another channel can take it over; where none can, giving
    up would lose it, so it is tried again now and then until ``GIVE_UP_AFTER``.
    """
    age = now - item.created_at
    if age >= GIVE_UP_AFTER:
        return RetryDecision(step=Step.FAIL, tell_others=True)
    if error.permanent and others:
        return RetryDecision(step=Step.FAIL, tell_others=True)
    if error.permanent:
        return RetryDecision(step=Step.RETRY, at=now + PERSON_NEEDED_RETRY)
    late = age >= TELL_OTHERS_AFTER
    if error.fault is Fault.RATE_LIMITED:
        until = now + min(error.retry_after or back_off(item.attempts, jitter, first=timedelta(seconds=30)), LONGEST_HOLD)
        return RetryDecision(step=Step.RETRY, at=until, hold_until=until, tell_others=late)
    hold = now + UNREACHABLE_HOLD if error.fault is Fault.UNREACHABLE else None
    return RetryDecision(step=Step.RETRY, at=now + back_off(item.attempts, jitter), hold_until=hold, tell_others=late)


def back_off(attempts: int, jitter: float, *, first: timedelta = FIRST_RETRY) -> timedelta:
    """The wait after ``attempts`` failed ones before: doubling from ``first`` to ``LONGEST_RETRY``, less up to a fifth.

    >>> [back_off(n, 0).total_seconds() for n in (0, 1, 2, 10)]
    [5.0, 10.0, 20.0, 300.0]
    """
    doubled: timedelta = first * float(2 ** min(attempts, 12))
    return min(doubled, LONGEST_RETRY) * (1 - 0.2 * jitter)

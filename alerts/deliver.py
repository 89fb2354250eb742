"""Drains the outbox: claims a message, sends it, and then marks it as sent.

A message is sent at least once: a process that dies between sending and marking leaves a claim that runs out, and the
next sender sends again. Several senders share the work. No transaction is open while a channel is talked to.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine

from alerts.channels.channel import Address, Channel, Delivered, Fault, NotDelivered
from alerts.digests import FOR_PEOPLE, MERGED_FROM, digest_of
from alerts.messages import Kind, Message, channel_broken, undelivered
from alerts.metrics import AlertMetrics
from alerts.renderings import headline
from alerts.retries import RetryDecision, Step, decide
from alerts.routes import Recipient, outbox_item, outbox_key
from storage import outbox
from storage.engine import reading, writing
from storage.failpoints import reach
from storage.records import OutboxItem, OutboxStatus

CLAIM_TIME = timedelta(seconds=60)
AFTER_PREDECESSOR = timedelta(seconds=1)
BURST = 5
MOST_MERGED = 500
FLOOD = 30
"""Messages that are due at the same receiver at once: so many nobody reads one by one, and Slack takes one per second."""

_log = logging.getLogger(__name__)
_CONFIGURE = {
    "slack": "set MODELWATCH_SLACK_WEBHOOK_URL or MODELWATCH_SLACK_BOT_TOKEN",
    "email": "set MODELWATCH_SMTP_HOST and MODELWATCH_SMTP_FROM",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A claimed message. ``answers`` is the message id of the one that it continues, where that was sent.

    ``merged`` are the ids of further messages that this one tells as well.
    """

    item: OutboxItem
    message: Message
    address: Address
    answers: str | None = None
    merged: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """Which channels a sender takes messages of: ``only`` these, or all ``but`` those."""

    only: tuple[str, ...] = ()
    but: tuple[str, ...] = ()


class Pace:
    """Slack takes about one message per second and channel, with short bursts (https://docs.slack.dev/apis/web-api/rate-limits)."""

    def __init__(self, *, per_second: float = 1.0, burst: int = BURST, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._tokens: dict[str, tuple[float, float]] = {}

    def wait_seconds(self, key: str) -> float:
        """How long to wait before the next message to ``key``, which is counted as sent then."""
        now = self._clock()
        tokens, at = self._tokens.get(key, (float(self._burst), now))
        tokens = min(self._burst, tokens + (now - at) * self._per_second) - 1
        self._tokens[key] = (tokens, now)
        return max(0.0, -tokens / self._per_second)


class Delivery:
    """Sends what is due. ``usual`` says where a channel's messages go when no receiver says it (for escalations)."""

    def __init__(
        self,
        engine: Engine,
        channels: Mapping[str, Channel],
        *,
        usual: Mapping[str, Address],
        owner: str,
        metrics: AlertMetrics,
        clock: Callable[[], datetime],
        pause: Callable[[float], object],
        lane: Lane = Lane(),
    ) -> None:
        self._engine = engine
        self._channels = channels
        self._usual = usual
        self._owner = owner
        self._metrics = metrics
        self._clock = clock
        self._pause = pause
        self._lane = lane
        self._pace = Pace()
        self._unmarked: dict[int, tuple[Delivered, tuple[int, ...]]] = {}
        self._holds: dict[tuple[str, str], tuple[datetime, str]] = {}
        self._looked_at: datetime | None = None

    def use(self, channels: Mapping[str, Channel]) -> None:
        """Other channels from now on: the rules name other receivers."""
        self._channels = channels

    def deliver_next(self) -> bool:
        """Takes on one message that is due; False where there is none. Raises DatabaseUnavailable."""
        self._mark_sent()
        claimed, letter = self._claim()
        if letter is None:
            return claimed
        reach("claimed")
        try:
            self._wait_for_turn(letter.item)
            delivered = self._send(letter)
        except NotDelivered as error:
            self._not_delivered(letter, error)
        else:
            reach("sent")
            self._unmarked[letter.item.id] = delivered, letter.merged
            self._report(letter, delivered)
            self._mark_sent()
            reach("marked")
        return True

    # ------------------------------------------------------------------------------------------ claim

    def _claim(self) -> tuple[bool, Letter | None]:
        """Whether a message was due, and the message where it can go now.

        One at a time, so that none waits behind a slow channel while it is claimed.
        """
        if not self._anything_waiting():
            return False, None
        with writing(self._engine) as c:
            now = self._clock()
            if self._looked_at is None or now < self._looked_at:  # the clock was put back, or may have been before this process
                self._holds.clear()
                outbox.bring_back(c, now)
            self._looked_at = now
            for item in outbox.claim_due(
                c, owner=self._owner, now=now, hold=CLAIM_TIME, limit=1, only=self._lane.only, but=self._lane.but
            ):
                letter = self._opened(c, item, now)
                return True, self._with_what_piled_up(c, letter, now) if letter else None
        return False, None

    def _anything_waiting(self) -> bool:
        with reading(self._engine) as c:
            waiting = outbox.counts(c)[OutboxStatus.WAITING]
        self._metrics.show_waiting(waiting)
        return waiting > 0

    def _opened(self, c: Connection, item: OutboxItem, now: datetime) -> Letter | None:
        until, error = self._holds.get((item.channel, item.receiver), (now, ""))
        if until > now:  # it was written while the channel was held
            outbox.hold_channel(c, item.channel, item.receiver, until=until, error=error)
            return None
        try:
            message = Message.from_json(item.payload["message"])
            address = Address.from_json(item.payload["address"])
        except (KeyError, TypeError, ValueError):
            _log.exception("Message %s in the outbox cannot be read and is given up.", item.id)
            outbox.mark_failed(c, item.id, error="the message cannot be read")
            return None
        first = outbox.get_item(c, outbox_key(message.answers, item.receiver, item.channel)) if message.answers else None
        if first is not None and first.status is OutboxStatus.WAITING:
            until = max(first.next_attempt_at, now) + AFTER_PREDECESSOR
            outbox.postpone(c, item.id, until=until, error="waits for the message that it continues")
            return None
        return Letter(item=item, message=message, address=address, answers=first.message_id if first else None)

    def _with_what_piled_up(self, c: Connection, letter: Letter, now: datetime) -> Letter:
        """One message for all that waited for the same receiver while its channel was held, or that came in a flood."""
        item = letter.item
        if item.channel not in FOR_PEOPLE:
            return letter
        flood = item.last_error is None and outbox.due_at(c, item.channel, item.receiver, now, enough=FLOOD) >= FLOOD
        if item.last_error is None and not flood:
            return letter
        others = outbox.claim_held(
            c, item.channel, item.receiver, owner=self._owner, now=now, hold=CLAIM_TIME, limit=MOST_MERGED, untried=flood
        )
        items = sorted([item, *others], key=lambda one: one.id)
        messages = [message for one in items if (message := _read(one)) is not None]
        if len(messages) < MERGED_FROM:
            for other in others:
                outbox.release(c, other.id)
            return letter
        first = items[0]
        key = f"digest:{first.dedup_key}:{items[-1].id}"
        merged = tuple(one.id for one in items if one.id != item.id)
        return Letter(item=item, message=digest_of(messages, key=key, now=now), address=letter.address, merged=merged)

    # ------------------------------------------------------------------------------------------ send

    def _wait_for_turn(self, item: OutboxItem) -> None:
        if item.channel == "slack" and (seconds := self._pace.wait_seconds(item.receiver)):
            self._pause(seconds)

    def _send(self, letter: Letter) -> Delivered:
        channel = self._channels.get(letter.item.channel)
        if channel is None:
            hint = _CONFIGURE.get(letter.item.channel, "this version has no such channel")
            raise NotDelivered(Fault.NOT_CONFIGURED, f"{letter.item.channel} is not set up; {hint}")
        try:
            return channel.send(letter.message, letter.address, answers=letter.answers)
        except NotDelivered:
            raise
        except Exception as error:
            _log.exception("Sending message %s by %s failed in an unexpected way.", letter.item.id, letter.item.channel)
            raise NotDelivered(Fault.SERVER_ERROR, f"it failed in an unexpected way ({type(error).__name__})") from error

    def _report(self, letter: Letter, delivered: Delivered) -> None:
        self._metrics.attempted(letter.item.channel, "sent")
        _log.info("Told %s by %s: %s", letter.item.receiver, letter.item.channel, headline(letter.message))
        if delivered.remark:
            _log.warning("Told %s by %s, but %s.", letter.item.receiver, letter.item.channel, delivered.remark)

    def _mark_sent(self) -> None:
        """Marks what was sent. What cannot be marked now is kept, so that a database outage sends nothing twice."""
        for item_id, (delivered, merged) in list(self._unmarked.items()):
            with writing(self._engine) as c:
                # What continues one of several that were told together must not take the place of all of them.
                message_id = None if merged else delivered.message_id
                outbox.mark_sent(c, item_id, now=self._clock(), message_id=message_id)
                outbox.mark_merged(c, merged, now=self._clock(), message_id=message_id)
            del self._unmarked[item_id]

    # ------------------------------------------------------------------------------------------ failures

    def _not_delivered(self, letter: Letter, error: NotDelivered) -> None:
        item, now = letter.item, self._clock()
        self._metrics.failed(item.channel, error.fault)
        with writing(self._engine) as c:
            other = None if letter.message.kind is Kind.UNDELIVERED else self._other_way(c, letter)
            decision = decide(error, item, now=now, others=other is not None, jitter=random.random())  # noqa: S311  spreads retries, guards nothing
            self._carry_out(c, letter, decision, error)
            escalated = decision.tell_others and other is not None and self._tell_others(c, letter, other, error, now)
        self._log_failure(letter, decision, error)
        self._metrics.attempted(item.channel, "failed" if decision.step is Step.FAIL else "retried")
        if escalated:
            self._metrics.attempted(item.channel, "escalated")

    def _carry_out(self, c: Connection, letter: Letter, decision: RetryDecision, error: NotDelivered) -> None:
        item = letter.item
        if decision.step is Step.FAIL or decision.at is None:
            outbox.mark_failed(c, item.id, error=str(error))
        else:
            outbox.retry_at(c, item.id, at=decision.at, error=str(error))
        for merged in letter.merged:  # together again, and not one after the other at once
            outbox.postpone(c, merged, until=decision.at or self._clock(), error=str(error))
        if decision.hold_until is not None:
            self._holds[item.channel, item.receiver] = decision.hold_until, str(error)
            outbox.hold_channel(c, item.channel, item.receiver, until=decision.hold_until, error=str(error))

    def _other_way(self, c: Connection, letter: Letter) -> Recipient | None:
        """Another channel that is set up, with the address that the same message has there or the usual one."""
        for channel in self._channels:
            if channel == letter.item.channel:
                continue
            sibling = self._sibling(c, letter, channel)
            address = Address.from_json(sibling.payload["address"]) if sibling else self._usual.get(channel)
            if address is not None:
                return Recipient(receiver=letter.item.receiver, channel=channel, address=address)
        return None

    def _sibling(self, c: Connection, letter: Letter, channel: str) -> OutboxItem | None:
        return outbox.get_item(c, outbox_key(letter.message.key, letter.item.receiver, channel))

    def _tell_others(self, c: Connection, letter: Letter, other: Recipient, error: NotDelivered, now: datetime) -> bool:
        """Sends the message the other way, or, where it goes there anyway, once an hour the news that a channel is broken."""
        item = letter.item
        sibling = self._sibling(c, letter, other.channel)
        if sibling is None or sibling.status is OutboxStatus.FAILED:
            news = undelivered(letter.message, channel=item.channel, receiver=item.receiver, error=str(error))
        elif error.permanent:
            news = channel_broken(letter.message, channel=item.channel, receiver=item.receiver, error=str(error), now=now)
        else:
            return False
        return outbox.enqueue(c, outbox_item(news, other, now))

    def _log_failure(self, letter: Letter, decision: RetryDecision, error: NotDelivered) -> None:
        item = letter.item
        if decision.step is Step.FAIL:
            _log.error("Gave up telling %s by %s of %s: %s.", item.receiver, item.channel, letter.message.title, error)
        else:
            _log.warning("Could not tell %s by %s: %s. Next attempt at %s.", item.receiver, item.channel, error, decision.at)


def _read(item: OutboxItem) -> Message | None:
    """The message of a row; None for one that cannot be read, which is given up when its turn comes."""
    try:
        return Message.from_json(item.payload["message"])
    except (KeyError, TypeError, ValueError):
        return None

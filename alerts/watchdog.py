"""A heartbeat to an address outside, sent only while everything works: what hears no more of it knows that nobody watches.

It is sent after a full cycle: the collector has computed lately, the rules were judged lately, and no message waits for
long. Where one of them fails the heartbeat stops, and the other side (healthchecks, Dead Man's Snitch, an Alertmanager's
own) tells people.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine

from alerts.channels.channel import NotDelivered
from alerts.channels.post import Poster
from storage import jobs, outbox
from storage.durations import format_duration
from storage.engine import reading
from storage.records import JobRun

LONGEST_WAIT = timedelta(minutes=10)
"""A message that has been waiting for longer is one that does not arrive."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycle:
    """What a heartbeat rests on. ``waiting_since`` is when the oldest message that waits was written, None without any."""

    collected_at: datetime | None
    evaluated_at: datetime | None
    waiting_since: datetime | None


def trouble(cycle: Cycle, *, within: timedelta, now: datetime) -> str:
    """Why there is no heartbeat, in a sentence; "" for a whole cycle within the time."""
    if cycle.collected_at is None or now - cycle.collected_at > within:
        return f"the collector has finished nothing within {format_duration(within)}"
    if cycle.evaluated_at is None or now - cycle.evaluated_at > within:
        return f"no rules were judged within {format_duration(within)}"
    if cycle.waiting_since is not None and now - cycle.waiting_since > LONGEST_WAIT:
        return f"a message has been waiting for {format_duration(now - cycle.waiting_since)}"
    return ""


def collected_at(runs: Iterable[JobRun], job: str = "statistics") -> datetime | None:
    """When the collector last finished its work well."""
    return max((run.succeeded_at for run in runs if run.name.startswith(job) and run.succeeded_at is not None), default=None)


class Watchdog:
    """Sends the heartbeat. ``url`` is a secret; ``evaluated_at`` says when this process last judged, None while another does."""

    def __init__(
        self,
        engine: Engine,
        url: str,
        poster: Poster,
        *,
        within: timedelta,
        evaluated_at: Callable[[], datetime | None],
        clock: Callable[[], datetime],
    ) -> None:
        self._engine = engine
        self._url = url
        self._poster = poster
        self._within = within
        self._evaluated_at = evaluated_at
        self._clock = clock
        self._said = ""

    def beat(self) -> bool:
        """Sends a heartbeat where all is well; whether one was sent. Raises DatabaseUnavailable."""
        now = self._clock()
        with reading(self._engine) as c:
            cycle = Cycle(
                collected_at=collected_at(jobs.runs(c)), evaluated_at=self._evaluated_at(), waiting_since=outbox.waiting_since(c)
            )
        problem = trouble(cycle, within=self._within, now=now) or self._post(now)
        if problem and problem != self._said:
            _log.error("No heartbeat: %s.", problem)
        elif self._said and not problem:
            _log.info("The heartbeat goes on.")
        self._said = problem
        return not problem

    def _post(self, now: datetime) -> str:
        headers: Mapping[str, str] = {"Content-Type": "text/plain"}
        try:
            self._poster.post("the address of the heartbeat", self._url, f"{now.isoformat()}\n".encode(), headers)
        except NotDelivered as error:
            return str(error)
        return ""

"""Asks Prometheus what rules want to know, without ever making anybody wait for it.

Queries run in threads of their own. An evaluation takes the answers that are there and asks anew; it waits a moment for
answers, and only while they come as fast as that. What is not answered in time is an answer too: that it failed.
"""

from __future__ import annotations

import ast
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from queue import SimpleQueue
from urllib.parse import urlsplit

import requests
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from urllib3.util.retry import Retry

from alerts.promql import Answer, Sample, UnusableAnswer, parse_result

WORKERS = 4
"""Queries that run at once."""
CONNECT_SECONDS = 3.0
QUERY_SECONDS = 10.0
"""How long Prometheus may work on a query, and how long it may keep us waiting for the next byte of its answer."""
GIVE_UP_SECONDS = 20.0
"""A query that has not been answered for so long, in the queue or on the way, has failed."""
PATIENCE_SECONDS = 0.5
"""How long an evaluation waits for answers."""

FORGET_SECONDS = 300.0
"""An answer that nobody came for in this time tells of the past; the query is asked again."""

_log = logging.getLogger(__name__)

Query = Callable[[str], tuple[Sample, ...]]


class QueryFailed(Exception):
    """A query was not answered; the message says why, without the address, which may hold a password."""


def prometheus_query(url: str) -> Query:
    """Asks the Prometheus at this address. Redirects are not followed, certificates are verified, nothing is tried twice.

    Each thread has connections of its own. The query raises QueryFailed or UnusableAnswer.
    """
    local = threading.local()

    def ask(query: str) -> tuple[Sample, ...]:
        if not hasattr(local, "client"):
            local.client = _client(url)
        try:
            result = local.client.custom_query(query, params={"timeout": f"{QUERY_SECONDS:g}s"})
        except (PrometheusApiClientException, requests.RequestException, ValueError, LookupError, TypeError) as error:
            raise QueryFailed(_explain(error)) from None
        return parse_result(result)

    return ask


def _client(url: str) -> PrometheusConnect:
    session = requests.Session()
    session.max_redirects = 0
    timeout = (CONNECT_SECONDS, QUERY_SECONDS + 2)
    return PrometheusConnect(url=url.rstrip("/"), session=session, retry=Retry(total=0), timeout=timeout)


def _explain(error: Exception) -> str:
    if isinstance(error, PrometheusApiClientException):
        return _refusal(str(error))
    if isinstance(error, requests.exceptions.TooManyRedirects):
        return "it answers with a redirect, which is not followed"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not to be trusted"
    if isinstance(error, requests.exceptions.Timeout):
        return "it did not answer in time"
    if isinstance(error, requests.exceptions.ConnectionError):
        return "it cannot be reached"
    return "its answer is not one that Prometheus gives"


def _refusal(text: str) -> str:
    """The status, and Prometheus' own words where it gave some.

    >>> _refusal("HTTP Status Code 400 (b'{\\"error\\": \\"parse error\\"}')")
    'it answered 400: parse error'
    """
    found = re.fullmatch(r"HTTP Status Code (\d+) \((b.*)\)", text, re.DOTALL)
    if found is None:
        return "it answered with an error"
    try:
        said = str(json.loads(ast.literal_eval(found[2]))["error"])
    except (ValueError, SyntaxError, LookupError, TypeError):
        return f"it answered {found[1]}"
    return f"it answered {found[1]}: {' '.join(said.split())[:300]}"


# ---------------------------------------------------------------------------------------------- in the background


@dataclass(slots=True)
class _Asked:
    """A query that somebody wants to know the answer of."""

    since: float
    answered: threading.Event = field(default_factory=threading.Event)
    answer: Answer | None = None


class Prometheus:
    """The answers to queries, as fresh as they can be had. ``name`` is what people are told of the source."""

    def __init__(
        self,
        query: Query,
        *,
        name: str = "prometheus",
        workers: int = WORKERS,
        patience: float = PATIENCE_SECONDS,
        give_up: float = GIVE_UP_SECONDS,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.name = name
        self._query, self._patience, self._give_up, self._clock = query, patience, give_up, clock
        self._waiting: SimpleQueue[tuple[str, str]] = SimpleQueue()
        self._lock = threading.Lock()
        self._asked: dict[tuple[str, str], _Asked] = {}
        self._is_prompt = True
        self._workers, self._started = workers, False

    def ask(self, asker: str, queries: Collection[str]) -> dict[str, Answer]:
        """The answers that came since this asker last asked, or that come within a moment. Those left out are to come."""
        with self._lock:
            self._start()
            asked = {query: self._pending(asker, query) for query in queries}
        self._is_prompt = self._wait(asked) if self._is_prompt else all(one.answered.is_set() for one in asked.values())
        with self._lock:
            return {query: answer for query, one in asked.items() if (answer := self._take(asker, query, one)) is not None}

    def _pending(self, asker: str, query: str) -> _Asked:
        """The query on its way, or set out now: for the first time, or because nobody came for its answer in time."""
        one = self._asked.get((asker, query))
        if one is None or (one.answer is not None and time.monotonic() - one.since > FORGET_SECONDS):
            one = self._asked[asker, query] = _Asked(time.monotonic())
            self._waiting.put((asker, query))
        return one

    def _wait(self, asked: Mapping[str, _Asked]) -> bool:
        """Whether all were answered within the patience of one evaluation."""
        until = time.monotonic() + self._patience
        return all([one.answered.wait(max(0.0, until - time.monotonic())) for one in asked.values()])  # noqa: C419  wait for each

    def _take(self, asker: str, query: str, asked: _Asked) -> Answer | None:
        if asked.answer is not None:
            self._asked.pop((asker, query), None)
            return asked.answer
        if time.monotonic() - asked.since < self._give_up:
            return None
        return Answer(at=self._clock(), error=f"{self.name}: it did not answer in time")

    def _start(self) -> None:
        if not self._started:
            self._started = True
            for number in range(self._workers):
                # Daemons: a query that hangs keeps no process from ending.
                threading.Thread(target=self._work, name=f"prometheus-{number}", daemon=True).start()

    def _work(self) -> None:
        while True:
            asker, query = self._waiting.get()
            asked, at = self._asked[asker, query], self._clock()
            try:
                answer = Answer(at=at, samples=self._query(query))
            except (QueryFailed, UnusableAnswer) as error:
                answer = Answer(at=at, error=f"{self.name}: {error}")
            except Exception:  # noqa: BLE001  the edge of a thread that must not end
                _log.exception("A query could not be made because of a fault in the program.")
                answer = Answer(at=at, error=f"{self.name}: the query could not be made")
            asked.answer = answer
            asked.answered.set()


def source_name(url: str) -> str:
    """What people are told of the source: its host, without what else an address may hold.

    >>> source_name("https://user:secret@metrics.example.com/prometheus")
    'prometheus metrics.example.com'
    """
    parts = urlsplit(url)
    return f"prometheus {parts.hostname or ''}{f':{parts.port}' if parts.port else ''}".strip()

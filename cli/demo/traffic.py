"""The application that the demo stands in for: it asks for predictions at a steady rate and learns the truth a little later."""

from __future__ import annotations

import math
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from cli.errors import CommandError

LABEL_DELAY_SECONDS = 4.0
LABELS_EVERY_SECONDS = 0.5
PATIENCE_SECONDS = 30.0
"""How long a request is tried again while the sidecar cannot be reached or is busy."""
BUSY = (429, 502, 503)


class TrafficFailed(CommandError):
    """A request of the demo was not answered; the message says which, and how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The rows of one request, the truth about each of them, and who asks."""

    rows: list[dict[str, Any]]
    labels: list[Any]
    subject: str


class Traffic(threading.Thread):
    """Sends batches at ``rows_per_second`` until they end or ``stop`` is called; ``failure`` says why it gave up."""

    def __init__(self, url: str, model: str, batches: Iterator[Batch], *, rows_per_second: float, key: str | None = None) -> None:
        super().__init__(name="traffic", daemon=True)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(base_url=f"{url}/v1/models/{model}", headers=headers, timeout=10.0, trust_env=False)
        self._batches = batches
        self._rows_per_second = rows_per_second
        self._truths: deque[tuple[float, list[dict[str, Any]]]] = deque()
        self._ending = threading.Event()
        self.sent = 0
        self.labelled = 0
        self.failure: TrafficFailed | None = None

    def stop(self) -> None:
        """Ask no more; labels that are due still go out before the thread ends."""
        self._ending.set()

    def run(self) -> None:
        try:
            self._ask()
            self._tell(flush=True)
        except TrafficFailed as error:
            self.failure = error
        finally:
            self._client.close()

    def check(self) -> None:
        """Raise TrafficFailed if the thread had to give up."""
        if self.failure is not None:
            raise self.failure

    def _ask(self) -> None:
        due = labels_due = time.monotonic()
        for batch in self._batches:
            if self._ending.wait(max(0.0, due - time.monotonic())):
                return
            self._predict(batch)
            due = max(due + len(batch.rows) / self._rows_per_second, time.monotonic() - 1.0)  # catch up with at most a second
            if time.monotonic() >= labels_due:
                self._tell()
                labels_due = time.monotonic() + LABELS_EVERY_SECONDS

    def _predict(self, batch: Batch) -> None:
        ids = [uuid.uuid4().hex for _ in batch.rows]
        self._post("/predict", {"instances": batch.rows, "ids": ids, "subject": batch.subject})
        self.sent += len(ids)
        at = datetime.now(UTC).isoformat()
        truths = [{"id": id_, "label": label, "at": at} for id_, label in zip(ids, batch.labels, strict=True)]
        self._truths.append((time.monotonic() + LABEL_DELAY_SECONDS, truths))

    def _tell(self, *, flush: bool = False) -> None:
        """Send the labels that are due; with ``flush`` wait for those that are not due yet, unless told to stop."""
        labels: list[dict[str, Any]] = []
        while self._truths:
            pause = self._truths[0][0] - time.monotonic()
            if pause > 0 and not flush:
                break
            if pause > 0:
                self._ending.wait(min(pause, LABEL_DELAY_SECONDS))
            labels += self._truths.popleft()[1]
            if len(labels) >= 1000:
                self._send_labels(labels)
                labels = []
        self._send_labels(labels)

    def _send_labels(self, labels: list[dict[str, Any]]) -> None:
        if labels:
            self._post("/labels", {"labels": labels})
            self.labelled += len(labels)

    def _post(self, path: str, body: dict[str, Any]) -> None:
        """Send, and send again while the sidecar is busy or away: ids make that harmless. Raises TrafficFailed."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                response = self._client.post(path, json=body)
            except httpx.TransportError as error:
                problem = f"{type(error).__name__}: {error}"
            else:
                if response.status_code < 300:
                    return
                problem = f"status {response.status_code}, {response.text[:300]}"
                if response.status_code not in BUSY:
                    raise TrafficFailed(f"The sidecar refused a request of the demo to {path} ({problem}).")
            if time.monotonic() > deadline:
                raise TrafficFailed(f"The sidecar did not take a request to {path} for {PATIENCE_SECONDS:.0f} seconds ({problem}).")
            time.sleep(0.25)


def batches_of(rows: Sequence[dict[str, Any]], labels: Sequence[Any], size: int) -> Iterator[Batch]:
    """The rows once each, in their order, ``size`` to a request; every request is a subject of its own."""
    for start in range(0, len(rows), size):
        yield Batch(rows=list(rows[start : start + size]), labels=list(labels[start : start + size]), subject=f"request-{start}")


def request_size(rows_per_second: float, requests_per_second: float = 25.0) -> int:
    """Rows per request at which the requests come no faster than ``requests_per_second``.

    >>> request_size(300), request_size(5)
    (12, 1)
    """
    return max(1, math.ceil(rows_per_second / requests_per_second))

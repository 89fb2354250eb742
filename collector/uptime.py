"""Asks the sidecars whether they are ready, and says for which share of the time they were.

A sidecar that is down logs nothing, so that its own counts cannot tell it from one that nobody asks.
"""

from __future__ import annotations

import json
import logging
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from sqlalchemy import Connection, Engine

from collector.outcome import Outcome
from collector.statistics.intervals import wilson
from collector.windows import WindowPlan
from storage import metrics
from storage.engine import reading
from storage.records import JobRun, MetricPoint

_logger = logging.getLogger(__name__)

NAME = "uptime"
PATIENCE_SECONDS = 3.0
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def is_ready(url: str) -> bool:
    """Whether the sidecar at this base address says that it is ready; a page of something else that answers 200 does not count."""
    try:
        with _direct.open(f"{url.rstrip('/')}/ready", timeout=PATIENCE_SECONDS) as answer:
            content = json.loads(answer.read(10_000))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("status") == "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class UptimeJob:
    """Per sidecar 1 or 0 now (segment ``endpoint=HOST:PORT``, window 0), and the share of all answers over each window."""

    engine: Engine
    urls: Sequence[str]
    plans: Sequence[WindowPlan]
    ask: Callable[[str], bool] = is_ready

    @property
    def name(self) -> str:
        return NAME

    def gather(self, now: datetime, previous: JobRun | None, keep: Callable[[], None]) -> Outcome | None:
        if not self.urls:
            return None
        with ThreadPoolExecutor(len(self.urls)) as pool:
            answers = dict(zip(self.urls, pool.map(self.ask, self.urls), strict=True))
        for url, up in answers.items():
            if not up:
                _logger.warning("a sidecar is not ready", extra={"url": url})
        points = [
            MetricPoint(at=now, name=NAME, value=float(up), segment=f"endpoint={urlsplit(url).netloc}", n_current=1)
            for url, up in answers.items()
        ]
        with reading(self.engine) as c:
            points += [point for plan in self.plans if (point := self._over(c, plan, now, points))]
        return Outcome(write=lambda c: metrics.write_points(c, points))

    def _over(self, c: Connection, plan: WindowPlan, now: datetime, newest: Sequence[MetricPoint]) -> MetricPoint:
        """The share over the window that ends now, the newest answers included."""
        earlier = metrics.read_points(
            c, names=[NAME], window_seconds=0, start=now - plan.length + timedelta(microseconds=1), end=now
        )
        values = [point.value for point in (*earlier, *newest) if point.value is not None]
        up, n = round(sum(values)), len(values)
        lower, upper = wilson(up, n) or (None, None)
        return MetricPoint(at=now, name=NAME, value=up / n, lower=lower, upper=upper, n_current=n, window_seconds=plan.seconds)

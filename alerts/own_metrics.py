"""What the alerts service finds out by itself when a rule asks for it: about the collector, its own messages and its disk.

A collector that has stopped cannot say so, and neither can a channel that is broken.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection

from alerts.wording import UNJUDGED
from storage import jobs
from storage.records import MetricPoint
from storage.undelivered import undelivered_by_channel


def own_points(
    c: Connection, wanted: Collection[str], *, home: Path | None, unjudged: Mapping[str, int], now: datetime
) -> list[MetricPoint]:
    """The points of now of those of the service's own metrics that are ``wanted``.

    ``unjudged``: by source, how many rules cannot be judged because it does not answer.
    """
    finders: dict[str, Callable[[], list[MetricPoint]]] = {
        "collector_silent_seconds": lambda: _collector(c, now),
        "notifications_undelivered": lambda: _channels(c, now),
        "disk_percent": lambda: _disk(home, now),
        UNJUDGED: lambda: [_point(UNJUDGED, number, now, f"source={name}") for name, number in unjudged.items()],
    }
    return [point for name, find in finders.items() if name in wanted for point in find()]


def _point(name: str, value: float, now: datetime, segment: str = "") -> MetricPoint:
    return MetricPoint(at=now, name=name, value=float(value), segment=segment)


def _collector(c: Connection, now: datetime) -> list[MetricPoint]:
    """Seconds since any job of the collector succeeded; nothing where none ever did."""
    succeeded = [run.succeeded_at for run in jobs.runs(c) if run.succeeded_at is not None]
    if not succeeded:
        return []
    return [_point("collector_silent_seconds", max(0.0, (now - max(succeeded)).total_seconds()), now)]


def _channels(c: Connection, now: datetime) -> list[MetricPoint]:
    found = undelivered_by_channel(c, since=now - timedelta(hours=1), seen_since=now - timedelta(days=1))
    return [_point("notifications_undelivered", number, now, f"channel={channel}") for channel, number in found.items()]


def _disk(home: Path | None, now: datetime) -> list[MetricPoint]:
    """How full the disk of the home folder is, in percent, as ``df`` says it: what only root may use counts as used up."""
    if home is None or not home.exists():
        return []
    usage = shutil.disk_usage(home)
    return [_point("disk_percent", 100 * usage.used / max(1, usage.used + usage.free), now, f"host={socket.gethostname()}")]

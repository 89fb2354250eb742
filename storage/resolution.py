"""From which rows of ``rollups`` a window is added up. Pure.

Counts are kept by the rollup width, by the hour and by the day. Each level holds everything that compaction has merged,
so a window takes days where whole days lie inside it, hours at their sides, and the finest rows at its very ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

HOUR = 3600
DAY = 86_400
FINE = 0
"""Stands for every width below an hour: what the writers used, and may have changed over time."""
COARSE = (DAY, HOUR)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class WindowTooFine(Exception):
    """A window cuts an hour or a day of which only the whole is kept; the message says which. Nothing was computed."""

    def __init__(self, name: str, start: datetime, seconds: int) -> None:
        kept = "hour" if seconds == HOUR else "day"
        super().__init__(
            f"The counts of {name} around {start:%Y-%m-%d %H:%M} UTC are kept by the {kept} only; "
            f"choose a window that begins and ends on a whole {kept}."
        )
        self.start = start
        self.end = start + timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """The rows of one width, in seconds or ``FINE``, that begin in ``[start, end)``."""

    seconds: int
    start: datetime
    end: datetime


def floor_time(at: datetime, seconds: int) -> datetime:
    """The last whole multiple of ``seconds`` since 1970-01-01T00:00Z that is not after ``at``."""
    return at - (at - _EPOCH) % timedelta(seconds=seconds)


def ceil_time(at: datetime, seconds: int) -> datetime:
    """The first whole multiple of ``seconds`` since 1970-01-01T00:00Z that is not before ``at``."""
    return at + (_EPOCH - at) % timedelta(seconds=seconds)


def cover(start: datetime, end: datetime, widths: Sequence[int] = COARSE) -> list[Stretch]:
    """Stretches that make up ``[start, end)`` exactly, of the ``widths`` (widest first) where they fit, else fine ones.

    >>> noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
    >>> [(part.seconds, f"{part.start:%H:%M}") for part in cover(noon - timedelta(minutes=5), noon + timedelta(hours=2))]
    [(3600, '12:00'), (0, '11:55')]
    """
    if start >= end:
        return []
    if not widths:
        return [Stretch(seconds=FINE, start=start, end=end)]
    width, *narrower = widths
    first, last = ceil_time(start, width), floor_time(end, width)
    if first >= last:
        return cover(start, end, narrower)
    inner = Stretch(seconds=width, start=first, end=last)
    return [inner, *cover(start, first, narrower), *cover(last, end, narrower)]


def widths_for(start: datetime, step_seconds: int) -> tuple[int, ...]:
    """The coarse widths of which every step from ``start`` on is made, widest first."""
    return tuple(width for width in COARSE if step_seconds % width == 0 and floor_time(start, width) == start)


def enclosing(stretches: Sequence[Stretch], width: int) -> list[Stretch]:
    """The whole units of ``width`` that narrower stretches touch, each once: what must be complete for them to be."""
    spans = sorted((floor_time(part.start, width), ceil_time(part.end, width)) for part in stretches if part.seconds < width)
    merged: list[Stretch] = []
    for start, end in spans:
        if merged and start <= merged[-1].end:
            last = merged.pop()
            start, end = last.start, max(last.end, end)
        merged.append(Stretch(seconds=width, start=start, end=end))
    return merged


def fits(start: datetime, seconds: int, width: int) -> bool:
    """Whether a row of ``seconds`` lies wholly inside one unit of ``width``."""
    return start + timedelta(seconds=seconds) <= floor_time(start, width) + timedelta(seconds=width)

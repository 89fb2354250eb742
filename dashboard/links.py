"""Addresses of pages: what a link means, and links that mean it. Pure.

``/{page}?model=M&version=V&feature=F&from=2026-11-21T10:00:00Z&to=…Z`` or ``range=1h``; what is absent takes its default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

PAGES = ("overview", "drift", "performance", "compare", "alerts")
PRESETS = {
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
NOW_STEP_SECONDS = 5
"""Now is rounded down to this, so that what was read once is read from the cache by the next page."""
MAX_STEPS = 120
"""The most points that a line is drawn with."""
_ORDER = ("model", "version", "a", "b", "feature", "statistic", "window", "range", "from", "to", "lang", "refresh")
_NICE_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800)


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """The time ``[start, end)`` that a page shows; ``preset`` is None for a custom one. ``problem`` names a key of the texts."""

    start: datetime
    end: datetime
    preset: str | None
    problem: str | None = None

    @property
    def length(self) -> timedelta:
        return self.end - self.start

    @property
    def is_live(self) -> bool:
        """Whether it ends now and moves on."""
        return self.preset is not None


def parse_time(text: str | None) -> datetime | None:
    """An ISO time, UTC where it has no offset; None where it is none.

    >>> parse_time("2026-11-21T10:00:00Z")
    datetime.datetime(2026, 11, 21, 10, 0, tzinfo=datetime.timezone.utc)
    """
    try:
        at = datetime.fromisoformat((text or "").strip().replace(" ", "+"))
        return (at.replace(tzinfo=UTC) if at.tzinfo is None else at).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def format_time(at: datetime) -> str:
    """As ``parse_time`` reads it.

    >>> format_time(datetime(2026, 11, 21, 10, tzinfo=UTC))
    '2026-11-21T10:00:00Z'
    """
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def resolve_range(params: Mapping[str, str], default: str, now: datetime) -> Range:
    """What ``from`` and ``to``, or ``range``, stand for; the default preset, with a problem, where they make no sense."""
    now = floor_time(now, NOW_STEP_SECONDS)
    start, end = parse_time(params.get("from")), parse_time(params.get("to"))
    if params.get("from") or params.get("to"):
        custom = _custom(start, end, now)
        return custom or _preset(default, now, problem="range.problem")
    asked = params.get("range")
    if asked and asked not in PRESETS:
        return _preset(default, now, problem="range.problem")
    return _preset(asked or default, now)


def _custom(start: datetime | None, end: datetime | None, now: datetime) -> Range | None:
    if start is None and end is None:
        return None
    end = end or now
    start = start or end - PRESETS["1h"]
    return Range(start=start, end=end, preset=None) if start < end else None


def _preset(name: str, now: datetime, problem: str | None = None) -> Range:
    end = now + timedelta(seconds=NOW_STEP_SECONDS)
    return Range(start=end - PRESETS[name], end=end, preset=name, problem=problem)


def fitting_preset(extent: tuple[datetime, datetime] | None, now: datetime) -> str:
    """The shortest preset that shows all the data there is, 24 hours at most; so a fresh installation fills its charts."""
    if extent is None:
        return "24h"
    age = now - extent[0]
    return next((name for name in ("15m", "1h", "6h") if age <= PRESETS[name]), "24h")


def floor_time(at: datetime, seconds: int) -> datetime:
    """Down to a multiple of ``seconds`` since 1970."""
    return datetime.fromtimestamp(int(at.timestamp()) // seconds * seconds, UTC)


def step_seconds(length: timedelta, least: int, most: int = MAX_STEPS) -> int:
    """The width of one point of a line: a multiple of ``least`` so that at most ``most`` points are drawn.

    >>> step_seconds(timedelta(hours=24), 60)
    900
    """
    wanted = max(length.total_seconds() / most, least)
    nice = next((step for step in _NICE_SECONDS if step >= wanted and step % least == 0), None)
    return nice or int(-(-wanted // least)) * least


def aligned(shown: Range, step: int) -> tuple[datetime, datetime]:
    """Start and end moved outwards to whole steps, so that a point keeps its place as time goes on."""
    start, end = floor_time(shown.start, step), floor_time(shown.end, step)
    return start, end if end == shown.end else end + timedelta(seconds=step)


def ordered(params: Mapping[str, str | None]) -> dict[str, str]:
    """The parameters that have a value, in the order that links show them; unknown ones last."""
    known = [name for name in _ORDER if params.get(name)]
    rest = [name for name in params if name not in _ORDER and params.get(name)]
    return {name: str(params[name]) for name in (*known, *rest)}

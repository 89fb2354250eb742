"""Durations as people write them: ``30s``, ``10m``, ``1h30m``, ``7d``. Pure."""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")


def parse_duration(text: str) -> timedelta:
    """``"1h30m"`` as a timedelta.

    Raises ValueError when the text is not a sequence of numbers with the units ms, s, m, h, d or w.

    >>> parse_duration("1h30m")
    datetime.timedelta(seconds=5400)
    """
    text = text.strip()
    if not text or _PART.sub("", text):
        raise ValueError(f"{text!r} is not a duration; write for example 30s, 10m, 1h30m or 7d")
    try:
        return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text)))
    except OverflowError:
        raise ValueError(f"{text!r} is longer than any duration can be") from None


def format_duration(duration: timedelta) -> str:
    """The shortest text that ``parse_duration`` reads back, to the second.

    >>> format_duration(timedelta(minutes=90))
    '1h30m'
    """
    seconds: float = round(duration.total_seconds())
    parts = []
    for unit in ("d", "h", "m", "s"):
        number, seconds = divmod(seconds, _UNITS[unit])
        if number:
            parts.append(f"{int(number)}{unit}")
    return "".join(parts) or "0s"

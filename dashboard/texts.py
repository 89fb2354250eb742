"""What the pages say, in the language of the reader. Pure but for reading the catalogues once."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

LANGUAGES = {"en": "English", "zh": "中文"}
NOTHING = "—"
"""Stands for a value that is missing; never 0."""

SHARES = frozenset(
    ("drift_missing", "drift_unseen", "drift_out_of_range", "drift_share", "label_coverage", "error_rate", "timeout_rate")
)
"""The metrics that are shares, shown as percentages."""

_AUTOLINK = re.compile(r"@|://?|www(?=\.)")
"""What makes Streamlit's Markdown link a bare address; an invisible word joiner after it prevents that."""
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|$~:&@^=])")


@cache
def catalogue(language: str) -> dict[str, str]:
    """All texts of a language by key."""
    text = resources.files("dashboard").joinpath("locales", f"{language}.json").read_text(encoding="utf-8")
    content: dict[str, str] = json.loads(text)
    return content


def pick_language(requested: str | None, locale: str | None) -> str:
    """The language asked for, else the browser's, else English.

    >>> pick_language(None, "zh-CN"), pick_language("en", "zh-CN"), pick_language("xx", None)
    ('zh', 'en', 'en')
    """
    for candidate in (requested, locale):
        code = (candidate or "").lower().replace("_", "-").split("-")[0]
        if code in LANGUAGES:
            return code
    return "en"


def pick_zone(name: str | None) -> tzinfo:
    """The browser's time zone, or UTC where it is unknown."""
    try:
        return ZoneInfo(name) if name else UTC
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def plain(text: object) -> str:
    """Text for a place that reads Markdown, shown as it is: names come from other people.

    >>> plain("a*b [x](y)")
    'a\\\\*b \\\\[x\\\\]\\\\(y\\\\)'
    """
    unlinked = _AUTOLINK.sub("\\g<0>\u2060", " ".join(str(text).split()))
    return _MARKDOWN.sub(r"\\\1", unlinked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """One reader's language and time zone: ``texts("drift.title")``, and numbers and times as text."""

    language: str = "en"
    zone: tzinfo = field(default=UTC)

    def __call__(self, key: str, **values: object) -> str:
        """The text of a key with ``{name}`` filled in; the English one where a translation is missing."""
        found = catalogue(self.language).get(key) or catalogue("en").get(key, key)
        return found.format(**values) if values else found

    def has(self, key: str) -> bool:
        return key in catalogue("en")

    def word(self, group: str, value: object) -> str:
        """The word for one value of a closed set (``verdict``, ``state`` …), or the value itself where it is unknown."""
        key = f"{group}.{str(value).replace(' ', '_')}"
        return self(key) if self.has(key) else str(value)

    # ------------------------------------------------------------------------------------------ numbers

    def number(self, value: float | None, digits: int = 3) -> str:
        """``digits`` significant digits at least, whole numbers with separators."""
        if value is None or not math.isfinite(value):
            return NOTHING
        if value == int(value) and abs(value) < 1e15:
            return f"{int(value):,}"
        if abs(value) >= 10 ** (digits - 1):
            return f"{value:,.0f}"
        if abs(value) < 1e-4:
            return f"{value:.1e}"
        decimals = digits - 1 - math.floor(math.log10(abs(value)))
        return f"{value:.{min(max(decimals, 0), 6)}f}"

    def percent(self, value: float | None, digits: int = 1) -> str:
        if value is None or not math.isfinite(value):
            return NOTHING
        return f"{value * 100:.{digits}f}%"

    def of_metric(self, name: str, value: float | None) -> str:
        """The value of a metric in the unit that its name stands for."""
        if name in SHARES:
            return self.percent(value)
        return self.seconds(value) if name.endswith("_seconds") else self.number(value)

    def points(self, value: float | None) -> str:
        """A difference with its sign."""
        text = self.number(value)
        return f"+{text}" if value is not None and value > 0 else text.replace("-", "−")

    def seconds(self, value: float | None) -> str:
        """A latency or a delay in the unit that reads best."""
        if value is None or not math.isfinite(value):
            return NOTHING
        for limit, factor, unit in (
            (1e-3, 1e6, "µs"),
            (1.0, 1e3, "ms"),
            (120.0, 1.0, "s"),
            (7200.0, 1 / 60, "min"),
            (172800.0, 1 / 3600, "h"),
        ):
            if value < limit:
                return f"{self.number(value * factor)} {unit}"
        return f"{self.number(value / 86400)} d"

    def span(self, duration: timedelta) -> str:
        """How long, in one or two units."""
        total = max(int(duration.total_seconds()), 0)
        units = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
        parts = []
        for size, unit in units:
            number, total = divmod(total, size)
            if number:
                parts.append(f"{number} {unit}")
        return " ".join(parts[:2]) or "0 s"

    # ------------------------------------------------------------------------------------------ times

    def local(self, at: datetime) -> datetime:
        """The reader's wall clock, without a zone: what a chart's axis takes."""
        return at.astimezone(self.zone).replace(tzinfo=None)

    def time(self, at: datetime | None) -> str:
        return NOTHING if at is None else f"{self.local(at):%Y-%m-%d %H:%M:%S}"

    def clock(self, at: datetime | None) -> str:
        return NOTHING if at is None else f"{self.local(at):%H:%M:%S}"

    def ago(self, at: datetime | None, now: datetime) -> str:
        return NOTHING if at is None else self("time.ago", span=self.span(now - at))

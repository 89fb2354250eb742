"""What a job is and what it returns; a job itself writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from sqlalchemy import Connection

from storage.records import JobRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a job wants written. ``problems`` are sentences about what failed within it; ``done_until`` None leaves it as it was."""

    write: Callable[[Connection], object]
    done_until: datetime | None = None
    problems: tuple[str, ...] = ()


class Job(Protocol):
    """Work that is done again and again; ``keep`` renews the right to do it and is called between its parts."""

    @property
    def name(self) -> str: ...

    def gather(self, now: datetime, previous: JobRun | None, keep: Callable[[], None]) -> Outcome | None:
        """What is to be written; None where nothing was due."""


def now_utc() -> datetime:
    """The present; the one place where the collector reads the clock."""
    return datetime.now(UTC)

"""The cause card: what a message says of why it came, beside the value and its bound. Values only; ``alerts.evidence`` fills them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Mover:
    """A feature that moved: its statistic against its threshold, in words where it moved to, and its recent course.

    ``course`` are the values of the last windows, oldest first, for a small chart; ``threshold`` None where there is none.
    """

    name: str
    value: float
    threshold: float | None = None
    metric: str = ""
    movement: str = ""
    course: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Something that changed about when the problem began. ``at`` is an ISO 8601 time in UTC."""

    at: str
    what: str
    likely: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """``course`` is the judged value of the last windows; the likely cause is marked among ``changes``, and said in the summary."""

    movers: tuple[Mover, ...] = ()
    worst_segment: str = ""
    changes: tuple[Change, ...] = ()
    course: tuple[float, ...] = ()
    threshold: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As the outbox keeps it."""
        return asdict(self)

    @classmethod
    def from_json(cls, payload: Mapping[str, Any]) -> Card:
        """The card that ``to_json`` wrote."""
        return cls(
            movers=tuple(Mover(**{**mover, "course": tuple(mover["course"])}) for mover in payload["movers"]),
            worst_segment=payload["worst_segment"],
            changes=tuple(Change(**change) for change in payload["changes"]),
            course=tuple(payload["course"]),
            threshold=payload["threshold"],
        )

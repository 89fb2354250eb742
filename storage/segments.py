"""Segments that are counted by themselves: declared fields of what callers send, with a bounded number of values each.

A prediction says of itself ``country=de,plan=free``. Where ``country`` is declared, it is counted a second time under
``country=de``. The first values that come are kept in ``segment_values``; once a field has as many as it may have, any
further one is counted under ``country=*other``, so that a field that turns out to be an identifier costs one row more
and not a million.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, select

from storage.dialects import insert_new, one_at_a_time
from storage.schema import segment_values

OTHER = "*other"
MOST_VALUES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentFields:
    """Which fields are counted by value, and how many values of each."""

    names: tuple[str, ...] = ()
    most_values: int = MOST_VALUES


@dataclass(slots=True)
class SegmentValues:
    """The values of one model that are counted, as one transaction knows them; new ones are stored at once."""

    model: str
    fields: SegmentFields
    _known: dict[str, set[str]] = field(default_factory=dict)

    def segments(self, c: Connection, text: str) -> list[str]:
        """The segments that a prediction with this text counts into: ``field=value`` each, in the order they are declared."""
        if not text or not self.fields.names:
            return []
        given = dict(part.partition("=")[::2] for part in text.split(","))
        return [f"{name}={self._counted(c, name, given[name])}" for name in self.fields.names if name in given]

    def _counted(self, c: Connection, name: str, value: str) -> str:
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = self._stored(c, name)
        if value not in known and len(known) < self.fields.most_values:
            one_at_a_time(c, f"segments of {self.model}")  # or two writers would each add the last one that fits
            known = self._known[name] = self._stored(c, name)
            if value not in known and len(known) < self.fields.most_values:
                row = {"model": self.model, "field": name, "value": value}
                insert_new(c, segment_values, row, key=["model", "field", "value"])
                known.add(value)
        return value if value in known else OTHER

    def _stored(self, c: Connection, name: str) -> set[str]:
        query = select(segment_values.c.value).where(segment_values.c.model == self.model, segment_values.c.field == name)
        return set(c.scalars(query))


def counted_segments(c: Connection, model: str, names: Iterable[str]) -> Sequence[str]:
    """Every segment of the model that may have counts: the known values of the declared fields, and what is left of each."""
    wanted = list(names)
    query = select(segment_values.c.field, segment_values.c.value).where(
        segment_values.c.model == model, segment_values.c.field.in_(wanted)
    )
    rows = c.execute(query.order_by(segment_values.c.field, segment_values.c.value)).all()
    found = [f"{row.field}={row.value}" for row in rows]
    return [*found, *sorted({f"{row.field}={OTHER}" for row in rows})]

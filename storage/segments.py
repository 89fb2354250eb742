"""Segments that are counted by themselves: declared fields of what callers send, with a bounded number of values each.

A prediction says of itself ``country=de,plan=free``. Where ``country`` is declared, it is counted a second time under
``country=de``. The first values that come are kept in ``segment_values``; once a field has as many as it may have, any
further one is counted under ``country=*other``, so that a field that turns out to be an identifier costs one row more
and not a million.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, select

from storage.dialects import insert_new, one_at_a_time
from storage.schema import segment_values
from storage.segment_fields import SegmentFields

OTHER = "*other"


@dataclass(slots=True)
class SegmentValues:
    """The values of one model that are counted, as one transaction knows them; new ones are stored at once."""

    model: str
    fields: SegmentFields
    _known: dict[str, set[str]] = field(default_factory=dict)

    def segments(self, c: Connection, text: str) -> list[str]:
        """The segments that a prediction with this text counts into: ``field=value`` each, in the order they are declared."""
        return [f"{name}={self._counted(c, name, value)}" for name, value in self.fields.given(text)]

    def _counted(self, c: Connection, name: str, value: str) -> str:
        if value == OTHER:
            return OTHER
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = self._stored(c, name)
        if value not in known and len(known) < self.fields.most_values:
            one_writer(c, self.model)  # or two of them would each add the last one that fits
            known = self._known[name] = self._stored(c, name)
            if value not in known and len(known) < self.fields.most_values:
                row = {"model": self.model, "field": name, "value": value}
                insert_new(c, segment_values, row, key=["model", "field", "value"])
                known.add(value)
        return value if value in known else OTHER

    def _stored(self, c: Connection, name: str) -> set[str]:
        query = select(segment_values.c.value).where(segment_values.c.model == self.model, segment_values.c.field == name)
        return set(c.scalars(query))


@dataclass(slots=True)
class SegmentCounting:
    """Sorts the predictions of any model into the segments that they count into, within one transaction."""

    connection: Connection
    fields: SegmentFields
    _models: dict[str, SegmentValues] = field(default_factory=dict)

    def places(self, model: str, texts: Sequence[str]) -> dict[str, list[int]]:
        """By segment, where in ``texts`` its predictions stand; nothing is looked at where no field is declared."""
        found: dict[str, list[int]] = defaultdict(list)
        if not self.fields.names:
            return found
        values = self._models.setdefault(model, SegmentValues(model, self.fields))
        known = {text: values.segments(self.connection, text) for text in sorted(set(texts))}
        for index, text in enumerate(texts):
            for segment in known[text]:
                found[segment].append(index)
        return found


def one_writer(c: Connection, model: str) -> None:
    """Until the transaction ends, no other one adds a value to the model's segments."""
    one_at_a_time(c, f"segments of {model}")


def counted_segments(c: Connection, model: str, names: Iterable[str]) -> Sequence[str]:
    """Every segment of the model that may have counts: the known values of the declared fields, and what is left of each."""
    wanted = list(names)
    query = select(segment_values.c.field, segment_values.c.value).where(
        segment_values.c.model == model, segment_values.c.field.in_(wanted)
    )
    rows = c.execute(query.order_by(segment_values.c.field, segment_values.c.value)).all()
    found = [f"{row.field}={row.value}" for row in rows]
    return [*found, *sorted({f"{row.field}={OTHER}" for row in rows})]

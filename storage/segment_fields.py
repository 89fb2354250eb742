"""Which fields of what callers send are counted by themselves, as the setting ``segments`` declares them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

MOST_FIELDS = 8
MOST_VALUES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentFields:
    """Which fields are counted by value, and how many values of each."""

    names: tuple[str, ...] = ()
    most_values: int = MOST_VALUES

    @classmethod
    def parse(cls, text: str, most_values: int = MOST_VALUES) -> Self:
        """The fields of a list with commas. Raises ValueError, with a sentence, for a list that is none.

        >>> SegmentFields.parse("country, plan").names
        ('country', 'plan')
        """
        names = tuple(part.strip() for part in text.split(",")) if text.strip() else ()
        if len(names) > MOST_FIELDS:
            raise ValueError(f"it declares {len(names)} fields, and {MOST_FIELDS} are the most")
        for name in names:
            if not name.isprintable() or not name or "=" in name:
                raise ValueError(f"{name!r} is no name of a field; write for example country,plan")
            if names.count(name) > 1:
                raise ValueError(f"it declares {name} twice")
        return cls(names=names, most_values=most_values)

    def given(self, text: str) -> list[tuple[str, str]]:
        """The declared fields that a prediction says of itself, with their values, in the order they are declared.

        >>> SegmentFields.parse("plan,country").given("country=de,device=phone")
        [('country', 'de')]
        """
        if not text or not self.names:
            return []
        said = dict(part.partition("=")[::2] for part in text.split(","))
        return [(name, said[name]) for name in self.names if name in said]


NO_SEGMENTS = SegmentFields()

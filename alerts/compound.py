"""Rules of several parts: what was found in each part becomes one finding for each set of labels that they share. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from alerts.lifecycle import Finding
from alerts.readings import Reading
from alerts.rules import Combine

Key = tuple[str, ...]

_WITHIN = (Finding.BREACH, Finding.BETWEEN, Finding.CLEAR, Finding.ERROR, Finding.NO_DATA)
"""Which of several series of one part speaks for it: the worst of those that could be judged."""

_ALL = (Finding.CLEAR, Finding.ERROR, Finding.NO_DATA, Finding.BETWEEN, Finding.BREACH)
"""Which part speaks for all of them: one that is clear settles it, whatever the others would say (Kleene's logic)."""

_ANY = (Finding.BREACH, Finding.ERROR, Finding.NO_DATA, Finding.BETWEEN, Finding.CLEAR)
"""Which part speaks for any of them: one that is a problem settles it."""


def join(
    combine: Combine, parts: Sequence[Sequence[Reading]], equal: Sequence[str], *, absent: Sequence[Finding | None] = ()
) -> list[Reading]:
    """One reading per set of values of the labels in ``equal``.

    A series without one of these labels (a machine's, where they name a model) counts for every value of it. Where all
    parts have to hold, a part without a series is no data; where any is enough, it is left out. ``absent`` says of a part
    what it means that it has none: CLEAR for a query that gives nothing but problems.

    >>> slow = Reading(series={"model": "a", "version": "2"}, finding=Finding.BREACH, reason="slow")
    >>> full = Reading(series={}, finding=Finding.CLEAR, reason="disk is fine")
    >>> [(one.series, one.finding.value) for one in join(Combine.ALL, [[slow], [full]], ["model"])]
    [({'model': 'a'}, 'clear')]
    """
    named = tuple(key for key in equal if any(key in reading.series for readings in parts for reading in readings))
    indexed = [_indexed(readings, named) for readings in parts]
    keys = dict.fromkeys(key for part in indexed for key in part.whole)
    missing = [None if finding is None else Reading(series={}, finding=finding) for finding in absent] or [None] * len(parts)
    found = {key: [part.speaker(key) or none for part, none in zip(indexed, missing, strict=True)] for key in keys}
    return [_combined(combine, key, named, readings) for key, readings in found.items()]


@dataclass(frozen=True, slots=True)
class _Part:
    """The readings of a part by the labels in question; ``partial`` lack some of them (empty in their keys)."""

    whole: Mapping[Key, Reading]
    partial: Mapping[Key, Reading]

    def speaker(self, key: Key) -> Reading | None:
        """The reading for a key: its own, else one that lacks the labels in which it would differ."""
        if key in self.whole:
            return self.whole[key]
        fitting = [
            reading
            for other, reading in self.partial.items()
            if all(mine in ("", wanted) for mine, wanted in zip(other, key, strict=True))
        ]
        return _first(fitting, _WITHIN) if fitting else None


def _indexed(readings: Sequence[Reading], named: Key) -> _Part:
    found: dict[Key, list[Reading]] = defaultdict(list)
    for reading in readings:
        found[tuple(reading.series.get(name, "") for name in named)].append(reading)
    spoken = {key: _first(several, _WITHIN) for key, several in found.items()}
    return _Part(
        whole={key: reading for key, reading in spoken.items() if all(key)},
        partial={key: reading for key, reading in spoken.items() if not all(key)},
    )


def _combined(combine: Combine, key: Key, named: Key, found: Sequence[Reading | None]) -> Reading:
    series = {name: value for name, value in zip(named, key, strict=True) if value}
    there = [reading for reading in found if reading is not None]
    if combine is Combine.ALL and len(there) < len(found):
        there.append(Reading(series=series, finding=Finding.NO_DATA, reason="a part of the rule has no series for this"))
    deciding = _first(there, _ALL if combine is Combine.ALL else _ANY)
    shown = found[0] or deciding
    return replace(
        shown,
        series=series,
        finding=deciding.finding,
        reason=_reason(combine, deciding, there),
        value=shown.value if deciding.finding in _WITHIN[:3] else None,
    )


def _reason(combine: Combine, deciding: Reading, there: Sequence[Reading]) -> str:
    """All that took part in it: of a problem that all parts make each, else those that decide alike."""
    joint = " and " if (combine is Combine.ALL) == (deciding.finding is Finding.BREACH) else "; "
    return joint.join(dict.fromkeys(reading.reason for reading in there if reading.finding is deciding.finding and reading.reason))


def _first(readings: Sequence[Reading], order: Sequence[Finding]) -> Reading:
    return min(readings, key=lambda reading: order.index(reading.finding))

"""Calibrates verdicts on a reference: how its rows depend on one another, and how many tests a window really makes.

A window makes up to six tests of every column, and they overlap: PSI and Jensen-Shannon see nearly the same, and columns go
together. Windows drawn from the reference in blocks of rows (moving-block bootstrap, Künsch 1989,
https://doi.org/10.1214/aos/1176347265) show how often the most extreme of all tests is how extreme; the *number of tests* is
what independent tests would have to be in number to do the same. It also takes in whatever the p-values get wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from collector.statistics.dependence import Dependence, dependence
from collector.statistics.nulls import Weights
from collector.statistics.scores import Column, scores
from storage.records import Bins, Floats, Ints

WINDOW_ROWS = (200, 1000)
"""Sizes of the windows that are drawn; the number of tests hardly depends on them."""
DRAWS = 1000
EXTREME = 0.03
"""The quantile of the smallest p-value that counts the tests; 30 of the draws lie beyond it."""
MOST_ROWS = 50_000
"""Of a longer reference the last rows are looked at."""
LEAST_ROWS = 400
BLOCK_LAGS = 4
"""A block holds the longest correlation this many times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What a reference says about the tests against it; ``tests`` None: nothing, it is too short.

    ``columns``: dependence by name of the feature, the score's under "". ``block``: rows drawn together, 1 where all columns
    are independent over the rows. ``sorted_columns``: those whose order cannot be that of time.
    """

    tests: float | None = None
    columns: Mapping[str, Dependence] = field(default_factory=dict)
    block: int = 1
    rows: int = 0

    def of(self, column: str) -> Dependence:
        return self.columns.get(column, Dependence())

    @property
    def sorted_columns(self) -> list[str]:
        return [name for name, found in self.columns.items() if found.is_sorted]


UNCALIBRATED = Calibration()


def calibrate(columns: Sequence[tuple[Bins, Ints]], seed: int = 0) -> Calibration:
    """From each column's bins and the bin of each reference row, int64 (rows,), in the order of the file.

    The same reference gives the same calibration. Fewer than LEAST_ROWS rows give none.

    >>> rows = np.random.default_rng(1).integers(0, 4, size=2000)
    >>> found = calibrate([(Bins(name="x", edges=(1.0, 2.0, 3.0)), rows)])
    >>> found.of("x").ks, 1 <= found.tests <= 6
    (1.0, True)
    """
    kept = [(bins, indices[-MOST_ROWS:]) for bins, indices in columns]
    rows = len(kept[0][1]) if kept else 0
    if rows < LEAST_ROWS:
        return Calibration(rows=rows)
    found = {bins.name: dependence(bins, indices) for bins, indices in kept}
    block = max(1, BLOCK_LAGS * max(effect.lag for effect in found.values()))
    random = np.random.default_rng(seed)
    sizes = [size for size in WINDOW_ROWS if size <= rows // 2]
    tests = []
    for length in sorted({1, block}):  # broken into blocks, rows depend less than they did; single rows bound what that hides
        effects = found if length > 1 else {}
        held = [(_reference(bins, indices, effects.get(bins.name, Dependence())), indices) for bins, indices in kept]
        tests += [_number_of_tests(held, _drawn_rows(random, rows, size, length)) for size in sizes]
    return Calibration(tests=max(tests), columns=found, block=block, rows=rows)


def _reference(bins: Bins, indices: Ints, effect: Dependence) -> Column:
    counts = np.bincount(indices, minlength=bins.size)
    return Column(bins=bins, reference=counts, dependence=effect, is_known=True)


def _drawn_rows(random: np.random.Generator, rows: int, size: int, block: int) -> Ints:
    """Row numbers of DRAWS windows of ``size`` rows, int64 (DRAWS, size): whole blocks, the last one cut."""
    block = min(block, size)
    starts = random.integers(0, rows - block + 1, size=(DRAWS, -(-size // block)))
    drawn = (starts[:, :, None] + np.arange(block)).reshape(DRAWS, -1)
    return np.asarray(drawn[:, :size])


def _number_of_tests(held: Sequence[tuple[Column, Ints]], drawn: Ints) -> float:
    smallest = np.ones(DRAWS)
    for p_values in _p_values(held, drawn):
        np.minimum(smallest, p_values, out=smallest)
    return float(max(1.0, EXTREME / np.quantile(smallest, EXTREME)))


def _p_values(held: Sequence[tuple[Column, Ints]], drawn: Ints) -> Iterator[Floats]:
    offsets = np.arange(DRAWS)[:, None]
    for column, indices in held:
        size = column.bins.size
        counts = np.bincount((indices[drawn] + offsets * size).ravel(), minlength=DRAWS * size).reshape(DRAWS, size)
        for _, p_values in scores(column, counts).values():
            yield p_values


# ---------------------------------------------------------------------------------------------- as stored in a profile


def calibration_to_json(calibration: Calibration) -> dict[str, Any]:
    """As ``Profile.thresholds`` holds it."""
    columns = {name: asdict(found) for name, found in calibration.columns.items()}
    return {"tests": calibration.tests, "block": calibration.block, "rows": calibration.rows, "columns": columns}


def calibration_from_json(content: Mapping[str, Any]) -> Calibration:
    """The calibration of a profile; an empty one where it has none."""
    columns = {
        name: Dependence(**{**found, "groups": Weights(**found["groups"])}) for name, found in content.get("columns", {}).items()
    }
    return Calibration(tests=content.get("tests"), columns=columns, block=content.get("block", 1), rows=content.get("rows", 0))

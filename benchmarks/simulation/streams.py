"""Streams of rows with known drift, and their counts in windows that move on by a twelfth of their length."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.signal import lfilter

from collector.statistics.calibration import Calibration, calibrate
from collector.statistics.drift import reference_bins
from storage.layouts import bin_indices
from storage.records import Bins, FeatureType, Floats, Ints

STEPS = 12
"""Steps of a window."""
CATEGORY_SHARES = (0.4, 0.3, 0.2, 0.1)
CATEGORIES = ("a", "b", "c", "d")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the rows are like without drift: ``features`` normal columns, each an AR(1) series over the rows."""

    features: int = 20
    correlation: float = 0.0
    reference_rows: int = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column's reference: its values, its bins, and its counts."""

    values: Floats
    bins: Bins
    counts: Ints

    @classmethod
    def of(cls, values: Floats, *, name: str = "", is_categorical: bool = False) -> Column:
        kind = FeatureType.CATEGORY if is_categorical else FeatureType.NUMBER
        found = reference_bins([CATEGORIES[int(v)] for v in values] if is_categorical else values, kind)
        bins = replace(found, name=name)
        return cls(values=values, bins=bins, counts=np.bincount(indices(bins, values), minlength=bins.size))


def indices(bins: Bins, values: Floats) -> Ints:
    """The bin of each value; the numbers of a categorical column stand for CATEGORIES, NaN is missing."""
    if not bins.is_categorical:
        return bin_indices(bins, values)
    known = np.array([bins.categories.index(name) for name in CATEGORIES] + [bins.size - 1])
    return known[np.where(np.isnan(values), len(CATEGORIES), values).astype(np.int64)]


def normals(random: np.random.Generator, rows: int, correlation: float) -> Floats:
    """A stationary AR(1) series of standard normals."""
    noise = random.normal(size=rows)
    if not correlation:
        return noise
    scale = np.sqrt(1 - correlation**2)
    start = np.array([correlation * random.normal()])
    return np.asarray(lfilter([scale], [1.0, -correlation], noise, zi=start)[0])


def categories(random: np.random.Generator, rows: int, shares: tuple[float, ...] = CATEGORY_SHARES) -> Floats:
    return random.choice(len(CATEGORIES), rows, p=shares).astype(float)


def calibrated(random: np.random.Generator, world: World) -> tuple[list[Column], Calibration]:
    """A reference of independent columns, and its calibration."""
    values = [normals(random, world.reference_rows, world.correlation) for _ in range(world.features)]
    columns = [Column.of(column, name=f"x{number}") for number, column in enumerate(values)]
    return columns, calibrate([(column.bins, indices(column.bins, column.values)) for column in columns])


def step_counts(column: Column, values: Floats, rows_per_step: int) -> Ints:
    """Counts per step, int64 (steps, bins)."""
    steps = values.size // rows_per_step
    found = indices(column.bins, values[: steps * rows_per_step])
    size = column.bins.size
    return np.bincount(np.repeat(np.arange(steps), rows_per_step) * size + found, minlength=steps * size).reshape(steps, size)


def window_counts(counts: Ints) -> Ints:
    """Counts of the windows that end after each step from the STEPS-th on, int64 (steps - STEPS + 1, bins)."""
    total = np.concatenate((np.zeros((1, counts.shape[1]), np.int64), np.cumsum(counts, axis=0)))
    return np.asarray(total[STEPS:] - total[:-STEPS])

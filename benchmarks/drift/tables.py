"""The reference and the current table that all subjects compare, the same in every run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

SEED = 20261124
LEVELS = (5, 10, 20, 50, 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Rows of either table, and how many columns of which kind; the last categorical one has 1,000 levels."""

    rows: int
    numeric: int
    categorical: int


SIZES = {
    "S": Size(rows=10_000, numeric=10, categorical=2),
    "M": Size(rows=100_000, numeric=50, categorical=5),
    "L": Size(rows=1_000_000, numeric=50, categorical=5),
}


def write_tables(folder: Path, size: Size) -> None:
    """``reference.parquet`` and ``current.parquet``; a fifth of the columns drift by 0.1 deviations or 5 % of the rows."""
    _table(size, seed=SEED, moved=0.0).to_parquet(folder / "reference.parquet")
    _table(size, seed=SEED + 1, moved=0.1).to_parquet(folder / "current.parquet")


def _table(size: Size, *, seed: int, moved: float) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    columns = {f"num_{i}": _numbers(random, i, size.rows, moved if i % 5 == 0 else 0.0) for i in range(size.numeric)}
    for i, levels in enumerate(LEVELS[-size.categorical :]):
        columns[f"cat_{i}"] = _levels(random, levels, size.rows, moved if i % 5 == 0 else 0.0)
    return pd.DataFrame(columns)


def _numbers(random: np.random.Generator, index: int, rows: int, moved: float) -> np.ndarray:
    kinds = (
        lambda: random.normal(moved, 1, rows),
        lambda: random.lognormal(moved, 1, rows),
        lambda: random.exponential(1 + moved, rows),
        lambda: random.poisson(4 + moved, rows).astype(np.float64),
        lambda: random.uniform(moved, 1 + moved, rows),
        lambda: random.standard_t(3, rows) + moved,
        lambda: np.round(random.lognormal(3, 1, rows), 2),
        lambda: random.gamma(2, 1 + moved, rows),
    )
    return kinds[index % len(kinds)]()


def _levels(random: np.random.Generator, levels: int, rows: int, moved: float) -> np.ndarray:
    shares = 1 / np.arange(1, levels + 1)
    chosen = random.choice(levels, rows, p=shares / shares.sum())
    chosen[random.random(rows) < moved / 2] = levels - 1
    return np.array([f"level_{level}" for level in range(levels)], dtype=object)[chosen]

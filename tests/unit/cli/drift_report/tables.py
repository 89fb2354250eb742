"""Two small tables for reports: some columns drift, some do not, some are odd."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd


def reference_table(rows: int = 600, seed: int = 1) -> pd.DataFrame:
    """What is normal."""
    generator = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "age": generator.normal(40, 10, rows),
            "plan": generator.choice(["basic", "plus"], rows, p=[0.7, 0.3]),
            "visits": generator.poisson(2, rows),
            "member": generator.random(rows) < 0.5,
            "churned": generator.integers(0, 2, rows),
        }
    )


def current_table(rows: int = 500, seed: int = 2, **changed: Any) -> pd.DataFrame:
    """The same, drawn anew, but for the columns that are given."""
    return reference_table(rows, seed).assign(**changed)

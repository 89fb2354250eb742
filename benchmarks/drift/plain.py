"""The loop that one would write with scipy and numpy: column by column, Kolmogorov-Smirnov or chi-squared, PSI and JS."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2_contingency, ks_2samp

from storage.records import Floats


def compare(reference: pd.DataFrame, current: pd.DataFrame) -> dict[str, float]:
    """The KS statistic of each numeric column; the other results are computed and dropped, as all subjects' are."""
    found = {}
    for name in reference:
        if pd.api.types.is_numeric_dtype(reference[name].dtype):
            found[str(name)] = _numeric(reference[name].to_numpy(), current[name].to_numpy())
        else:
            _categorical(reference[name], current[name])
    return found


def _numeric(reference: Floats, current: Floats) -> float:
    tested: Any = ks_2samp(reference, current, method="asymp")
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, 11)))
    edges[0], edges[-1] = -np.inf, np.inf
    _distances(np.histogram(reference, edges)[0], np.histogram(current, edges)[0])
    return float(tested.statistic)


def _categorical(reference: pd.Series, current: pd.Series) -> None:
    counts = pd.concat([reference.value_counts(), current.value_counts()], axis=1).fillna(0).to_numpy()
    chi2_contingency(counts.T)
    _distances(counts[:, 0], counts[:, 1])


def _distances(reference: Any, current: Any) -> tuple[float, float]:
    r, c = np.maximum(reference / reference.sum(), 1e-4), np.maximum(current / current.sum(), 1e-4)
    return float(np.sum((c - r) * np.log(c / r))), float(jensenshannon(r, c, base=2))

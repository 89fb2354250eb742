"""A course of numbers as a line of block characters, for places that take no pictures. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"
GAP = " "


def sparkline(values: Sequence[float]) -> str:
    """One character per value, from the lowest to the highest; a value that is not finite is a gap.

    >>> sparkline([0.0, 0.1, 0.2, 0.7])
    '▁▂▃█'
    >>> sparkline([3.0, 3.0])
    '▁▁'
    """
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return GAP * len(values)
    low, high = min(finite), max(finite)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((value - low) * scale)] if math.isfinite(value) else GAP for value in values)

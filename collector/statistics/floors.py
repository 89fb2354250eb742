"""The least effects that count as drift."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Floors:
    """The least effects that count as drift, whatever the sample size. ``shift`` is in standard deviations."""

    ks: float = 0.05
    shift: float = 0.1
    psi: float = 0.1
    js: float = 0.05
    missing: float = 0.02
    unseen: float = 0.01
    out_of_range: float = 0.01

"""Months without any drift: how many alarms there are, of modelwatch and of the rules beside it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from rich.progress import track
from scipy.special import chdtri

from benchmarks.simulation.rules import (
    Alarms,
    Rule,
    Sorted,
    benjamini_hochberg,
    bets_on,
    column_alarms,
    episodes,
    evidently_drifted,
    lasting_alarms,
    plain_p_values,
)
from benchmarks.simulation.streams import STEPS, World, calibrated, normals, step_counts, window_counts
from storage.records import Floats, Ints

WINDOWS = 30 * 24
"""Windows of an hour in 30 days, that do not overlap; modelwatch looks STEPS times as often."""
PEER_WINDOWS = 24
PEER_MONTHS = 6
"""The peers' rules alarm so often that one day of each of the first months is plenty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiet:
    """Alarms in ``months`` without drift: times that a verdict of modelwatch began; windows in which a peer's rule alarmed.

    ``lasting``: those times for the evidence of small changes alone.
    """

    rows: int
    correlation: float
    months: int
    modelwatch: int = 0
    lasting: int = 0
    peer_windows: int = 0
    evidently_share: int = 0
    evidently_any: int = 0
    bh: int = 0

    @property
    def per_month(self) -> dict[str, float]:
        peers = {
            name: getattr(self, name) * WINDOWS / max(self.peer_windows, 1) for name in ("evidently_share", "evidently_any", "bh")
        }
        return {"modelwatch": self.modelwatch / self.months, **peers}

    @property
    def interval(self) -> tuple[float, float]:
        """95 % for modelwatch's alarms a month: that of a Poisson number (Garwood 1936)."""
        k = self.modelwatch
        lower = chdtri(2 * k, 0.975) / 2 if k else 0.0
        return float(lower / self.months), float(chdtri(2 * k + 2, 0.025) / 2 / self.months)


def quiet(rows: int, correlation: float, months: int, random: np.random.Generator) -> Quiet:
    """A fresh reference for each month, so that what one reference happens to be like averages out."""
    found = Quiet(rows=rows, correlation=correlation, months=months)
    for month in track(range(months), f"no drift, {rows} rows, correlation {correlation}", transient=True):
        found = _month(found, World(correlation=correlation), random, with_peers=month < PEER_MONTHS)
    return found


def _month(found: Quiet, world: World, random: np.random.Generator, *, with_peers: bool) -> Quiet:
    per_step = round(found.rows / STEPS)
    columns, calibration = calibrated(random, world)
    bets = [bets_on(column, calibration) for column in columns]
    rule = Rule.of(calibration.tests or 0.0, sum(each.weights.sum() for each in bets))
    alarms: Alarms = np.zeros(WINDOWS * STEPS, bool)
    first: list[Floats] = []
    steps: list[Ints] = []
    for column in columns:
        stream = normals(random, (WINDOWS * STEPS + STEPS - 1) * per_step, world.correlation)
        steps.append(step_counts(column, stream, per_step))
        alarms |= column_alarms(rule, column, calibration, window_counts(steps[-1]))
        first.append(stream[: PEER_WINDOWS * found.rows])
    lasting = lasting_alarms(rule, list(zip(bets, steps, strict=True)))
    found = replace(
        found,
        modelwatch=found.modelwatch + episodes(alarms | lasting),
        lasting=found.lasting + episodes(lasting),
    )
    if not with_peers:
        return found
    references = [Sorted.of(column) for column in columns]
    for start in range(0, PEER_WINDOWS * found.rows, found.rows):
        found = _peer_window(found, references, [stream[start : start + found.rows] for stream in first])
    return found


def _peer_window(found: Quiet, references: list[Sorted], values: list[Floats]) -> Quiet:
    drifted = [evidently_drifted(reference, column) for reference, column in zip(references, values, strict=True)]
    p_values = [plain_p_values(reference, column)[0] for reference, column in zip(references, values, strict=True)]
    return replace(
        found,
        peer_windows=found.peer_windows + 1,
        evidently_share=found.evidently_share + (float(np.mean(drifted)) >= 0.5),
        evidently_any=found.evidently_any + any(drifted),
        bh=found.bh + benjamini_hochberg(p_values, 0.05),
    )

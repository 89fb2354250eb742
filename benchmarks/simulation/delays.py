"""How long a change goes unseen, from its first row to the verdict, in windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from rich.progress import track
from scipy.stats import false_discovery_control

from benchmarks.simulation.quiet import WINDOWS
from benchmarks.simulation.rules import Rule, Sorted, bets_on, column_alarms, lasting_alarms, plain_p_values
from benchmarks.simulation.streams import STEPS, Column, World, calibrated, categories, normals, step_counts, window_counts
from collector.statistics.calibration import Calibration
from storage.records import Floats

CALM_WINDOWS = 5
LONGEST = 40
"""Windows after the change; one that is not seen by then is not seen."""
MOVED_SHARES = (0.35, 0.25, 0.3, 0.1)
OTHERS = 19
"""Columns without a change, whose p-values stand beside that of the changed one in Benjamini-Hochberg."""
USUAL, STRICT = 0.05, 1 / WINDOWS
"""False-discovery rates: as usual, and the one that alarms about as seldom as modelwatch, once in 30 days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """``make`` gives rows as before (False) or after (True) the change."""

    name: str
    make: Callable[[np.random.Generator, int, bool], Floats]
    is_categorical: bool = False


def _shifted(by: float) -> Callable[[np.random.Generator, int, bool], Floats]:
    return lambda random, rows, after: normals(random, rows, 0.0) + by * after


def _recategorised(random: np.random.Generator, rows: int, after: bool) -> Floats:
    return categories(random, rows, MOVED_SHARES) if after else categories(random, rows)


def _emptied(random: np.random.Generator, rows: int, after: bool) -> Floats:
    values = normals(random, rows, 0.0)
    values[random.random(rows) < 0.05 * after] = np.nan
    return values


CHANGES = (
    Change(name="mean + 0.2 deviations", make=_shifted(0.2)),
    Change(name="mean + 0.5 deviations", make=_shifted(0.5)),
    Change(name="a category from 20 % to 30 %", make=_recategorised, is_categorical=True),
    Change(name="missing from 0 to 5 %", make=_emptied),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """Median windows from the change to the verdict; infinite where half of the runs never had one.

    ``modelwatch`` with one false alarm a month, ``modelwatch_loose`` with as many as Benjamini-Hochberg at 0.05 has;
    ``bh`` at 0.05, ``bh_strict`` at the rate that has as few as modelwatch.
    """

    change: str
    rows: int
    runs: int
    modelwatch: float
    modelwatch_loose: float
    bh: float
    bh_strict: float


def delay(change: Change, rows: int, runs: int, random: np.random.Generator) -> Delay:
    world = World()
    _, calibration = calibrated(random, world)
    found = []
    for _ in track(range(runs), f"{change.name}, {rows} rows", transient=True):
        column = Column.of(change.make(random, world.reference_rows, False), is_categorical=change.is_categorical)
        begins = CALM_WINDOWS * rows + int(random.integers(rows))
        stream = np.concatenate((change.make(random, begins, False), change.make(random, LONGEST * rows, True)))
        weights = OTHERS + float(bets_on(column, calibration).weights.sum())
        rules = [Rule.of(calibration.tests or 0.0, weights, days=days) for days in (30.0, 30 / (USUAL * WINDOWS))]
        ours = [_first_alarm(rule, column, calibration, stream, begins, rows) for rule in rules]
        found.append([*ours, *_first_discoveries(Sorted.of(column), stream, begins, rows, random)])
    medians = np.median(np.array(found), axis=0).tolist()
    return Delay(
        change=change.name,
        rows=rows,
        runs=runs,
        modelwatch=medians[0],
        modelwatch_loose=medians[1],
        bh=medians[2],
        bh_strict=medians[3],
    )


def _first_alarm(rule: Rule, column: Column, calibration: Calibration, stream: Floats, begins: int, rows: int) -> float:
    per_step = round(rows / STEPS)
    steps = step_counts(column, stream, per_step)
    alarms = column_alarms(rule, column, calibration, window_counts(steps))
    alarms |= lasting_alarms(rule, [(bets_on(column, calibration), steps)])
    ends = (np.arange(alarms.size) + STEPS) * per_step
    seen = ends[alarms & (ends > begins)]
    return float((seen[0] - begins) / rows) if seen.size else float("inf")


def _first_discoveries(
    reference: Sorted, stream: Floats, begins: int, rows: int, random: np.random.Generator
) -> tuple[float, float]:
    """When Benjamini-Hochberg at both rates first rejects for the changed column, in windows that do not overlap."""
    delays: dict[float, float] = {}
    for end in range((CALM_WINDOWS + 1) * rows, stream.size + 1, rows):
        p_values = plain_p_values(reference, stream[end - rows : end])
        adjusted = false_discovery_control(np.append(p_values, random.random(OTHERS)))[: len(p_values)].min()
        for rate in (USUAL, STRICT):
            if adjusted <= rate:
                delays.setdefault(rate, (end - begins) / rows)
        if len(delays) == 2:
            break
    return delays.get(USUAL, float("inf")), delays.get(STRICT, float("inf"))

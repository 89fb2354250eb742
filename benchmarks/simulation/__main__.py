"""`python -m benchmarks.simulation`: how often verdicts are wrong without drift, and how soon they are right with it.

Rows pass the same bins, counts, statistics, calibration and levels as in production; only the loop over windows is made of
arrays. Windows of an hour move on every five minutes, and have the whole budget of one false alarm in 30 days.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.simulation.delays import CHANGES, Delay, delay
from benchmarks.simulation.peeking import Peeked, peeked
from benchmarks.simulation.quiet import Quiet, quiet

RESULTS = Path(__file__).parent.parent / "results"
SEED = 20261124
ROWS = (204, 996)
"""About 200 and 1,000 rows, in twelve whole steps."""


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    random, started = np.random.default_rng(SEED), time.monotonic()
    months, runs = (4, 20) if options.quick else (options.months, options.runs)
    correlations = (0.0, 0.5) if options.quick else (0.0, 0.5, 0.9)
    parts = options.only or ("quiet", "delays", "peeking")
    silent = [quiet(rows, r, _share(months, rows, r), random) for rows in ROWS for r in correlations] if "quiet" in parts else []
    seen = [delay(change, rows, runs, random) for change in CHANGES for rows in ROWS] if "delays" in parts else []
    looked = peeked(20 if options.quick else options.tests, random) if "peeking" in parts else None
    console = Console(width=None if sys.stdout.isatty() else 140)
    _print(console, silent, seen, looked)
    console.print(f"{time.monotonic() - started:.0f} s; seed {SEED}")
    RESULTS.mkdir(exist_ok=True)
    content = {
        "seed": SEED,
        "quiet": [asdict(found) | {"per_month": found.per_month, "interval": found.interval} for found in silent],
        "delays": [asdict(found) for found in seen],
        "peeking": asdict(looked) | {"upper": looked.upper} if looked else None,
    }
    (RESULTS / "simulation.json").write_text(json.dumps(content, indent=2) + "\n")
    return 0


def _share(months: int, rows: int, correlation: float) -> int:
    """Most months go to the case with the most false alarms; the others have far fewer, and windows of more rows cost more."""
    return months if rows == min(ROWS) and not correlation else max(4, months // 6)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulation", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few months and runs: whether it works, not what it finds")
    parser.add_argument("--only", action="append", choices=("quiet", "delays", "peeking"), help="one part; may be repeated")
    parser.add_argument("--months", type=int, default=120, help="months without drift; of most kinds a sixth (default 120)")
    parser.add_argument("--runs", type=int, default=300, help="runs of each change (default 300)")
    parser.add_argument("--tests", type=int, default=600, help="A/B tests without a difference (default 600)")
    return parser


def _print(console: Console, silent: list[Quiet], seen: list[Delay], looked: Peeked | None) -> None:
    if silent:
        console.print(_quiet_table(silent))
    if seen:
        console.print(_delay_table(seen))
    if looked:
        console.print(
            f"A/B without a difference, {looked.looks} looks: {looked.wrong} of {looked.runs} runs ended with a verdict "
            f"(at most {looked.upper:.1%} with 95 % confidence)"
        )


def _quiet_table(silent: list[Quiet]) -> Table:
    names = ("rows", "correlation", "modelwatch", "95 %", "Evidently, half of columns", "Evidently, any column", "BH 0.05")
    table = Table(*names, title="False alarms in 30 days, 20 columns without drift")
    for found in silent:
        rates = found.per_month
        low, high = found.interval
        peers = [f"{rates[name]:.0f}" for name in ("evidently_share", "evidently_any", "bh")]
        table.add_row(str(found.rows), f"{found.correlation}", f"{rates['modelwatch']:.2f}", f"{low:.2f} to {high:.2f}", *peers)
    return table


def _delay_table(seen: list[Delay]) -> Table:
    names = ("change", "rows", "modelwatch", "BH 0.05", "modelwatch, as many false alarms as BH 0.05", "BH, as few as modelwatch")
    table = Table(*names, title="Median delay, in windows")
    for found in seen:
        values = (found.modelwatch, found.bh, found.modelwatch_loose, found.bh_strict)
        table.add_row(found.change, str(found.rows), *(f"{value:.2f}" for value in values))
    return table


if __name__ == "__main__":
    sys.exit(main())

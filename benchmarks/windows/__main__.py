"""`python -m benchmarks.windows`: all features of a version over windows of a minute to thirty days, from rollups.

The same thirty days with few and with many predictions in the log, before compaction (43,200 rows of a minute) and after
it (minutes of the last seven days, hours, days). Medians of several reads; every read goes to the database.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection, Engine

from benchmarks.windows.log import END, fill
from storage import rollups
from storage.compaction import compact, loose_parts, thin
from storage.engine import create_engine, reading, writing
from storage.migrate import upgrade
from storage.records import Layout
from storage.resolution import floor_time

RESULTS = Path(__file__).parent.parent / "results"
WINDOWS = {"1 min": 60, "1 h": 3600, "1 d": 86_400, "7 d": 7 * 86_400, "30 d": 30 * 86_400}
KEPT_MINUTES = timedelta(days=7)
KEPT_HOURS = timedelta(days=90)
AIM_MS = 50.0
AIM_RATIO = 1.5

Read = Callable[[Connection], object]


def main() -> int:
    arguments = _arguments()
    sizes = [100_000, 10_000_000 if arguments.full else 1_000_000]
    figures = _measure(sizes, arguments)
    _show(figures, sizes)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "windows.json").write_text(json.dumps(figures, indent=1))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.windows", description=__doc__)
    parser.add_argument("--full", action="store_true", help="10 million predictions in the larger log instead of 1 million")
    parser.add_argument("--rounds", type=int, default=21, help="reads of each window, of which the median counts")
    parser.add_argument("--url", default="", help="an empty PostgreSQL database for each log, with {size} in its name")
    return parser.parse_args()


def _measure(sizes: list[int], arguments: argparse.Namespace) -> dict[int, dict[str, dict[str, float]]]:
    with tempfile.TemporaryDirectory(prefix="modelwatch-benchmark-") as folder:
        engines = [create_engine(arguments.url.format(size=size) or f"sqlite:///{folder}/{size}.db") for size in sizes]
        for engine in engines:
            upgrade(engine)
        layouts = [fill(engine, size) for engine, size in zip(engines, sizes, strict=True)]
        before = _medians(engines, layouts, max(3, arguments.rounds // 4))
        took = [_compact(engine) for engine in engines]
        after = _medians(engines, layouts, arguments.rounds)
        for engine in engines:
            engine.dispose()
    return {
        size: {"before": before[index], "after": after[index], "compaction": {"seconds": took[index]}}
        for index, size in enumerate(sizes)
    }


def _medians(engines: list[Engine], layouts: list[Layout], rounds: int) -> list[dict[str, float]]:
    """Milliseconds by what is read, for each log; all take turns, so that whatever else the machine does hits all of them."""
    reads = [_reads(layout) for layout in layouts]
    times: list[dict[str, list[float]]] = [{name: [] for name in reads[0]} for _ in engines]
    for _ in range(rounds + 1):
        for name in reads[0]:
            for engine, log, found in zip(engines, reads, times, strict=True):
                began = time.perf_counter()
                with reading(engine) as c:
                    log[name](c)
                found[name].append((time.perf_counter() - began) * 1000)
    return [{name: statistics.median(values[1:]) for name, values in found.items()} for found in times]


def _reads(layout: Layout) -> dict[str, Read]:
    reads: dict[str, Read] = {}
    for name, seconds in WINDOWS.items():
        reads[name] = _window(layout, _whole_start(seconds))
    month = _whole_start(WINDOWS["30 d"])
    day = floor_time(END, 7200)
    reads["labels, 30 d"] = lambda c: rollups.read_labels(c, layout, "1", month, END)
    reads["30 d in steps of 6 h"] = lambda c: rollups.prediction_series(c, layout, "1", floor_time(month, 86_400), END, 21_600)
    reads["1 d in steps of 5 min"] = lambda c: rollups.prediction_series(c, layout, "1", day - timedelta(days=1), day, 300)
    return reads


def _whole_start(seconds: int) -> datetime:
    """Windows reach to 12:34. What lies before the kept minutes begins on a whole hour, as it must."""
    start = END - timedelta(seconds=seconds)
    return start if timedelta(seconds=seconds) < KEPT_MINUTES else floor_time(start, 3600) + timedelta(hours=1)


def _window(layout: Layout, start: datetime) -> Read:
    return lambda c: rollups.read_predictions(c, layout, "1", start, END)


def _compact(engine: Engine) -> float:
    began = time.perf_counter()
    with reading(engine) as c:
        parts = loose_parts(c, END)
    for part in parts:
        with writing(engine) as c:
            compact(c, part, END)
    with writing(engine) as c:
        thin(c, "bench", "1", minutes_before=END - KEPT_MINUTES, hours_before=END - KEPT_HOURS)
    return time.perf_counter() - began


def _show(figures: dict[int, dict[str, dict[str, float]]], sizes: list[int]) -> None:
    small, large = sizes
    table = Table(title="All 20 features of a version, median milliseconds")
    for title in ("window", f"before, {large:,}", f"after, {small:,}", f"after, {large:,}", "ratio", "aim"):
        table.add_column(title, justify="left" if title == "window" else "right")
    for name, slow in figures[large]["before"].items():
        few, many = figures[small]["after"][name], figures[large]["after"][name]
        aim = "met" if many < AIM_MS and many / few < AIM_RATIO else "missed"
        aim = aim if "steps" not in name else "none"  # the aim is about windows; steps are many at once
        table.add_row(name, f"{slow:.1f}", f"{few:.1f}", f"{many:.1f}", f"{many / few:.2f}", aim)
    Console().print(table)
    print(f"Compaction of 30 days: {figures[large]['compaction']['seconds']:.1f} s.")


if __name__ == "__main__":
    sys.exit(main())

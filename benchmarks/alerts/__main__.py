"""`python -m benchmarks.alerts`: 1,000 rules over 100,000 series, one pass with nearly all of them in order, and a burst.

Twenty metrics of fifty models with a hundred features each; a rule per metric and model, so that each series is judged once.
The database holds three points of each series. The passes are those of the alerts service without its channels; *processor*
is the time of this process, SQLite's part in it. Every pass runs in a process of its own, whose peak memory is the figure.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.alerts.passes import FEATURES, METRICS, MODELS, fill, one_pass

RESULTS = Path(__file__).parent.parent / "results"
AIM_SECONDS, AIM_MIB = 5.0, 500


def main() -> int:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="modelwatch-benchmark-") as folder:
        url = arguments.url or f"sqlite:///{folder}/alerts.db"
        _in_process(fill, url)
        found = {
            "first pass, 10 problems": _in_process(one_pass, url, 10, 0),
            "next pass, 10 alerts are live": _in_process(one_pass, url, 10, 1),
            "burst: 10,000 begin at once": _in_process(one_pass, url, 10_010, 2),
            "next pass, 10,010 alerts are live": _in_process(one_pass, url, 10_010, 3),
            "their end": _in_process(one_pass, url, 0, 4),
        }
    _show(found)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "alerts.json").write_text(json.dumps(found, indent=1))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.alerts", description=__doc__)
    parser.add_argument("--url", default="", help="an empty PostgreSQL database instead of a SQLite file")
    return parser.parse_args()


def _in_process(work: Callable[..., dict[str, float]], *given: object) -> dict[str, float]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, given)


def _show(found: dict[str, dict[str, float]]) -> None:
    table = Table(title=f"{METRICS * MODELS:,} rules over {METRICS * MODELS * FEATURES:,} series")
    for title in ("pass", "processor, s", "wall, s", "transitions", "live after it", "peak, MiB", "aim"):
        table.add_column(title, justify="left" if title == "pass" else "right")
    for name, one in found.items():
        met = one["cpu_seconds"] < AIM_SECONDS and one["peak_mib"] < AIM_MIB
        table.add_row(
            name,
            f"{one['cpu_seconds']:.2f}",
            f"{one['wall_seconds']:.1f}",
            f"{one['transitions']:,.0f}",
            f"{one['live']:,.0f}",
            f"{one['peak_mib']:.0f}",
            "met" if met else "missed",
        )
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())

"""`python -m benchmarks.drift`: a current table against its reference, by modelwatch, a plain loop, and peers if installed.

Every subject is a process of its own that has the data in memory and is warm; they work in turns, so that whatever else the
machine does hits all of them. Medians over the rounds are compared, and the peak memory of each whole process.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from benchmarks.drift.subjects import SUBJECTS
from benchmarks.drift.tables import SEED, SIZES, write_tables
from collector.statistics.exact import prepare_reference
from storage.layouts import build_layout, count_predictions
from storage.records import Feature, FeatureType, Signature, Task

RESULTS = Path(__file__).parent.parent / "results"
COLUMNS_FROM_COUNTS = 200

STORED = {"Evidently 0.7.23, KS and chi-squared": (8.0, 743), "NannyML 0.13.1, KS and chi-squared, 1 chunk": (0.236, 523)}
"""Seconds and peak MiB of size M, NOT of this run: these need older libraries and cannot be installed beside modelwatch, only
into an environment of their own (``--peers``). Two shared cores, Python 3.11.7, November 2026; docs/benchmarks.md has the whole table."""


@dataclass(slots=True, kw_only=True)
class Measured:
    """What one subject needed, one entry per round."""

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    peak_mib: float = 0.0
    ks: dict[str, float] = field(default_factory=dict)


def main() -> int:
    arguments = _arguments()
    pythons = {name: arguments.peers if subject.package else sys.executable for name, subject in SUBJECTS.items()}
    names = [name for name, subject in SUBJECTS.items() if _importable(subject.package, pythons[name])]
    with tempfile.TemporaryDirectory(prefix="modelwatch-benchmark-") as folder, ExitStack() as stack:
        _write_inputs(Path(folder), arguments.size)
        workers = {name: stack.enter_context(_worker(name, folder, pythons[name])) for name in names}
        measured = _measure(workers, arguments.rounds)
    rows = [_row(name, found, measured["plain"]) for name, found in measured.items()]
    _show(rows, arguments.size, stored="evidently" not in names)
    _write(rows, measured, arguments)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift", description=__doc__)
    parser.add_argument(
        "--size", choices=SIZES, default="M", help="S: 10,000 rows of 12 columns, M: 100,000 of 55, L: 1,000,000 of 55"
    )
    parser.add_argument(
        "--peers",
        default=sys.executable,
        metavar="PYTHON",
        help="the Python of an environment that has evidently and nannyml, which need older libraries than modelwatch",
    )
    parser.add_argument("--rounds", type=int, default=9, help="rounds over all subjects")
    return parser.parse_args()


def _importable(package: str | None, python: str) -> bool:
    """In a process of its own: a peer that is installed may still fail beside newer libraries."""
    return package is None or subprocess.run([python, "-c", f"import {package}"], capture_output=True).returncode == 0


# ---------------------------------------------------------------------------------------------- inputs


def _write_inputs(folder: Path, size: str) -> None:
    write_tables(folder, SIZES[size])
    prepared = prepare_reference(pd.read_parquet(folder / "reference.parquet"))
    (folder / "prepared.pickle").write_bytes(pickle.dumps(prepared))
    (folder / "counts.pickle").write_bytes(pickle.dumps(_counts()))


def _counts() -> tuple[Any, ...]:
    """Counts as rollups hold them: 180 numeric and 20 categorical columns, the reference and a window of 500 rows."""
    random = np.random.default_rng(SEED)
    kinds = [FeatureType.CATEGORY if i % 10 == 9 else FeatureType.NUMBER for i in range(COLUMNS_FROM_COUNTS)]
    features = tuple(Feature(name=f"f{i}", type=kind, missing_allowed=True) for i, kind in enumerate(kinds))

    def columns(rows: int) -> list[Any]:
        return [
            random.normal(size=rows).tolist() if kind is FeatureType.NUMBER else random.integers(0, 120, rows).astype(str).tolist()
            for kind in kinds
        ]

    reference, window = columns(5_000), columns(500)
    layout = build_layout("bench", Signature(task=Task.REGRESSION, features=features), reference, np.arange(2.0))
    sides = [
        count_predictions(layout, list(zip(*side, strict=True)), [0.0] * len(side[0]), [""] * len(side[0]))
        for side in (reference, window)
    ]
    return layout, *sides


# ---------------------------------------------------------------------------------------------- measuring


@contextmanager
def _worker(name: str, folder: str, python: str) -> Iterator[subprocess.Popen[str]]:
    command = [python, "-m", "benchmarks.drift.worker", name, folder]
    quiet = {**os.environ, "NML_DISABLE_USAGE_LOGGING": "1", "DO_NOT_TRACK": "1"}  # peers would report their use
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=quiet) as process:
        _answer(process)
        yield process
        assert process.stdin
        process.stdin.close()


def _answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{process.args!r} ended; its message is above")
    answer: dict[str, Any] = json.loads(line)
    return answer


def _measure(workers: dict[str, subprocess.Popen[str]], rounds: int) -> dict[str, Measured]:
    measured = {name: Measured() for name in workers}
    for _ in range(rounds):
        for name, process in workers.items():
            assert process.stdin
            process.stdin.write("work\n")
            process.stdin.flush()
            answer, found = _answer(process), measured[name]
            found.seconds.append(answer["seconds"])
            found.cpu_seconds.append(answer["cpu_seconds"])
            found.peak_mib, found.ks = answer["peak_mib"], answer["ks"]
    return measured


# ---------------------------------------------------------------------------------------------- results


def _row(name: str, found: Measured, plain: Measured) -> dict[str, Any]:
    seconds, used = statistics.median(found.seconds), statistics.median(found.cpu_seconds)
    compares_tables = name not in ("preparing", "rollups")
    return {
        "subject": SUBJECTS[name].title,
        "milliseconds": round(seconds * 1e3, 1),
        "cpu_milliseconds": round(used * 1e3, 1),
        "least_cpu_milliseconds": round(min(found.cpu_seconds) * 1e3, 1),
        "peak_mib": round(found.peak_mib),
        "times_faster_than_plain": round(statistics.median(plain.seconds) / seconds, 1) if compares_tables else None,
        "greatest_ks_difference_from_plain": _difference(found.ks, plain.ks),
    }


def _difference(one: dict[str, float], other: dict[str, float]) -> float | None:
    return max((abs(one[name] - other[name]) for name in one), default=None)


def _show(rows: list[dict[str, Any]], size: str, *, stored: bool) -> None:
    table = Table(title=f"Size {size}: {asdict(SIZES[size])}, median of the rounds", title_justify="left")
    table.add_column("subject", no_wrap=True)
    for column in ("ms", "CPU ms", "least CPU", "peak MiB", "plain ÷ it", "KS off by"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*("" if value is None else f"{value}" for value in row.values()))
    Console(width=110).print(table)
    if size == "M" and stored:
        _show_stored(rows[0])


def _show_stored(ours: dict[str, Any]) -> None:
    for name, (seconds, peak) in STORED.items():
        wall, used = (seconds * 1e3 / ours[key] for key in ("milliseconds", "least_cpu_milliseconds"))
        print(
            f"NOT MEASURED IN THIS RUN: {name}: {seconds:g} s and {peak} MiB at another time. "
            f"That is {wall:.1f} times the first row's time here, {used:.1f} times its least processor time."
        )


def _write(rows: list[dict[str, Any]], measured: dict[str, Measured], arguments: argparse.Namespace) -> None:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "drift.json"
    content = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "size": arguments.size,
        "rounds": {
            SUBJECTS[name].title: [round(seconds * 1e3, 2) for seconds in found.seconds] for name, found in measured.items()
        },
        "machine": {"python": platform.python_version(), "cores": os.cpu_count(), "load_average": os.getloadavg()[0]},
        "results": rows,
        "not_measured_in_this_run": STORED,
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"Written to {path}.")


if __name__ == "__main__":
    sys.exit(main())

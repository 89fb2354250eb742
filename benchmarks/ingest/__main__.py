"""`python -m benchmarks.ingest`: a spool folder of predictions with 20 features into fresh databases, by one uploader.

Everything runs in turns, in rounds, so that whatever else the machine does hits all of it; medians are compared. The
servers confirm their commits durably, as in production. Processor time is the uploader's: a PostgreSQL server has its own.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import sys
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sqlalchemy import Engine, func, make_url, select, text

from benchmarks.ingest import ceiling, traffic
from inference import log_record, spool_folder
from inference.folder_upload import FolderUpload, Tally
from inference.log_record import LogRecord
from storage.engine import create_engine, reading, writing
from storage.migrate import upgrade
from storage.schema import predictions, rollups
from tests.postgresql import running_postgresql

RESULTS = Path(__file__).parent.parent / "results"
TARGETS = {"sqlite": 80_000, "postgresql": 50_000}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One run: what it was, and what it took."""

    database: str
    what: str
    rows_per_second: float
    cpu_us: float


def main() -> int:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="modelwatch-benchmark-") as folder, running_postgresql(durable=True) as server:
        found = _measured(arguments, Path(folder), server)
    summary = _summary(found)
    _show(summary)
    _write(summary, arguments)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000, help="predictions in the spool")
    parser.add_argument("--rounds", type=int, default=3, help="rounds over everything")
    parser.add_argument("--records", type=int, nargs="+", default=[1, 100], help="rows per spool record")
    parser.add_argument("--databases", nargs="+", choices=list(TARGETS), default=list(TARGETS))
    return parser.parse_args()


# ---------------------------------------------------------------------------------------------- measuring


def _measured(arguments: argparse.Namespace, folder: Path, server: str) -> list[Measurement]:
    found: list[Measurement] = []
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("measuring", total=arguments.rounds * len(arguments.records) * len(arguments.databases))
        for _ in range(arguments.rounds):
            for size in arguments.records:
                wanted = list(traffic.records(arguments.rows, size))
                for database in arguments.databases:
                    found += _measure(database, wanted, folder, server)
                    progress.advance(task)
    return found


def _measure(database: str, wanted: list[LogRecord], folder: Path, server: str) -> list[Measurement]:
    rows = sum(len(record.ids) for record in wanted)
    fresh = partial(_postgresql, server) if database == "postgresql" else partial(_sqlite, folder)
    spool = folder / uuid.uuid4().hex
    traffic.spool(spool, wanted)
    with fresh() as engine:
        upload = _timed(database, f"records of {len(wanted[0].ids)}", rows, partial(_drain, engine, spool))
        _check(engine, rows)
    ready = ceiling.prepared(log_record.batch(wanted).rows())
    with fresh() as engine:
        raw = _timed(database, "rows alone", rows, partial(ceiling.insert, engine, ready))
    return [upload, raw]


def _timed(database: str, what: str, rows: int, run: Callable[[], None]) -> Measurement:
    gc.collect()
    gc.freeze()  # what the benchmark itself holds is nothing that an uploader would have to look through
    began, used = time.perf_counter(), time.process_time()
    run()
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    gc.unfreeze()
    return Measurement(database=database, what=what, rows_per_second=rows / seconds, cpu_us=cpu / rows * 1e6)


def _drain(engine: Engine, spool: Path) -> None:
    upload = FolderUpload(engine, spool, bucket_seconds=60, layouts={}, writer_check_seconds=0)
    tally = Tally()
    while spool_folder.segment_names(spool):
        upload.step(datetime.now(UTC), tally)


def _check(engine: Engine, rows: int) -> None:
    with reading(engine) as c:
        stored, counted = c.scalar(select(func.count()).select_from(predictions)), c.scalar(select(func.sum(rollups.c.rows)))
    if not stored == counted == rows:
        raise RuntimeError(f"{rows} predictions were spooled, {stored} are stored and {counted} counted.")


@contextmanager
def _sqlite(folder: Path) -> Iterator[Engine]:
    path = folder / f"{uuid.uuid4().hex}.db"
    yield from _engine(f"sqlite:///{path}")
    for left in folder.glob(f"{path.name}*"):
        left.unlink()


@contextmanager
def _postgresql(server: str) -> Iterator[Engine]:
    name = f"bench_{uuid.uuid4().hex}"
    _run_on(server, f"CREATE DATABASE {name}")
    yield from _engine(make_url(server).set(database=name).render_as_string(hide_password=False))
    _run_on(server, f"DROP DATABASE {name} WITH (FORCE)")


def _engine(url: str) -> Iterator[Engine]:
    engine = create_engine(url)
    upgrade(engine)
    with writing(engine) as c:
        traffic.register(c)
    yield engine
    engine.dispose()


def _run_on(server: str, statement: str) -> None:
    engine = create_engine(server)
    with engine.connect() as c:
        c.execution_options(isolation_level="AUTOCOMMIT").execute(text(statement))
    engine.dispose()


# ---------------------------------------------------------------------------------------------- reporting


def _summary(found: list[Measurement]) -> list[dict[str, object]]:
    groups: dict[tuple[str, str], list[Measurement]] = defaultdict(list)
    for item in found:
        groups[item.database, item.what].append(item)
    return [
        {
            "database": database,
            "what": what,
            "rows_per_second": round(statistics.median(item.rows_per_second for item in items)),
            "rounds": [round(item.rows_per_second) for item in items],
            "cpu_us": round(statistics.median(item.cpu_us for item in items), 2),
        }
        for (database, what), items in groups.items()
    ]


def _show(summary: list[dict[str, object]]) -> None:
    table = Table(title="One uploader, rows of 20 features, median of the rounds", title_justify="left")
    for name in ("database", "what", "rows per second", "aim", "processor µs per row", "lowest", "highest"):
        table.add_column(name, justify="left" if name in ("database", "what") else "right", no_wrap=name == "what")
    for row in summary:
        rounds = row["rounds"]
        assert isinstance(rounds, list)
        aim = "" if row["what"] == "rows alone" else f"{TARGETS[str(row['database'])]:,}"
        figures = [f"{row['rows_per_second']:,}", aim, f"{row['cpu_us']:.1f}", f"{min(rounds):,}", f"{max(rounds):,}"]
        table.add_row(str(row["database"]), str(row["what"]), *figures)
    Console().print(table)


def _write(summary: list[dict[str, object]], arguments: argparse.Namespace) -> None:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "ingest.json"
    content = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "rows": arguments.rows,
        "rounds": arguments.rounds,
        "machine": {"python": platform.python_version(), "cores": os.cpu_count(), "load_average": os.getloadavg()[0]},
        "results": summary,
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"Written to {path}.")


if __name__ == "__main__":
    sys.exit(main())

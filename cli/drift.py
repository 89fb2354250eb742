"""`modelwatch drift`: has a table drifted away from another? Offline, on two files: no database, no service."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from cli.errors import EXIT_PROBLEM, UsageProblem
from cli.output import say

if TYPE_CHECKING:
    import pandas as pd

    from cli.drift_report.compare import Report
    from cli.drift_report.compatible import CompatibleReport


class Layout(StrEnum):
    """How the report is written."""

    TABLE = "table"
    JSON = "json"
    HTML = "html"


class Compat(StrEnum):
    """Whose definitions are used instead of our own."""

    EVIDENTLY = "evidently"
    NANNYML = "nannyml"


_SUFFIXES = {".json": Layout.JSON, ".html": Layout.HTML, ".htm": Layout.HTML}


def add_to(app: typer.Typer) -> None:
    """Hang the command into the application."""
    app.command("drift", epilog="Example: modelwatch drift train.csv today.csv --output drift.html --fail-on-drift")(drift)


def drift(
    reference: Annotated[
        Path, typer.Argument(metavar="REFERENCE", help="CSV or Parquet: what is normal, such as the training data.")
    ],
    current: Annotated[Path, typer.Argument(metavar="CURRENT", help="CSV or Parquet: what is to be judged.")],
    layout: Annotated[
        Layout | None,
        typer.Option("--format", metavar="table|json|html", help="By default the one that the ending of --output says, or table."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write the report to this file instead of standard output.")] = None,
    compat: Annotated[
        Compat | None,
        typer.Option(metavar="evidently|nannyml", help="Use this library's definitions instead of modelwatch's own."),
    ] = None,
    fail_on_drift: Annotated[bool, typer.Option("--fail-on-drift", help="Exit with 1 when drift is found.")] = False,
    columns: Annotated[list[str] | None, typer.Option(help="Compare only these, separated by commas; may be repeated.")] = None,
    target: Annotated[
        str | None, typer.Option(help="The column that a model predicts: shown, but not counted as a feature.")
    ] = None,
    min_samples: Annotated[int, typer.Option(min=2, help="Rows below which there is no verdict.")] = 30,
) -> None:
    """Compare two tables column by column, and say which columns drifted and why."""
    layout = layout or _SUFFIXES.get(output.suffix.lower() if output else "", Layout.TABLE)
    if layout is Layout.HTML and output is None and sys.stdout.isatty():
        raise UsageProblem("A page is no reading for a terminal; say where it goes, such as --output drift.html.")
    tables = (str(reference), _read(reference)), (str(current), _read(current))
    wanted = _columns(columns, target, tables[0][1], tables[1][1])
    report = _compare(tables, wanted, target, min_samples, compat)
    _write(report, layout, output)
    if fail_on_drift and _is_drift(report):
        raise typer.Exit(EXIT_PROBLEM)


def _read(path: Path) -> pd.DataFrame:
    """Raises UsageProblem: with --fail-on-drift, status 1 must mean drift and nothing else."""
    from storage.tables import TableError, read_table

    try:
        return read_table(path)
    except TableError as error:
        raise UsageProblem(str(error)) from error


def _columns(asked: Sequence[str] | None, target: str | None, reference: pd.DataFrame, current: pd.DataFrame) -> list[str] | None:
    """The names asked for, the target among them; a name with a comma in it may be given as it is. Raises UsageProblem."""
    known = [*reference.columns, *(name for name in current.columns if name not in reference.columns)]
    names = None
    if asked:
        names = [
            part for text in asked for part in ([text] if text in known else [part.strip() for part in text.split(",")]) if part
        ]
        names += [target] if target is not None and target not in names else []
    unknown = [name for name in [*(names or []), *([target] if target else [])] if name not in known]
    if unknown:
        raise UsageProblem(f"Neither table has a column {unknown[0]}; the columns are {', '.join(map(str, known[:20]))}.")
    return names


Named = tuple[str, "pd.DataFrame"]


def _compare(
    tables: tuple[Named, Named], columns: list[str] | None, target: str | None, min_samples: int, compat: Compat | None
) -> Report | CompatibleReport:
    import numpy as np

    from cli.drift_report.compare import compare_tables
    from cli.drift_report.compatible import Library, compare_compatibly

    # Numbers near the end of the range of floats overflow in squares; what comes of it is left out of the report.
    with np.errstate(all="ignore"), _bar(len(tables[0][1].columns)) as progress:
        if compat is None:
            return compare_tables(*tables, columns=columns, target=target, min_samples=min_samples, progress=progress)
        return compare_compatibly(Library(compat.value), *tables, columns=columns, progress=progress)


@contextmanager
def _bar(total: int) -> Iterator[Callable[[int], None]]:
    """A bar on standard error while columns are compared; nothing where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = Console(stderr=True)
    bars = (TextColumn("Comparing columns"), BarColumn(), MofNCompleteColumn())
    with Progress(*bars, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total)
        yield lambda done: progress.update(task, completed=done)


def _write(report: Report | CompatibleReport, layout: Layout, output: Path | None) -> None:
    """Raises CommandError where the file cannot be written."""
    if output is None:
        _print(report, layout, sys.stdout)
        return
    try:
        with output.open("w", encoding="utf-8") as file:
            _print(report, layout, file)
    except OSError as error:
        raise UsageProblem(f"{output} cannot be written ({error.strerror}).") from error
    say(f"The report is in {output}.")


def _print(report: Report | CompatibleReport, layout: Layout, file: TextIO) -> None:
    from cli.drift_report.compare import Report
    from cli.drift_report.document import compatible_document, report_document
    from cli.drift_report.page import page
    from cli.drift_report.terminal import print_report
    from cli.drift_report.view import view_compatible, view_report

    if layout is Layout.JSON:
        content = report_document(report) if isinstance(report, Report) else compatible_document(report)
        file.write(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        return
    view = view_report(report) if isinstance(report, Report) else view_compatible(report)
    print_report(view, file) if layout is Layout.TABLE else file.write(page(view))


def _is_drift(report: Report | CompatibleReport) -> bool:
    """Whether the verdict on the whole is drift; a break of the schema is drift in every mode."""
    from cli.drift_report.compare import Report
    from storage.records import Verdict

    if isinstance(report, Report):
        return report.verdict is Verdict.DRIFT
    return report.is_drift

"""A report as a table in the terminal, or in a text file, worst first. Words, not colours alone, say what drifted."""

from __future__ import annotations

from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.drift_report.view import Row, View
from storage.records import Verdict

PLAIN_WIDTH = 100
"""Columns where the output is no terminal."""
_STYLES = {Verdict.DRIFT: "bold red", Verdict.INSUFFICIENT: "yellow", Verdict.OK: "green"}
_WORDS = {Verdict.DRIFT: "DRIFT", Verdict.INSUFFICIENT: "no verdict", Verdict.OK: "ok"}


def print_report(view: View, file: TextIO) -> None:
    """Write the report to a file or to standard output."""
    console = Console(file=file, highlight=False, soft_wrap=False, emoji=False, markup=False)
    if not console.is_terminal:
        console = Console(file=file, highlight=False, emoji=False, markup=False, width=PLAIN_WIDTH)
    if view.rows:
        console.print(_table(view))
    for finding in view.findings:
        console.print(f"Schema: {finding}")
    for note in view.notes:
        console.print(note, style="dim")
    size = f"{view.current.name} ({view.current.rows:,} rows) against {view.reference.name} ({view.reference.rows:,} rows)"
    console.print(f"{size}, by {view.method}.")
    console.print(Text.assemble("Verdict: ", (view.verdict.value, _STYLES[view.verdict]), f" ({view.headline})"))


def _table(view: View) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("column", overflow="fold", max_width=28)
    table.add_column("verdict", no_wrap=True)
    for cell in view.rows[0].cells:
        if cell.is_brief:
            table.add_column(cell.heading, justify="right" if cell.is_number else "left", no_wrap=True)
    table.add_column("why", overflow="fold")
    for row in view.rows:
        table.add_row(*_cells(row))
    return table


def _cells(row: Row) -> list[Text]:
    name = Text(f"{row.name} ({row.tag})" if row.tag else row.name)
    brief = [Text(cell.text) for cell in row.cells if cell.is_brief]
    return [name, Text(_WORDS[row.verdict], style=_STYLES[row.verdict]), *brief, Text(row.reason)]

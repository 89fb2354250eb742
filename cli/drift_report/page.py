"""A report as one HTML file that needs nothing else: no script, no font, no address. Light or dark as the reader's system is."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from cli.drift_report.plots import plot
from cli.drift_report.view import Row, View
from storage.records import Verdict

OPEN_PLOTS = 12
"""Columns whose plots are open at first where none drifted: more make a page that nobody reads."""
_WORDS = {Verdict.DRIFT: "Drift", Verdict.INSUFFICIENT: "No verdict", Verdict.OK: "OK"}
_MARKS = {Verdict.DRIFT: "▲", Verdict.INSUFFICIENT: "?", Verdict.OK: "✓"}
_CLASSES = {Verdict.DRIFT: "drift", Verdict.INSUFFICIENT: "unsure", Verdict.OK: "ok"}


def page(view: View) -> str:
    """The report as HTML. Every name and value from the tables is escaped."""
    drifted = sum(row.verdict is Verdict.DRIFT for row in view.rows)
    return _template().render(
        view=view, plot=_plot, words=_WORDS, marks=_MARKS, classes=_CLASSES, open_plots=drifted or OPEN_PLOTS, drifted=drifted
    )


def _plot(row: Row) -> Markup:
    return Markup(plot(row.name, row.distribution)) if row.distribution is not None else Markup()  # noqa: S704 - escaped there


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")

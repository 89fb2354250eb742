"""The page and the terminal's table: complete, self-contained, escaped, readable without colours."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from cli.drift_report.compare import compare_tables
from cli.drift_report.compatible import Library, compare_compatibly
from cli.drift_report.page import page
from cli.drift_report.plots import plot
from cli.drift_report.terminal import print_report
from cli.drift_report.view import View, view_compatible, view_report
from tests.unit.cli.drift_report.tables import current_table, reference_table

NASTY = "<img src=x onerror=alert(1)>&\"'"


@pytest.fixture
def view() -> View:
    """Of a comparison with a drifted number, a new category, missing values and names that must be escaped."""
    current = current_table(age=[*np.random.default_rng(3).normal(55, 10, 480), *[None] * 20], plan=[NASTY] * 250 + ["basic"] * 250)
    reference = reference_table()
    reference[NASTY], current[NASTY] = 1.0, 2.0
    return view_report(compare_tables((f"{NASTY}.csv", reference), ("b.csv", current.drop(columns="member")), target="churned"))


def test_page_needs_nothing_from_elsewhere(view: View) -> None:
    text = page(view)

    assert re.findall(r"https?:|//[a-z]|<script|<link|@import|@font-face|src=", text.replace("&lt;img src=", "")) == []
    assert set(re.findall(r"url\(([^)]*)\)", text)) == {"#stripes"}
    assert set(re.findall(r'href="([^"]*)"', text)) == {f"#column-{index}" for index in range(1, len(view.rows) + 1)}


def test_names_and_values_are_escaped(view: View) -> None:
    text = page(view)

    assert "<img" not in text
    assert text.count("&lt;img src=x onerror=alert(1)&gt;") >= 4, "a file, a column, a plot's title, a category"


def test_page_says_everything_that_the_comparison_found(view: View) -> None:
    text = page(view)

    assert "Drift report" in text
    assert view.headline in text
    assert "600 rows, 6 columns" in text
    assert "member is in the reference but not in the current table." in text
    assert text.index('<a href="#column-1">') < text.index('<a href="#column-2">')
    assert text.count("<figure>") == len(view.rows)
    assert "prefers-color-scheme: dark" in text


def test_plots_are_well_formed_and_described(view: View) -> None:
    for row in view.rows:
        assert row.distribution is not None
        root = ElementTree.fromstring(plot(row.name, row.distribution))

        assert root.attrib["role"] == "img"
        assert row.name in root.attrib["aria-label"]
        assert root.findtext("title")


def test_verdicts_are_words_and_marks_not_colours_alone(view: View) -> None:
    text = page(view)

    assert re.search(r'class="badge drift"><span aria-hidden="true">▲</span> Drift', text)
    assert re.search(r'class="badge ok"><span aria-hidden="true">✓</span> OK', text)


def test_new_categories_are_marked_as_new(view: View) -> None:
    assert '<tspan class="new"> new</tspan>' in page(view)


@pytest.mark.parametrize("library", list(Library))
def test_other_libraries_definitions_have_a_page_and_a_table(library: Library) -> None:
    reference, current = reference_table(), current_table(age=[np.nan] * 500)

    shown = view_compatible(compare_compatibly(library, ("a", reference), ("b", current)))

    assert "empty in the current data" in page(shown)
    assert "no verdict" in table(shown)


def table(view: View) -> str:
    file = io.StringIO()
    print_report(view, file)
    return file.getvalue()


def test_table_fits_100_columns_and_is_worst_first(view: View) -> None:
    text = table(view)

    assert max(map(len, text.splitlines())) <= 100
    verdicts = re.findall(r"\b(DRIFT|ok)\b", text)
    assert verdicts == sorted(verdicts)
    assert "churned (target)" in text
    assert text.rstrip().endswith(f"({view.headline})")


def test_tables_without_a_common_column_have_a_report() -> None:
    shown = view_report(compare_tables(("a", pd.DataFrame({"x": [1]})), ("b", pd.DataFrame({"y": [1]}))))

    assert "x is in the reference but not in the current table." in page(shown)
    assert "Verdict: drift (0 of 0 columns drifted, 1 break of the schema)" in table(shown)

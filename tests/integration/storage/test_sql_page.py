"""docs/sql.md lists every table, and only columns that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from storage.layouts import DELAY_GROWTH, DELAY_MIN_SECONDS, LATENCY_GROWTH, LATENCY_MIN_SECONDS
from storage.schema import metadata
from storage.views import FIXED_COLUMNS, MOST_FEATURES

PAGE = (Path(__file__).parents[3] / "docs" / "sql.md").read_text(encoding="utf-8")
LISTED = {
    match[1]: re.findall(r"`(\w+)`", match[2]) for match in re.finditer(r"^\| `(\w+)` \|[^|]*\| (.*) \|$", PAGE, re.MULTILINE)
}


def test_every_table_is_listed_once() -> None:
    assert {name for name in LISTED if name in metadata.tables} == set(metadata.tables)


@pytest.mark.parametrize("table", sorted(metadata.tables))
def test_the_public_columns_of_a_table_exist(table: str) -> None:
    assert LISTED[table]
    assert set(LISTED[table]) <= set(metadata.tables[table].columns.keys())


def test_the_columns_of_a_view_and_the_figures_are_those_of_the_code() -> None:
    assert all(f"`{name}`" in PAGE for name in FIXED_COLUMNS)
    assert f"{MOST_FEATURES:,} features" in PAGE
    assert f"1 µs × {LATENCY_GROWTH}^i" in PAGE
    assert f"{DELAY_MIN_SECONDS} s × {DELAY_GROWTH}^i" in PAGE
    assert LATENCY_MIN_SECONDS == 1e-6

"""The golden tables and what the libraries said of them: see tests/data/golden/README.md."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

FOLDER = Path(__file__).parents[4] / "data" / "golden"


@cache
def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Reference and current data."""
    return pd.read_parquet(FOLDER / "S_ref.parquet"), pd.read_parquet(FOLDER / "S_cur.parquet")


@cache
def peer(name: str) -> dict[str, dict[str, Any]]:
    """What one library said: by call, then by column."""
    found: dict[str, dict[str, Any]] = json.loads((FOLDER / "peers.json").read_text(encoding="utf-8"))["peers"][name]["values"]
    return found


def cases(name: str) -> list[tuple[str, str]]:
    """Every call and column that a library has a value for."""
    return [(call, column) for call, columns in peer(name).items() for column in columns if not column.startswith("_")]

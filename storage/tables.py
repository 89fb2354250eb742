"""Tables from files that people bring: CSV as programs and spreadsheets write it, and Parquet."""

from __future__ import annotations

from pathlib import Path

import pandas as pd


class TableError(Exception):
    """A file that cannot be read as a table; the message says why in one sentence."""


def read_table(path: str | Path) -> pd.DataFrame:
    """The table in a CSV or Parquet file. Raises TableError."""
    return pd.read_parquet(path) if str(path).endswith((".parquet", ".pq")) else pd.read_csv(path)

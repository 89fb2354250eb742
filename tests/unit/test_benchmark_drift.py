"""The subjects of the drift benchmark do the same work, or the comparison would be worth nothing."""

from __future__ import annotations

import pickle
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.drift.subjects import SUBJECTS
from benchmarks.drift.tables import Size, write_tables
from collector.statistics.exact import prepare_reference


def test_prepared_and_plain_find_the_same_distances(tmp_path: Path) -> None:
    write_tables(tmp_path, Size(rows=3000, numeric=9, categorical=2))
    prepared = prepare_reference(pd.read_parquet(tmp_path / "reference.parquet"))
    (tmp_path / "prepared.pickle").write_bytes(pickle.dumps(prepared))

    plain, one, two = (SUBJECTS[name].make(tmp_path)() for name in ("plain", "prepared", "threads"))

    assert one == pytest.approx(plain, abs=1e-12)
    assert one == two
    assert len(one) == 9
    assert one["num_0"] > one["num_1"]  # every fifth column drifts

"""Everything that is measured. A subject reads what it needs from the folder and returns what is to be timed."""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pandas as pd

Work: TypeAlias = Callable[[], dict[str, float]]
"""Returns the KS statistic of each numeric column; empty where the subject does not give it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """``package`` is a peer's; where it cannot be imported, the subject is left out of the run."""

    title: str
    make: Callable[[Path], Work]
    package: str | None = None


def _tables(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    return pd.read_parquet(folder / "reference.parquet"), pd.read_parquet(folder / "current.parquet")


def _prepared(threads: int) -> Callable[[Path], Work]:
    def make(folder: Path) -> Work:
        from collector.statistics.exact import compare

        reference = pickle.loads((folder / "prepared.pickle").read_bytes())
        current = pd.read_parquet(folder / "current.parquet")

        def work() -> dict[str, float]:
            found = compare(reference, current, threads=threads)
            return {name: drift.ks for name, drift in found.items() if drift.ks is not None}

        return work

    return make


def _preparing(folder: Path) -> Work:
    from collector.statistics.exact import prepare_reference

    reference = pd.read_parquet(folder / "reference.parquet")

    def work() -> dict[str, float]:
        prepare_reference(reference)
        return {}

    return work


def _rollups(folder: Path) -> Work:
    from collector.statistics.layout_drift import layout_drift

    layout, reference, current = pickle.loads((folder / "counts.pickle").read_bytes())

    def work() -> dict[str, float]:
        layout_drift(layout, reference.bins, current.bins, reference.moments, current.moments)
        return {}

    return work


def _plain(folder: Path) -> Work:
    from benchmarks.drift.plain import compare

    reference, current = _tables(folder)
    return lambda: compare(reference, current)


def _evidently(folder: Path) -> Work:
    evidently, presets = importlib.import_module("evidently"), importlib.import_module("evidently.presets")
    reference, current = _tables(folder)

    def work() -> dict[str, float]:
        preset = presets.DataDriftPreset(num_method="ks", cat_method="chisquare")
        evidently.Report([preset]).run(current, reference).dict()
        return {}

    return work


def _nannyml(folder: Path) -> Work:
    nannyml = importlib.import_module("nannyml")
    reference, current = _tables(folder)

    def work() -> dict[str, float]:
        calculator = nannyml.UnivariateDriftCalculator(
            column_names=list(reference),
            continuous_methods=["kolmogorov_smirnov"],
            categorical_methods=["chi2"],
            chunk_number=1,
        )
        calculator.fit(reference).calculate(current)
        return {}

    return work


SUBJECTS = {
    "prepared": Subject(title="reference prepared, 1 thread", make=_prepared(1)),
    "threads": Subject(title="reference prepared, 2 threads", make=_prepared(2)),
    "preparing": Subject(title="preparing that reference, once", make=_preparing),
    "rollups": Subject(title="from counts, 200 columns", make=_rollups),
    "plain": Subject(title="plain loop over scipy and numpy", make=_plain),
    "evidently": Subject(title="Evidently, KS and chi-squared", make=_evidently, package="evidently"),
    "nannyml": Subject(title="NannyML, KS and chi-squared, 1 chunk", make=_nannyml, package="nannyml"),
}

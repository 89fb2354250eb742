"""The same comparison by another library's definitions: its test, its score, its threshold, its conclusion. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pandas as pd

from cli.drift_report.columns import SchemaFinding, common_columns, pair_column
from cli.drift_report.compare import Progress, Table, table_of
from cli.drift_report.distributions import Distribution, distribution_of
from collector.statistics.compatibility import evidently, nannyml
from collector.statistics.compatibility.columns import NotComparable


class Library(StrEnum):
    """Whose definitions."""

    EVIDENTLY = "evidently"
    NANNYML = "nannyml"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompatibleFeature:
    """One column. Without ``test`` the library has no result for it either, and ``reason`` says why.

    ``details`` are further keys of the JSON: the other tests of the column's type, and NannyML's chunks.
    """

    name: str
    type: str | None = None
    test: str | None = None
    score: float | None = None
    threshold: float | None = None
    drifted: bool = False
    reason: str = ""
    details: dict[str, Any]
    distribution: Distribution | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompatibleReport:
    """All columns, drifted ones first. ``dataset_drift`` counts the columns that have a result.

    For Evidently it is whether at least half of them drifted; NannyML has no such verdict, so it is whether any chunk of
    any column alerts.
    """

    library: Library
    reference: Table
    current: Table
    features: tuple[CompatibleFeature, ...]
    findings: tuple[SchemaFinding, ...]
    share: float | None
    dataset_drift: bool

    @property
    def is_drift(self) -> bool:
        """Whether the dataset drifted, or columns of the reference are gone."""
        return self.dataset_drift or any(finding.is_break for finding in self.findings)


def compare_compatibly(
    library: Library,
    reference: tuple[str, pd.DataFrame],
    current: tuple[str, pd.DataFrame],
    *,
    columns: Sequence[str] | None = None,
    progress: Progress = lambda done: None,
) -> CompatibleReport:
    """Compare two tables, each with the name to show, as the library would with its default settings."""
    names, findings = common_columns(reference[1], current[1], columns)
    features = []
    for done, name in enumerate(names, start=1):
        features.append(_feature(library, name, reference[1][name], current[1][name]))
        progress(done)
    drifted = [feature.drifted for feature in features if feature.test]
    return CompatibleReport(
        library=library,
        reference=table_of(*reference),
        current=table_of(*current),
        features=tuple(sorted(features, key=lambda feature: (not feature.drifted, feature.test is None))),
        findings=tuple(findings),
        share=sum(drifted) / len(drifted) if drifted else None,
        dataset_drift=evidently.dataset_drift(drifted) if library is Library.EVIDENTLY else any(drifted),
    )


def _feature(library: Library, name: str, reference: pd.Series[Any], current: pd.Series[Any]) -> CompatibleFeature:
    pair, _ = pair_column(name, reference, current)
    distribution = None if pair is None else distribution_of(pair)
    try:
        found = _evidently(reference, current) if library is Library.EVIDENTLY else _nannyml(reference, current)
    except NotComparable as refusal:
        return CompatibleFeature(name=name, reason=str(refusal), details={}, distribution=distribution)
    return CompatibleFeature(name=name, distribution=distribution, **found)


def _evidently(reference: pd.Series[Any], current: pd.Series[Any]) -> dict[str, Any]:
    drift = evidently.column_drift(reference, current)
    result = drift.result
    tests = {test.test: {"score": test.score, "threshold": test.threshold, "drifted": test.drifted} for test in drift.tests}
    return {
        "type": drift.type.value,
        "test": result.test,
        "score": result.score,
        "threshold": result.threshold,
        "drifted": result.drifted,
        "details": {"tests": tests},
    }


def _nannyml(reference: pd.Series[Any], current: pd.Series[Any]) -> dict[str, Any]:
    drift = nannyml.column_drift(reference, current)
    tests = {
        method.method: {"score": method.score, "threshold": method.threshold, "drifted": any(method.alerts), **_chunks(method)}
        for method in drift.methods
    }
    result = drift.result
    return {
        "type": "categorical" if drift.is_categorical else "continuous",
        "test": result.method,
        "score": result.score,
        "threshold": result.threshold,
        "drifted": any(result.alerts),
        "details": {**_chunks(result), "tests": tests},
    }


def _chunks(method: nannyml.MethodDrift) -> dict[str, Any]:
    return {"chunks": [{"score": s, "alert": alert} for s, alert in zip(method.chunk_scores, method.alerts, strict=True)]}

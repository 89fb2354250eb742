"""A report as the JSON that scripts read: docs/drift.md describes every key. A key is absent where it does not apply."""

from __future__ import annotations

import math
from typing import Any

from cli.drift_report.columns import SchemaFinding
from cli.drift_report.compare import Feature, Report, Table
from cli.drift_report.compatible import CompatibleFeature, CompatibleReport
from storage.records import Verdict

MOST_NEW_CATEGORIES = 20


def report_document(report: Report) -> dict[str, Any]:
    """The comparison by modelwatch's own statistics."""
    return {
        "reference": _table(report.reference),
        "current": _table(report.current),
        "features": {feature.name: _feature(feature) for feature in report.features},
        "schema": [_finding(finding) for finding in report.findings],
        "share": report.share,
        "verdict": report.verdict.value,
        "level": report.policy.alpha,
        "min_samples": report.policy.min_samples,
    }


def compatible_document(report: CompatibleReport) -> dict[str, Any]:
    """The comparison by another library's definitions."""
    return {
        "compat": report.library.value,
        "reference": _table(report.reference),
        "current": _table(report.current),
        "features": {feature.name: _compatible_feature(feature) for feature in report.features},
        "schema": [_finding(finding) for finding in report.findings],
        "share": report.share,
        "dataset_drift": report.dataset_drift,
    }


def _table(table: Table) -> dict[str, Any]:
    return {"file": table.name, "rows": table.rows, "columns": table.columns}


def _finding(finding: SchemaFinding) -> dict[str, Any]:
    return {"column": finding.column, "change": finding.change.value, "says": finding.sentence, "breaks": finding.is_break}


def _feature(feature: Feature) -> dict[str, Any]:
    drift = feature.drift
    content = {
        "type": feature.type.value,
        "current_type": feature.current_type.value if feature.current_type is not feature.type else None,
        "role": "target" if feature.is_target else None,
        "n_reference": drift.n_reference,
        "n_current": drift.n_current,
        "ks": None if drift.ks is None else {"statistic": drift.ks, "p_value": drift.ks_p},
        "psi": drift.psi,
        "js": drift.js,
        "wasserstein": feature.wasserstein,
        "chi2": dict(zip(("statistic", "p_value"), feature.chi_squared, strict=True)) if feature.chi_squared else None,
        "missing": {"reference": drift.missing_reference, "current": drift.missing_current},
        "unseen": drift.unseen_share,
        "new_categories": list(feature.new_categories[:MOST_NEW_CATEGORIES]) or None,
        "out_of_range": drift.out_of_range_share,
        "thresholds": {
            name: judgement.threshold for name, judgement in feature.judgements.items() if judgement.threshold is not None
        },
        "drifted_by": [name for name, judgement in feature.judgements.items() if judgement.verdict is Verdict.DRIFT],
        "verdict": feature.verdict.value,
    }
    return _present(content)


def _compatible_feature(feature: CompatibleFeature) -> dict[str, Any]:
    if feature.test is None:
        return {"test": None, "reason": feature.reason}
    content = {
        "type": feature.type,
        "test": feature.test,
        "score": feature.score,
        "threshold": feature.threshold,
        "drifted": feature.drifted,
        **feature.details,
    }
    return _present(content)


def _present(content: dict[str, Any]) -> dict[str, Any]:
    """Without keys that do not apply. JSON has no infinities: a distance that overflows does not apply either."""
    return {
        key: value
        for key, value in content.items()
        if value is not None and not (isinstance(value, float) and not math.isfinite(value))
    }

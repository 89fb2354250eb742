"""From a sample of a window's rows to its metric points: data quality and multivariate drift. Pure: rows and a policy in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from collector.judging import Subject
from collector.statistics.encoding import Encoded, encode
from collector.statistics.quality import Check, Finding, check_batch, check_counts, violations
from collector.statistics.reconstruction import judge_reconstruction, reconstruction_drift
from collector.statistics.verdict import Judgement
from storage.constraints import Constraints
from storage.records import MetricPoint, PredictionCounts, Scalar, Signature, Verdict
from storage.samples import SampledRow

TOLD_FEATURES = 10
"""Features whose importance is written where the domain classifier finds drift."""
POWER_Z = 0.84
"""The normal quantile of 0.8: an effect this many errors above the threshold is found four times out of five."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplePolicy:
    """How a sample is judged: the level of the two multivariate tests, their floors, and the least rows."""

    alpha: float
    min_samples: int
    floor_multivariate: float
    floor_reconstruction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The rows of a window, its counts where they cover the same time, and what both are held against."""

    signature: Signature
    rows: Sequence[SampledRow]
    counts: PredictionCounts | None
    reference: Mapping[str, Sequence[Scalar]]
    constraints: Constraints

    @property
    def columns(self) -> dict[str, list[Scalar]]:
        """The rows by feature. Raises ValueError for a row of another width."""
        values = zip(*(row.features for row in self.rows), strict=True) if self.rows else ((),) * len(self.signature.names)
        return {name: list(column) for name, column in zip(self.signature.names, values, strict=True)}


# ---------------------------------------------------------------------------------------------- quality


def quality_points(subject: Subject, sample: Sample) -> list[MetricPoint]:
    """The number of violated constraints, over all and by feature, and the share of duplicate rows.

    What counts tell is taken from them, since they cover every row of the window; the rest from the sampled rows.
    """
    columns = {name: column for name, column in sample.columns.items() if name in sample.constraints.features}
    found = {(finding.feature, finding.check): finding for finding in check_batch(sample.constraints, columns)}
    if sample.counts is not None:
        counted = check_counts(sample.constraints, subject.layout, sample.counts)
        found |= {(finding.feature, finding.check): finding for finding in counted}
    findings = list(found.values())
    names = ["", *sample.constraints.features]
    points = [_violations_point(subject, name, findings, len(sample.rows)) for name in names]
    return points + [_duplicates_point(subject, finding) for finding in findings if finding.check is Check.DUPLICATES]


def _violations_point(subject: Subject, name: str, findings: Sequence[Finding], rows: int) -> MetricPoint:
    """``feature`` "" counts those of all features and of whole rows."""
    own = [finding for finding in findings if not name or finding.feature == name]
    broken = [finding for finding in own if finding.is_violation]
    judged = any(finding.verdict is not Verdict.INSUFFICIENT for finding in own)
    return subject.point(
        "quality_violations",
        float(len(broken)),
        feature=name,
        n_current=rows,
        threshold=0.0 if judged else None,
        verdict=Verdict.DRIFT if broken else Verdict.OK if judged else Verdict.INSUFFICIENT,
        basis=_reasons(broken) if name else _features(broken),
    )


def _reasons(broken: Sequence[Finding]) -> str:
    return "; ".join(f"{finding.check} {finding.observed:.3g} over {finding.limit:.3g}" for finding in broken) or "constraints"


def _features(broken: Sequence[Finding]) -> str:
    """The features with violations, the first five of them."""
    names = [name or "rows" for name in violations(broken)]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") or "constraints"


def _duplicates_point(subject: Subject, finding: Finding) -> MetricPoint:
    return subject.point(
        "quality_duplicate_share",
        finding.observed if finding.n else None,
        n_current=finding.n,
        threshold=finding.limit if finding.verdict is not Verdict.INSUFFICIENT else None,
        verdict=finding.verdict,
        basis="constraints",
    )


# ---------------------------------------------------------------------------------------------- multivariate drift


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """The points of multivariate drift, and where there is drift the ids of the rows that look least like the reference."""

    points: list[MetricPoint]
    ids: tuple[str, ...] = ()


def multivariate(subject: Subject, sample: Sample, policy: SamplePolicy) -> Telling:
    """The domain classifier and the reconstruction error; nothing without a reference sample."""
    names = sample.signature.names
    if not sample.rows or any(name not in sample.reference for name in names):
        return Telling(points=[])
    columns = sample.columns
    encoded = encode(sample.signature.features, [sample.reference[name] for name in names], [columns[name] for name in names])
    found = _classified(subject, sample, encoded, policy)
    return replace(found, points=[*found.points, _reconstructed(subject, encoded, policy)])


def _classified(subject: Subject, sample: Sample, encoded: Encoded, policy: SamplePolicy) -> Telling:
    # Here, because scikit-learn takes a second and tens of megabytes to load: only who has rows to look at pays for it.
    from collector.statistics.multivariate import domain_drift, domain_error, judge_domain

    found = domain_drift(encoded)
    judgement = judge_domain(found, alpha=policy.alpha, floor=policy.floor_multivariate, min_samples=policy.min_samples)
    error = domain_error(found.n_current, found.n_reference)
    further = _judged(judgement, found.interval, policy.floor_multivariate, policy.alpha, error)
    point = subject.point("drift_multivariate", found.auc, **further)
    if judgement.verdict is not Verdict.DRIFT:
        return Telling(points=[point])
    told = [
        subject.point("drift_multivariate_importance", loss, feature=name, n_current=found.n_current)
        for name, loss in found.importance[:TOLD_FEATURES]
    ]
    return Telling(points=[point, *told], ids=tuple(sample.rows[row].id for row in found.rows))


def _reconstructed(subject: Subject, encoded: Encoded, policy: SamplePolicy) -> MetricPoint:
    found = reconstruction_drift(encoded)
    judgement = judge_reconstruction(found, alpha=policy.alpha, floor=policy.floor_reconstruction, min_samples=policy.min_samples)
    error = (1 / max(found.n_current, 1) + 1 / max(found.n_reference, 1)) ** 0.5
    further = _judged(judgement, found.interval, policy.floor_reconstruction, policy.alpha, error)
    return subject.point("drift_reconstruction", found.change, **further)


def _judged(judgement: Judgement, interval: tuple[float, float] | None, floor: float, alpha: float, error: float) -> dict[str, Any]:
    threshold = judgement.threshold
    lower, upper = interval or (None, None)
    return {
        "lower": lower,
        "upper": upper,
        "p_value": judgement.p_value,
        "n_reference": judgement.n_reference,
        "n_current": judgement.n_current,
        "threshold": threshold,
        "verdict": judgement.verdict,
        "detectable": None if threshold is None else threshold + POWER_Z * error,
        "basis": "" if threshold is None else f"floor {floor:g}" if threshold == floor else f"chance at the level {alpha:.2g}",
    }

"""What a person reads of a report, the same in the terminal and on the page: a headline, rows with a reason, notes."""

from __future__ import annotations

from dataclasses import dataclass

from cli.drift_report.compare import FALSE_ALARM_CHANCE, Feature, Report, Table
from cli.drift_report.compatible import CompatibleFeature, CompatibleReport, Library
from cli.drift_report.distributions import Distribution
from collector.statistics.verdict import Judgement
from storage.records import Verdict

_LIBRARY_NAMES = {Library.EVIDENTLY: "Evidently 0.7.23", Library.NANNYML: "NannyML 0.13.1"}
_STATISTIC_NAMES = {"ks": "KS", "psi": "PSI", "js": "JS"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One fact of a row; what is not ``is_brief`` is on the page only."""

    heading: str
    text: str
    is_number: bool = True
    is_brief: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One column of the tables."""

    name: str
    tag: str
    verdict: Verdict
    cells: tuple[Cell, ...]
    reason: str
    distribution: Distribution | None


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A whole report, ready to be laid out."""

    method: str
    reference: Table
    current: Table
    verdict: Verdict
    headline: str
    rows: tuple[Row, ...]
    findings: tuple[str, ...]
    notes: tuple[str, ...]


# ---------------------------------------------------------------------------------------------- our own statistics


def view_report(report: Report) -> View:
    """The comparison by modelwatch's own statistics."""
    return View(
        method="modelwatch",
        reference=report.reference,
        current=report.current,
        verdict=report.verdict,
        headline=_headline(report),
        rows=tuple(_row(feature, report.policy.min_samples) for feature in report.features),
        findings=tuple(finding.sentence for finding in report.findings),
        notes=(
            f"Drift needs an effect beyond a practical floor and beyond what chance gives: without any drift, a report calls anything "
            f"drift in about {FALSE_ALARM_CHANCE:.0%} of cases.",
        ),
    )


def _headline(report: Report) -> str:
    drifted = sum(feature.verdict is Verdict.DRIFT for feature in report.features)
    unsure = sum(feature.verdict is Verdict.INSUFFICIENT for feature in report.features)
    breaks = sum(finding.is_break for finding in report.findings)
    parts = [f"{drifted} of {_count(len(report.features), 'column')} drifted"]
    parts += [f"{unsure} with insufficient data"] if unsure else []
    parts += [_count(breaks, "break") + " of the schema"] if breaks else []
    return ", ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _row(feature: Feature, min_samples: int) -> Row:
    drift = feature.drift
    return Row(
        name=feature.name,
        tag="target" if feature.is_target else "",
        verdict=feature.verdict,
        cells=(
            Cell(heading="type", text=feature.type.value, is_number=False),
            Cell(heading="KS", text=_number(drift.ks)),
            Cell(heading="PSI", text=_number(drift.psi)),
            Cell(heading="JS", text=_number(drift.js)),
            Cell(heading="Wasserstein", text=_number(feature.wasserstein), is_brief=False),
            Cell(heading="chi² p", text=_p_value(feature.chi_squared[1] if feature.chi_squared else None), is_brief=False),
            Cell(heading="missing", text=_change(drift.missing_reference, drift.missing_current)),
        ),
        reason=_reason(feature, min_samples),
        distribution=feature.distribution,
    )


def _reason(feature: Feature, min_samples: int) -> str:
    if feature.verdict is Verdict.INSUFFICIENT:
        return f"fewer than {min_samples} rows"
    drifted = {name: judgement for name, judgement in feature.judgements.items() if judgement.verdict is Verdict.DRIFT}
    reasons = [_cause(feature, name, judgement) for name, judgement in drifted.items()]
    retyped = [f"{feature.type} became {feature.current_type}"] if feature.finding is not None else []
    return ", ".join([*retyped, *reasons])


def _cause(feature: Feature, name: str, judgement: Judgement) -> str:
    drift = feature.drift
    if name == "missing":
        return f"missing {_change(drift.missing_reference, drift.missing_current)}"
    if name == "unseen":
        return f"unseen values {_percent(drift.unseen_share)}, expected {_percent(drift.unseen_reference)}"
    if name == "out_of_range":
        return f"out of range {_change(drift.out_of_range_reference, drift.out_of_range_share)}"
    return f"{_STATISTIC_NAMES.get(name, name.replace('_', ' '))} {_number(judgement.value)} > {judgement.threshold:.3g}"


# ---------------------------------------------------------------------------------------------- other libraries


def view_compatible(report: CompatibleReport) -> View:
    """The comparison by another library's definitions."""
    drifted = sum(feature.drifted for feature in report.features)
    tested = sum(feature.test is not None for feature in report.features)
    return View(
        method=f"{_LIBRARY_NAMES[report.library]}'s definitions",
        reference=report.reference,
        current=report.current,
        verdict=Verdict.DRIFT if report.is_drift else Verdict.OK if tested else Verdict.INSUFFICIENT,
        headline=f"{drifted} of {_count(tested, 'column')} drifted",
        rows=tuple(_compatible_row(feature) for feature in report.features),
        findings=tuple(finding.sentence for finding in report.findings),
        notes=_compatible_notes(report.library),
    )


def _compatible_notes(library: Library) -> tuple[str, ...]:
    if library is Library.EVIDENTLY:
        return ("The dataset drifts where at least half of the columns do.",)
    return (
        "The score is of the current table as one chunk; threshold and alerts are of its ten chunks.",
        "NannyML has no verdict on a table; here it drifts where any chunk of any column alerts.",
    )


def _compatible_row(feature: CompatibleFeature) -> Row:
    alerts = [chunk["alert"] for chunk in feature.details.get("chunks", ())]
    return Row(
        name=feature.name,
        tag="",
        verdict=Verdict.DRIFT if feature.drifted else Verdict.OK if feature.test else Verdict.INSUFFICIENT,
        cells=(
            Cell(heading="type", text=feature.type or "-", is_number=False),
            Cell(heading="test", text=feature.test or "-", is_number=False),
            Cell(heading="score", text=_p_value(feature.score)),
            Cell(heading="threshold", text=_number(feature.threshold)),
        ),
        reason=feature.reason or (f"{sum(alerts)} of {len(alerts)} chunks alert" if alerts else ""),
        distribution=feature.distribution,
    )


# ---------------------------------------------------------------------------------------------- numbers


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _p_value(value: float | None) -> str:
    """Three decimals, or what is left of it where they would be 0.

    >>> _p_value(0.25), _p_value(2e-58), _p_value(0.0)
    ('0.250', '2e-58', '0')
    """
    if value is None:
        return "-"
    return f"{value:.0e}" if 0 < value < 0.0005 else f"{value:.3f}" if value else "0"


def _change(before: float | None, after: float | None) -> str:
    """Two shares in percent, or a dash where both are nothing.

    >>> _change(0.0, 0.0512), _change(0.0, 0.0)
    ('0% to 5.1%', '-')
    """
    if not before and not after:
        return "-"
    return f"{_percent(before)} to {_percent(after)}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}".removesuffix(".0") + "%"

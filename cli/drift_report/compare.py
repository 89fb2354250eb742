"""Compares two tables column by column and judges what it finds. Pure.

One comparison is one family of tests: with no drift at all, the chance that anything is called drift is about 5 %, however
many columns there are, because the level is divided by the number of tests (Bonferroni).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from cli.drift_report.columns import ColumnPair, SchemaFinding, common_columns, pair_column
from cli.drift_report.distributions import Distribution, distribution_of
from collector.statistics.drift import FeatureDrift, categorical_drift, numeric_drift
from collector.statistics.two_samples import chi_squared, normalised_wasserstein, unseen_shares
from collector.statistics.verdict import FEATURE_TESTS, Judgement, Policy, drift_share, judge_drift, overall
from storage.records import FeatureType, Ints, Verdict

FALSE_ALARM_CHANCE = 0.05
"""The chance of any false verdict in one comparison."""
MIN_SAMPLES = 30
READING_ORDER = ("ks", "psi", "js", "missing", "unseen", "out_of_range")
"""How a reader meets the statistics of a column; any others follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Which table was compared."""

    name: str
    rows: int
    columns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One column: its statistics, a judgement on each of them that can be judged, and what a plot of it shows.

    ``wasserstein`` is in units of the reference's deviation; ``chi_squared`` is statistic and p-value. ``finding`` says that
    the type has changed.
    """

    name: str
    type: FeatureType
    current_type: FeatureType
    is_target: bool
    drift: FeatureDrift
    judgements: dict[str, Judgement]
    verdict: Verdict
    wasserstein: float | None
    chi_squared: tuple[float, float] | None
    new_categories: tuple[str, ...]
    distribution: Distribution
    finding: SchemaFinding | None = None

    @property
    def severity(self) -> float:
        """The largest ratio of a statistic to its threshold; above 1 is drift."""
        baselines = {"unseen": self.drift.unseen_reference, "out_of_range": self.drift.out_of_range_reference}
        return max((excess(judgement, baselines.get(name)) for name, judgement in self.judgements.items()), default=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All features, the worst first, and one verdict.

    ``share`` is of drifted features among those that could be judged, without the target. ``verdict`` is drift where any
    feature or the target drifts, or where the schema breaks.
    """

    reference: Table
    current: Table
    features: tuple[Feature, ...]
    findings: tuple[SchemaFinding, ...]
    share: float | None
    verdict: Verdict
    policy: Policy


Progress = Callable[[int], None]


def excess(judgement: Judgement, baseline: float | None = None) -> float:
    """How many times its threshold a statistic is, both counted from the baseline; 0 without a threshold."""
    least = baseline or 0.0
    if judgement.value is None or judgement.threshold is None or judgement.threshold <= least:
        return 0.0
    return max(0.0, (judgement.value - least) / (judgement.threshold - least))


def compare_tables(
    reference: tuple[str, pd.DataFrame],
    current: tuple[str, pd.DataFrame],
    *,
    columns: Sequence[str] | None = None,
    target: str | None = None,
    min_samples: int = MIN_SAMPLES,
    progress: Progress = lambda done: None,
) -> Report:
    """Compare two tables, each with the name to show. ``progress`` is told how many columns are done."""
    names, findings = common_columns(reference[1], current[1], columns)
    policy = Policy(alpha=FALSE_ALARM_CHANCE / max(len(names) * FEATURE_TESTS, 1), min_samples=min_samples)
    features = []
    for done, name in enumerate(names, start=1):
        pair, finding = pair_column(name, reference[1][name], current[1][name])
        findings += [finding] if finding else []
        features += [compare_columns(pair, policy, is_target=name == target, finding=finding)] if pair else []
        progress(done)
    share, _ = drift_share([feature.verdict for feature in features if not feature.is_target], 1.0)
    return Report(
        reference=table_of(*reference),
        current=table_of(*current),
        features=tuple(sorted(features, key=_worst_first)),
        findings=tuple(findings),
        share=share,
        verdict=_verdict([feature.verdict for feature in features], findings),
        policy=policy,
    )


def table_of(name: str, frame: pd.DataFrame) -> Table:
    """Name and size of a table."""
    return Table(name=name, rows=len(frame), columns=len(frame.columns))


def _worst_first(feature: Feature) -> tuple[int, float]:
    return (Verdict.DRIFT, Verdict.INSUFFICIENT, Verdict.OK).index(feature.verdict), -feature.severity


def _verdict(features: Sequence[Verdict], findings: Sequence[SchemaFinding]) -> Verdict:
    if Verdict.DRIFT in features or any(finding.is_break for finding in findings):
        return Verdict.DRIFT
    return Verdict.OK if Verdict.OK in features else Verdict.INSUFFICIENT


def compare_columns(pair: ColumnPair, policy: Policy, *, is_target: bool, finding: SchemaFinding | None) -> Feature:
    """All that is said of one column."""
    if pair.is_number:
        drift, wasserstein, counts = numeric_drift(*pair.numbers), normalised_wasserstein(*pair.numbers), None
    else:
        drift, wasserstein, counts = categorical_drift(*pair.texts), None, _counts(*pair.texts)
        unseen, expected = unseen_shares(*counts)
        # Raw values are at hand, so unseen means never seen, and not only rarer than the values that get a bin of their own.
        drift = replace(drift, unseen_share=unseen, unseen_reference=expected)
    found = judge_drift(drift, policy)
    judgements = {name: found[name] for name in dict.fromkeys((*READING_ORDER, *found)) if name in found}
    return Feature(
        name=pair.name,
        type=pair.type,
        current_type=pair.current_type,
        is_target=is_target,
        drift=drift,
        judgements=judgements,
        verdict=Verdict.DRIFT if finding is not None and finding.is_break else overall(judgements),
        wasserstein=wasserstein,
        chi_squared=None if counts is None else chi_squared(*counts),
        new_categories=() if pair.is_number else new_categories(*pair.texts),
        distribution=distribution_of(pair),
        finding=finding,
    )


def _counts(reference: Sequence[str | None], current: Sequence[str | None]) -> tuple[Ints, Ints]:
    left, right = Counter(reference), Counter(current)
    values = sorted((set(left) | set(right)) - {None}, key=str)
    return np.array([left[value] for value in values], np.int64), np.array([right[value] for value in values], np.int64)


def new_categories(reference: Sequence[str | None], current: Sequence[str | None]) -> tuple[str, ...]:
    """Values that only the current column has, the most frequent first.

    >>> new_categories(["a", None], ["b", "c", "b", "a", None])
    ('b', 'c')
    """
    known = set(reference)
    counts = Counter(value for value in current if value is not None and value not in known)
    return tuple(sorted(counts, key=lambda value: (-counts[value], value)))

"""Data quality: a batch of rows, or the counts of a window, against the constraints of a version.

Every check gives a finding, also where all is well. A share beyond its limit is a violation only where so few rows would
not show it by chance; until then the finding says that there is too little data.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from scipy.special import bdtrc

from collector.statistics.encoding import numeric
from storage.constraints import Constraints, FeatureConstraints, duplicate_share
from storage.layouts import category_text, split_bins
from storage.records import Bins, FeatureType, Ints, Layout, PredictionCounts, Scalar, Verdict

ALPHA = 0.001
"""The level of one check: how often a share that is just at its limit is called a violation."""


class Check(StrEnum):
    """What is looked at."""

    MISSING_COLUMN = "missing column"
    EXTRA_COLUMN = "extra column"
    WRONG_TYPE = "wrong type"
    MISSING = "missing"
    OUT_OF_RANGE = "out of range"
    UNSEEN = "unseen"
    CONSTANT = "constant"
    DUPLICATES = "duplicates"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check of one feature ("" for the whole batch): the ``observed`` share of ``n`` values, and its ``limit``.

    ``verdict`` is drift for a violation.
    """

    feature: str
    check: Check
    observed: float
    limit: float
    n: int
    verdict: Verdict

    @property
    def is_violation(self) -> bool:
        return self.verdict is Verdict.DRIFT


def check_batch(constraints: Constraints, columns: Mapping[str, Sequence[Scalar]], *, alpha: float = ALPHA) -> list[Finding]:
    """Everything that is found in a batch: columns by name, each of the same number of plain values, None or NaN missing.

    Shares: missing and of wrong type of all rows; out of range and unseen of the values of the right type; duplicates of the
    first 2,000 rows, whole rows alike. A batch is constant where one value fills it, and so many rows of a feature like
    the reference's would be so with probability below ``alpha``: ``most_common ** n``. Infinities are out of range.

    >>> from storage.constraints import FeatureConstraints
    >>> age = FeatureConstraints(type=FeatureType.NUMBER, missing=0.1, maximum=99)
    >>> found = check_batch(Constraints(features={"age": age}), {"age": [None, 31.0] * 50, "zip": [1] * 100})
    >>> [(finding.feature, finding.check.value, finding.observed) for finding in found if finding.is_violation]
    [('age', 'missing', 0.5), ('zip', 'extra column', 1.0)]
    """
    findings: list[Finding] = []
    for name, feature in constraints.features.items():
        if name in columns:
            findings += _check_column(name, feature, columns[name], alpha)
        else:
            findings.append(_schema(name, Check.MISSING_COLUMN))
    if not constraints.extra_columns:
        findings += [_schema(str(name), Check.EXTRA_COLUMN) for name in columns if name not in constraints.features]
    return [*findings, *_check_duplicates(constraints, columns, alpha)]


def check_counts(constraints: Constraints, layout: Layout, counts: PredictionCounts, *, alpha: float = ALPHA) -> list[Finding]:
    """What the counts of a window tell, over all its rows: missing, out of range, unseen, constant.

    Counts know only the reference's own range and categories, so a feature whose range or categories were edited has no
    finding of that check here; ``check_batch`` has it. Constant: all values in one bin.
    """
    parts, _ = split_bins(layout, counts.bins)
    pairs = [(bins, part) for bins, part in zip(layout.features, parts, strict=True) if bins.name in constraints.features]
    return [finding for bins, part in pairs for finding in _check_bins(bins, part, constraints.features[bins.name], alpha)]


def violations(findings: Sequence[Finding]) -> dict[str, list[Finding]]:
    """The violations by feature, in the order of the findings."""
    found: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.is_violation:
            found.setdefault(finding.feature, []).append(finding)
    return found


# ---------------------------------------------------------------------------------------------- rows


def _check_column(name: str, feature: FeatureConstraints, column: Sequence[Scalar], alpha: float) -> Iterator[Finding]:
    present = [value for value in column if value is not None and value == value]
    fitting = [value for value in present if _fits(feature.type, value)]
    n, missing = len(column), len(column) - len(present)
    yield _share(name, Check.MISSING, missing, n, feature.missing, alpha)
    yield _share(name, Check.WRONG_TYPE, len(present) - len(fitting), n, feature.wrong_type, alpha)
    if feature.type in (FeatureType.NUMBER, FeatureType.INTEGER):
        yield from _check_range(name, feature, fitting, alpha)
    elif feature.categories is not None and feature.type is FeatureType.CATEGORY:
        known = set(feature.categories)
        unseen = sum(category_text(value) not in known for value in fitting)
        yield _share(name, Check.UNSEEN, unseen, len(fitting), feature.unseen, alpha)
    yield from _check_constant(name, feature, max(Counter(present).values(), default=0), len(present), alpha)


def _fits(kind: FeatureType, value: Scalar) -> bool:
    if kind is FeatureType.CATEGORY:
        return True
    if kind is FeatureType.BOOLEAN or isinstance(value, bool):
        return kind is FeatureType.BOOLEAN and isinstance(value, bool)
    return isinstance(value, int | float) and (kind is FeatureType.NUMBER or isinstance(value, int) or _is_whole(value))


def _is_whole(value: float) -> bool:
    return math.isinf(value) or value.is_integer()


def _check_range(name: str, feature: FeatureConstraints, values: Sequence[Scalar], alpha: float) -> Iterator[Finding]:
    if feature.minimum is None and feature.maximum is None:
        return
    numbers = numeric(values)
    low, high = (
        (-math.inf if feature.minimum is None else feature.minimum),
        (math.inf if feature.maximum is None else feature.maximum),
    )
    outside = int(((numbers < low) | (numbers > high)).sum())
    yield _share(name, Check.OUT_OF_RANGE, outside, len(values), feature.out_of_range, alpha)


def _check_duplicates(constraints: Constraints, columns: Mapping[str, Sequence[Scalar]], alpha: float) -> Iterator[Finding]:
    shared = [columns[name] for name in constraints.features if name in columns]
    if constraints.duplicates is None or not shared:
        return
    repeated, n = duplicate_share(list(zip(*shared, strict=True)))
    yield _share("", Check.DUPLICATES, repeated, n, constraints.duplicates, alpha)


# ---------------------------------------------------------------------------------------------- counts


def _check_bins(bins: Bins, counts: Ints, feature: FeatureConstraints, alpha: float) -> Iterator[Finding]:
    n, present = int(counts.sum()), int(counts[:-1].sum())
    yield _share(bins.name, Check.MISSING, n - present, n, feature.missing, alpha)
    if bins.is_categorical and feature.categories is not None and set(feature.categories) == set(bins.categories):
        yield _share(bins.name, Check.UNSEEN, int(counts[-2]), present, feature.unseen, alpha)
    if not bins.is_categorical and _has_range_of(bins, feature):
        yield _share(bins.name, Check.OUT_OF_RANGE, int(counts[0] + counts[-2]), present, feature.out_of_range, alpha)
    yield from _check_constant(bins.name, feature, int(counts[:-1].max()), present, alpha)


def _has_range_of(bins: Bins, feature: FeatureConstraints) -> bool:
    """Whether the bins end where the allowed range does; the last edge is the next number above the reference's greatest."""
    if not bins.edges or feature.minimum is None or feature.maximum is None:
        return False
    return bins.edges[0] == feature.minimum and bins.edges[-1] == math.nextafter(feature.maximum, math.inf)


# ---------------------------------------------------------------------------------------------- judging


def _share(name: str, check: Check, hits: int, n: int, limit: float, alpha: float) -> Finding:
    """A violation where ``hits`` or more of n would come with probability below alpha if the true share were the limit."""
    observed = hits / n if n else 0.0
    if not n:
        verdict = Verdict.INSUFFICIENT
    elif observed <= limit:
        verdict = Verdict.OK
    else:
        verdict = Verdict.DRIFT if limit == 0 or float(bdtrc(hits - 1, n, limit)) < alpha else Verdict.INSUFFICIENT
    return Finding(feature=name, check=check, observed=observed, limit=limit, n=n, verdict=verdict)


def _check_constant(name: str, feature: FeatureConstraints, most: int, present: int, alpha: float) -> Iterator[Finding]:
    if feature.most_common is None or feature.most_common == 1:
        return
    verdict = Verdict.INSUFFICIENT if not present else Verdict.OK
    if present and most == present:
        verdict = Verdict.DRIFT if feature.most_common**present < alpha else Verdict.INSUFFICIENT
    observed = most / present if present else 0.0
    yield Finding(feature=name, check=Check.CONSTANT, observed=observed, limit=1.0, n=present, verdict=verdict)


def _schema(name: str, check: Check) -> Finding:
    return Finding(feature=name, check=check, observed=1.0, limit=0.0, n=0, verdict=Verdict.DRIFT)

"""What data quality holds new rows of a version against: learned from its reference, kept in its profile, edited by people.

Pure: counts and rows in, constraints out. ``storage.constraint_files`` reads and writes them as text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr, model_validator

from storage.layouts import split_bins
from storage.records import Bins, Feature, FeatureType, Ints, Layout, PredictionCounts, Scalar, Signature

Share = Annotated[float, Field(ge=0, le=1)]

MISSING_ALLOWANCE = 0.05
OUT_OF_RANGE_ALLOWANCE = 0.01
UNSEEN_ALLOWANCE = 0.01
DUPLICATES_ALLOWANCE = 0.05
"""What a learned limit adds to the reference's own share."""
DUPLICATES_ROWS = 2000
"""Rows among which duplicates are counted, in the reference and in a batch: more rows repeat more often by chance alone."""
MOST_DUPLICATES = 0.5
"""Above this share of the reference duplicates are in the nature of the data, and no limit is learned."""
MOST_CATEGORIES = 1000
"""With this many listed values a signature may have left some out, so none is called unseen."""


class FeatureConstraints(BaseModel):
    """What a batch of one feature may hold; each share is the largest that is allowed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    type: FeatureType
    missing: Share = 0.0
    wrong_type: Share = 0.0
    minimum: float | None = None
    maximum: float | None = None
    out_of_range: Share = OUT_OF_RANGE_ALLOWANCE
    categories: tuple[StrictStr, ...] | None = None
    unseen: Share = UNSEEN_ALLOWANCE
    most_common: Share | None = None
    """The share of the reference's most frequent value (of its fullest bin); None lets a batch be constant."""

    @model_validator(mode="after")
    def _check_range(self) -> FeatureConstraints:
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum:g} is above maximum {self.maximum:g}")
        return self


class Constraints(BaseModel):
    """What a batch of rows of one version may hold, its features in the order of the signature."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    duplicates: Share | None = None
    extra_columns: StrictBool = False
    features: dict[StrictStr, FeatureConstraints]


def learn_constraints(
    signature: Signature, layout: Layout, counts: PredictionCounts, rows: Sequence[Sequence[Scalar]]
) -> Constraints:
    """Constraints that the reference meets with some room: its shares plus an allowance, its ranges and categories.

    ``counts`` are the reference's in the layout, ``rows`` a sample of it, only for the share of duplicates.
    """
    parts, _ = split_bins(layout, counts.bins)
    features = zip(signature.features, layout.features, parts, strict=True)
    return Constraints(
        duplicates=_duplicates_limit(rows),
        features={feature.name: _learn_feature(feature, bins, part) for feature, bins, part in features},
    )


def constraints_of(
    stored: Mapping[str, Any], signature: Signature, layout: Layout, counts: PredictionCounts, rows: Sequence[Sequence[Scalar]]
) -> Constraints:
    """The ``stored`` constraints of a profile, or those that its reference teaches where it has none.

    In the order of the signature, which PostgreSQL's JSON does not keep.
    """
    if not stored:
        return learn_constraints(signature, layout, counts, rows)
    found = Constraints.model_validate(stored)
    return found.model_copy(update={"features": {name: found.features[name] for name in signature.names if name in found.features}})


def duplicate_share(rows: Sequence[Sequence[Scalar]]) -> tuple[int, int]:
    """How many of the first ``DUPLICATES_ROWS`` rows repeat an earlier one, and how many rows that is of.

    >>> duplicate_share([[1, "a"], [2, "a"], [1, "a"], [1, "a"]])
    (2, 4)
    """
    looked_at = rows[:DUPLICATES_ROWS]
    return len(looked_at) - len({tuple(row) for row in looked_at}), len(looked_at)


def _duplicates_limit(rows: Sequence[Sequence[Scalar]]) -> float | None:
    repeated, n = duplicate_share(rows)
    if not n or repeated / n > MOST_DUPLICATES:
        return None
    return _with_room(repeated / n, DUPLICATES_ALLOWANCE)


def _learn_feature(feature: Feature, bins: Bins, counts: Ints) -> FeatureConstraints:
    total, present = int(counts.sum()), int(counts[:-1].sum())
    return FeatureConstraints(
        type=feature.type,
        missing=_with_room(int(counts[-1]) / total if total else 0.0, MISSING_ALLOWANCE),
        minimum=feature.minimum,
        maximum=feature.maximum,
        categories=_categories(feature, bins, counts),
        most_common=round(float(counts[:-1].max()) / present, 4) if present else None,
    )


def _categories(feature: Feature, bins: Bins, counts: Ints) -> tuple[str, ...] | None:
    if feature.type is not FeatureType.CATEGORY or len(feature.categories) >= MOST_CATEGORIES:
        return None
    if feature.categories:
        return feature.categories
    return bins.categories if bins.categories and not counts[-2] else None


def _with_room(share: float, allowance: float) -> float:
    return min(1.0, round(share + allowance, 4))

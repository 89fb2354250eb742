"""Constraints as Amazon SageMaker Model Monitor's files: constraints.json both ways, statistics.json both ways. Pure.

Their formats say less than ours, so what is read is laid over constraints that are there already. docs/constraints.md
lists what is lost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from storage.constraint_files import ConstraintsError
from storage.constraints import MISSING_ALLOWANCE, Constraints, FeatureConstraints, Share
from storage.layouts import numbers, split_bins
from storage.records import Bins, FeatureType, Floats, Ints, Layout, PredictionCounts, Scalar

BUCKETS = 10
INFERRED = {
    FeatureType.NUMBER: "Fractional",
    FeatureType.INTEGER: "Integral",
    FeatureType.BOOLEAN: "Integral",
    FeatureType.CATEGORY: "String",
}
TYPES = {"Fractional": FeatureType.NUMBER, "Integral": FeatureType.INTEGER, "String": FeatureType.CATEGORY}
SKETCH = {"c": 0.64, "k": 2048.0}
"""The parameters that SageMaker itself writes for its KLL sketch."""


class _NumConstraints(BaseModel):
    is_non_negative: bool = False


class _StringConstraints(BaseModel):
    domains: list[str] = []


class _Thresholds(BaseModel):
    datatype_check_threshold: Share | None = None
    domain_content_threshold: Share | None = None


class _Feature(BaseModel):
    name: str
    inferred_type: str = "Unknown"
    completeness: Share | None = None
    num_constraints: _NumConstraints | None = None
    string_constraints: _StringConstraints | None = None
    overrides: _Thresholds = Field(default=_Thresholds(), alias="monitoringConfigOverrides")


class _ConstraintsFile(BaseModel):
    features: list[_Feature]
    monitoring_config: _Thresholds = _Thresholds()


class _Common(BaseModel):
    num_present: float = 0
    num_missing: float = 0


class _Numerical(BaseModel):
    common: _Common = _Common()
    min: float | None = None
    max: float | None = None


class _Bucket(BaseModel):
    value: str


class _Categorical(BaseModel):
    buckets: list[_Bucket] = []


class _Distribution(BaseModel):
    categorical: _Categorical = _Categorical()


class _String(BaseModel):
    common: _Common = _Common()
    distinct_count: float | None = None
    distribution: _Distribution = _Distribution()


class _FeatureStatistics(BaseModel):
    name: str
    numerical_statistics: _Numerical | None = None
    string_statistics: _String | None = None


class _StatisticsFile(BaseModel):
    features: list[_FeatureStatistics]


def is_statistics(document: Mapping[str, Any]) -> bool:
    """Whether it looks like statistics.json."""
    return "dataset" in document and isinstance(document.get("features"), list)


def is_constraints(document: Mapping[str, Any]) -> bool:
    """Whether it looks like constraints.json: its features are a list, ours are a mapping."""
    return isinstance(document.get("features"), list) and not is_statistics(document)


# ---------------------------------------------------------------------------------------------- constraints.json


def constraints_document(constraints: Constraints) -> dict[str, Any]:
    """constraints.json. A threshold that only some features have stands in their ``monitoringConfigOverrides``."""
    features = constraints.features
    common = _Thresholds(
        datatype_check_threshold=max((feature.wrong_type for feature in features.values()), default=0.0),
        domain_content_threshold=max((feature.unseen for feature in features.values()), default=0.0),
    )
    return {
        "version": 0.0,
        "features": [_feature_document(name, feature, common) for name, feature in features.items()],
        "monitoring_config": {"evaluate_constraints": "Enabled", "emit_metrics": "Enabled", **common.model_dump()},
    }


def _feature_document(name: str, feature: FeatureConstraints, common: _Thresholds) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": name,
        "inferred_type": INFERRED[feature.type],
        "completeness": _rounded(1 - feature.missing),
    }
    if feature.type is FeatureType.CATEGORY:
        document["string_constraints"] = {"domains": list(feature.categories or ())}
    else:
        document["num_constraints"] = {"is_non_negative": feature.minimum is not None and feature.minimum >= 0}
    own = {"datatype_check_threshold": feature.wrong_type, "domain_content_threshold": feature.unseen}
    document["monitoringConfigOverrides"] = {key: value for key, value in own.items() if value != getattr(common, key)}
    return document


def with_constraints_document(constraints: Constraints, document: Mapping[str, Any]) -> Constraints:
    """The constraints with what constraints.json says of their features. Raises ConstraintsError."""
    try:
        parsed = _ConstraintsFile.model_validate(document)
    except ValidationError as error:
        raise _misfit("constraints.json", error) from None
    _check_names(constraints, [feature.name for feature in parsed.features])
    changed = {
        feature.name: _merged(constraints.features[feature.name], feature, parsed.monitoring_config) for feature in parsed.features
    }
    return constraints.model_copy(update={"features": constraints.features | changed})


def _merged(known: FeatureConstraints, said: _Feature, common: _Thresholds) -> FeatureConstraints:
    changes: dict[str, Any] = {}
    if known.type is not FeatureType.BOOLEAN and said.inferred_type in TYPES:
        changes["type"] = TYPES[said.inferred_type]
    if said.completeness is not None:
        changes["missing"] = _rounded(1 - said.completeness)
    if said.num_constraints and said.num_constraints.is_non_negative:
        changes["minimum"] = max(known.minimum or 0.0, 0.0)
    if said.string_constraints and said.string_constraints.domains:
        changes["categories"] = tuple(said.string_constraints.domains)
    for key, threshold in (("wrong_type", "datatype_check_threshold"), ("unseen", "domain_content_threshold")):
        own, general = getattr(said.overrides, threshold), getattr(common, threshold)
        if own is not None or general is not None:
            changes[key] = general if own is None else own
    return known.model_copy(update=changes)


# ---------------------------------------------------------------------------------------------- statistics.json


def statistics_document(
    constraints: Constraints, layout: Layout, counts: PredictionCounts, sample: Mapping[str, Sequence[Scalar]]
) -> dict[str, Any]:
    """statistics.json of a reference: exact counts, sums and moments; buckets and sketch from the ``sample`` of its rows.

    The counts of the ten buckets are the sample's, scaled to all rows. The sketch holds the sample at the level whose weight
    brings it closest to all rows.
    """
    parts, _ = split_bins(layout, counts.bins)
    numeric = iter(counts.moments)
    features = []
    for bins, part in zip(layout.features, parts, strict=True):
        common = {"num_present": int(part[:-1].sum()), "num_missing": int(part[-1])}
        document: dict[str, Any] = {"name": bins.name, "inferred_type": INFERRED[constraints.features[bins.name].type]}
        if bins.is_categorical:
            document["string_statistics"] = {"common": common, **_string_statistics(bins, part)}
        else:
            values = numbers(sample.get(bins.name, ()))
            document["numerical_statistics"] = {"common": common, **_numerical_statistics(next(numeric), values, bins)}
        features.append(document)
    return {"version": 0.0, "dataset": {"item_count": counts.rows}, "features": features}


def _string_statistics(bins: Bins, counts: Ints) -> dict[str, Any]:
    buckets = [{"value": value, "count": int(count)} for value, count in zip(bins.categories, counts, strict=False)]
    return {"distinct_count": len(buckets) + int(counts[-2] > 0), "distribution": {"categorical": {"buckets": buckets}}}


def _numerical_statistics(moments: Floats, values: Floats, bins: Bins) -> dict[str, Any]:
    n, total, squares = moments.tolist()
    if not n or not bins.edges:
        return {}
    mean = total / n
    low, high = bins.edges[0], math.nextafter(bins.edges[-1], -math.inf)
    found = {"mean": mean, "sum": total, "std_dev": math.sqrt(max(0.0, squares / n - mean * mean)), "min": low, "max": high}
    finite = values[np.isfinite(values)]
    return {**found, "distribution": {"kll": _kll(finite, int(n), low, high)}} if finite.size else found


def _kll(values: Floats, n: int, low: float, high: float) -> dict[str, Any]:
    edges = np.linspace(low, high, BUCKETS + 1) if high > low else np.linspace(low, low + 1, BUCKETS + 1)
    counts = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] * (n / values.size)
    buckets = [
        {"lower_bound": float(start), "upper_bound": float(end), "count": float(count)}
        for start, end, count in zip(edges, edges[1:], counts, strict=False)
    ]
    level = max(0, round(math.log2(n / values.size)))
    return {"buckets": buckets, "sketch": {"parameters": SKETCH, "data": [[] for _ in range(level)] + [values.tolist()]}}


def with_statistics_document(constraints: Constraints, document: Mapping[str, Any]) -> Constraints:
    """The constraints with ranges, missing shares (and room) and categories of statistics.json. Raises ConstraintsError."""
    try:
        parsed = _StatisticsFile.model_validate(document)
    except ValidationError as error:
        raise _misfit("statistics.json", error) from None
    _check_names(constraints, [feature.name for feature in parsed.features])
    changed = {feature.name: _learned(constraints.features[feature.name], feature) for feature in parsed.features}
    return constraints.model_copy(update={"features": constraints.features | changed})


def _learned(known: FeatureConstraints, said: _FeatureStatistics) -> FeatureConstraints:
    changes: dict[str, Any] = {}
    statistics = said.numerical_statistics or said.string_statistics
    if statistics is not None and statistics.common.num_present + statistics.common.num_missing > 0:
        common = statistics.common
        share = common.num_missing / (common.num_present + common.num_missing)
        changes["missing"] = min(1.0, round(share + MISSING_ALLOWANCE, 4))
    if said.numerical_statistics and known.type in (FeatureType.NUMBER, FeatureType.INTEGER):
        changes |= {"minimum": said.numerical_statistics.min, "maximum": said.numerical_statistics.max}
    if said.string_statistics and known.type is FeatureType.CATEGORY:
        values = tuple(bucket.value for bucket in said.string_statistics.distribution.categorical.buckets)
        complete = said.string_statistics.distinct_count in (None, len(values))
        changes["categories"] = values if values and complete else None
    return known.model_copy(update=changes)


# ---------------------------------------------------------------------------------------------- both


def _check_names(constraints: Constraints, names: Sequence[str]) -> None:
    unknown = [name for name in names if name not in constraints.features]
    if unknown:
        raise ConstraintsError(
            f"The version has no feature {unknown[0]!r}; its features are {', '.join(constraints.features)}, "
            "so remove what else the file lists, such as the target."
        )


def _misfit(file: str, error: ValidationError) -> ConstraintsError:
    problem = error.errors()[0]
    path = ".".join(map(str, problem["loc"])) or "the file"
    return ConstraintsError(f"This is no {file} of SageMaker: {path}: {problem['msg'][:1].lower()}{problem['msg'][1:]}.")


def _rounded(share: float) -> float:
    return min(1.0, max(0.0, round(share, 9)))

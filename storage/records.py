"""The vocabulary of modelwatch: closed sets and the rows that travel between packages. Pure values, no SQL.

Times are aware UTC datetimes, windows are half-open ``[start, end)``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]
Scalar: TypeAlias = str | int | float | bool | None

PREDICTION_COLUMN = "modelwatch.prediction"
SCORE_COLUMN = "modelwatch.score"
"""Columns of a reference's sample beside its own."""

STEPS_PER_WINDOW = 12
"""A window moves on by a twelfth of its length, where the collect interval is not longer."""


class Task(StrEnum):
    """What a model predicts."""

    CLASSIFICATION = "classification"
    REGRESSION = "regression"


class FeatureType(StrEnum):
    """How a feature arrives in a request."""

    NUMBER = "number"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    CATEGORY = "category"


class Format(StrEnum):
    """How a model file is stored."""

    ONNX = "onnx"
    JOBLIB = "joblib"
    PICKLE = "pickle"


class Role(StrEnum):
    """Why a version answered: it is the champion, the challenger of a split, pinned by the caller, or a shadow."""

    CHAMPION = "champion"
    CHALLENGER = "challenger"
    PINNED = "pinned"
    SHADOW = "shadow"


class Status(StrEnum):
    """How a prediction ended."""

    OK = "ok"
    ERROR = "error"
    TIMEOUT = "timeout"


class Mode(StrEnum):
    """How traffic is spread over the versions of a model."""

    SINGLE = "single"
    AB = "ab"
    CANARY = "canary"


class Verdict(StrEnum):
    """What a metric point says of its window."""

    OK = "ok"
    DRIFT = "drift"
    INSUFFICIENT = "insufficient data"


class ReferenceKind(StrEnum):
    """What a further reference of a model is made of; each is counted anew for the window that is held against it."""

    PINNED = "pinned"
    PREVIOUS = "previous"
    SLIDING = "sliding"
    SAME_HOURS = "same-hours"
    OTHER_ARM = "other-arm"


class AlertState(StrEnum):
    """Where an alert stands."""

    INACTIVE = "inactive"
    PENDING = "pending"
    FIRING = "firing"
    RECOVERING = "recovering"
    RESOLVED = "resolved"


class AlertHealth(StrEnum):
    """Whether the last evaluation of an alert could be made at all."""

    OK = "ok"
    NO_DATA = "no_data"
    ERROR = "error"


class OutboxStatus(StrEnum):
    """Where a message stands on its way to a channel."""

    WAITING = "waiting"
    SENT = "sent"
    FAILED = "failed"
    MERGED = "merged"
    """Told as part of another message."""


class ActionState(StrEnum):
    """Where something that an alert wants done stands."""

    PROPOSED = "proposed"
    CONFIRMED = "confirmed"
    REFUSED = "refused"
    EXPIRED = "expired"
    DONE = "done"
    FAILED = "failed"
    REHEARSED = "rehearsed"


class RollupKind(StrEnum):
    """What a rollup counts: predictions by their own time, or labels by the time of their prediction."""

    PREDICTIONS = "predictions"
    LABELS = "labels"


class Scope(StrEnum):
    """What an API key allows; each scope includes the ones before it."""

    PREDICT = "predict"
    READ = "read"
    ADMIN = "admin"


# ---------------------------------------------------------------------------------------------- models


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One column of a model's input, as learned from the reference data."""

    name: str
    type: FeatureType
    missing_allowed: bool
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a model takes and gives; ``classes`` is empty for regression, in the model's own order otherwise."""

    task: Task
    features: tuple[Feature, ...]
    target: str | None = None
    classes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(feature.name for feature in self.features)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    name: str
    task: Task
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One registered file of a model. ``path`` is relative to the models folder of the home directory."""

    model: str
    version: str
    format: Format
    digest: str
    path: str
    size_bytes: int
    signature: Signature
    layout_id: int
    created_at: datetime
    created_by: str
    alias: str | None = None
    archived_at: datetime | None = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """Which versions answer; the newest row of a model is in force, older rows are its history."""

    model: str
    mode: Mode
    champion: str
    challenger: str | None
    weight: float
    salt: str
    at: datetime
    actor: str
    action: str
    reason: str
    id: int = 0


# ---------------------------------------------------------------------------------------------- layouts and counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Bins:
    """The fixed bins of one column.

    Numeric: ``edges`` ascending; bin 0 is below the first edge, bin i is ``[edges[i-1], edges[i])``, the last but
    one is at or above the last edge, the last is missing. Categorical: one bin per category, then other, then
    missing.
    """

    name: str
    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    is_categorical: bool = False

    @property
    def size(self) -> int:
        """Number of bins, the missing bin included."""
        return len(self.categories) + 2 if self.is_categorical else len(self.edges) + 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The bins of every feature and of the score, shared by all versions of a model with the same schema.

    ``probabilities``: those of each class, where there are more than two, see ``storage.class_probabilities``.
    """

    model: str
    features: tuple[Bins, ...]
    score: Bins
    classes: tuple[str, ...]
    probabilities: tuple[Bins, ...] = ()
    id: int = 0


@dataclass(slots=True, kw_only=True)
class PredictionCounts:
    """What a set of predictions adds up to; two of the same layout merge by addition.

    ``bins``: int64 (sum of all feature bins + score bins,), in the order of the layout, the score last.
    ``moments``: float64 (numeric features + 1, 3): n, sum, sum of squares; the score last.
    ``classes``: int64 (classes + 1,): predictions by class, unknown last; empty for regression.
    ``latency``: int64 (latency bins,), see ``storage.layouts``. ``rows`` counts all rows, failed ones included;
    bins, moments and classes count the rows whose status is ok.
    """

    rows: int
    errors: int
    timeouts: int
    bins: Ints
    moments: Floats
    classes: Ints
    latency: Ints


@dataclass(slots=True, kw_only=True)
class LabelCounts:
    """What a set of labelled predictions adds up to.

    ``score_by_class``: int64 (score bins, 3) for two classes, unknown last; of more classes the score is that of the
    predicted one, so wrong and right answers, (score bins, 2); for regression (score bins, 1).
    ``confusion``: int64 (classes + 1, classes + 1), predicted by actual, unknown last; for regression (0, 0).
    ``residuals``: float64 (6,): n, sum of error, sum of |error|, sum of error squared, sum of y, sum of y squared;
    error = prediction - label. Zeros for classification.
    ``delay``: int64 (delay bins,), see ``storage.layouts``.
    ``errors``: int64 (error bins,) of a regressor, see ``storage.error_histogram``; else (0,).
    ``probabilities``: int64 (sum of the bins of all classes, 2), and ``losses``: float64 (5,), of a classifier of more than
    two classes, see ``storage.class_probabilities``; else (0, 2) and (0,).
    """

    rows: int
    score_by_class: Ints
    confusion: Ints
    residuals: Floats
    delay: Ints
    errors: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    probabilities: Ints = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    losses: Floats = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The reference of a version: its counts in the layout, its performance, and a sample of rows (Parquet).

    ``labels`` are the counts of its target, empty without one. ``sample`` has the features, the target where there is
    one, then ``PREDICTION_COLUMN`` and ``SCORE_COLUMN``: what the version answered. ``thresholds`` are what calibration
    found, ``constraints`` what data quality holds new data against.
    """

    model: str
    version: str
    layout_id: int
    rows: int
    counts: PredictionCounts
    labels: LabelCounts
    performance: dict[str, float]
    sample: bytes
    created_at: datetime
    thresholds: dict[str, Any] = field(default_factory=dict)
    constraints: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReference:
    """A reference beside the training data, made of what the model answered.

    Pinned: ``[start, end)``. Previous: as long as the window, right before it. Sliding: the ``length_seconds`` that end
    ``gap_seconds`` before the window. Same hours: the window's own hours in each of the ``weeks`` before. Other arm: the
    window itself, answered by the other version of the deployment.
    """

    model: str
    name: str
    kind: ReferenceKind
    start: datetime | None = None
    end: datetime | None = None
    length_seconds: int = 0
    gap_seconds: int = 0
    weeks: int = 0
    created_at: datetime
    created_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusion:
    """A time that belongs to no reference of a model, such as an incident: ``[start, end)``."""

    model: str
    start: datetime
    end: datetime
    reason: str
    created_at: datetime
    created_by: str
    id: int = 0


# ---------------------------------------------------------------------------------------------- rows


class PredictionRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One prediction as stored. ``features`` and ``probabilities`` are JSON arrays as text, in signature order."""

    id: str
    at: datetime
    model: str
    version: str
    role: str
    features: str
    prediction: str | None = None
    score: float | None = None
    probabilities: str | None = None
    latency_ms: float | None = None
    status: str = "ok"
    error: str | None = None
    subject: str | None = None
    shadow_of: str | None = None
    segment: str = ""
    reason: str = ""
    warnings: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    prediction_id: str
    label: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelReceipt:
    """``accepted`` were stored; of these ``unknown`` have no prediction yet; ``duplicates`` were there before."""

    accepted: int
    duplicates: int
    unknown: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricPoint:
    """One value of one metric over the window that ends at ``at``. Empty strings stand for "not by this"."""

    at: datetime
    name: str
    value: float | None
    model: str = ""
    version: str = ""
    role: str = ""
    segment: str = ""
    feature: str = ""
    window_seconds: int = 0
    lower: float | None = None
    upper: float | None = None
    p_value: float | None = None
    n_reference: int | None = None
    n_current: int | None = None
    threshold: float | None = None
    verdict: Verdict = Verdict.OK
    detectable: float | None = None
    """The smallest effect, in units of the value, that a window of this size finds four times out of five."""
    basis: str = ""
    """Where the threshold comes from, in a few words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRow:
    """The state of one rule for one label set."""

    fingerprint: str
    rule: str
    labels: dict[str, str]
    state: AlertState
    health: AlertHealth = AlertHealth.OK
    value: float | None = None
    threshold: float | None = None
    window_seconds: int | None = None
    n_current: int | None = None
    reason: str = ""
    pending_at: datetime | None = None
    fired_at: datetime | None = None
    recovering_at: datetime | None = None
    resolved_at: datetime | None = None
    evaluated_at: datetime | None = None
    last_point_at: datetime | None = None
    acked_by: str | None = None
    suppressed: str | None = None
    """Why nobody is told of it now, such as ``silence 3``; None where somebody is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertEvent:
    """One change of state of an alert."""

    fingerprint: str
    rule: str
    labels: dict[str, str]
    at: datetime
    from_state: AlertState
    to_state: AlertState
    value: float | None
    reason: str
    id: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxItem:
    """One message on its way to one receiver of one channel. ``payload`` is what the channel renders from."""

    dedup_key: str
    channel: str
    receiver: str
    kind: str
    payload: dict[str, Any]
    created_at: datetime
    next_attempt_at: datetime
    status: OutboxStatus = OutboxStatus.WAITING
    attempts: int = 0
    last_error: str | None = None
    sent_at: datetime | None = None
    message_id: str | None = None
    incident_id: int | None = None
    id: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """A time, ``[starts_at, ends_at)``, in which nobody is told of alerts that match. ``matchers`` as ``Matchers.to_json``."""

    matchers: dict[str, list[str]]
    starts_at: datetime
    ends_at: datetime
    author: str
    comment: str
    created_at: datetime
    ended_by: str | None = None
    id: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """Alerts that people are told of together: those of one route that agree in the labels it groups by.

    ``key`` names the route and the labels; ``number`` counts the messages so far; ``told`` says of each alert, by
    fingerprint, what people heard last ("firing" or "resolved"); ``recipients`` are the receivers that have heard of it,
    who are told of its end as well. ``due_at`` is when it has to be looked at again, None while nothing is due.
    ``escalated`` counts the steps of escalation that were taken, ``cause`` is the likely cause in a sentence.
    """

    key: str
    route: str
    receiver: str
    labels: dict[str, str]
    title: str
    severity: str
    opened_at: datetime
    due_at: datetime | None = None
    told_at: datetime | None = None
    closed_at: datetime | None = None
    number: int = 0
    told: dict[str, str] = field(default_factory=dict)
    recipients: list[str] = field(default_factory=list)
    escalated: int = 0
    acked_at: datetime | None = None
    acked_by: str | None = None
    ack_note: str | None = None
    cause: str | None = None
    id: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionRow:
    """Something that an alert wants done: proposed, then confirmed (or refused, or expired), then done or failed."""

    dedup_key: str
    incident_id: int | None
    receiver: str
    what: str
    model: str
    details: dict[str, Any]
    state: ActionState
    reason: str
    created_at: datetime
    decided_at: datetime | None = None
    decided_by: str | None = None
    executed_at: datetime | None = None
    result: str | None = None
    id: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to do one named job until ``expires_at``; ``epoch`` grows each time the owner changes."""

    name: str
    owner: str
    epoch: int
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    at: datetime
    actor: str
    action: str
    target: str
    reason: str = ""
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceSample:
    """What one process on one host used; rates are per second since the sample before."""

    at: datetime
    host: str
    process: str
    cpu_percent: float | None = None
    memory_percent: float | None = None
    memory_rss_bytes: int | None = None
    disk_read_bytes_per_second: float | None = None
    disk_write_bytes_per_second: float | None = None
    network_sent_bytes_per_second: float | None = None
    network_received_bytes_per_second: float | None = None
    gpu_percent: float | None = None
    gpu_memory_percent: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredComparison:
    """The last comparison of versions ``a`` and ``b`` over ``[start, end)``, made under a deployment.

    ``document`` is what `modelwatch compare --json` would have printed.
    """

    model: str
    a: str
    b: str
    deployment_id: int
    start: datetime
    end: datetime
    document: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRun:
    """The last run of one scheduled job. ``done_until`` is the end of the newest window it has written."""

    name: str
    started_at: datetime
    finished_at: datetime | None = None
    succeeded_at: datetime | None = None
    error: str | None = None
    done_until: datetime | None = None
    duration_seconds: float | None = None

"""What the rows of two versions tell a comparison: sums by subject, scores with labels, pairs. Pure values, no SQL."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt

from storage.records import Floats, LabelCounts, Layout, PredictionCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSums:
    """What one quantity adds up to over clusters (subjects): enough for the mean per row and its clustered variance.

    Cluster i has ``n_i`` rows that sum to ``t_i``. ``rows`` = sum n_i, ``total`` = sum t_i, ``rows_squared`` = sum n_i^2,
    ``total_squared`` = sum t_i^2, ``product`` = sum n_i t_i, ``squares``: the sum over rows of the value squared.
    Clusters without a row do not count.
    """

    clusters: int = 0
    rows: float = 0.0
    total: float = 0.0
    rows_squared: float = 0.0
    total_squared: float = 0.0
    product: float = 0.0
    squares: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectSums:
    """One version's rows by subject. A row without a subject is a cluster of its own, and one of the ``anonymous``.

    ``assigned`` are the clusters that the split sent here (not pinned). ``quality``: 1 for a right prediction, or the
    absolute error, over labelled rows. ``labelled``: 1 for a successful row with a label, 0 for one without.
    ``failures``: 1 for an error or timeout. ``slow``: 1 for a row above the latency that was asked about.
    """

    rows: int = 0
    anonymous: int = 0
    assigned: int = 0
    quality: ClusterSums = field(default_factory=ClusterSums)
    labelled: ClusterSums = field(default_factory=ClusterSums)
    failures: ClusterSums = field(default_factory=ClusterSums)
    slow: ClusterSums = field(default_factory=ClusterSums)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredRows:
    """Labelled rows as columns of one length, by time: the score, the label, the subject (None where unknown)."""

    scores: Floats
    labels: tuple[str, ...]
    subjects: tuple[str | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRows:
    """What one version of a split did: its counts, its rows by subject, its labelled scores where they are few enough."""

    predictions: PredictionCounts
    labels: LabelCounts
    sums: SubjectSums
    scored: ScoredRows | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRows:
    """Both arms, and how many subjects met both."""

    a: ArmRows
    b: ArmRows
    both: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """One version's side of pairs, as columns. Scores and latencies are NaN where there are none."""

    predictions: tuple[str | None, ...]
    scores: Floats
    latency_ms: Floats
    ok: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """The same inputs answered by two versions: ``a`` answered the caller, ``b`` as its shadow, or the other way round.

    ``labels`` are None where none came. ``truncated`` says that there are more pairs than were read.
    """

    a: Answers
    b: Answers
    labels: tuple[str | None, ...]
    subjects: tuple[str | None, ...]
    truncated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What two versions did in ``[start, end)``: each a part of the traffic, or one of them as the shadow of the other.

    ``share``: the part of the traffic that the second was meant to get in all of that time, None where there is no such
    agreement. ``seconds``: for how much of it there are predictions of the model; None where there are none. ``fitted``: the
    time is not quite what was asked for, because older counts are only kept by the hour or the day.
    """

    versions: tuple[str, str]
    layouts: tuple[Layout, Layout]
    start: datetime
    end: datetime
    share: float | None
    seconds: float | None
    found: SplitRows | Pairs
    fitted: bool = False

"""The words of a comparison of two versions: its terms, its arms, its differences, its answer. Values only.

The arm ``a`` is the one in charge, ``b`` the one that wants to replace it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from collector.statistics.performance import ClassificationQuality, RegressionQuality
from storage.evidence import ScoredRows, SubjectSums
from storage.records import Ints

Interval = tuple[float, float]


class Outcome(StrEnum):
    """What to do: let b take over, go back to a, wait for more data, or repair the experiment first."""

    SHIP = "ship"
    ROLL_BACK = "roll back"
    KEEP_RUNNING = "keep running"
    UNHEALTHY = "unhealthy"


class Part(StrEnum):
    """What a metric is for: the one that b must win, one that b must not lose by its margin, or one to look at."""

    PRIMARY = "primary"
    GUARDRAIL = "guardrail"
    EXPLORATORY = "exploratory"


class Design(StrEnum):
    """How the arms met their inputs: each its own part of the traffic, or both the same inputs."""

    SPLIT = "split"
    SHADOW = "shadow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What was agreed before the comparison began. Margins are how much worse b may be.

    ``quality_margin``, in units of the primary metric: with it b need not be better to ship, only surely not worse by so
    much; without it b must be better. ``min_subjects`` counts where subjects send several predictions each.
    ``mixed_limit``: the share of subjects that may have met both arms. ``min_runtime_seconds``: how long a comparison
    must have run before b can ship; going back never waits for it.
    """

    alpha: float = 0.05
    horizon: float = 5000.0
    min_labels: int = 100
    min_subjects: int = 30
    min_runtime_seconds: float = 0.0
    mixed_limit: float = 0.01
    quality_margin: float | None = None
    error_rate_margin: float = 0.01
    latency_margin_share: float = 0.25
    latency_margin_seconds: float = 0.005
    score_margin: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """What one version did. ``rows`` count all its predictions, ``failures`` the errors and timeouts among them.

    ``subjects``: how many different ones the split sent here. ``sums``: its rows by subject, ``scored``: its labelled
    scores, ``scores``: its score histogram; None where they are not known.
    """

    version: str
    rows: int
    failures: int
    latency: Ints
    labelled: int
    quality: ClassificationQuality | RegressionQuality
    subjects: int | None = None
    sums: SubjectSums | None = None
    scored: ScoredRows | None = None
    scores: Ints | None = None
    positive: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One metric of both arms, and ``b - a``. The sequential interval holds at every look at once.

    ``n_a`` and ``n_b`` are rows; ``units`` how many independent ones both arms have together, and ``squared_error`` the
    squared standard error of the difference over them. ``adjusted_p_value``: by Holm over the metrics that decide (of the
    sequential p-values; for a guardrail that it is beyond its margin), by Benjamini and Hochberg over the others.
    """

    name: str
    a: float | None = None
    b: float | None = None
    difference: float | None = None
    interval: Interval | None = None
    sequential_interval: Interval | None = None
    p_value: float | None = None
    sequential_p_value: float | None = None
    adjusted_p_value: float | None = None
    margin: float | None = None
    less_is_better: bool = False
    n_a: int = 0
    n_b: int = 0
    part: Part = Part.EXPLORATORY
    method: str = ""
    squared_error: float | None = None
    units: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """Which subjects met which arm: ``both`` of ``subjects`` met both."""

    subjects: int
    both: int

    @property
    def share(self) -> float | None:
        return self.both / self.subjects if self.subjects else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether the arms can be compared at all; ``problems`` are sentences, none when they can.

    ``sequential`` is the anytime-valid p-value of the sample ratio. Coverages are labelled / successful predictions.
    """

    sample_ratio_p: float | None = None
    sequential: float | None = None
    coverage_a: float | None = None
    coverage_b: float | None = None
    coverage_p: float | None = None
    assignment: Assignment | None = None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """How often the versions answer the same input differently, which labels cannot make a larger difference of.

    Classes: ``rate`` is the share of ``n`` pairs with different answers, and the accuracies differ by at most it.
    Numbers: ``rate`` is the share that is more than 1 % apart, ``distance`` the mean of |a - b|, and the mean absolute
    errors differ by at most that. ``bound``: the upper end, at any number of looks, of what bounds the difference.
    """

    n: int
    rate: float | None
    interval: Interval | None
    sequential_interval: Interval | None
    distance: float | None = None
    bound: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Posterior:
    """Bayes' view of the primary metric, with flat priors: shown, never a gate, since it does not forgive peeking."""

    probability_b_better: float
    expected_loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """How much longer: further labelled predictions of both arms, and seconds at the rate so far.

    ``effect`` is what the estimate assumes: the present difference, or the margin.
    """

    labelled: int
    seconds: float | None
    effect: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The whole answer; ``winner`` is the version that should answer, None while nobody knows.

    It is about ``[start, end)``, where that is known.
    """

    arms: tuple[Arm, Arm]
    health: Health
    metrics: dict[str, Difference]
    verdict: Outcome
    winner: str | None
    reasons: list[str]
    design: Design = Design.SPLIT
    notes: tuple[str, ...] = ()
    disagreement: Disagreement | None = None
    posterior: Posterior | None = None
    forecast: Forecast | None = None
    terms: Terms = field(default_factory=Terms)
    start: datetime | None = None
    end: datetime | None = None

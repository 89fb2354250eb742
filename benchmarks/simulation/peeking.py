"""An A/B test without any difference, looked at a thousand times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rich.progress import track
from scipy.special import bdtri

from collector.statistics.comparison import arm, compare
from collector.statistics.intervals import sequential_p, share_estimate
from collector.statistics.trial import Arm, Outcome, Terms
from storage.layouts import build_layout, empty_label_counts, empty_prediction_counts
from storage.records import Ints, Layout, Signature, Task

LOOKS = 1000
ROWS_PER_LOOK = 20
RIGHT = 0.9
DECIDED = (Outcome.SHIP, Outcome.ROLL_BACK)
ROOM = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Peeked:
    """Of ``runs`` tests without a difference, those that ended with a verdict at some look."""

    runs: int
    wrong: int
    looks: int = LOOKS

    @property
    def upper(self) -> float:
        """The upper end of a one-sided 95 % interval (Clopper and Pearson 1934) of the share of wrong verdicts."""
        return float(bdtri(self.wrong, self.runs, 0.05)) if self.wrong < self.runs else 1.0


def peeked(runs: int, random: np.random.Generator) -> Peeked:
    """Both arms are right as often, in cohorts of the same rows per look; a test stops at its first ship or roll back."""
    layout = ab_layout()
    wrong = sum(
        first_decision(layout, right_by_look(random)) is not None
        for _ in track(range(runs), f"{LOOKS} looks at no difference", transient=True)
    )
    return Peeked(runs=runs, wrong=wrong)


def ab_layout() -> Layout:
    signature = Signature(task=Task.CLASSIFICATION, features=(), classes=("no", "yes"))
    return build_layout("m", signature, [], np.linspace(0, 1, 50))


def right_by_look(random: np.random.Generator) -> Ints:
    """Right answers of both arms so far, int64 (2, LOOKS)."""
    return np.asarray(np.cumsum(random.binomial(ROWS_PER_LOOK, RIGHT, size=(2, LOOKS)), axis=1))


def first_decision(layout: Layout, right: Ints, *, skips: bool = True) -> int | None:
    """The first look at which ``compare`` says ship or roll back.

    ``skips``: only the looks are compared at which the sequential p-value of the accuracy allows it, with room to spare. The
    verdict needs it below 0.05 after Holm, which only makes it larger; the rest of a comparison costs a hundred times more.
    """
    for look in range(right.shape[1]):
        rows = (look + 1) * ROWS_PER_LOOK
        if skips and _primary_p(right[:, look], rows) > ROOM * Terms().alpha:
            continue
        arms = [_arm(layout, version, rows, int(count)) for version, count in zip("12", right[:, look], strict=True)]
        if compare(arms[0], arms[1]).verdict in DECIDED:
            return look
    return None


def _primary_p(right: Ints, rows: int) -> float:
    a, b = (share_estimate(int(count), rows) for count in right)
    terms = Terms()
    return sequential_p(b.mean - a.mean, a.squared_error + b.squared_error, a.n + b.n, terms.alpha, terms.horizon)


def _arm(layout: Layout, version: str, rows: int, right: int) -> Arm:
    """Answers "no", of which some are right; no latency, no failures."""
    predictions, labels = empty_prediction_counts(layout), empty_label_counts(layout)
    predictions.rows = labels.rows = rows
    labels.confusion[0, 0], labels.confusion[0, 1] = right, rows - right
    labels.score_by_class[10, 0], labels.score_by_class[10, 1] = right, rows - right
    return arm(version, layout, predictions, labels)

"""Follows the features of a version over many windows: from their counts by step to a judgement of each. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from collector.judging import Judging, Subject
from collector.statistics.floors import Floors
from collector.statistics.sequence import HOLD_EVIDENCE, LOOK_BACK, Bets, Found, column_bets, strongest
from collector.statistics.verdict import NO_PAST, Judgement, Past, judge
from collector.windows import Window
from storage.layouts import split_bins
from storage.records import Ints, Layout, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Counts of every bin of a layout by step, int64 (steps, bins), with the starts of the steps, in order of time.

    Steps without predictions are left out. A window consists of ``per_window`` steps.
    """

    starts: Sequence[datetime]
    bins: Ints
    per_window: int

    def before(self, window: Window) -> Steps:
        """Those that the evidence of the window is added up over."""
        start = window.end - LOOK_BACK * (window.end - window.start)
        first, last = (bisect_left(self.starts, moment) for moment in (start, window.end))
        return replace(self, starts=self.starts[first:last], bins=self.bins[first:last])


def feature_bets(subject: Subject, floors: Floors) -> dict[str, Bets]:
    """The bets on each feature that there is something to bet on, by its name; the same for all windows of a version."""
    if subject.profile is None:
        return {}
    calibration = subject.calibration
    reference, _ = split_bins(subject.layout, subject.profile.counts.bins)
    found = {
        bins.name: column_bets(bins, counts, floors, calibration.of(bins.name))
        for bins, counts in zip(subject.layout.features, reference, strict=True)
    }
    return {name: bets for name, bets in found.items() if bets is not None}


def follow(
    subject: Subject, bets: Mapping[str, Bets], steps: Steps, judging: Judging, pasts: Mapping[str, Past]
) -> dict[str, Judgement]:
    """A judgement of each feature with bets, by its name, from the steps up to the end of the window."""
    plan, held = judging.plan_of(subject.window), steps.before(subject.window)
    if not bets or not held.starts:
        return {}
    weights = float(sum(each.weights.sum() for each in bets.values()))
    allowed = judging.followed_level(subject.layout, subject.calibration, plan, weights)
    columns = _columns(subject.layout, held.bins)
    found = strongest([(each, columns[name]) for name, each in bets.items()], allowed, held.per_window)
    basis = "calibrated" if subject.calibration.tests else "no-drift quantile"
    return {
        name: _judged(best, held.starts, judging.min_samples, basis, pasts.get(name, NO_PAST))
        for name, best in zip(bets, found, strict=True)
    }


def _columns(layout: Layout, bins: Ints) -> dict[str, Ints]:
    ends = np.cumsum([feature.size for feature in layout.features])
    return {feature.name: bins[:, end - feature.size : end] for feature, end in zip(layout.features, ends, strict=True)}


def _judged(found: Found, starts: Sequence[datetime], min_samples: int, basis: str, past: Past) -> Judgement:
    threshold = found.threshold * (HOLD_EVIDENCE if past.was_drift else 1.0)
    judgement = judge(found.value, threshold, found.m, found.n, min_samples)
    if judgement.verdict is Verdict.INSUFFICIENT:
        return judgement
    whence = "practical floor" if found.is_practical else basis
    since = f", {found.name} since {starts[found.since]:%Y-%m-%d %H:%M}" if found.value > 0 else ""
    return replace(judgement, basis=f"{whence}{', until it clears' if past.was_drift else ''}{since}")

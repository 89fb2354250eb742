"""Compares two versions: first whether the comparison is healthy, then who is better.

Every gate holds at any number of looks: the verdict reads confidence sequences, and fixed 95 % intervals stand beside
them for the one person who looks once. The arm ``a`` is the one in charge, ``b`` the one that wants to replace it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from collector.statistics.clusters import design_effect
from collector.statistics.decision import Case, adjusted, decide, span
from collector.statistics.differences import split_differences
from collector.statistics.health import check_health
from collector.statistics.paired import disagreement, paired_arms, paired_differences
from collector.statistics.performance import ClassificationQuality, classification, regression
from collector.statistics.posterior import beta_posterior, normal_posterior
from collector.statistics.trial import Arm, Assignment, Comparison, Design, Health, Outcome, Posterior, Terms
from storage.evidence import Pairs, ScoredRows, SplitRows, SubjectSums, Trial
from storage.layouts import is_regression, split_bins
from storage.records import LabelCounts, Layout, PredictionCounts

DAY_SECONDS = 86_400.0
PERIOD_NOTE = "older counts are kept by the hour or the day, so the time that is compared begins or ends on a whole one"


def arm(
    version: str,
    layout: Layout,
    predictions: PredictionCounts,
    labels: LabelCounts,
    *,
    subjects: int | None = None,
    sums: SubjectSums | None = None,
    scored: ScoredRows | None = None,
) -> Arm:
    """One arm from the counts of its window, and from its rows as far as they are known: by subject, and labelled scores.

    ``subjects``: how many different ones it answered; without it those of ``sums``.
    """
    binary = len(layout.classes) == 2
    if subjects is None and sums is not None and sums.anonymous < sums.rows:
        subjects = sums.assigned
    return Arm(
        version=version,
        rows=predictions.rows,
        failures=predictions.errors + predictions.timeouts,
        latency=predictions.latency,
        labelled=labels.rows,
        quality=regression(labels) if is_regression(layout) else classification(labels),
        subjects=subjects,
        sums=sums,
        scored=_known(scored, layout) if scored is not None and binary else None,
        scores=split_bins(layout, predictions.bins)[1],
        positive=layout.classes[1] if binary else None,
    )


def _known(scored: ScoredRows, layout: Layout) -> ScoredRows:
    """The rows whose label the model knows."""
    kept = [index for index, label in enumerate(scored.labels) if label in layout.classes]
    return ScoredRows(
        scores=scored.scores[kept],
        labels=tuple(scored.labels[index] for index in kept),
        subjects=tuple(scored.subjects[index] for index in kept),
    )


def compare(
    a: Arm,
    b: Arm,
    *,
    expected_share_b: float | None = None,
    terms: Terms | None = None,
    assignment: Assignment | None = None,
    seconds: float | None = None,
) -> Comparison:
    """Health, metrics and verdict for b against a, which answered different parts of the traffic.

    ``expected_share_b`` is b's weight in the split; None where the versions did not share one (no sample-ratio check).
    ``assignment``: how many subjects met which arm. ``seconds``: how long it has run, for the runtime and the forecast.
    Where the arms know their rows by subject, intervals are clustered by it; else predictions are taken as independent.
    """
    terms = terms or Terms()
    health = check_health(a, b, expected_share_b, assignment, terms.mixed_limit)
    metrics = adjusted(split_differences(a, b, terms), terms)
    case = Case(a=a, b=b, health=health, metrics=metrics, terms=terms, seconds=seconds)
    return _answer(case, [*_subject_notes(a, b), *_time_notes(seconds)])


def compare_trial(trial: Trial, terms: Terms | None = None) -> Comparison:
    """``compare_pairs`` where one version was the shadow of the other, else ``compare_split``; it says over which time."""
    if isinstance(trial.found, Pairs):
        found = compare_pairs(trial.found, trial.layouts[0], trial.versions, terms=terms, seconds=trial.seconds)
    else:
        found = compare_split(
            trial.found, trial.layouts, trial.versions, expected_share_b=trial.share, terms=terms, seconds=trial.seconds
        )
    notes = (*found.notes, PERIOD_NOTE) if trial.fitted else found.notes
    return replace(found, start=trial.start, end=trial.end, notes=notes)


def compare_split(
    rows: SplitRows,
    layouts: tuple[Layout, Layout],
    versions: tuple[str, str],
    *,
    expected_share_b: float | None,
    terms: Terms | None = None,
    seconds: float | None = None,
) -> Comparison:
    """``compare`` for two versions of a split as they are read from storage."""
    sides = zip((rows.a, rows.b), layouts, versions, strict=True)
    a, b = (arm(name, layout, side.predictions, side.labels, sums=side.sums, scored=side.scored) for side, layout, name in sides)
    if layouts[0] != layouts[1]:  # a histogram in other bins says nothing of this one
        a, b = replace(a, scores=None), replace(b, scores=None)
    known = [side.sums.assigned for side in (rows.a, rows.b)]
    assignment = Assignment(subjects=sum(known) - rows.both, both=rows.both)
    return compare(a, b, expected_share_b=expected_share_b, terms=terms, assignment=assignment, seconds=seconds)


def compare_pairs(
    pairs: Pairs, layout: Layout, versions: tuple[str, str], *, terms: Terms | None = None, seconds: float | None = None
) -> Comparison:
    """The same for a shadow: both versions answered the same inputs, so there is no split to check, and pairs tell more."""
    terms = terms or Terms()
    a, b = paired_arms(pairs, layout, versions)
    metrics = adjusted(paired_differences(pairs, layout, a, b, terms), terms)
    case = Case(
        a=a,
        b=b,
        health=Health(coverage_a=_coverage(pairs), coverage_b=_coverage(pairs)),
        metrics=metrics,
        terms=terms,
        design=Design.SHADOW,
        seconds=seconds,
        disagreement=disagreement(pairs, layout, terms),
    )
    cut = f"Only the first {len(pairs.labels)} pairs were read; a later start shows later ones."
    return _answer(case, [*([cut] if pairs.truncated else []), *_time_notes(seconds)])


def _coverage(pairs: Pairs) -> float | None:
    both = int((pairs.a.ok & pairs.b.ok).sum())
    known = int(np.sum([label is not None for label in pairs.labels] & pairs.a.ok & pairs.b.ok)) if both else 0
    return known / both if both else None


def _answer(case: Case, notes: Sequence[str]) -> Comparison:
    decision = decide(case)
    winner = {Outcome.SHIP: case.b.version, Outcome.ROLL_BACK: case.a.version}.get(decision.verdict)
    return Comparison(
        arms=(case.a, case.b),
        health=case.health,
        metrics={metric.name: metric for metric in case.metrics},
        verdict=decision.verdict,
        winner=winner,
        reasons=list(decision.reasons),
        design=case.design,
        notes=tuple(notes),
        disagreement=case.disagreement,
        posterior=_posterior(case),
        forecast=decision.forecast,
        terms=case.terms,
    )


def _posterior(case: Case) -> Posterior | None:
    """Beta-Binomial for accuracies of a split (clustered rows count as fewer), normal for errors and for pairs."""
    primary = case.primary
    if primary.difference is None or primary.squared_error is None or primary.a is None or primary.b is None:
        return None
    is_share = isinstance(case.a.quality, ClassificationQuality) and case.design is Design.SPLIT
    if not is_share:
        return normal_posterior(-primary.difference if primary.less_is_better else primary.difference, primary.squared_error)
    worth = [n / _effect(arm) for arm, n in ((case.a, primary.n_a), (case.b, primary.n_b))]
    return beta_posterior(primary.a * worth[0], worth[0], primary.b * worth[1], worth[1])


def _effect(arm: Arm) -> float:
    """The design effect of the quality, at least 1."""
    if arm.sums is None or not arm.sums.quality.rows:
        return 1.0
    return max(1.0, design_effect(arm.sums.quality, min(1.0, arm.sums.quality.rows / arm.quality.n)) or 1.0)


# ---------------------------------------------------------------------------------------------- notes


def _subject_notes(a: Arm, b: Arm) -> list[str]:
    """Whether intervals are by subject, and if not, why."""
    if not a.rows or not b.rows:
        return []
    if a.sums is None or b.sums is None or not a.sums.rows or not b.sums.rows:
        return ["Predictions are taken as independent: their rows were not read, so it is not known whose they are."]
    anonymous = (a.sums.anonymous + b.sums.anonymous) / (a.sums.rows + b.sums.rows)
    if anonymous == 1:
        return ["Predictions are taken as independent: none of them names a subject."]
    widest = max(_effect(a), _effect(b))
    likeness = (
        f"those of one subject are so much alike that the error is {widest**0.5:.2g} times that of independent ones"
        if widest > 1.1
        else "those of one subject are hardly more alike than those of different ones"
    )
    counts = f"{a.sums.assigned} and {b.sums.assigned}"
    found = [f"Intervals are by subject, of which there were {counts}; of the labelled predictions {likeness}."]
    if anonymous:
        found.append(f"{anonymous:.1%} of the predictions name no subject; each of them is taken as one of its own.")
    read = min(a.sums.rows / a.rows, b.sums.rows / b.rows)
    if read < 0.999:
        found.append(f"How alike they are was measured on the newest {a.sums.rows + b.sums.rows} predictions.")
    return found


def _time_notes(seconds: float | None) -> list[str]:
    if seconds is None or seconds >= DAY_SECONDS:
        return []
    return [f"It covers {span(seconds)}, less than a day: callers of other hours may differ."]

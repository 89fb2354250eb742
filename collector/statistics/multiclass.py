"""How good the probabilities of more than two classes are, and whether they still mean what they meant, from label counts.

One class against all others wherever a class has a histogram of its own (``storage.class_probabilities``); log loss and
Brier score from sums, exactly; calibration of the largest probability from the score bins.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from collector.statistics.concept import ConceptChange, concept_change
from collector.statistics.estimation import score_rates
from collector.statistics.intervals import z_value
from collector.statistics.performance import roc_auc
from collector.statistics.probabilities import Binned, average_precision, calibration_error, score_bins
from storage.class_probabilities import by_class
from storage.records import Floats, Ints, LabelCounts, Layout

_Area = Callable[[Ints, Ints], Binned | None]


def sides(layout: Layout, labels: LabelCounts) -> dict[str, tuple[Ints, Ints]]:
    """By class, the rows of all others and its own by bin of its probability, int64 (bins,) each; empty where that is not kept."""
    parts = by_class(layout, labels.probabilities)
    return {bins.name: (part[:, 0], part[:, 1]) for bins, part in zip(layout.probabilities, parts, strict=True)}


# ---------------------------------------------------------------------------------------------- areas


def macro_roc_auc(layout: Layout, labels: LabelCounts) -> Binned | None:
    """The plain mean of each class's ROC AUC against all others, over the classes that occur; None where none does."""
    return _macro(layout, labels, _roc)


def macro_average_precision(layout: Layout, labels: LabelCounts) -> Binned | None:
    """The plain mean of each class's average precision against all others, over the classes that occur; None where none does."""
    return _macro(layout, labels, average_precision)


def _roc(others: Ints, own: Ints) -> Binned | None:
    area = roc_auc(others, own)
    return Binned(value=area.area, bound=area.bound, error=area.standard_error) if area else None


def _macro(layout: Layout, labels: LabelCounts, area: _Area) -> Binned | None:
    """The error is the mean of the classes' errors, as large as that of their mean can be: they share their rows."""
    found = [one for others, own in sides(layout, labels).values() if own.any() and (one := area(others, own)) is not None]
    if not found:
        return None
    value, bound, error = (
        math.fsum(numbers) / len(found)
        for numbers in zip(*((one.value, one.bound, one.error or 0.0) for one in found), strict=True)
    )
    reach = z_value(0.95) * error + bound
    return Binned(value=value, bound=bound, error=error, interval=(max(0.0, value - reach), min(1.0, value + reach)))


# ---------------------------------------------------------------------------------------------- losses


def mean_log_loss(losses: Floats) -> Binned | None:
    """Mean of ``-ln`` of the probability of what came, from the sums in ``LabelCounts.losses``; exact; None for no rows."""
    return _mean(losses, 1, math.inf)


def mean_brier(losses: Floats) -> Binned | None:
    """Mean of ``sum((p_k - y_k)^2)`` over the classes, 0 to 2, from the sums; exact; None for no rows. Source: Brier (1950)."""
    return _mean(losses, 3, 2.0)


def _mean(losses: Floats, place: int, most: float) -> Binned | None:
    n, total, squares = float(losses[0]), float(losses[place]), float(losses[place + 1])
    if not n:
        return None
    mean = total / n
    error = math.sqrt(max(0.0, squares - n * mean * mean) / max(n - 1, 1) / n)
    reach = z_value(0.95) * error
    return Binned(value=mean, bound=0.0, error=error, interval=(max(0.0, mean - reach), min(most, mean + reach)))


def top_calibration_error(layout: Layout, labels: LabelCounts) -> Binned | None:
    """Expected calibration error of the largest probability: how far the share of right answers lies from it, in groups.

    Source: Guo, Pleiss, Sun and Weinberger (2017), arXiv 1706.04599.
    """
    wrong, right = labels.score_by_class[:-1, 0], labels.score_by_class[:-1, 1]
    return calibration_error(wrong, right, score_bins(layout.score.edges))


# ---------------------------------------------------------------------------------------------- concept drift


def concept_changes(layout: Layout, reference: LabelCounts, labels: LabelCounts) -> dict[str, ConceptChange]:
    """By class, the change of p(class | its probability); for a model without histograms, under "", that of p(right | score)."""
    if layout.probabilities:
        before, now = sides(layout, reference), sides(layout, labels)
    else:
        before, now = ({"": (counts.score_by_class[:-1, 0], counts.score_by_class[:-1, 1])} for counts in (reference, labels))
    found = {}
    for name, counts in now.items():
        rates = score_rates(*before[name])
        change = concept_change(rates, *counts) if rates else None
        if change is not None:
            found[name] = change
    return found

"""Whether two arms can be compared at all: were they split as agreed, by whole subjects, and labelled alike."""

from __future__ import annotations

from collections.abc import Sequence

from scipy.special import chdtrc

from collector.statistics.clusters import design_effect
from collector.statistics.sequential import mixture_p
from collector.statistics.trial import Arm, Assignment, Health

SAMPLE_RATIO_ALPHA = 0.001
COVERAGE_ALPHA = 0.001
COVERAGE_TOLERANCE = 0.01
"""Label coverages that differ by less than this are alike, however sure the difference."""
MIXED_LEAST = 5
"""So few subjects in both arms are no problem whatever their share: one person at two desks."""
PRIOR_ROWS = 100.0
"""Weight, in rows, of the sequential sample-ratio test's prior at the expected split."""


def check_health(
    a: Arm, b: Arm, expected_share_b: float | None, assignment: Assignment | None = None, mixed_limit: float = 0.01
) -> Health:
    """Sample ratio (over subjects where both arms know them, else over predictions), mixed subjects, label coverage by arm."""
    counted = (a.subjects, b.subjects) if a.subjects is not None and b.subjects is not None else (a.rows, b.rows)
    ratio_p = sequential = None
    if expected_share_b is not None and 0 < expected_share_b < 1:
        ratio_p = sample_ratio_p(*counted, expected_share_b)
        sequential = sequential_sample_ratio_p(*counted, expected_share_b)
    coverages = [arm.labelled / served if (served := arm.rows - arm.failures) else None for arm in (a, b)]
    coverage_p = _coverage_p(a, b)
    return Health(
        sample_ratio_p=ratio_p,
        sequential=sequential,
        coverage_a=coverages[0],
        coverage_b=coverages[1],
        coverage_p=coverage_p,
        assignment=assignment,
        problems=(
            *_ratio_problems(counted, expected_share_b, ratio_p, sequential),
            *_mixed_problems(assignment, expected_share_b, mixed_limit),
            *_coverage_problems(a, b, coverages, coverage_p),
        ),
    )


def sample_ratio_p(n_a: int, n_b: int, share_b: float) -> float | None:
    """Pearson's chi-squared p-value that the split is as agreed, for one look; None without rows.

    >>> round(sample_ratio_p(5000, 5200, 0.5), 7)
    0.0476704
    """
    n = n_a + n_b
    if not n:
        return None
    expected = n * share_b
    return float(chdtrc(1, (n_b - expected) ** 2 * (1 / expected + 1 / (n - expected))))


def sequential_sample_ratio_p(n_a: int, n_b: int, share_b: float) -> float | None:
    """The same for any number of looks; see ``mixture_p``.

    >>> sequential_sample_ratio_p(500, 500, 0.5), sequential_sample_ratio_p(5000, 5600, 0.5) < 0.001
    (1.0, True)
    """
    return mixture_p(n_b, n_a, share_b, PRIOR_ROWS) if n_a + n_b else None


def _ratio_problems(counted: tuple[int, int], share: float | None, p: float | None, sequential: float | None) -> list[str]:
    if share is None or p is None or sequential is None or min(p, sequential) >= SAMPLE_RATIO_ALPHA:
        return []
    got = counted[1] / sum(counted)
    return [
        f"The split is not as agreed: {got:.1%} of {sum(counted)} went to the challenger instead of {share:.1%} "
        f"(sample ratio p = {min(p, sequential):.2g}). Find out what loses or repeats requests before reading the metrics."
    ]


def _mixed_problems(assignment: Assignment | None, share: float | None, limit: float) -> list[str]:
    """Only a split promises each subject one version."""
    if share is None or assignment is None or assignment.share is None:
        return []
    if assignment.both < MIXED_LEAST or assignment.share <= limit:
        return []
    return [
        f"{assignment.both} of {assignment.subjects} subjects ({assignment.share:.1%}) met both versions; at most {limit:.1%} may. "
        "What they did cannot be put down to either: look for callers that change their subject, or a split that was changed."
    ]


def _coverage_p(a: Arm, b: Arm) -> float | None:
    served_a, served_b = a.rows - a.failures, b.rows - b.failures
    labelled = a.labelled + b.labelled
    if not served_a or not served_b or not 0 < labelled < served_a + served_b:
        return None
    pooled = labelled / (served_a + served_b)
    per_row = _coverage_effect(a) / served_a + _coverage_effect(b) / served_b
    return float(chdtrc(1, (a.labelled / served_a - b.labelled / served_b) ** 2 / (pooled * (1 - pooled) * per_row)))


def _coverage_effect(arm: Arm) -> float:
    """Labels come by subject rather than by row; where all rows of an arm are alike the pooled variance says enough."""
    if arm.sums is None or not 0 < arm.sums.labelled.total < arm.sums.labelled.rows:
        return 1.0
    return design_effect(arm.sums.labelled, min(1.0, arm.sums.labelled.rows / (arm.rows - arm.failures))) or 1.0


def _coverage_problems(a: Arm, b: Arm, coverages: Sequence[float | None], p: float | None) -> list[str]:
    first, second = coverages
    if p is None or first is None or second is None or p >= COVERAGE_ALPHA or abs(first - second) <= COVERAGE_TOLERANCE:
        return []
    return [
        f"Labels come unevenly: {first:.1%} of the predictions of {a.version} have one, {second:.1%} of those of {b.version} "
        f"(p = {p:.2g}). The labelled ones may differ from the others."
    ]

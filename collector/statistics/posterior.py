"""How probable it is that b is better, with flat priors. For people to read; peeking makes it no verdict."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import betainc, ndtr
from scipy.stats import beta

from collector.statistics.trial import Posterior

GRID = 4001
DEVIATIONS = 10.0


def beta_posterior(right_a: float, n_a: float, right_b: float, n_b: float) -> Posterior:
    """P(share b > share a) and what is lost on average by choosing b where a is better: E[max(a - b, 0)].

    Posteriors Beta(1 + right, 1 + wrong), integrated on a grid: ``P = integral f_b(x) F_a(x) dx`` and
    ``loss = integral F_b(x) (1 - F_a(x)) dx``. Counts need not be whole: clustered rows count as fewer.

    >>> round(beta_posterior(49, 100, 51, 100).probability_b_better, 3)
    0.611
    """
    shapes = [(1 + right, 1 + n - right) for right, n in ((right_a, n_a), (right_b, n_b))]
    x = _grid(shapes)
    below_a, below_b = (betainc(*shape, x) for shape in shapes)
    probability = np.trapezoid(beta.pdf(x, *shapes[1]) * below_a, x)
    loss = np.trapezoid(below_b * (1 - below_a), x)
    return Posterior(probability_b_better=min(1.0, float(probability)), expected_loss=float(loss))


def normal_posterior(gain: float, squared_error: float) -> Posterior:
    """The same for a gain (positive where b is better) that is known to a normal error."""
    error = math.sqrt(squared_error)
    if error == 0:
        return Posterior(probability_b_better=0.5 if gain == 0 else float(gain > 0), expected_loss=max(0.0, -gain))
    z = gain / error
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return Posterior(probability_b_better=float(ndtr(z)), expected_loss=error * (density - z * float(ndtr(-z))))


def _grid(shapes: list[tuple[float, float]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Where the two posteriors are not 0."""
    ends = []
    for u, v in shapes:
        mean, deviation = u / (u + v), math.sqrt(u * v / ((u + v) ** 2 * (u + v + 1)))
        ends.append((mean - DEVIATIONS * deviation, mean + DEVIATIONS * deviation))
    low, high = max(0.0, min(end[0] for end in ends)), min(1.0, max(end[1] for end in ends))
    return np.linspace(low, high, GRID)

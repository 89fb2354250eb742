"""Scores with labels whose truth is known, for simulations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from storage.records import Floats, Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Scores, float64 (n,), and classes, int64 (n,): 1 for a positive."""

    scores: Floats
    actual: Ints

    @property
    def called(self) -> int:
        return int((self.scores >= 0.5).sum())

    @property
    def accuracy(self) -> float:
        return float(((self.scores >= 0.5) == self.actual).mean())

    def counts(self, edges: tuple[float, ...]) -> tuple[Ints, Ints]:
        """Negatives and positives by score bin, the missing bin left out."""
        place = np.searchsorted(np.asarray(edges), self.scores, side="right")
        negatives, positives = (np.bincount(place[self.actual == value], minlength=len(edges) + 1) for value in (0, 1))
        return negatives, positives

    def bins(self, edges: tuple[float, ...]) -> Ints:
        """Scored rows by bin, and 0 without a score."""
        negatives, positives = self.counts(edges)
        return np.append(negatives + positives, 0)


def draw(random: np.random.Generator, n: int, *, a: float = 0.8, b: float = 1.2, power: float = 1.3, flip: float = 0.0) -> Rows:
    """``n`` beta scores; a positive with probability ``score**power``, turned round with probability ``flip``."""
    scores = random.beta(a, b, n)
    actual = (random.random(n) < scores**power) ^ (random.random(n) < flip)
    return Rows(scores=scores, actual=actual.astype(np.int64))


def quantile_edges(scores: Floats) -> tuple[float, ...]:
    """120 bins of equal mass, as a layout has them."""
    edges = np.unique(np.quantile(scores, np.linspace(0, 1, 121), method="inverted_cdf"))
    return (*edges[:-1].tolist(), float(np.nextafter(scores.max(), np.inf)))

"""Tests of shares that may be looked at after every row: e-processes from a mixture of Beta-distributed alternatives."""

from __future__ import annotations

import math

from scipy.special import betaln


def mixture_p(successes: int, failures: int, share: float, prior_rows: float) -> float:
    """p-value, for any number of looks, that each row succeeds with probability ``share``: 1 / e, at most 1.

    ``ln e = ln B(u + x, v + n - x) - ln B(u, v) - x ln(s) - (n - x) ln(1 - s)`` with the prior (u, v) of ``prior_rows``
    rows centred on s. e is a martingale under the null, so it exceeds 1 / alpha at any time with probability at most
    alpha (Ville). Source: Lindon and Malek (2020), arXiv 2011.03567.

    >>> mixture_p(10, 10, 0.5, 2), round(mixture_p(20, 0, 0.5, 2), 6)
    (1.0, 2e-05)
    """
    u, v = prior_rows * share, prior_rows * (1 - share)
    log_e = float(betaln(u + successes, v + failures) - betaln(u, v)) - successes * math.log(share) - failures * math.log1p(-share)
    return min(1.0, math.exp(-max(log_e, 0.0)))


def distribution_reach(n: int, alpha: float) -> float:
    """How far an empirical distribution function of n values may be off anywhere, at any number of looks.

    ``0.85 sqrt((ln ln(e n) + 0.8 ln(1612 / alpha)) / n)``. Source: Howard and Ramdas (2022), doi:10.3150/21-BEJ1388.
    """
    return 0.85 * math.sqrt((math.log(math.log(math.e * n)) + 0.8 * math.log(1612 / alpha)) / n) if n else 1.0

"""Intervals and exact tests for shares: how far a count of failures can be trusted.

Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927): the score
interval, whose coverage is about right for any count. Clopper and Pearson, "The use of confidence or fiducial
limits illustrated in the case of the binomial", Biometrika 26 (1934): the exact one, whose coverage is never
below what it says, at the cost of being wider. The tail of the binomial is the regularised incomplete beta
function, computed by its continued fraction (Lentz's method): a count of millions takes no time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Final, NamedTuple

CONFIDENCE: Final = 0.95
"""How sure an interval is unless said otherwise."""


class Interval(NamedTuple):
    """Between what two shares the true one lies."""

    low: float
    high: float

    def __contains__(self, share: object) -> bool:
        """Whether a share lies in it."""
        return isinstance(share, int | float) and self.low <= share <= self.high


def wilson(k: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """The score interval of a share of ``k`` in ``n``.

    Args:
        k: How many.
        n: Out of how many; of none, the share may be anything.
        confidence: How often intervals made like this hold the true share, nearly.

    Raises:
        ValueError: No such count, or no such confidence.

    >>> [round(x, 4) for x in wilson(8, 10)]
    [0.4902, 0.9433]
    """
    _check(k, n, confidence)
    if n == 0:
        return Interval(0.0, 1.0)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, zz = k / n, z * z
    middle = (share + zz / (2 * n)) / (1 + zz / n)
    half = z / (1 + zz / n) * math.sqrt(share * (1 - share) / n + zz / (4 * n * n))
    return Interval(0.0 if k == 0 else max(0.0, middle - half), 1.0 if k == n else min(1.0, middle + half))


def clopper_pearson(k: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """The exact interval of a share of ``k`` in ``n``.

    Args:
        k: How many.
        n: Out of how many; of none, the share may be anything.
        confidence: How often intervals made like this hold the true share, at least.

    Raises:
        ValueError: No such count, or no such confidence.

    >>> [round(x, 4) for x in clopper_pearson(0, 10)]
    [0.0, 0.3085]
    """
    _check(k, n, confidence)
    tail = (1 - confidence) / 2
    low = 0.0 if k == 0 else _solve(lambda p: at_least(k, n, p), tail)
    high = 1.0 if k == n else 1.0 - _solve(lambda q: at_least(n - k, n, q), tail)
    return Interval(low, high)


def at_least(k: int, n: int, p: float) -> float:
    """How likely ``k`` or more of ``n`` are, where each is with probability ``p``: the exact one-sided test.

    Args:
        k: How many were seen.
        n: Out of how many.
        p: The share that is supposed.

    Raises:
        ValueError: No such count, or no such share.

    >>> round(at_least(8, 10, 0.5), 4)
    0.0547
    """
    if not (n >= 0 and 0.0 <= p <= 1.0):
        raise ValueError(f"no share {p} of {n}")
    if k <= 0:
        return 1.0
    if k > n:
        return 0.0
    return incomplete_beta(k, n - k + 1, p)


def _check(k: int, n: int, confidence: float) -> None:
    if not 0 <= k <= n:
        raise ValueError(f"no share of {k} in {n}: expected 0 <= k <= n")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"no confidence {confidence}: expected one between 0 and 1")


def _solve(rising: Callable[[float], float], target: float) -> float:
    """Where a rising function of a share reaches a value, by halving."""
    low, high = 0.0, 1.0
    while high - low > 1e-15 and (low + high) / 2 not in (low, high):
        middle = (low + high) / 2
        if rising(middle) < target:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function."""
    if x <= 0.0 or x >= 1.0:
        return 0.0 if x <= 0.0 else 1.0
    # The fraction converges fast on this side only; the other is its mirror image.
    if x > (a + 1) / (a + b + 2):
        return 1.0 - incomplete_beta(b, a, 1 - x)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return min(1.0, math.exp(front) / a / _fraction(a, b, x))


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction ``1 + d1/(1 + d2/(1 + ...))`` of the incomplete beta function."""
    found, up, down = 1.0, 1.0, 0.0
    for i in range(1, 100_000):
        m = i // 2
        if i % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        up = _not_zero(1.0 + term / up)
        down = 1.0 / _not_zero(1.0 + term * down)
        found *= up * down
        if abs(up * down - 1.0) < 1e-15:
            break
    return found


def _not_zero(x: float) -> float:
    return x if abs(x) > 1e-300 else 1e-300


def more_often(k: int, n: int, of: int, among: int) -> float:
    """How likely ``k`` of ``n`` or more are, where in truth they are no more often than ``of`` in ``among``.

    Fisher's exact test, one-sided ("Statistical Methods for Research Workers", 1934): the share itself need
    not be known.

    Args:
        k: How many were seen.
        n: Out of how many.
        of: How many there are among those that it is compared with.
        among: How many those are.

    Raises:
        ValueError: No such counts.

    >>> round(more_often(3, 3, 0, 3), 4)
    0.05
    """
    if not (0 <= k <= n and 0 <= of <= among):
        raise ValueError(f"no shares: {k} of {n}, {of} of {among}")
    whole, total = k + of, n + among
    ways = _log_choose(total, whole)
    tail = (
        math.exp(_log_choose(n, i) + _log_choose(among, whole - i) - ways)
        for i in range(max(k, whole - among), min(n, whole) + 1)
    )
    return min(1.0, math.fsum(tail))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)

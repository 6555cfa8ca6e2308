"""Quantiles of Student's t and of chi-square, for exact intervals of a normal sample's mean and spread.

Abramowitz and Stegun, "Handbook of Mathematical Functions" (1964): 26.7.1 (t by the incomplete beta
function), 26.4.19 (chi-square by the incomplete gamma function), 6.5.29 (its series), 6.5.31 (its continued
fraction, by Lentz's method). The quantiles are found by halving, to 12 digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from provenet.engine.diagnosis.intervals import incomplete_beta


def student_t(share: float, degrees: int) -> float:
    """What Student's t stays below with a given probability.

    Args:
        share: The probability, between 0 and 1.
        degrees: Degrees of freedom, at least 1.

    Raises:
        ValueError: There is no such quantile.

    >>> round(student_t(0.975, 10), 4)
    2.2281
    """
    _check(share, degrees)
    if share < 0.5:
        return -student_t(1 - share, degrees)

    def below(t: float) -> float:
        return 1 - incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t)) / 2

    return _solve(below, share)


def chi_square(share: float, degrees: int) -> float:
    """What chi-square stays below with a given probability.

    Args:
        share: The probability, between 0 and 1.
        degrees: Degrees of freedom, at least 1.

    Raises:
        ValueError: There is no such quantile.

    >>> [round(chi_square(p, 10), 4) for p in (0.025, 0.975)]
    [3.247, 20.4832]
    """
    _check(share, degrees)
    return _solve(lambda x: incomplete_gamma(degrees / 2, x / 2), share)


def incomplete_gamma(a: float, x: float) -> float:
    """The regularised lower incomplete gamma function P(a, x)."""
    if x <= 0:
        return 0.0
    front = math.exp(-x + a * math.log(x) - math.lgamma(a))
    if x < a + 1:
        term = total = 1 / a
        n = a
        while abs(term) > abs(total) * 1e-16:
            n += 1
            term *= x / n
            total += term
        return front * total
    tiny = 1e-300
    b = x + 1 - a
    c, d = 1 / tiny, 1 / b
    found = d
    for i in range(1, 100_000):
        factor = -i * (i - a)
        b += 2
        d = 1 / (factor * d + b or tiny)
        c = b + factor / c or tiny
        found *= c * d
        if abs(c * d - 1) < 1e-16:
            break
    return 1 - front * found


def _check(share: float, degrees: int) -> None:
    if not 0 < share < 1 or degrees < 1:
        raise ValueError(f"no quantile {share} with {degrees} degrees of freedom")


def _solve(rising: Callable[[float], float], target: float) -> float:
    """Where a rising function of an amount above zero reaches a value."""
    high = 1.0
    while rising(high) < target:
        high *= 2
    low = 0.0
    while high - low > 1e-12 * max(1.0, high):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < target else (low, middle)
    return (low + high) / 2

"""How reliable recorded work is: drift and spread of its deviation; how often several tries all succeed.

The model is y(t) = mu t + sigma xi(t). We define its parts, since nobody has published an estimator: t counts
model calls; y(t) is how far the work that ended by call t has strayed from what was declared; xi is a
standard Wiener process. So a unit of work (a case) that took n calls and strayed by d is an increment d ~
N(mu n, sigma^2 n), and cases are increments over intervals of unequal length. mu is the drift per call, sigma
the spread per square root of a call. Maximum likelihood gives mu = sum d / sum n and sigma^2 = mean of (d -
mu n)^2 / n (here with m - 1 in place of m, so that it is unbiased); then (mu_hat - mu) sqrt(sum n) /
sigma_hat is Student's t and (m - 1) sigma_hat^2 / sigma^2 is chi-square, both with m - 1 degrees of freedom,
exactly, where increments are normal and independent.

Whether they are is asked of them: skewness and kurtosis by Jarque and Bera, "Efficient tests for normality"
(Economics Letters 6, 1980), independence by the first autocorrelation. Where one speaks against it, intervals
come from a circular block bootstrap instead (Politis and Romano, 1992), seeded, with blocks of the cube root
of the number of cases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import comb
from typing import Any, Final, Literal, TypeAlias

from provenet.engine.diagnosis.intervals import CONFIDENCE, Interval
from provenet.engine.diagnosis.quantiles import chi_square, student_t

FEWEST: Final = 8
"""Cases below which nothing is estimated: whether increments are normal could not be told."""

RESAMPLES: Final = 2000

Method: TypeAlias = Literal["exact", "bootstrap", "none"]
"""Where the intervals come from; ``none`` where nothing varies, of which the model has nothing to say."""


@dataclass(frozen=True, slots=True)
class Work:
    """A unit of work.

    Attributes:
        case: Id of the case.
        calls: How many times a model was asked.
        deviation: How far it strayed from what was declared.
    """

    case: str
    calls: int
    deviation: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """Drift and spread of some work.

    Attributes:
        cases: How many units of work there are.
        calls: How many calls they took.
        mu: Drift per call.
        mu_within: Its interval.
        sigma: Spread per square root of a call.
        sigma_within: Its interval.
        method: Where the intervals come from.
        normal: How likely increments as odd as these are, were they normal.
        together: Their first autocorrelation.
        confidence: How often such intervals hold the true values.
    """

    cases: int
    calls: int
    mu: float
    mu_within: Interval | None
    sigma: float
    sigma_within: Interval | None
    method: Method
    normal: float
    together: float
    confidence: float = CONFIDENCE

    def to_json(self) -> dict[str, Any]:
        """The estimate as JSON data."""
        return {
            "cases": self.cases,
            "calls": self.calls,
            "mu": self.mu,
            "mu_within": None if self.mu_within is None else list(self.mu_within),
            "sigma": self.sigma,
            "sigma_within": None if self.sigma_within is None else list(self.sigma_within),
            "method": self.method,
            "normal": self.normal,
            "together": self.together,
            "confidence": self.confidence,
        }


def estimate(work: Sequence[Work], *, confidence: float = CONFIDENCE, seed: int = 0) -> Estimate:
    """Drift and spread of recorded work.

    Args:
        work: Units of work in the order in which they ended; those without a call say nothing, and are left
            out.
        confidence: How often the intervals hold the true values.
        seed: For the bootstrap.

    Raises:
        ValueError: There is too little of it.
    """
    work = [w for w in work if w.calls > 0]
    if len(work) < FEWEST:
        raise ValueError(f"{len(work)} units of work with a call are too few: it takes {FEWEST}")
    mu, sigma = _fit(work)
    scores = [(w.deviation - mu * w.calls) / math.sqrt(w.calls) for w in work]
    normal, together = _normality(scores), _autocorrelation(scores)
    calls = sum(w.calls for w in work)
    mu_within: Interval | None = None
    sigma_within: Interval | None = None
    method: Method = "none"
    if sigma > 1e-12 * max(1.0, abs(mu)):
        normally = normal >= 1 - confidence and abs(together) <= 1.96 / math.sqrt(len(work))
        method = "exact" if normally else "bootstrap"
        mu_within, sigma_within = (
            _exact(mu, sigma, len(work), calls, confidence)
            if normally
            else _resampled(work, confidence, seed)
        )
    return Estimate(
        len(work), calls, mu, mu_within, sigma, sigma_within, method, normal, together, confidence
    )


def path(work: Sequence[Work]) -> list[tuple[int, float]]:
    """The recorded y(t): calls so far, and deviation so far, from zero on."""
    calls, deviation = 0, 0.0
    found = [(0, 0.0)]
    for w in work:
        calls, deviation = calls + w.calls, deviation + w.deviation
        found.append((calls, deviation))
    return found


# all of several tries


def pass_hat(tries: int, successes: int, k: int) -> Fraction:
    """How likely k tries of a task, drawn from those that were made, all succeed: C(c, k) / C(n, k).

    It is the unbiased estimator of the chance that k independent tries all succeed; the mean success rate to
    the power of k is not. Yao and others, "tau-bench" (2024), call it pass^k.

    Args:
        tries: n, how many tries there were.
        successes: c, how many of them succeeded.
        k: How many are drawn.

    Raises:
        ValueError: There are no such tries, or fewer than k of them: nothing can be said then.

    >>> pass_hat(4, 3, 2)
    Fraction(1, 2)
    """
    if not 0 <= successes <= tries:
        raise ValueError(f"no {successes} successes in {tries} tries")
    if not 0 <= k <= tries:
        raise ValueError(f"pass^{k} of {tries} tries cannot be told: it takes at least {k} tries")
    return Fraction(comb(successes, k), comb(tries, k))


def pass_hat_of(tasks: Sequence[tuple[int, int]], k: int) -> Fraction:
    """The mean of pass^k over tasks, each with its tries and successes.

    Raises:
        ValueError: There is no task, or one has fewer than k tries.
    """
    if not tasks:
        raise ValueError("there is no task")
    return sum((pass_hat(n, c, k) for n, c in tasks), Fraction(0)) / len(tasks)


# inside


def _fit(work: Sequence[Work]) -> tuple[float, float]:
    mu = sum(w.deviation for w in work) / sum(w.calls for w in work)
    squares = sum((w.deviation - mu * w.calls) ** 2 / w.calls for w in work)
    return mu, math.sqrt(squares / (len(work) - 1))


def _exact(mu: float, sigma: float, cases: int, calls: int, confidence: float) -> tuple[Interval, Interval]:
    tail, degrees = (1 - confidence) / 2, cases - 1
    half = student_t(1 - tail, degrees) * sigma / math.sqrt(calls)
    low, high = (sigma * math.sqrt(degrees / chi_square(share, degrees)) for share in (1 - tail, tail))
    return Interval(mu - half, mu + half), Interval(low, high)


def _resampled(work: Sequence[Work], confidence: float, seed: int) -> tuple[Interval, Interval]:
    """Percentile intervals over circular blocks of cases."""
    import numpy as np

    dice, size = np.random.default_rng(seed), len(work)
    length = max(1, round(size ** (1 / 3)))
    deviations = np.array([w.deviation for w in work], dtype=float)
    calls = np.array([w.calls for w in work], dtype=float)
    mus: list[float] = []
    sigmas: list[float] = []
    for _ in range(RESAMPLES):
        starts = dice.integers(size, size=math.ceil(size / length))
        at = ((starts[:, None] + np.arange(length)) % size).ravel()[:size]
        d, n = deviations[at], calls[at]
        mu = d.sum() / n.sum()
        mus.append(float(mu))
        sigmas.append(math.sqrt(float(((d - mu * n) ** 2 / n).sum()) / (size - 1)))
    return _middle(mus, confidence), _middle(sigmas, confidence)


def _middle(found: list[float], confidence: float) -> Interval:
    found.sort()
    tail = (1 - confidence) / 2
    low, high = (found[min(len(found) - 1, int(share * len(found)))] for share in (tail, 1 - tail))
    return Interval(low, high)


def _normality(scores: Sequence[float]) -> float:
    """How likely a skewness and kurtosis as odd as these are: Jarque and Bera's statistic, two degrees."""
    size = len(scores)
    mean = sum(scores) / size
    second = sum((x - mean) ** 2 for x in scores) / size
    if second == 0:
        return 0.0
    skew = sum((x - mean) ** 3 for x in scores) / size / second**1.5
    excess = sum((x - mean) ** 4 for x in scores) / size / second**2 - 3
    return math.exp(-size / 12 * (skew**2 + excess**2 / 4))


def _autocorrelation(scores: Sequence[float]) -> float:
    mean = sum(scores) / len(scores)
    total = sum((x - mean) ** 2 for x in scores)
    if total == 0:
        return 0.0
    return sum((a - mean) * (b - mean) for a, b in pairwise(scores)) / total

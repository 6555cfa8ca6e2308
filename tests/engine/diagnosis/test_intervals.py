"""Intervals and exact tests, against sums, known values and the coverage that they promise."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenet.engine.diagnosis.intervals import at_least, clopper_pearson, wilson


def tail(k: int, n: int, p: float) -> float:
    """The same by its definition."""
    return math.fsum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))


@given(st.integers(0, 120), st.integers(0, 120), st.floats(0, 1))
def test_the_tail_is_the_sum(k: int, n: int, p: float) -> None:
    assert at_least(k, n, p) == pytest.approx(tail(k, n, p), abs=1e-10)


@pytest.mark.parametrize(
    ("k", "n", "confidence", "low", "high"),
    [
        (8, 10, 0.95, 0.4901625, 0.9433178),
        (0, 10, 0.95, 0.0, 0.2775328),
        (10, 10, 0.95, 0.7224672, 1.0),
        (81, 263, 0.95, 0.2552880, 0.3661957),
    ],
)
def test_known_wilson_intervals(k: int, n: int, confidence: float, low: float, high: float) -> None:
    """Brown, Cai and DasGupta (2001) and Newcombe (1998) have these."""
    assert wilson(k, n, confidence) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(
    ("k", "n", "confidence", "low", "high"),
    [
        (0, 10, 0.95, 0.0, 0.3084971),
        (8, 10, 0.95, 0.4439045, 0.9747893),
        (4, 20, 0.90, 0.0713538, 0.4010281),
        (81, 263, 0.95, 0.2527, 0.3676),
        (10, 10, 0.95, 0.6915029, 1.0),
    ],
)
def test_known_exact_intervals(k: int, n: int, confidence: float, low: float, high: float) -> None:
    assert clopper_pearson(k, n, confidence) == pytest.approx((low, high), abs=1e-4)


@given(st.integers(0, 400), st.integers(1, 400), st.sampled_from([0.8, 0.9, 0.95, 0.99, 0.999]))
def test_exact_bounds_are_where_the_tails_say(k: int, n: int, confidence: float) -> None:
    k = min(k, n)
    low, high = clopper_pearson(k, n, confidence)
    assert low <= k / n <= high
    if k:
        assert at_least(k, n, low) == pytest.approx((1 - confidence) / 2, rel=1e-6)
    if k < n:
        assert 1 - at_least(k + 1, n, high) == pytest.approx((1 - confidence) / 2, rel=1e-6)
    a, b = wilson(k, n, confidence)
    assert 0 <= a <= k / n + 1e-12
    assert k / n - 1e-12 <= b <= 1


@pytest.mark.parametrize("n", [1, 7, 30])
@pytest.mark.parametrize("p", [0.01, 0.2, 0.5, 0.93])
def test_exact_intervals_cover_as_often_as_they_say(n: int, p: float) -> None:
    covered = math.fsum(
        math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1) if p in clopper_pearson(k, n, 0.95)
    )
    assert covered >= 0.95


def test_a_million_takes_no_time() -> None:
    low, high = clopper_pearson(300_000, 1_000_000)
    assert low == pytest.approx(0.2991, abs=1e-4)
    assert high == pytest.approx(0.3009, abs=1e-4)


def test_of_nothing_anything_may_be_true() -> None:
    assert tuple(wilson(0, 0)) == tuple(clopper_pearson(0, 0)) == (0.0, 1.0)


@pytest.mark.parametrize(("k", "n", "confidence"), [(-1, 3, 0.9), (4, 3, 0.9), (1, 2, 0.0), (1, 2, 1.0)])
def test_what_is_no_count_is_refused(k: int, n: int, confidence: float) -> None:
    for interval in (wilson, clopper_pearson):
        with pytest.raises(ValueError, match="no "):
            interval(k, n, confidence)
    with pytest.raises(ValueError, match="no share"):
        at_least(1, 2, 1.5)

"""Reliability: known parameters are recovered, intervals hold them as often as they say, pass^k is exact."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenet.engine.diagnosis.quantiles import chi_square, student_t
from provenet.engine.diagnosis.reliability import (
    FEWEST,
    Work,
    estimate,
    pass_hat,
    pass_hat_of,
    path,
)


def simulated(mu: float, sigma: float, cases: int, seed: int) -> list[Work]:
    """Increments of a Wiener process with drift, over spans of unequal length."""
    dice = random.Random(seed)
    spans = [dice.randint(1, 9) for _ in range(cases)]
    return [Work(f"c{i}", n, dice.gauss(mu * n, sigma * math.sqrt(n))) for i, n in enumerate(spans)]


@pytest.mark.parametrize(("mu", "sigma"), [(0.0, 1.0), (0.3, 0.05), (-0.2, 2.0), (0.05, 0.4)])
def test_known_parameters_are_recovered(mu: float, sigma: float) -> None:
    found = estimate(simulated(mu, sigma, 4000, seed=7))
    assert found.mu == pytest.approx(mu, abs=0.03 * sigma)
    assert found.sigma == pytest.approx(sigma, rel=0.04)
    assert found.mu_within is not None
    assert mu in found.mu_within


def test_exact_intervals_hold_the_truth_as_often_as_they_say() -> None:
    held = {"mu": 0, "sigma": 0}
    exact = [
        e for e in (estimate(simulated(0.2, 0.5, 25, seed)) for seed in range(600)) if e.method == "exact"
    ]
    assert len(exact) > 500  # few normal samples look odd
    for found in exact:
        assert found.mu_within is not None
        assert found.sigma_within is not None
        held["mu"] += 0.2 in found.mu_within
        held["sigma"] += 0.5 in found.sigma_within
    # Three standard errors about 95 % of 500 are 2.9 %; samples that look odd were left out.
    assert 0.92 <= held["mu"] / len(exact) <= 0.98
    assert 0.92 <= held["sigma"] / len(exact) <= 0.985


def test_bootstrapped_intervals_hold_the_truth_nearly_as_often() -> None:
    """Failures of a few in a hundred are anything but normal."""
    share, held = 0.15, 0
    for seed in range(60):
        dice = random.Random(1000 + seed)
        found = estimate([Work(str(i), 1, float(dice.random() < share)) for i in range(150)])
        assert found.method == "bootstrap"
        assert found.mu_within is not None
        held += share in found.mu_within
    assert held >= 51  # 85 %: percentile intervals of skewed counts fall a little short of 95 %


def test_work_that_comes_in_streaks_widens_the_interval() -> None:
    """Cases that fail together say less than as many that fail by themselves."""
    dice = random.Random(3)
    alone = [Work(str(i), 1, float(dice.random() < 0.5)) for i in range(400)]
    streaks = [Work(str(i), 1, float(i // 8 % 2)) for i in range(400)]
    for work in (alone, streaks):
        assert estimate(work).method == "bootstrap"
    wide, narrow = (estimate(w).mu_within for w in (streaks, alone))
    assert wide is not None
    assert narrow is not None
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)
    assert estimate(streaks).together > 0.5
    assert estimate(streaks, seed=1).mu_within == estimate(streaks, seed=1).mu_within


def test_nothing_that_varies_gives_no_interval() -> None:
    found = estimate([Work(str(i), 3, 0.0) for i in range(20)])
    assert (found.mu, found.sigma, found.method, found.mu_within) == (0.0, 0.0, "none", None)


def test_too_little_work_is_refused() -> None:
    few = simulated(0, 1, FEWEST - 1, 1)
    with pytest.raises(ValueError, match="too few"):
        estimate([*few, Work("x", 0, 5.0)])


def test_the_recorded_path() -> None:
    assert path([Work("a", 2, 1.0), Work("b", 3, 0.5)]) == [(0, 0.0), (2, 1.0), (5, 1.5)]


# Tables of Abramowitz and Stegun, 26.10 and 26.8.
@pytest.mark.parametrize(
    ("share", "degrees", "t"), [(0.975, 1, 12.706), (0.975, 5, 2.571), (0.95, 30, 1.697), (0.995, 120, 2.617)]
)
def test_quantiles_of_t(share: float, degrees: int, t: float) -> None:
    assert student_t(share, degrees) == pytest.approx(t, abs=6e-4)
    assert student_t(1 - share, degrees) == pytest.approx(-t, abs=6e-4)


@pytest.mark.parametrize(
    ("share", "degrees", "x"),
    [
        (0.95, 1, 3.84146),
        (0.025, 10, 3.24697),
        (0.975, 10, 20.4831),
        (0.99, 100, 135.807),
        (0.005, 2, 0.0100251),
    ],
)
def test_quantiles_of_chi_square(share: float, degrees: int, x: float) -> None:
    assert chi_square(share, degrees) == pytest.approx(x, rel=1e-4)


# all of several tries


@given(st.lists(st.booleans(), min_size=1, max_size=9), st.data())
def test_pass_hat_counts_the_draws_in_which_all_succeed(tries: list[bool], data: st.DataObject) -> None:
    k = data.draw(st.integers(0, len(tries)))
    draws = list(combinations(tries, k))
    assert pass_hat(len(tries), sum(tries), k) == Fraction(sum(all(d) for d in draws), len(draws))


def test_pass_hat_at_its_edges() -> None:
    assert pass_hat(10, 4, 5) == 0  # fewer successes than draws
    assert pass_hat(10, 10, 10) == 1
    assert pass_hat(10, 0, 0) == 1
    assert pass_hat(10, 7, 1) == Fraction(7, 10)
    big = pass_hat(100_000, 99_990, 50_000)
    assert 0 < big < 1  # exact, where floats would give 0 / 0
    assert big == pass_hat(100_000, 99_990, 49_999) * Fraction(99_990 - 49_999, 100_000 - 49_999)
    for wrong in ((3, 4, 1), (3, 2, 4), (-1, 0, 0), (3, 2, -1)):
        with pytest.raises(ValueError, match="tries"):
            pass_hat(*wrong)


def test_pass_hat_is_no_power_of_the_mean() -> None:
    """Two tasks, one that always works and one that never does: half of all tries succeed."""
    tasks = [(4, 4), (4, 0)]
    assert pass_hat_of(tasks, 1) == Fraction(1, 2)
    assert pass_hat_of(tasks, 4) == Fraction(1, 2) != Fraction(1, 2) ** 4
    with pytest.raises(ValueError, match="no task"):
        pass_hat_of([], 1)

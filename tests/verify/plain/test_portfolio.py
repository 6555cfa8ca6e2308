"""What a race of engines believes, how long it waits, and whom it stops."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from provenet.verify.plain.answer import Answer, Budget, Explored, Reachable, Unreachable
from provenet.verify.plain.logic import Formula, at_least
from provenet.verify.plain.net import PTNet
from provenet.verify.plain.plan import reachability_stages
from provenet.verify.plain.portfolio import Stage, answers

NET = PTNet(("a", "b"), ("go",), (((0, 1),),), (((1, 1),),), (1, 0))
GOAL = at_least({1: 1}, 1)


@dataclass(frozen=True)
class Slow:
    """Needs longer to get ready than its stage may run."""

    name: str = "slow"

    def prepare(self) -> None:
        time.sleep(1.5)

    def run(self, net: PTNet, goals: Sequence[Formula], budget: Budget) -> Iterator[tuple[int, Answer]]:
        yield from ((i, Reachable((0,), self.name)) for i in range(len(goals)))


@dataclass(frozen=True)
class Liar:
    """Claims a run that the net does not have."""

    name: str = "liar"

    def run(self, net: PTNet, goals: Sequence[Formula], budget: Budget) -> Iterator[tuple[int, Answer]]:
        yield from ((i, Reachable((0, 0), self.name)) for i in range(len(goals)))


@dataclass(frozen=True)
class Deaf:
    """Never looks at the clock."""

    name: str = "deaf"

    def run(self, net: PTNet, goals: Sequence[Formula], budget: Budget) -> Iterator[tuple[int, Answer]]:
        time.sleep(60)
        yield 0, Unreachable(Explored(0, 0), self.name)


def test_a_stage_begins_when_its_engine_is_ready() -> None:
    found = dict(answers(NET, [GOAL], Budget.seconds(20), stages=[Stage(Slow(), 0.1)]))
    assert found == {0: Reachable((0,), "slow")}


def test_a_run_that_does_not_replay_counts_for_nothing() -> None:
    stages = [Stage(Liar(), 5), Stage(Slow(), 5)]
    assert dict(answers(NET, [GOAL], Budget.seconds(20), stages=stages)) == {0: Reachable((0,), "slow")}


def test_an_engine_that_does_not_stop_is_stopped() -> None:
    began = time.monotonic()
    assert not dict(answers(NET, [GOAL], Budget.seconds(1), stages=[Stage(Deaf(), 60)]))
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("budget", [Budget.seconds(1e8), Budget.seconds(math.inf), Budget(math.inf)])
def test_a_budget_without_end_is_one_that_solvers_understand(budget: Budget) -> None:
    goals = [GOAL, at_least({0: 1, 1: 1}, 2)]
    found = dict(answers(NET, goals, budget, stages=reachability_stages()[:2]))
    assert isinstance(found[0], Reachable)
    assert isinstance(found[1], Unreachable)

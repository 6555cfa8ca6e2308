"""Another engine on the net reduced for each goal in turn; see ``provenet.verify.plain.reductions``.

A net that is made for one goal is often small enough to be explored where the whole net is not. Nothing is
shared between goals then, so this comes after the engines that look at all goals at once. Time is dealt out
in rounds that grow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from provenet.verify.plain.answer import (
    Answer,
    Budget,
    Engine,
    Inductive,
    Prepared,
    Reachable,
    Reduced,
    Unreachable,
)
from provenet.verify.plain.logic import FALSE, TRUE, Formula, holds
from provenet.verify.plain.net import PTNet
from provenet.verify.plain.reductions import RULES, Reduction, reduced


@dataclass(frozen=True, slots=True)
class OnReduced:
    """Reduce for a goal, then ask another engine.

    Attributes:
        inner: The other engine.
        rules: Names of the reductions to use.
        growth: How many transitions an agglomeration may make in any case.
        first: Seconds for each goal in the first round; three times as much in each further one.
    """

    inner: Engine
    rules: tuple[str, ...] = tuple(RULES)
    growth: int = 0
    first: float = 0.5

    @property
    def name(self) -> str:
        """Both techniques."""
        return f"reductions, {self.inner.name}"

    def prepare(self) -> None:
        """Get the other engine ready."""
        if isinstance(self.inner, Prepared):
            self.inner.prepare()

    def run(self, net: PTNet, goals: Sequence[Formula], budget: Budget) -> Iterator[tuple[int, Answer]]:
        """Answer goals one by one."""
        open_: dict[int, Reduction | None] = dict.fromkeys(range(len(goals)))
        seconds = self.first
        while open_ and budget.left():
            for i, known in list(open_.items()):
                if budget.answered(i):
                    del open_[i]
                    continue
                if not budget.left():
                    return
                smaller = known or reduced(net, goals[i], rules=self.rules, growth=self.growth)
                open_[i] = smaller
                found = self._answer(smaller, _slice(budget, seconds, i))
                if found is not None:
                    del open_[i]
                    yield i, found
            seconds *= 3

    def _answer(self, smaller: Reduction, budget: Budget) -> Answer | None:
        if smaller.goal == FALSE:
            return self._never(smaller, Unreachable(Inductive(TRUE), "logic"))
        if holds(smaller.goal, smaller.net.initial):
            return Reachable(smaller.lift(()), self.name)
        for _, found in self.inner.run(smaller.net, [smaller.goal], budget):
            if isinstance(found, Reachable):
                return Reachable(smaller.lift(found.firings), self.name)
            return self._never(smaller, found)
        return None

    def _never(self, smaller: Reduction, found: Unreachable) -> Unreachable:
        return Unreachable(Reduced(smaller.net, smaller.goal, smaller.rules, found.evidence), self.name)


def _slice(budget: Budget, seconds: float, goal: int) -> Budget:
    """A part of the time that ends early where somebody else answers the goal."""
    own = Budget.seconds(min(seconds, budget.left()), memory=budget.memory)
    answered: Callable[[int], bool] = lambda _: budget.answered(goal)  # noqa: E731
    return Budget(own.deadline, budget.memory, answered)

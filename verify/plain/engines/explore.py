"""Explicit exploration: every marking once, breadth-first, or nearest to a goal first.

Stubborn sets leave out firings that no goal needs (Valmari, "The state explosion problem", 1998). For goals:
Kristensen, Schmidt & Valmari, "Question-guided stubborn set methods for state properties", Formal Methods in
System Design 2006. A marking's set holds, for each open goal, transitions one of which every run to the goal
fires; for an enabled member whoever competes with it; for a disabled one whoever fills a place that it lacks.
The first member on a shortest run to a goal is then enabled and can fire first, so a run of the same length
remains. For deadlocks the set holds an enabled transition instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from provenet.verify.plain.answer import Answer, Budget, Explored, Reachable, Unreachable
from provenet.verify.plain.engines.compiled import compilable, small_enough
from provenet.verify.plain.engines.space import Space, Stop
from provenet.verify.plain.logic import Formula
from provenet.verify.plain.net import PTNet


@dataclass(frozen=True, slots=True)
class Explore:
    """Look at the reachable markings.

    Attributes:
        stubborn: Leave out firings that no open goal needs.
        order: ``nearest`` spends the time on one goal after another, markings near to it first: it finds
            runs in spaces that are too large to finish. ``breadth`` serves all goals at once and its runs
            are shortest.
        bounds: What places hold at most, where somebody knows; only the first layout depends on it.
        name: Appears in verdicts.
    """

    stubborn: Literal["on", "off"] = "on"
    order: Literal["breadth", "nearest"] = "breadth"
    bounds: tuple[int | None, ...] | None = None
    name: str = "explore"

    def prepare(self) -> None:
        """Load, or compile, the kernels."""
        from provenet.verify.plain.engines import explore_kernel  # noqa: F401

    def run(self, net: PTNet, goals: Sequence[Formula], budget: Budget) -> Iterator[tuple[int, Answer]]:
        """Answer goals as they are hit, and the others when all markings are known."""
        open_ = {g: goal for g, goal in enumerate(goals) if compilable(goal)}
        if not small_enough(net):
            return
        while open_ and budget.left():
            first, *others = open_
            chosen = [first, *others]
            share = budget.share(1 / len(open_)) if self.order == "nearest" else budget
            space = Space(
                net,
                [open_[g] for g in chosen],
                replace(share, answered=_renumbered(budget, chosen)),
                stubborn=self.stubborn,
                order=self.order,
                bounds=self.bounds,
            )
            for at, answer in _answers(space, self.name):
                del open_[chosen[at]]
                yield chosen[at], answer
            if self.order == "breadth":
                return
            open_.pop(first, None)


def _renumbered(budget: Budget, chosen: Sequence[int]) -> Callable[[int], bool]:
    return lambda at: budget.answered(chosen[at])


def _answers(space: Space, name: str) -> Iterator[tuple[int, Answer]]:
    while space.open:
        why, goal = space.advance()
        if why is Stop.HIT:
            space.close(goal)
            yield goal, Reachable(space.trace(), name)
        elif why is Stop.DONE:
            reduced: Literal["none", "stubborn sets"] = "none" if space.stubborn == "off" else "stubborn sets"
            evidence = Explored(space.count, space.edges, reduced)
            for g in tuple(space.open):
                yield g, Unreachable(evidence, name)
            return
        else:
            return

"""Witnesses by plans: solve the state equation, and explore with nothing but the transitions of the solution.

After Wimmel & Wolf, "Applying CEGAR to the Petri net state equation", TACAS 2011. A solution says which
transitions may do; the net with these alone has few markings, and they are explored, nearest to the goal
first. Where they are all looked at in vain, every run to the goal fires something else, which the next
solution has to respect. Rational solutions come quickly, whole ones are better: they take turns.

Assumes nothing of the net, and ends only by luck, by a proof of the state equation, or with its time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from provenet.verify.plain.answer import Answer, Budget, Reachable, Unreachable
from provenet.verify.plain.engines.explore import Explore
from provenet.verify.plain.engines.state_equation import Relaxation
from provenet.verify.plain.logic import Formula, holds
from provenet.verify.plain.net import PTNet
from provenet.verify.plain.reductions import reduced

_FIRST_ROUND = 0.5
"""Least seconds for each goal in the first round; three times as much in each further one."""

_MEMORY = 1 << 29


@dataclass(frozen=True, slots=True)
class Plans:
    """Explore along solutions of the state equation."""

    name: str = "plans"

    def prepare(self) -> None:
        """Load, or compile, the kernels."""
        Explore().prepare()

    def run(self, net: PTNet, goals: Sequence[Formula], budget: Budget) -> Iterator[tuple[int, Answer]]:
        """One goal after the other, in rounds; what solutions are refined by holds for all goals."""
        planners = (
            Relaxation(net, net.initial, numbers="real"),
            Relaxation(net, net.initial, numbers="whole"),
        )
        open_: dict[int, list[frozenset[int]]] = {i: [] for i in range(len(goals))}
        seconds = max(_FIRST_ROUND, 0.5 * budget.left() / max(1, len(goals)))
        while open_ and budget.left():
            for i, tried in list(open_.items()):
                if budget.answered(i):
                    del open_[i]
                    continue
                slice_ = Budget.seconds(min(seconds, budget.left()), memory=min(_MEMORY, budget.memory))
                found = self._planned(net, goals[i], planners, tried, slice_)
                if found is not None:
                    del open_[i]
                    yield i, found
            seconds *= 3

    def _planned(
        self,
        net: PTNet,
        goal: Formula,
        planners: Sequence[Relaxation],
        tried: list[frozenset[int]],
        budget: Budget,
    ) -> Answer | None:
        if holds(goal, net.initial):
            return Reachable((), self.name)
        while budget.left():
            stuck = 0
            for planner in planners:
                found = planner.solve(goal, budget.left(), beyond=tried)
                if found == "none" and not tried:
                    return Unreachable(planner.evidence(), self.name)
                if isinstance(found, str):
                    stuck += 1
                    continue
                support = frozenset(found.counts)
                firings = _explored(net, goal, sorted(support), budget.share(0.5))
                if firings is not None:
                    return Reachable(firings, self.name)
                tried.append(support)
            if stuck == len(planners):
                # What was tried may not have been looked at to its end.
                tried.clear()
                return None
        return None


def _explored(net: PTNet, goal: Formula, support: Sequence[int], budget: Budget) -> tuple[int, ...] | None:
    """Firings to the goal of some transitions alone, as far as time allows to look."""
    alone = replace(
        net,
        transitions=tuple(net.transitions[t] for t in support),
        pre=tuple(net.pre[t] for t in support),
        post=tuple(net.post[t] for t in support),
    )
    smaller = reduced(alone, goal)
    if holds(smaller.goal, smaller.net.initial):
        return tuple(support[t] for t in smaller.lift(()))
    for _, answer in Explore(order="nearest").run(smaller.net, [smaller.goal], budget):
        if isinstance(answer, Reachable):
            return tuple(support[t] for t in smaller.lift(answer.firings))
    return None

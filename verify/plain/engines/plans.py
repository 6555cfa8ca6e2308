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

_FIRST_SLICE = 0.5
"""Seconds for the markings of one solution; more in each further round."""

_MEMORY = 1 << 29


@dataclass(frozen=True, slots=True)
class Plans:
    """Explore along solutions of the state equation."""

    name: str = "plans"

    def prepare(self) -> None:
        """Load, or compile, the kernels."""
        Explore().prepare()

    def run(self, net: PTNet, goals: Sequence[Formula], budget: Budget) -> Iterator[tuple[int, Answer]]:
        """One goal after the other."""
        for i, goal in enumerate(goals):
            if budget.answered(i):
                continue
            if holds(goal, net.initial):
                yield i, Reachable((), self.name)
                continue
            found = self._planned(net, goal, i, budget, budget.share(1 / (len(goals) - i)))
            if found is not None:
                yield i, found

    def _planned(
        self, net: PTNet, goal: Formula, number: int, budget: Budget, share: Budget
    ) -> Answer | None:
        planners = (
            Relaxation(net, net.initial, numbers="real"),
            Relaxation(net, net.initial, numbers="whole"),
        )
        tried: list[frozenset[int]] = []
        seconds = _FIRST_SLICE
        while share.left() and not budget.answered(number):
            stuck = 0
            for planner in planners:
                found = planner.solve(goal, share.left(), beyond=tried)
                if found == "none" and not tried:
                    return Unreachable(planner.evidence(), self.name)
                if isinstance(found, str):
                    stuck += 1
                    continue
                support = frozenset(found.counts)
                firings = self._explored(net, goal, sorted(support), share, seconds)
                if firings is not None:
                    return Reachable(firings, self.name)
                tried.append(support)
            if stuck == len(planners):
                # What was tried may not have been looked at to its end.
                tried.clear()
                seconds *= 4
        return None

    def _explored(
        self, net: PTNet, goal: Formula, support: Sequence[int], share: Budget, seconds: float
    ) -> tuple[int, ...] | None:
        smaller = replace(
            net,
            transitions=tuple(net.transitions[t] for t in support),
            pre=tuple(net.pre[t] for t in support),
            post=tuple(net.post[t] for t in support),
        )
        slice_ = Budget.seconds(min(seconds, share.left()), memory=min(_MEMORY, share.memory))
        for _, answer in Explore(order="nearest").run(smaller, [goal], slice_):
            if isinstance(answer, Reachable):
                return tuple(support[t] for t in answer.firings)
        return None

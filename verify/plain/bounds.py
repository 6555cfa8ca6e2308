"""How many tokens places hold together at most.

From above the refined state equation: the least number that it rules out. From below runs: a run to that very
number closes the gap, else the number is searched for between what runs reached and what proofs excluded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from provenet.verify.plain.answer import Budget, Reachable
from provenet.verify.plain.engines.state_equation import Relaxation
from provenet.verify.plain.logic import Formula, at_least
from provenet.verify.plain.net import PTNet
from provenet.verify.plain.plan import reachability_stages
from provenet.verify.plain.portfolio import Stage, answers

_LARGEST = 1 << 40
"""A number of tokens that no proof excluded: the places count as unbounded for the relaxation."""


@dataclass(slots=True)
class _Range:
    """What is known of one bound; ``high`` is ``None`` where nothing excludes more."""

    places: tuple[int, ...]
    low: int
    high: int | None
    engines: dict[str, None]

    def at_least(self, tokens: int) -> Formula:
        return at_least(dict.fromkeys(self.places, 1), tokens)

    def probe(self) -> int:
        """The number to ask for next: the top first, then the middle; twice as much without a top."""
        if self.high is None:
            return 2 * self.low + 1
        return self.high if self.engines.keys() <= {"state equation"} else (self.low + self.high + 1) // 2


def upper_bounds(
    net: PTNet,
    sets: Sequence[Sequence[int]],
    budget: Budget,
    *,
    jobs: int = 1,
    stages: Sequence[Stage] | None = None,
) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """The most tokens that each set of places ever holds, with who found it; unbounded ones are left out.

    Args:
        net: The net.
        sets: Sets of places.
        budget: Time for all of them.
        jobs: How many engines may run at once.
        stages: The plan of engines; the usual one by default.
    """
    plan = reachability_stages(budget.left()) if stages is None else stages
    relaxation = Relaxation(net, net.initial, numbers="real")
    open_: dict[int, _Range] = {}
    for i, places in enumerate(sets):
        kept = tuple(dict.fromkeys(places))
        low = sum(net.initial[p] for p in kept)
        share = budget.share(0.3 / (len(sets) - i))
        open_[i] = _Range(kept, low, _ceiling(relaxation, kept, low, share), {"state equation": None})
    while budget.left() > 0:
        for i, found in list(open_.items()):
            if found.low == found.high:
                del open_[i]
                yield i, found.low, tuple(found.engines)
        if not open_:
            return
        asked = [(i, found.probe()) for i, found in open_.items()]
        goals = [open_[i].at_least(tokens) for i, tokens in asked]
        share = budget.share(0.5)
        moved = False
        for n, answer in answers(net, goals, share, stages=plan, jobs=jobs):
            i, tokens = asked[n]
            moved = True
            open_[i].engines[answer.engine] = None
            if isinstance(answer, Reachable):
                end = net.replay(answer.firings)
                for other in open_.values():
                    other.low = max(other.low, sum(end[p] for p in other.places))
            else:
                open_[i].high = tokens - 1
        if not moved and share.left() <= 0 and budget.left() < 1:
            return


def _ceiling(relaxation: Relaxation, places: Sequence[int], low: int, budget: Budget) -> int | None:
    """A number of tokens that the relaxation excludes to exceed; the least one that time allows."""
    terms = dict.fromkeys(places, 1)

    def excluded(tokens: int) -> bool:
        return relaxation.solve(at_least(terms, tokens), budget.left()) == "none"

    above = low + 1
    while not excluded(above):
        if above > _LARGEST or budget.left() <= 0:
            return None
        low, above = above, 2 * above
    while above - low > 1 and budget.left() > 0:
        middle = (low + above) // 2
        if excluded(middle):
            above = middle
        else:
            low = middle
    return above - 1

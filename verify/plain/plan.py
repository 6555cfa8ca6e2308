"""The order in which engines are tried, learnt on the nets of the Model Checking Contest.

Witnesses by walking come first, since most goals that can be reached are reached in a tenth of a second; then
the state equation, which proves nearly all that cannot be. Both look at all goals on the whole net. For each
goal that is left the net is reduced, explored, and planned for. Then the whole net is explored for all of
them, and the rest of the time goes to the same with other choices, and to invariants.
``docs/checker.md`` has what each of them is worth, ``benchmarks/contest.py`` measures it.
"""

from __future__ import annotations

from collections.abc import Sequence

from provenet.verify.plain.engines.explore import Explore
from provenet.verify.plain.engines.on_reduced import OnReduced
from provenet.verify.plain.engines.plans import Plans
from provenet.verify.plain.engines.spacer import Spacer
from provenet.verify.plain.engines.state_equation import StateEquationEngine
from provenet.verify.plain.engines.walk import Walk
from provenet.verify.plain.portfolio import Stage


def reachability_stages(seconds: float = 60.0) -> Sequence[Stage]:
    """The plan for reachability goals.

    Args:
        seconds: How long there is in all: where that is little, each of the first engines still has its turn.
    """
    return (
        Stage(Walk(), min(1.5, seconds / 6)),
        Stage(StateEquationEngine(), 5),
        Stage(OnReduced(Explore()), 6),
        Stage(OnReduced(Plans(), first=2), 10),
        Stage(Explore(), 6),
        Stage(OnReduced(Walk(seed=7), first=1), 4),
        Stage(OnReduced(Explore(order="nearest"), growth=16, first=2), 5),
        Stage(OnReduced(Spacer(), first=1), 4),
        Stage(OnReduced(Plans(), first=5), 15),
        Stage(OnReduced(Explore(order="nearest"), first=4), 30),
        Stage(OnReduced(Explore(), first=20), 3_600),
    )

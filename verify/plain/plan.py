"""The order in which engines are tried, learnt on the nets of the Model Checking Contest.

Witnesses by walking come first, since most goals that can be reached are reached in a tenth of a second; then
the state equation, which proves nearly all that cannot be and plans the witnesses that walking misses; then
exploration, which settles what is finite and small enough; then the same again with more time and other
choices. ``benchmarks/contest.py`` measures it.
"""

from __future__ import annotations

from collections.abc import Sequence

from provenet.verify.plain.engines.explore import Explore
from provenet.verify.plain.engines.on_reduced import OnReduced
from provenet.verify.plain.engines.state_equation import StateEquationEngine
from provenet.verify.plain.engines.temporal_graph import TemporalGraph
from provenet.verify.plain.engines.walk import Walk
from provenet.verify.plain.portfolio import Stage


def reachability_stages() -> Sequence[Stage]:
    """The plan for reachability goals."""
    return (
        Stage(Walk(), 1.5),
        Stage(StateEquationEngine(order="proofs only"), 6),
        Stage(OnReduced(Explore()), 8),
        Stage(OnReduced(StateEquationEngine()), 8),
        Stage(Explore(), 8),
        Stage(OnReduced(Explore(order="nearest"), first=2), 12),
        Stage(OnReduced(Walk(seed=7), first=1), 6),
        Stage(OnReduced(StateEquationEngine(seed=2), first=4), 3_600),
    )


def temporal_stages() -> Sequence[Stage]:
    """The plan for other temporal formulas."""
    return (Stage(TemporalGraph(), 3_600),)

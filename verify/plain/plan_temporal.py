"""The order in which temporal formulas are tried.

The state graph first: most nets that people draw are small, and what it shows is short. On nets that are too
large for it sampled runs then refute most linear formulas, and local search decides many of CTL. Reachability
helps where it can; the rest of the time is for searches and the graph again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from provenet.verify.plain.engines.explore import Explore
from provenet.verify.plain.engines.free_choice_live import FreeChoiceLive
from provenet.verify.plain.engines.lassos import Lassos
from provenet.verify.plain.engines.local import Local
from provenet.verify.plain.engines.on_reduced import OnReduced
from provenet.verify.plain.engines.state_equation import StateEquationEngine
from provenet.verify.plain.engines.temporal_graph import TemporalGraph
from provenet.verify.plain.engines.walk import Walk
from provenet.verify.plain.portfolio import Stage

FIRST_LOOK = 0.25
"""Part of the time that the graph gets before others help."""

Logic: TypeAlias = Literal["CTL", "LTL"]
"""``LTL`` where local search has nothing to do: the graph gets its time too."""

HELP: Mapping[Logic, Sequence[float]] = {"CTL": (0.3, 0.12), "LTL": (0.25,)}
"""Parts of the rest that reachability engines get, each time they are asked to help."""


def first_stages(seconds: float, logic: Logic) -> Sequence[Stage]:
    """Before reachability helps.

    Args:
        seconds: How long there is in all.
        logic: What the formulas are.
    """
    if logic == "LTL":
        return (Stage(TemporalGraph(), FIRST_LOOK * seconds), Stage(Lassos(), min(2.0, 0.1 * seconds)))
    return (
        Stage(TemporalGraph(), FIRST_LOOK * seconds),
        Stage(Lassos(), min(2.0, 0.05 * seconds)),
        Stage(Local(), 0.08 * seconds),
    )


def help_stages() -> Sequence[Stage]:
    """For the conditions whose reachability makes formulas smaller."""
    return (
        Stage(Walk(), 0.7),
        Stage(StateEquationEngine(), 5),
        Stage(OnReduced(Explore(), first=0.2), 6),
        Stage(Explore(), 3_600),
    )


def last_stages(seconds: float, logic: Logic) -> Sequence[Stage]:
    """After that.

    Args:
        seconds: How long there still is.
        logic: What the formulas are.
    """
    if logic == "LTL":
        return (
            Stage(FreeChoiceLive(), 0.1 * seconds),
            Stage(TemporalGraph(), 0.7 * seconds),
            Stage(Lassos(seed=2), 0.15 * seconds),
            Stage(TemporalGraph(), 3_600),
        )
    return (
        Stage(FreeChoiceLive(), 0.1 * seconds),
        Stage(Local(), 0.4 * seconds),
        Stage(TemporalGraph(), 0.3 * seconds),
        Stage(Lassos(seed=2), 0.1 * seconds),
        Stage(TemporalGraph(), 3_600),
    )

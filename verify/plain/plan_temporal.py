"""The order in which temporal formulas are tried.

The state graph first: most nets that people draw are small, and what it shows is short. Sampled runs then
refute most linear formulas on nets that are too large for it. Reachability helps where it can, and the rest
of the time is the graph's.
"""

from __future__ import annotations

from collections.abc import Sequence

from provenet.verify.plain.engines.free_choice_live import FreeChoiceLive
from provenet.verify.plain.engines.lassos import Lassos
from provenet.verify.plain.engines.temporal_graph import TemporalGraph
from provenet.verify.plain.portfolio import Stage

FIRST_LOOK = 0.25
"""Part of the time that the graph gets before others help."""

HELP = 0.25
"""Part of the rest that reachability engines get where they only help."""


def first_stages(seconds: float) -> Sequence[Stage]:
    """Before reachability helps.

    Args:
        seconds: How long there is in all.
    """
    return (Stage(TemporalGraph(), FIRST_LOOK * seconds), Stage(Lassos(), min(2.0, 0.1 * seconds)))


def last_stages(seconds: float) -> Sequence[Stage]:
    """After that.

    Args:
        seconds: How long there still is.
    """
    return (
        Stage(FreeChoiceLive(), 0.1 * seconds),
        Stage(TemporalGraph(), 0.7 * seconds),
        Stage(Lassos(seed=2), 0.15 * seconds),
        Stage(TemporalGraph(), 3_600),
    )

"""The first look at a goal, in this very process: most questions about small nets end here.

Starting the portfolio's processes and loading its compiled engines costs more than a small net is worth.
"""

from __future__ import annotations

from provenet.verify.plain.answer import Answer, Budget, Explored, Inductive, Reachable, Unreachable
from provenet.verify.plain.logic import FALSE, TRUE, Formula, holds
from provenet.verify.plain.net import PTNet
from provenet.verify.plain.packed import Fields, Overflow, Space

_MARKINGS = 5_000


def quick_answer(net: PTNet, goal: Formula, budget: Budget) -> Answer | None:
    """An answer by breadth-first search of a few thousand markings, or none.

    Args:
        net: The net.
        goal: What to reach.
        budget: Time; at most half a second of it is used.
    """
    if goal == FALSE:
        return Unreachable(Inductive(TRUE), "logic")
    space = Space(net, Fields.of(len(net.places), max((*net.initial, 7))))
    until = min(budget.deadline, Budget.seconds(0.5).deadline)
    try:
        for number in space.grow(_MARKINGS, until):
            if holds(goal, space.counts(number)):
                return Reachable(space.path(number), "search")
    except Overflow:
        return None
    if not space.complete:
        return None
    return Unreachable(Explored(len(space.markings), sum(map(len, space.edges))), "search")

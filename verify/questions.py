"""Questions about data: what must never happen at a firing, and the ghosts that history leaves on tokens."""

from __future__ import annotations

from collections.abc import Mapping

from provenet.nets.expr.ast import Expr, free_variables
from provenet.nets.net import Put, Read, Take, Transition
from provenet.nets.quick import dataclass
from provenet.nets.schema import Type

IT = "it"
"""The token of a place, in a fact about it."""

GHOST_SET = "ghost_set"
GHOST_VALUE = "ghost_value"


@dataclass(frozen=True, slots=True)
class Question:
    """What must never happen: a transition fires and a condition holds.

    Attributes:
        transition: Name of the transition.
        condition: Over the transition's variables, and ``ghost_set`` and ``ghost_value`` of its carrier.
        assumes_requires: Whether the transition's ``requires`` holds when it fires. The firing rule sees to
            that, so it does, but for the question whether ``requires`` itself could be broken.
    """

    transition: str
    condition: Expr
    assumes_requires: bool = True


@dataclass(frozen=True, slots=True)
class Ghost:
    """A value that rides along with tokens.

    Some transitions set it on the tokens that they put; every other transition hands it on from one input
    token, the *carrier*, to the token that it puts. So a ghost with some value on a token implies that one of
    those transitions fired with that value before.

    Attributes:
        type: Type of the value.
        sets: Transition name to the value that it sets, over the transition's variables.
    """

    type: Type
    sets: Mapping[str, Expr]


def inputs_of(t: Transition) -> tuple[Take | Read, ...]:
    """The arcs that say which tokens a transition needs: those that it takes, then those that it reads."""
    return (*t.takes, *t.reads)


def carrier(t: Transition, put: Put | None) -> str | None:
    """The variable of the input token whose ghost goes to a token that a transition puts.

    The first taken or read variable that the token is built from, else the first one; for ``put=None``, the
    firing itself, the first one. Any rule would be sound; this one keeps an approval with the data that it
    approved.
    """
    variables = [a.var for a in inputs_of(t) if a.var is not None]
    if put is not None and put.expr is not None:
        used = free_variables(put.expr)
        variables = [v for v in variables if v in used] or variables
    return variables[0] if variables else None

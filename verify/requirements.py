"""The user's own properties, as they are stated: never, always, precedes, bound, mutex.

A property names what it speaks about by the names of the net: an effect's handler, a contract, a human task,
a transition, a place. A name that matches nothing is an error when the property is checked
(``provenet.verify.properties.user``). Nothing here needs the solver.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from provenet.nets.expr.ast import Expr
from provenet.nets.expr.build import record
from provenet.nets.models import schema_of
from provenet.nets.net import Requirement
from provenet.nets.schema import BOOL
from provenet.verify.errors import PropertyError


def never(
    *,
    effect: str = "",
    contract: str = "",
    transition: str = "",
    of: Any = None,
    where: Expr | Callable[..., Any] | None = None,
    unless: str = "",
    name: str = "",
) -> Requirement:
    """An effect, a commit or a transition never happens with such values, unless a person approved.

    Args:
        effect: Handler name of an effect, whatever transition performs it.
        contract: Id of a contract whose commit is meant.
        transition: Name of a transition.
        of: Token model of ``payload`` for a lambda.
        where: Condition over ``payload`` (what the effect is given; the proposal; the first taken token).
        unless: Id of a human task: it is allowed where that task approved this very payload before.
        name: Text for people.
    """
    given = {"effect": effect, "contract": contract, "transition": transition, "unless": unless}
    args: list[tuple[str, Any]] = [(k, v) for k, v in given.items() if v]
    if where is not None:
        args.append(("where", _condition(where, {"payload": of})))
    return Requirement("never", tuple(args), name)


def always(place: str, *, of: Any = None, where: Expr | Callable[..., Any], name: str = "") -> Requirement:
    """Every token that is ever in a place meets a condition over ``it``."""
    return Requirement("always", (("place", place), ("where", _condition(where, {"it": of}))), name)


def precedes(first: str, then: str, *, name: str = "") -> Requirement:
    """``then`` never happens before ``first`` has.

    Each is a transition, a contract (its commit), a task (its approval), or an effect.
    """
    return Requirement("precedes", (("first", first), ("then", then)), name)


def bound(*places: str, k: int, name: str = "") -> Requirement:
    """The places together never hold more than ``k`` tokens."""
    return Requirement("bound", (("places", tuple(places)), ("k", k)), name)


def mutex(*places: str, name: str = "") -> Requirement:
    """No two of the places are ever marked together."""
    return Requirement("mutex", (("places", tuple(places)),), name)


def _condition(where: Expr | Callable[..., Any], scope: dict[str, Any]) -> Expr:
    if isinstance(where, Expr):
        return where
    missing = [n for n, of in scope.items() if of is None]
    if missing:
        raise PropertyError(
            f"a lambda needs of=, the token model of {missing[0]!r}",
            hint="add of=Offer, or give an expression",
        )
    return record(where, {n: schema_of(of) for n, of in scope.items()}, like=BOOL)

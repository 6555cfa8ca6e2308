"""Coverage of choices: can a token be somewhere with no guard open to it?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import z3

from provenet.nets.expr.ast import Expr, Not, Or, Var, substitute
from provenet.nets.net import Transition
from provenet.verify.context import Answer, Candidate, Context, Open, Proved, Refuted
from provenet.verify.graph import Graph
from provenet.verify.smt import Encoding, Opaque, SymValue
from provenet.verify.trace import Extra, SymRun
from provenet.verify.verdict import Certificate


def gap(ctx: Context, place: str, takers: Sequence[Transition]) -> Answer:
    """Whether a token can lie in a place while no taker that needs that token alone has a true guard.

    Args:
        ctx: The net.
        place: The place.
        takers: Transitions that take from it.

    Returns:
        Proved where the guards cover every value of the place's type (or every value that gets there);
        refuted with a run to a token that no guard lets go.
    """
    alone = [t for t in takers if len(t.takes) == 1 and t.takes[0].weight == 1 and not t.reads]
    conditions = [guard_over(t, place) for t in alone]
    if any(c is None for c in conditions):
        return Proved(Certificate("structure", {"covered": place}), "structure")
    uncovered = Not(Or(tuple(c for c in conditions if c is not None)))
    if not satisfiable(ctx, place, uncovered):
        return Proved(Certificate("structure", {"covered": place}), "structure")

    def find(graph: Graph) -> Iterator[Candidate]:
        for state in range(len(graph.states)):
            if graph.count(state, place):
                yield Candidate(graph.path(state), resting_token(ctx, place, uncovered))

    answer = ctx.search(find)
    if isinstance(answer, Refuted) and len(alone) < len(takers):
        return Open(f"what takes from {place!r} needs other tokens too, which may come or not")
    return answer


def resting_token(ctx: Context, place: str, condition: Expr) -> Extra:
    """Asks that some token of a place meets a condition over ``it`` at the end of a run."""

    def extra(enc: Encoding, run: SymRun) -> list[z3.BoolRef]:
        of = ctx.net.place(place).type
        tokens = run.tokens.get(place, [])
        return [z3.Or(*(enc.encode_bool(condition, {"it": k.value}, {"it": of}) for k in tokens))]

    return extra


def guard_over(t: Transition, place: str) -> Expr | None:
    """A transition's guard over ``it``, the token that it takes from a place; ``None`` where it has none."""
    if t.guard is None:
        return None
    var = next((a.var for a in t.takes if a.place == place), None)
    return t.guard if var is None else substitute(t.guard, {var: Var("it")})


def satisfiable(ctx: Context, place: str, condition: Expr) -> bool:
    """Whether some value of a place's type meets a condition over ``it``.

    ``True`` where that is not known.
    """
    enc, of = ctx.encoding, ctx.net.place(place).type
    try:
        it: SymValue = enc.fresh("it", of)
        query = [enc.inhabits(it, of), enc.encode_bool(condition, {"it": it}, {"it": of})]
    except Opaque:
        return True
    return bool(enc.check(query, ctx.remaining_ms()) != z3.unsat)

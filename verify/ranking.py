"""A ranking argument for the propose/reject loop: an integer field that every retry raises and no retry raises beyond a bound.

The rank of a token is (bound - field); it is a natural number wherever a retry fires, falls with every retry, and nothing else in the loop
changes it (Floyd, "Assigning meanings to programs", 1967). Each obligation is one small query to the solver.
"""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

import z3

from provenet.nets.expr.ast import Const, Expr, Get, Var
from provenet.nets.net import Net, Role, Transition
from provenet.nets.schema import INT, IntType, RecordType
from provenet.verify.context import Context
from provenet.verify.smt import Opaque, SymValue
from provenet.verify.verdict import Certificate

_LOOP = (Role.PROPOSE, Role.FAULT, Role.REJECT, Role.RETRY)


def attempts_certificate(ctx: Context, contract: str, bound: int | None) -> Certificate | None:
    """A certificate that one begin of a contract leads to at most ``bound`` proposals; ``None`` where there is none.

    Args:
        ctx: The net.
        contract: Id of the contract.
        bound: The declared number of attempts; with ``None``, nothing is proved unless there is no retry at all.
    """
    net = ctx.net
    loop = list(net.by_role(*_LOOP, contract=contract))
    retries = [t for t in loop if t.role is Role.RETRY]
    into = {p.place for t in loop for p in t.puts} & {a.place for t in loop for a in t.takes}
    outside = [
        t
        for t in net.transitions
        if t not in loop and any(p.place in into for p in t.puts) and t.role is not Role.BEGIN
    ]
    if outside:
        return None
    if not retries:
        return Certificate("ranking", {"contract": contract, "field": "", "bound": 1})
    if bound is None:
        return None
    for field in _fields(net, loop, into):
        if ranks(ctx, contract, field, bound):
            return Certificate("ranking", {"contract": contract, "field": field, "bound": bound})
    return None


def ranks(ctx: Context, contract: str, field: str, bound: int) -> bool:
    """Whether the field is a counter of attempts: 1 at the begin, kept by the loop, raised by one below the bound by each retry."""
    net = ctx.net
    loop = list(net.by_role(*_LOOP, contract=contract))
    into = {p.place for t in loop for p in t.puts} & {a.place for t in loop for a in t.takes}
    begins = [t for t in net.by_role(Role.BEGIN, contract=contract) if any(p.place in into for p in t.puts)]
    flow: TopologicalSorter[str] = TopologicalSorter()
    for t in loop:
        if t.role is not Role.RETRY:
            for p in t.puts:
                flow.add(p.place, *(a.place for a in t.takes))
    try:
        flow.prepare()
    except CycleError:
        return False
    return all(_starts(ctx, t, field, into) for t in begins) and all(
        _keeps(ctx, t, field, into, bound) for t in loop
    )


def _fields(net: Net, loop: list[Transition], places: set[str]) -> list[str]:
    common: set[str] | None = None
    for place in places:
        of = net.place(place).type
        names = (
            {f.name for f in of.fields if isinstance(f.type, IntType)}
            if isinstance(of, RecordType)
            else set()
        )
        common = names if common is None else common & names
    return sorted(common or ())


def _starts(ctx: Context, t: Transition, field: str, places: set[str]) -> bool:
    return all(
        _valid(ctx, t, lambda built, taken: built >= 1, field, place)
        for place in places & {p.place for p in t.puts}
    )


def _keeps(ctx: Context, t: Transition, field: str, places: set[str], bound: int) -> bool:
    if sum(p.weight for p in t.puts if p.place in places) > 1 or sum(a.place in places for a in t.takes) != 1:
        return False
    for place in places & {p.place for p in t.puts}:
        if t.role is Role.RETRY:
            if not _valid(
                ctx, t, lambda built, taken: z3.And(built >= taken + 1, built <= bound), field, place
            ):
                return False
        elif not _valid(ctx, t, lambda built, taken: built >= taken, field, place):
            return False
    return True


def _valid(ctx: Context, t: Transition, claim, field: str, place: str) -> bool:  # type: ignore[no-untyped-def]
    """Whether a claim about the field of the built and of the taken token follows from the guard."""
    net, enc = ctx.net, ctx.encoding
    scope = net.scope(t)
    put = next(p for p in t.puts if p.place == place)
    if put.expr is None:
        return False
    env: dict[str, SymValue] = {v: enc.fresh(f"{t.name}.{v}", of) for v, of in scope.items()}
    try:
        built = enc.encode(Get(put.expr, field), env, scope)
        taken: Expr = Const(0, INT)
        for arc in t.takes:
            of = net.place(arc.place).type
            if arc.var is not None and isinstance(of, RecordType) and of.field(field) is not None:
                taken = Get(Var(arc.var), field)
                break
        before = enc.encode(taken, env, scope)
        solver = z3.SimpleSolver()
        solver.set("timeout", ctx.remaining_ms())
        if t.guard is not None:
            solver.add(enc.encode_bool(t.guard, env, scope))
    except Opaque:
        return False
    solver.add(z3.Not(claim(built, before)))
    return bool(solver.check() == z3.unsat)

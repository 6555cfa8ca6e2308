"""A ranking argument for the propose/reject loop.

An integer field that every retry raises and no retry raises beyond a bound.

The rank of a token is (bound - field); it is a natural number wherever a retry fires, falls with every retry,
and nothing else in the loop changes it (Floyd, "Assigning meanings to programs", 1967). Each obligation is
one small query to the solver.
"""

from __future__ import annotations

from collections.abc import Callable
from graphlib import CycleError, TopologicalSorter
from typing import Any

import z3

from provenet.nets.expr.ast import Const, Expr, Get, Var
from provenet.nets.net import Net, Role, Transition
from provenet.nets.schema import INT, IntType, RecordType
from provenet.verify.context import Context
from provenet.verify.smt import Opaque, SymValue
from provenet.verify.verdict import Certificate

_LOOP = (Role.PROPOSE, Role.FAULT, Role.REJECT, Role.RETRY)


def attempts_certificate(ctx: Context, contract: str, bound: int | None) -> Certificate | None:
    """A certificate that one begin of a contract leads to at most ``bound`` proposals.

    ``None`` where there is none.

    Args:
        ctx: The net.
        contract: Id of the contract.
        bound: The declared number of attempts; with ``None``, nothing is proved unless there is no retry at
            all.
    """
    net = ctx.net
    loop = list(net.by_role(*_LOOP, contract=contract))
    retries = [t for t in loop if t.role is Role.RETRY]
    places = _area(net, contract)
    if not places or not _one_lap(net, contract, loop, places) or (bound is not None and bound < 1):
        return None
    if not retries:
        return Certificate("ranking", {"contract": contract, "field": "", "bound": 1})
    if bound is None:
        return None
    for field in _fields(net, places):
        if ranks(ctx, contract, field, bound):
            return Certificate("ranking", {"contract": contract, "field": field, "bound": bound})
    return None


def ranks(ctx: Context, contract: str, field: str, bound: int) -> bool:
    """Whether the field counts attempts.

    At least 1 at the begin, kept by the loop, raised by each retry, to the bound at most.
    """
    net = ctx.net
    places = _area(net, contract)
    return all(_starts(ctx, t, field, places) for t in net.by_role(Role.BEGIN, contract=contract)) and all(
        _keeps(ctx, t, field, places, bound) for t in net.by_role(*_LOOP, contract=contract)
    )


def _area(net: Net, contract: str) -> set[str]:
    """The places between which the loop moves its token."""
    return {a.place for t in net.by_role(*_LOOP, contract=contract) for a in t.takes}


def _one_lap(net: Net, contract: str, loop: list[Transition], places: set[str]) -> bool:
    """Whether only a begin puts a token into the loop, one, and each lap of it asks at most once."""

    def put(t: Transition) -> int:
        return sum(p.weight for p in t.puts if p.place in places)

    begins = list(net.by_role(Role.BEGIN, contract=contract))
    if any(p in places for p, _ in net.initial) or any(e.place in places for e in net.entries):
        return False
    own = {t.name for t in (*loop, *begins)}
    if any(t.name not in own for place in places for t in net.putting(place)):
        return False
    if any(put(t) > 1 for t in (*begins, *loop)):
        return False
    if any(sum(a.weight for a in t.takes if a.place in places) != 1 for t in loop):
        return False
    flow: TopologicalSorter[str] = TopologicalSorter()
    for t in loop:
        if t.role is not Role.RETRY:
            for p in t.puts:
                flow.add(p.place, *(a.place for a in t.takes if a.place in places))
    try:
        order = list(flow.static_order())
    except CycleError:
        return False
    asked: set[str] = set()
    asks = (Role.PROPOSE, Role.FAULT)
    for place in order:
        for t in loop:
            if t.role is not Role.RETRY and any(a.place == place for a in t.takes):
                if t.role in asks and place in asked:
                    return False
                if t.role in asks or place in asked:
                    asked |= {p.place for p in t.puts}
    return True


def _fields(net: Net, places: set[str]) -> list[str]:
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
        _valid(ctx, t, lambda built, _: built >= 1, field, place, places)
        for place in places & {p.place for p in t.puts}
    )


def _keeps(ctx: Context, t: Transition, field: str, places: set[str], bound: int) -> bool:
    for place in places & {p.place for p in t.puts}:
        if t.role is Role.RETRY:
            if not _valid(
                ctx, t, lambda built, taken: z3.And(built >= taken + 1, built <= bound), field, place, places
            ):
                return False
        elif not _valid(ctx, t, lambda built, taken: built >= taken, field, place, places):
            return False
    return True


def _valid(
    ctx: Context,
    t: Transition,
    claim: Callable[[Any, Any], z3.BoolRef],
    field: str,
    place: str,
    places: set[str],
) -> bool:
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
            if arc.place in places and arc.var is not None and isinstance(of, RecordType) and of.field(field):
                taken = Get(Var(arc.var), field)
                break
        before = enc.encode(taken, env, scope)
        query = [] if t.guard is None else [enc.encode_bool(t.guard, env, scope)]
    except Opaque:
        return False
    return bool(enc.check([*query, z3.Not(claim(built, before))], ctx.remaining_ms()) == z3.unsat)

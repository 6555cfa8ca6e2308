"""Potentials: why something can happen only so often, or add up only so far, on any run.

Two arguments of one kind (amortized analysis: Tarjan, "Amortized computational complexity", 1985; on nets,
the state equation with Farkas' lemma, as in ``linear``).

*Counting*: weights of places such that each counted firing takes at least 1 from the weighted number of
tokens and no firing adds to it. Then there are no more of them than the case starts with. Weights are guessed
along the way of the tokens, else found by Z3 over the rationals; plain integers check them.

*Budget*: a counter that one token carries in a field, raised (or lowered) by what is spent. Where the
spending comes later than the counting, the tokens on the way *reserve* what they will spend: a place's
reservation is an expression over its token. The obligation of each firing: the counter moves by at least what
is spent now, plus what the new tokens reserve, less what the taken ones had reserved. One small query each.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

import z3

from provenet.nets.expr.ast import Arith, Compare, Const, Expr, Get, Var, free_variables, substitute
from provenet.nets.expr.show import show
from provenet.nets.net import Net, Put, Transition
from provenet.nets.quick import dataclass
from provenet.nets.schema import INT, DecimalType, IntType, RecordType, Type
from provenet.verify.backward import simplify
from provenet.verify.context import Context, Proved
from provenet.verify.linear import LinearInvariant, seldom
from provenet.verify.questions import IT, Question, carrier
from provenet.verify.smt import Opaque, SymValue
from provenet.verify.verdict import Certificate

_ROUNDS = 60
_MOST_PLACES = 40


# counting


def counted(net: Net, names: Collection[str], most: int | None = None) -> LinearInvariant | None:
    """An invariant that shows: some transitions fire at most so often, together, on any run.

    Args:
        net: The net.
        names: The transitions.
        most: How often at most; without, as few as the guess along the way finds.

    Returns:
        The invariant; they fire at most ``start // scale`` times, where ``scale`` is what each of them
        removes. ``None`` where there is none.
    """
    guess = _along_the_way(net, names)
    if guess is not None and guess.holds(net) and (most is None or guess.start(net) <= most):
        return guess
    return None if most is None else seldom(net, names, k=most)


def times(net: Net, found: LinearInvariant) -> int:
    """How often the counted transitions fire at most, by an invariant."""
    return found.start(net) // min(found.minus.values())


def _along_the_way(net: Net, names: Collection[str]) -> LinearInvariant | None:
    """For each place, the most counted firings that one of its tokens can come to, by first arcs."""
    ahead: dict[str, int] = {}
    for _ in range(_ROUNDS):
        changed = ""
        for t in net.transitions:
            if not t.takes:
                continue
            here = int(t.name in names) + sum(p.weight * ahead.get(p.place, 0) for p in t.puts)
            rest = sum(a.weight * ahead.get(a.place, 0) for a in t.takes[1:])
            first = t.takes[0]
            needed = -(-(here - rest) // first.weight)
            if needed > ahead.get(first.place, 0):
                ahead[first.place] = needed
                changed = t.name
        if not changed:
            weights = {p: n for p, n in ahead.items() if n}
            return LinearInvariant(weights, {}, dict.fromkeys(names, 1))
    return None


# budgets


@dataclass(frozen=True, slots=True)
class Spending:
    """What is capped.

    Attributes:
        costs: Transition to what one firing of it spends, over its variables.
        most: How much may be spent.
        per: The transition that opens a new window; empty for none.
    """

    costs: Mapping[str, Expr]
    most: int
    per: str = ""


@dataclass(frozen=True, slots=True)
class Budget:
    """A counter in a token, with what is reserved on the way.

    Attributes:
        place: Where the one token with the counter is.
        field: Its counter.
        counts: ``up`` from 0 to the cap, or ``down`` from the cap to 0.
        reserved: Place to what its token will spend, over ``it``.
    """

    place: str
    field: str
    counts: str
    reserved: Mapping[str, Expr]


def budgeted(ctx: Context, spending: Spending) -> tuple[Proved, Certificate] | None:
    """A proof by a counter in a token that the cap holds; ``None`` where no counter is found.

    Returns:
        That the counter never passes its end, and which counter it is.
    """
    for place, field in _counters(ctx.net):
        reserved = _reservations(ctx, spending, place)
        if reserved is None:
            continue
        for counts in ("up", "down"):
            proof = _by(ctx, spending, Budget(place, field, counts, reserved))
            if proof is not None:
                return proof
    return None


def _counters(net: Net) -> Iterator[tuple[str, str]]:
    """Number fields of places that hold one token from the start, put back only by what took it."""
    for place in net.places:
        start = [tokens for p, tokens in net.initial if p == place.name]
        of = place.type
        if [len(t) for t in start] != [1] or not isinstance(of, RecordType):
            continue
        if any(e.place == place.name for e in net.entries) or not all(
            _gives_back(t, place.name) for t in net.transitions
        ):
            continue
        for f in of.fields:
            if isinstance(f.type, IntType | DecimalType):
                yield place.name, f.name


def _gives_back(t: Transition, place: str) -> bool:
    taken = [a for a in t.takes if a.place == place]
    put = [p for p in t.puts if p.place == place]
    if not taken:
        return not put
    return len(taken) == 1 and taken[0].weight == 1 and len(put) <= 1 and all(p.weight == 1 for p in put)


def _reservations(ctx: Context, spending: Spending, counter: str) -> dict[str, Expr] | None:
    """What tokens on their way from the counter to the spending reserve; ``None`` where that is not known."""
    net = ctx.net
    reserved: dict[str, Expr] = {}
    work: list[str] = []

    def owe(t: Transition, put: Put | None, amount: Expr) -> bool:
        """Note what a transition's input token has to reserve for an amount."""
        if any(a.place == counter for a in t.takes):
            return True
        arcs = {a.var: a.place for a in t.takes if a.var is not None}
        owners = free_variables(amount) or {v for v in (carrier(t, put),) if v is not None}
        if len(owners) != 1 or (owner := next(iter(owners))) not in arcs:
            return False
        place = arcs[owner]
        if place not in reserved:
            reserved[place] = substitute(amount, {owner: Var(IT)})
            work.append(place)
        return True

    for name, cost in spending.costs.items():
        if not owe(net.transition(name), None, cost):
            return None
    while work:
        place = work.pop()
        begins = any(p == place for p, _ in net.initial) or any(e.place == place for e in net.entries)
        if begins or len(reserved) > _MOST_PLACES:
            return None
        for t in net.transitions:
            for put in t.puts:
                if put.place == place:
                    token: Expr = Const((), net.place(place).type) if put.expr is None else put.expr
                    amount = simplify(substitute(reserved[place], {IT: token}), net.scope(t))
                    if not owe(t, put, amount):
                        return None
    return reserved


def _by(ctx: Context, spending: Spending, budget: Budget) -> tuple[Proved, Certificate] | None:
    net = ctx.net
    start = next(tokens[0] for p, tokens in net.initial if p == budget.place)
    of = net.place(budget.place).type
    assert isinstance(of, RecordType)
    index = of.index(budget.field)
    assert index is not None
    first = start[index]
    if (first < 0) if budget.counts == "up" else (first > spending.most):
        return None
    if not all(_nonnegative(ctx, net.place(p).type, e) for p, e in budget.reserved.items()):
        return None
    if not all(_pays(ctx, spending, budget, t) for t in net.transitions):
        return None
    bound = _within(ctx, spending, budget, first)
    if bound is None:
        return None
    data = {
        "place": budget.place,
        "field": budget.field,
        "counts": budget.counts,
        "most": spending.most,
        "reserved": {p: show(e) for p, e in sorted(budget.reserved.items())},
    }
    return replace(bound, method="a counter in a token"), Certificate("budget", data)


def _within(ctx: Context, spending: Spending, budget: Budget, first: object) -> Proved | None:
    """Whether the counter never passes its end."""
    up = budget.counts == "up"
    end = Const(spending.most if up else 0, INT)
    if up and first > spending.most:  # type: ignore[operator]
        return None
    questions = []
    for t in ctx.net.transitions:
        for put in t.puts:
            if put.place == budget.place and put.expr is not None:
                after = simplify(Get(put.expr, budget.field), ctx.net.scope(t))
                questions.append(Question(t.name, Compare(">" if up else "<", after, end)))
    answer = ctx.never_fires(questions)
    return answer if isinstance(answer, Proved) else None


def _nonnegative(ctx: Context, of: Type, amount: Expr) -> bool:
    """Whether a reservation is never below zero, so that a token that is lost only frees it."""
    enc = ctx.encoding
    try:
        it: SymValue = enc.fresh("it", of)
        below = enc.encode_bool(Compare("<", amount, Const(0, INT)), {IT: it}, {IT: of})
        return bool(enc.check([enc.inhabits(it, of), below], ctx.remaining_ms()) == z3.unsat)
    except Opaque:
        return False


def _pays(ctx: Context, spending: Spending, budget: Budget, t: Transition) -> bool:
    """Whether the counter moves by at least what a firing spends and reserves anew."""
    net = ctx.net
    counter = next((a.var for a in t.takes if a.place == budget.place), None)
    takes_it = any(a.place == budget.place for a in t.takes)
    puts_it = next((p.expr for p in t.puts if p.place == budget.place), None)
    needed: list[Expr] = [spending.costs[t.name]] if t.name in spending.costs else []
    freed: list[Expr] = []
    for a in t.takes:
        if a.place in budget.reserved:
            if a.var is None and free_variables(budget.reserved[a.place]):
                return False
            freed += [
                substitute(budget.reserved[a.place], {} if a.var is None else {IT: Var(a.var)})
            ] * a.weight
    for p in t.puts:
        if p.place in budget.reserved:
            token: Expr = Const((), net.place(p.place).type) if p.expr is None else p.expr
            needed += [substitute(budget.reserved[p.place], {IT: token})] * p.weight
    if t.name == spending.per:
        return _opens(ctx, spending, budget, t, counter, puts_it)
    if not takes_it and not needed and not freed:
        return True
    scope = net.scope(t)
    gained: Expr = Const(0, INT)
    if takes_it and puts_it is not None:
        if counter is None:
            return False
        before, after = Get(Var(counter), budget.field), Get(puts_it, budget.field)
        gained = Arith("-", after, before) if budget.counts == "up" else Arith("-", before, after)
    owed = Arith("-", _sum(needed), _sum(freed))
    return follows(ctx, t, Compare(">=", simplify(gained, scope), simplify(owed, scope)))


def _opens(
    ctx: Context, spending: Spending, budget: Budget, t: Transition, counter: str | None, built: Expr | None
) -> bool:
    """Whether the transition that opens a window starts the counter anew, with nothing reserved."""
    if budget.reserved or counter is None or built is None or t.name in spending.costs:
        return False
    after = simplify(Get(built, budget.field), ctx.net.scope(t))
    if budget.counts == "up":
        return follows(ctx, t, Compare(">=", after, Const(0, INT)))
    return follows(ctx, t, Compare("<=", after, Const(spending.most, INT)))


def follows(ctx: Context, t: Transition, claim: Expr) -> bool:
    """Whether a claim over a transition's variables follows from its guard and promises."""
    enc, net = ctx.encoding, ctx.net
    scope = net.scope(t)
    try:
        env: dict[str, SymValue] = {v: enc.fresh(f"{t.name}.{v}", of) for v, of in scope.items()}
        query = [enc.inhabits(env[v], of) for v, of in scope.items()]
        query += [enc.encode_bool(e, env, scope) for e in (t.guard, t.ensures, t.requires) if e is not None]
        query.append(z3.Not(enc.encode_bool(claim, env, scope)))
    except Opaque:
        return False
    return bool(enc.check(query, ctx.remaining_ms()) == z3.unsat)


def _sum(amounts: list[Expr]) -> Expr:
    total: Expr = Const(0, INT)
    for amount in amounts:
        total = amount if total == Const(0, INT) else Arith("+", total, amount)
    return total

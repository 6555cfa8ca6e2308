"""Hypothesis strategies for small nets over finite types, whose every marking can be looked at."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from provenet.nets.check import check_net
from provenet.nets.expr.ast import (
    And,
    Arith,
    Build,
    Compare,
    Const,
    Expr,
    Get,
    If,
    IsNull,
    Not,
    Or,
    OrElse,
    Var,
)
from provenet.nets.expr.normal import normal
from provenet.nets.net import (
    After,
    Auto,
    Choice,
    Entry,
    Fresh,
    Ignored,
    Net,
    Place,
    Put,
    Read,
    Requirement,
    Signal,
    Take,
    Transition,
)
from provenet.nets.schema import (
    BOOL,
    DURATION,
    INT,
    UNIT,
    EnumType,
    Field,
    IntType,
    OptionalType,
    RecordType,
    Type,
    UnitType,
    Value,
)
from tests.verify.explicit import all_values

DIGIT = IntType(0, 2)
COLOUR = EnumType("Colour", ("red", "green"))
PAIR = RecordType("Pair", (Field("n", DIGIT), Field("b", BOOL)))
MAYBE = RecordType("Maybe", (Field("m", OptionalType(BOOL)), Field("c", COLOUR)))
NEST = RecordType("Nest", (Field("p", PAIR), Field("k", BOOL)))
TYPES: tuple[Type, ...] = (UNIT, UNIT, BOOL, DIGIT, COLOUR, PAIR, MAYBE, NEST, OptionalType(DIGIT))


def terms(scope: dict[str, Type]) -> list[tuple[Expr, Type]]:
    """The variables of a scope and all their fields."""
    found: list[tuple[Expr, Type]] = []
    work: list[tuple[Expr, Type]] = [(Var(v), of) for v, of in scope.items()]
    while work:
        expr, of = work.pop()
        found.append((expr, of))
        if isinstance(of, RecordType):
            work += [(Get(expr, f.name), f.type) for f in of.fields]
    return found


@st.composite
def values_of(draw: DrawFn, of: Type) -> Value:
    return draw(st.sampled_from(all_values(of)))


@st.composite
def conditions(draw: DrawFn, scope: dict[str, Type], depth: int = 2) -> Expr:
    """A condition over the variables of a scope."""
    if depth and draw(st.integers(0, 3)) == 0:
        parts = (draw(conditions(scope, depth - 1)), draw(conditions(scope, depth - 1)))
        joined: list[Expr] = [And(parts), Or(parts), Not(parts[0]), If(parts[0], parts[1], parts[0])]
        return draw(st.sampled_from(joined))
    here = [(e, of) for e, of in terms(scope) if not isinstance(of, UnitType)]
    if not here:
        return Const(draw(st.booleans()), BOOL)
    expr, of = draw(st.sampled_from(here))
    alike = [e for e, o in here if o == of and e != expr]
    if of == BOOL and draw(st.booleans()):
        return expr
    if isinstance(of, OptionalType) and draw(st.booleans()):
        return IsNull(expr)
    other: Expr = Const(draw(values_of(of)), of)
    if len(alike) > 0 and draw(st.booleans()):
        chosen: Expr = draw(st.sampled_from(alike))
        other = chosen
    ordered = isinstance(of, IntType)
    return Compare(draw(st.sampled_from(("==", "!=", "<=", ">") if ordered else ("==", "!="))), expr, other)


@st.composite
def builders(draw: DrawFn, of: Type, scope: dict[str, Type], depth: int = 2) -> Expr:
    """An expression of a type; a sum may leave the type's bounds, which the firing rule refuses."""
    alike = [e for e, o in terms(scope) if o == of]
    choice = draw(st.integers(0, 9))
    if alike and choice < 5:
        return draw(st.sampled_from(alike))
    if depth and choice == 5:
        then, other = draw(builders(of, scope, depth - 1)), draw(builders(of, scope, depth - 1))
        return If(draw(conditions(scope, 1)), then, other)
    if isinstance(of, IntType) and alike and choice < 9:
        return Arith(draw(st.sampled_from("+-")), draw(st.sampled_from(alike)), Const(1, INT))
    optional = [e for e, o in terms(scope) if o == OptionalType(of)]
    if optional and choice == 6:
        return OrElse(draw(st.sampled_from(optional)), Const(draw(values_of(of)), of))
    if isinstance(of, OptionalType) and choice == 7:
        return draw(builders(of.item, scope, 0))
    if isinstance(of, RecordType) and choice < 9:
        return Build(of, tuple(draw(builders(f.type, scope, max(0, depth - 1))) for f in of.fields))
    return Const(draw(values_of(of)), of)


def normalized(expr: Expr, scope: dict[str, Type], of: Type = BOOL) -> Expr:
    return normal(expr, scope, of)


@st.composite
def transitions(draw: DrawFn, name: str, places: tuple[Place, ...]) -> Transition:
    """A transition with at most three input arcs."""
    takes: list[Take] = []
    reads: list[Read] = []
    scope: dict[str, Type] = {}
    for i in range(draw(st.sampled_from((1, 1, 1, 2, 2, 3)))):
        p = draw(st.sampled_from(places))
        reading = bool(takes) and draw(st.integers(0, 2)) == 0
        if isinstance(p.type, UnitType):
            weight = draw(st.sampled_from((1, 1, 1, 2)))
            if reading:
                reads.append(Read(p.name, None, weight))
            else:
                takes.append(Take(p.name, None, weight))
        elif reading and draw(st.integers(0, 3)) == 0:
            reads.append(Read(p.name))
        else:
            scope[f"v{i}"] = p.type
            if reading:
                reads.append(Read(p.name, f"v{i}"))
            else:
                takes.append(Take(p.name, f"v{i}"))
    fresh: tuple[Fresh, ...] = ()
    trigger: Any = draw(
        st.sampled_from(
            (Auto(), Auto(), Auto(), Choice("ask", "yes"), Signal("e"), After(Const(timedelta(1), DURATION)))
        )
    )
    bound = dict(scope)
    if draw(st.integers(0, 2)) == 0:
        of = draw(st.sampled_from([p for p in TYPES if not isinstance(p, UnitType)]))
        fresh = (Fresh("x", of),)
        scope["x"] = of
    if isinstance(trigger, Signal):
        # Events of one name or of two; with a key where their payload has fields.
        fields = [f.name for x in fresh if isinstance(x.type, RecordType) for f in x.type.fields]
        trigger = Signal(draw(st.sampled_from(("e", "e", "f"))), draw(st.sampled_from(["", *fields])))
    puts = []
    for p in draw(st.lists(st.sampled_from(places), max_size=2)):
        if isinstance(p.type, UnitType):
            puts.append(Put(p.name, None, draw(st.sampled_from((1, 1, 1, 2)))))
        else:
            puts.append(Put(p.name, normalized(draw(builders(p.type, scope)), scope, p.type)))

    def maybe(within: dict[str, Type], often: int) -> Expr | None:
        if not within or draw(st.integers(0, 9)) >= often:
            return None
        return normalized(draw(conditions(within)), within)

    return Transition(
        name,
        takes=tuple(takes),
        reads=tuple(reads),
        resets=tuple(
            draw(st.lists(st.sampled_from(places), max_size=1)) and [draw(st.sampled_from(places)).name]
        )
        if draw(st.integers(0, 9)) == 0
        else (),
        puts=tuple(puts),
        fresh=fresh,
        guard=maybe(bound, 5),
        ensures=maybe(scope, 2) if fresh else None,
        requires=maybe(scope, 1),
        trigger=trigger,
    )


@st.composite
def ignoring(draw: DrawFn, places: tuple[Place, ...], made: list[Transition]) -> tuple[Ignored, ...]:
    """Events that are ignored on purpose, some of them."""
    events = sorted({t.trigger.event for t in made if isinstance(t.trigger, Signal)})
    unless = st.lists(st.sampled_from([p.name for p in places]), max_size=2, unique=True).map(tuple)
    return tuple(Ignored(e, draw(unless)) for e in events if draw(st.booleans()))


@st.composite
def twin(draw: DrawFn, t: Transition, places: tuple[Place, ...], net_scope: dict[str, Type]) -> Transition:
    """A rival for a transition's tokens, often with the opposite guard."""
    other = draw(transitions(t.name + "'", places))
    bound = {v: o for v, o in net_scope.items() if v not in {f.var for f in t.fresh}}
    guard = draw(st.sampled_from(("opposite", "own", "none")))
    flipped: Expr | None = None
    if guard == "opposite" and t.guard is not None:
        flipped = Not(t.guard)
    elif guard == "own" and bound:
        flipped = normalized(draw(conditions(bound)), bound)
    puts = tuple(p for p in other.puts if p.expr is None or isinstance(p.expr, Const)) or t.puts
    if any(p is q for p in puts for q in t.puts):
        return replace(t, name=t.name + "'", guard=flipped, requires=None)
    if isinstance(t.trigger, Signal):  # without a payload there is no key
        t = replace(t, trigger=Signal(t.trigger.event))
    return replace(t, name=t.name + "'", guard=flipped, puts=puts, fresh=(), ensures=None, requires=None)


@st.composite
def small_nets(draw: DrawFn) -> Net:
    """A net of a few places and transitions, with a few required properties of its own."""
    kinds = draw(st.lists(st.sampled_from(TYPES), min_size=2, max_size=4))
    places = tuple(
        Place(f"p{i}", of, draw(st.sampled_from((None, 1, 1, 2, 2)))) for i, of in enumerate(kinds)
    )
    made: list[Transition] = []
    for i in range(draw(st.integers(1, 4))):
        t = draw(transitions(f"t{i}", places))
        made.append(t)
        if draw(st.integers(0, 2)) == 0:
            made.append(draw(twin(t, places, Net("n", places).scope(t))))
    entries = []
    initial = {}
    for p in places:
        what = draw(st.integers(0, 4))
        if what == 0 or (p is places[0] and what < 3):
            scope = {"it": p.type}
            with_where = not isinstance(p.type, UnitType) and draw(st.integers(0, 3)) == 0
            entries.append(
                Entry(p.name, normalized(draw(conditions(scope, 1)), scope) if with_where else None)
            )
        elif what == 1:
            room = 1 if p.capacity == 1 else 2
            initial[p.name] = tuple(draw(st.lists(values_of(p.type), min_size=1, max_size=room)))
    if any(
        p.capacity is not None
        and len(initial.get(p.name, ())) + any(e.place == p.name for e in entries) > p.capacity
        for p in places
    ):
        initial = {}
    counts = st.dictionaries(
        st.sampled_from([p.name for p in places]), st.integers(1, 2), min_size=1, max_size=2
    )
    finals = tuple(tuple(draw(counts).items()) for _ in range(draw(st.sampled_from((0, 1, 1, 2)))))
    resting = tuple(draw(st.lists(st.sampled_from([p.name for p in places]), unique=True, max_size=1)))
    net = Net(
        "small",
        places,
        tuple(made),
        tuple(entries),
        tuple(initial.items()),
        finals,
        resting if draw(st.integers(0, 3)) == 0 else (),
        ignored=draw(ignoring(places, made)),
    )
    net = replace(net, requirements=tuple(draw(requirements(net))))
    assert check_net(net) == (), check_net(net)
    return net


CATALOGUE = ("STATE-1", "STATE-2", "STATE-3", "CTL-3", "EVT-1", "EVT-2", "DATA-1", "DATA-3")


@st.composite
def requirements(draw: DrawFn, net: Net) -> list[Requirement]:
    """The catalogue, and some properties of the user's own."""
    out = [Requirement(kind) for kind in CATALOGUE]
    out.append(Requirement("STATE-2", (("k", draw(st.integers(1, 2))),)))
    names = [p.name for p in net.places]
    for p in net.places:
        if not isinstance(p.type, UnitType):
            scope: dict[str, Type] = {"it": p.type}
            where = normalized(draw(conditions(scope)), scope)
            out.append(Requirement("always", (("place", p.name), ("where", where))))
    for t in net.transitions:
        var = next((a.var for a in t.takes if a.var is not None), None)
        if var is not None and draw(st.booleans()):
            scope = {"payload": net.scope(t)[var]}
            where = normalized(draw(conditions(scope)), scope)
            out.append(Requirement("never", (("transition", t.name), ("where", where))))
    ts = st.sampled_from([t.name for t in net.transitions])
    out.append(Requirement("precedes", (("first", draw(ts)), ("then", draw(ts)))))
    some = tuple(draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True)))
    out.append(Requirement("bound", (("places", some), ("k", draw(st.integers(1, 3))))))
    out.append(Requirement("mutex", (("places", tuple(names[:2])),)))
    out.append(Requirement("responds", (("trigger", draw(ts)), ("response", draw(ts)))))
    out.append(Requirement("eventually", (("what", (draw(st.sampled_from(names)),)),)))
    out.append(Requirement("eventually", (("what", (draw(ts),)),)))
    return out

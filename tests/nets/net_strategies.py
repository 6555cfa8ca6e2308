"""Hypothesis strategies for whole nets, without mistakes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import Any, Literal, cast

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from provenet.nets.errors import ExprError
from provenet.nets.expr.ast import Compare, Const, Expr, Get, Var
from provenet.nets.expr.normal import normal
from provenet.nets.net import (
    After,
    Ask,
    Auto,
    CaseKey,
    Choice,
    ContractInfo,
    Delivery,
    Entry,
    Fresh,
    Ignored,
    Label,
    Net,
    Perform,
    Place,
    Put,
    Read,
    Requirement,
    Role,
    Rule,
    Signal,
    Take,
    Transition,
)
from provenet.nets.schema import (
    BOOL,
    DURATION,
    UNIT,
    UNIT_VALUE,
    Field,
    ListType,
    OptionalType,
    RecordType,
    Type,
    Value,
)
from tests.nets.strategies import ORDER, TIER, expressions, types, values

NAMES = st.text(
    st.characters(codec="utf-8", categories=("L", "N", "P", "S"), include_characters=" "),
    min_size=1,
    max_size=8,
).filter(str.isprintable)


@st.composite
def pt_nets(
    draw: DrawFn,
    *,
    names: st.SearchStrategy[str] = NAMES,
    reads: bool = True,
    resets: bool = True,
    most_tokens: int = 3,
) -> Net:
    """P/T nets with weights, read arcs and reset arcs; a reset place has no other arc there."""
    places = draw(st.lists(names, min_size=1, max_size=5, unique=True))
    transitions = []
    for name in draw(st.lists(names, max_size=5, unique=True)):
        weights = st.dictionaries(st.sampled_from(places), st.integers(1, 2), max_size=3)
        taken, put = draw(weights), draw(weights)
        read = draw(weights) if reads else {}
        used = {*taken, *put, *read}
        free = [p for p in places if p not in used]
        reset = draw(st.lists(st.sampled_from(free), unique=True, max_size=1)) if resets and free else []
        transitions.append(
            Transition(
                name,
                takes=tuple(Take(p, None, w) for p, w in taken.items()),
                reads=tuple(Read(p, None, w) for p, w in read.items()),
                resets=tuple(reset),
                puts=tuple(Put(p, None, w) for p, w in put.items()),
                label=draw(st.sampled_from(("", "a label"))),
            )
        )
    counts = st.dictionaries(st.sampled_from(places), st.integers(1, most_tokens))
    marked = draw(counts)
    return Net(
        draw(names),
        tuple(Place(p) for p in places),
        tuple(transitions),
        initial=tuple((p, (UNIT_VALUE,) * marked[p]) for p in places if p in marked),
        finals=tuple(tuple(draw(counts).items()) for _ in range(draw(st.integers(0, 2)))),
        resting=tuple(draw(st.lists(st.sampled_from(places), unique=True, max_size=1))),
    )


def own_names(of: Type) -> Type:
    """The type with records named after what is in them: in one net, a record's name means one record."""
    match of:
        case OptionalType(item):
            return OptionalType(own_names(item))
        case ListType(item, most):
            return ListType(own_names(item), most)
        case RecordType(name, fields):
            renamed = tuple(Field(f.name, own_names(f.type)) for f in fields)
            return RecordType(name + sha256(repr(renamed).encode()).hexdigest()[:8], renamed)
        case _:
            return of


def conditions(var: str, of: Type) -> st.SearchStrategy[Expr]:
    """Comparisons of a variable with a value of its type."""

    def compared(value: Value) -> Expr | None:
        try:
            return normal(Compare("==", Var(var), Const(value, of)), {var: of})
        except ExprError:
            return None  # a list of lists, some of them empty, is no literal of the language

    found = values(of).map(compared).filter(lambda e: e is not None)
    return cast("st.SearchStrategy[Expr]", found)


PLACE_TYPES = st.just(UNIT) | st.just(ORDER) | st.just(TIER) | types(depth=2).map(own_names)
LABELS = st.lists(st.sampled_from(Label), unique=True, max_size=2).map(tuple)
FRESH_TYPES = types(depth=1).map(own_names)


@st.composite
def coloured_nets(draw: DrawFn) -> Net:
    """Nets that use every part of a net, with well-typed expressions in normal form."""
    # The strategy of expressions looks into a variable ``o``, so there is always an order to take.
    places: tuple[Place, ...] = (Place("orders", ORDER),)
    places += tuple(
        Place(name, draw(PLACE_TYPES), None, draw(st.sampled_from(("", "étiquette"))), draw(LABELS))
        for name in draw(st.lists(NAMES, max_size=3, unique=True))
        if name != "orders"
    )
    transitions = tuple(
        draw(_transitions(name, places)) for name in draw(st.lists(NAMES, max_size=3, unique=True))
    )
    marked = {}
    for p in draw(st.lists(st.sampled_from(places), max_size=2)):
        marked[p.name] = tuple(draw(st.lists(values(p.type), min_size=1, max_size=2)))
    first = places[-1]
    where = draw(st.none() | conditions("it", first.type))
    inputs, proposal = draw(PLACE_TYPES), draw(PLACE_TYPES)
    condition = conditions("proposal", proposal) | conditions("inputs", inputs)
    opaque: Literal["no", "function"] = draw(st.sampled_from(("no", "function")))
    rules = tuple(
        Rule(
            f"rule {i}",
            draw(condition),
            retryable=draw(st.booleans()),
        )
        for i in range(draw(st.integers(0, 2)))
    )
    literal = draw(expressions(BOOL, {"o": ORDER}, 2))
    entries: tuple[Entry, ...] = draw(st.sampled_from(((), (Entry(first.name, where),))))
    return Net(
        draw(NAMES),
        places,
        transitions,
        entries=entries,
        initial=tuple(marked.items()),
        finals=(((places[-1].name, draw(st.integers(1, 3))),),),
        resting=(first.name,),
        contracts=(ContractInfo("c", proposal, "policy v1", rules, inputs, opaque),),
        requirements=(
            Requirement("SDB-1"),
            Requirement(
                "never", (("when", literal), ("unless", "ok"), ("n", 3), ("of", ("a", "b"))), "named"
            ),
        ),
        ignored=tuple(
            Ignored("e", (first.name,)[: draw(st.integers(0, 1))])
            for _ in [t for t in transitions if isinstance(t.trigger, Signal)][:1]
        ),
        deliveries=tuple(
            draw(DELIVERIES) for _ in [t for t in transitions if isinstance(t.trigger, Signal)][:1]
        ),
        keys=tuple(
            CaseKey("order", e.place, Get(Var("it"), draw(st.sampled_from(("name", "count", "tier")))))
            for e in entries
            if first.type == ORDER
        ),
    )


SPANS = st.none() | st.timedeltas(timedelta(microseconds=1), timedelta(days=90))
DELIVERIES = st.builds(Delivery, st.just("e"), st.just("keep"), SPANS, st.integers(1, 200), SPANS)


@st.composite
def _transitions(draw: DrawFn, name: str, places: tuple[Place, ...]) -> Transition:
    scope: dict[str, Type] = {"o": ORDER}
    takes, reads = [Take("orders", "o")], []
    for i, p in enumerate(draw(st.lists(st.sampled_from(places), max_size=2))):
        if p.type == UNIT and draw(st.booleans()):
            takes.append(Take(p.name, None, draw(st.integers(1, 2))))
            continue
        scope[f"v{i}"] = p.type
        if draw(st.booleans()):
            takes.append(Take(p.name, f"v{i}"))
        else:
            reads.append(Read(p.name, f"v{i}"))
    bound = dict(scope)
    fresh = tuple(Fresh("news", draw(FRESH_TYPES)) for _ in range(draw(st.integers(0, 1))))
    scope |= {f.var: f.type for f in fresh}
    puts = []
    for p in draw(st.lists(st.sampled_from(places), max_size=2)):
        if p.type == UNIT and draw(st.booleans()):
            puts.append(Put(p.name, None, draw(st.integers(1, 2))))
        else:
            puts.append(Put(p.name, draw(expressions(p.type, scope, 1, like=p.type))))
    payload = draw(st.none() | expressions(BOOL, bound, 1))
    triggers: list[Any] = [Perform("pay", payload, tries=None), Choice("task", "yes", "boss", payload)]
    triggers.append(Choice("task", "yes", "boss", payload, 2, "on call", timedelta(days=2)))
    triggers += [Signal("e"), After(draw(expressions(DURATION, bound, 1)))]
    triggers += [Ask("model", payload, timedelta(seconds=draw(st.integers(1, 99))))] if fresh else []
    triggers += [Auto()]
    made = Transition(
        name,
        draw(st.sampled_from(Role)),
        draw(st.sampled_from(("", "c"))),
        tuple(takes),
        tuple(reads),
        (),
        tuple(puts),
        fresh,
        draw(st.none() | expressions(BOOL, bound, 2)),
        draw(st.none() | expressions(BOOL, scope, 1)),
        draw(st.none() | expressions(BOOL, scope, 1)),
        draw(st.sampled_from(triggers)),
        labels=draw(LABELS),
    )
    return replace(made, source="net.py:3")

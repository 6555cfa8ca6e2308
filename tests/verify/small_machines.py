"""Hypothesis strategies for small nets whose tokens carry a state and an amount, with caps and machines."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from provenet.nets.check import check_net
from provenet.nets.expr.ast import And, Arith, Build, Compare, Const, Expr, Get, Var
from provenet.nets.net import Auto, Entry, Fresh, Net, Place, Put, Requirement, Signal, Take, Transition
from provenet.nets.requirements import cap, machine
from provenet.nets.schema import BOOL, INT, EnumType, Field, IntType, RecordType

STATE = EnumType("State", ("new", "busy", "done"))
JOB = RecordType("Job", (Field("state", STATE), Field("n", IntType(0, 2))))
PURSE = RecordType("Purse", (Field("spent", IntType(0, 6)), Field("urgent", BOOL)))
PLACES = ("a", "b", "c")


@st.composite
def machine_nets(draw: DrawFn) -> Net:
    """Jobs move between places; a purse counts what some of them cost."""
    transitions = [draw(_move(i)) for i in range(draw(st.integers(2, 5)))]
    if draw(st.booleans()):
        transitions.append(
            Transition(
                "new day",
                takes=(Take("purse", "p"),),
                puts=(Put("purse", Build(PURSE, (Const(0, INT), Get(Var("p"), "urgent")))),),
                trigger=Signal("day"),
            )
        )
    names = [t.name for t in transitions]
    asked: list[Requirement] = []
    for _ in range(2):
        moves: dict[str, tuple[str, ...]] = {}
        for a in STATE.values:
            moves[str(a)] = tuple(draw(st.sets(st.sampled_from([str(v) for v in STATE.values]))))
        asked.append(machine(*PLACES, field="state", moves=moves))
    asked.append(machine(states=dict(zip("xyz", PLACES, strict=True)), moves={"x": ("y", "z"), "y": "z"}))
    spending = [t.name for t in transitions if t.name != "new day"]
    for _ in range(3):
        counted = draw(st.lists(st.sampled_from(spending), min_size=1, max_size=2, unique=True))
        others = [n for n in names if n not in counted]
        per = draw(st.sampled_from(["", "", *others]))
        amount: Any = Get(Var("payload"), "n") if draw(st.booleans()) else None
        asked.append(cap(*counted, most=draw(st.integers(0, 6)), amount=amount, per=per))
    start = draw(st.sampled_from(PLACES))
    initial: list[tuple[str, tuple[Any, ...]]] = [("purse", ((0, draw(st.booleans())),))]
    if draw(st.integers(0, 5)) == 0:
        initial.append((draw(st.sampled_from(PLACES)), (("new", 1),)))
    net = Net(
        "machines",
        places=(*(Place(p, JOB) for p in PLACES), Place("purse", PURSE)),
        transitions=tuple(transitions),
        entries=(Entry(start, Compare("==", Get(Var("it"), "state"), Const("new", STATE))),),
        initial=tuple(initial),
        requirements=tuple(asked),
    )
    assert check_net(net) == (), check_net(net)
    return net


@st.composite
def _move(draw: DrawFn, number: int) -> Transition:
    """A transition that moves a job on, perhaps paying from the purse."""
    source, target = draw(st.sampled_from(PLACES)), draw(st.sampled_from(PLACES))
    state, n = Get(Var("j"), "state"), Get(Var("j"), "n")
    from_state = Compare("==", state, Const(draw(st.sampled_from(STATE.values)), STATE))
    guards: list[Expr] = [from_state] if draw(st.booleans()) else []
    states: tuple[Expr, ...] = (state, Const("busy", STATE), Const("done", STATE))
    amounts: tuple[Expr, ...] = (n, n, Const(1, INT), Var("fresh"))
    to_state, to_n = draw(st.sampled_from(states)), draw(st.sampled_from(amounts))
    fresh = (Fresh("fresh", IntType(0, 2)),) if to_n == Var("fresh") else ()
    takes, puts = [Take(source, "j")], [Put(target, Build(JOB, (to_state, to_n)))]
    pays = draw(st.integers(0, 4))
    if pays >= 2:
        spent = Get(Var("p"), "spent")
        price = n if pays > 2 else Const(1, INT)
        paid = Arith("+", spent, price)
        guards.append(Compare("<=", paid, Const(draw(st.integers(1, 6)), INT)))
        takes.append(Take("purse", "p"))
        puts.append(Put("purse", Build(PURSE, (paid, Get(Var("p"), "urgent")))))
    fault = draw(st.integers(0, 12))
    if fault == 0:
        puts = puts[1:]
    elif fault == 1:
        puts.append(Put(draw(st.sampled_from(PLACES)), Var("j")))
    guard = None if not guards else guards[0] if len(guards) == 1 else And(tuple(guards))
    return Transition(
        f"t{number}",
        takes=tuple(takes),
        puts=tuple(puts),
        fresh=fresh,
        guard=guard,
        trigger=Signal("go") if fresh else Auto(),
    )

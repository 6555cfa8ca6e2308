"""Mistakes of nets: each code by example, all of them at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from provenet.nets.check import check_net
from provenet.nets.expr.ast import And, Compare, Const, Expr, Get, Not, Var
from provenet.nets.net import (
    After,
    Ask,
    Choice,
    ContractInfo,
    Entry,
    Explain,
    Fresh,
    Net,
    OnFailure,
    Place,
    Put,
    Read,
    Signal,
    Take,
    Transition,
)
from provenet.nets.schema import (
    BOOL,
    DATETIME,
    INT,
    STR,
    UNIT,
    EnumType,
    Field,
    IntType,
    ListType,
    OptionalType,
    RecordType,
)

CLAIM = RecordType("Claim", (Field("amount", INT), Field("paid", BOOL)))
PLACES = (Place("claims", CLAIM), Place("paid", CLAIM), Place("n", INT), Place("go"))
X = Take("claims", "c")
AMOUNT = Get(Var("c"), "amount")
ONE = Const(1, INT)
DEEP: Expr = Const(True, BOOL)
for _ in range(70):
    DEEP = Not(DEEP)


def mistakes(*transitions: Transition, places: tuple[Place, ...] = PLACES, **parts: Any) -> list[str]:
    return [m.code for m in check_net(Net("claims", places, transitions, **parts))]


def test_a_net_without_mistakes() -> None:
    big = Compare(">", AMOUNT, Const(100, INT))
    assert (
        mistakes(
            Transition("pay", takes=(X, Take("go", None, 2)), puts=(Put("paid", Var("c")),), guard=big),
            Transition("count", takes=(Take("n", "i"),), reads=(Read("claims"),), puts=(Put("go", None, 3),)),
            Transition(
                "ask",
                takes=(X,),
                fresh=(Fresh("a", INT),),
                puts=(Put("n", Var("a")),),
                trigger=Ask("model", AMOUNT),
            ),
            Transition("failed", takes=(X,), trigger=OnFailure("ask")),
            Transition("come", fresh=(Fresh("v", INT),), puts=(Put("n", Var("v")),), trigger=Signal("came")),
            Transition("late", takes=(X,), trigger=After(Const(datetime(2026, 1, 1, tzinfo=UTC), DATETIME))),
            Transition("source of an imported net", puts=(Put("go"),)),
            entries=(Entry("claims", Compare(">", Get(Var("it"), "amount"), ONE)),),
            initial=(("n", (1, 2)),),
            finals=((("paid", 1),),),
            resting=("go",),
        )
        == []
    )


@pytest.mark.parametrize(
    ("code", "transition"),
    [
        ("PN102", Transition("")),
        ("PN102", Transition("x" * 201)),
        ("PN103", Transition("t", takes=(Take("claims", "not an id"),))),
        ("PN103", Transition("t", takes=(X, Take("n", "c")))),
        ("PN103", Transition("t", takes=(X,), fresh=(Fresh("c", INT),))),
        ("PN104", Transition("t", takes=(Take("clams", "c"),))),
        ("PN104", Transition("t", takes=(X,), reads=(Read("goo"),))),
        ("PN104", Transition("t", takes=(X,), resets=("goo",))),
        ("PN104", Transition("t", takes=(X,), puts=(Put("goo"),))),
        ("PN105", Transition("t", takes=(Take("go", None, 0),))),
        ("PN105", Transition("t", takes=(Take("claims", "c", 2),))),
        ("PN105", Transition("t", takes=(X,), puts=(Put("go", None, -1),))),
        ("PN105", Transition("t", takes=(X,), puts=(Put("paid", Var("c"), 2),))),
        ("PN106", Transition("t", takes=(X,), puts=(Put("paid"),))),
        ("PN110", Transition("t", reads=(Read("n", "i"),))),
        ("PN113", Transition("t", takes=(X,), trigger=OnFailure("ask"))),
        ("PN113", Transition("t", takes=(X,), trigger=OnFailure("t"))),
        ("PN114", Transition("t", takes=(X,), trigger=Ask("m"))),
        ("PN114", Transition("t", takes=(X,), trigger=Explain("offer"))),
        ("PN114", Transition("t", takes=(X,), fresh=(Fresh("a", INT), Fresh("b", INT)), trigger=Signal("e"))),
        ("PN115", Transition("t", takes=(X,), trigger=Choice("task", ""))),
        ("PN125", Transition("t", takes=(X,), trigger=Choice("task", "yes", "boss", eyes=0))),
        ("PN125", Transition("t", takes=(X,), trigger=Choice("task", "yes", "boss", eyes=101))),
        (
            "PN125",
            Transition("t", takes=(X,), trigger=Choice("task", "yes", "boss", after=timedelta(days=1))),
        ),
        (
            "PN125",
            Transition("t", takes=(X,), trigger=Choice("task", "yes", "a", None, 1, "b", timedelta(days=-1))),
        ),
        ("PN125", Transition("t", takes=(X,), trigger=Choice("task", "yes", fallback="boss"))),
        ("PN116", Transition("t", takes=(Take("claims"),))),
        ("PN201", Transition("t", takes=(X,), guard=Compare("<", Var("d"), ONE))),
        (
            "PN201",
            Transition("t", takes=(X,), fresh=(Fresh("a", INT),), trigger=Ask("m", Get(Var("c"), "amuont"))),
        ),
        ("PN202", Transition("t", takes=(X,), guard=AMOUNT)),
        ("PN202", Transition("t", takes=(X,), ensures=AMOUNT)),
        ("PN202", Transition("t", takes=(X,), requires=And((Const(True, BOOL),)), guard=ONE)),
        (
            "PN203",
            Transition("t", takes=(X,), fresh=(Fresh("v", BOOL),), guard=Var("v"), trigger=Signal("e")),
        ),
        ("PN204", Transition("t", takes=(X,), puts=(Put("n", Var("c")),))),
        ("PN205", Transition("t", takes=(X,), trigger=After(ONE))),
        ("PN206", Transition("t", takes=(X,), guard=DEEP)),
    ],
)
def test_mistakes_of_transitions(code: str, transition: Transition) -> None:
    assert mistakes(transition) == [code]


@pytest.mark.parametrize(
    ("code", "parts"),
    [
        ("PN101", {"places": (*PLACES, Place("go"))}),
        ("PN101", {"contracts": (ContractInfo("a", INT), ContractInfo("a", INT))}),
        ("PN104", {"entries": (Entry("nowhere"),)}),
        ("PN104", {"finals": ((("nowhere", 1),),)}),
        ("PN104", {"resting": ("nowhere",)}),
        ("PN104", {"initial": (("nowhere", (1,)),)}),
        ("PN107", {"places": (Place("a", INT, 0),)}),
        ("PN107", {"places": (Place("a", INT, 1),), "initial": (("a", (1, 2)),)}),
        ("PN108", {"initial": (("n", ("one",)),)}),
        ("PN109", {"places": ()}),
        ("PN111", {"finals": ((("go", 0),),)}),
        ("PN111", {"finals": ((("go", 1), ("go", 1)),)}),
        ("PN112", {"entries": (Entry("n"), Entry("n"))}),
        ("PN117", {"places": (*PLACES, Place("b", RecordType("Claim", (Field("x", INT),))))}),
        ("PN118", {"places": (Place("a", EnumType("E", ())),)}),
        ("PN118", {"places": (Place("a", OptionalType(UNIT)),)}),
        ("PN118", {"places": (Place("a", ListType(IntType(3, 1))),)}),
        ("PN118", {"places": (Place("a", RecordType("R", (Field("x", INT), Field("x", STR)))),)}),
        ("PN202", {"entries": (Entry("claims", Get(Var("it"), "amount")),)}),
    ],
)
def test_mistakes_of_the_rest(code: str, parts: dict[str, Any]) -> None:
    assert mistakes(**parts) == [code]


def test_all_mistakes_come_at_once_with_their_places() -> None:
    net = Net(
        "renewal",
        PLACES,
        (
            Transition("publish", takes=(X,), puts=(Put("piad", Var("c")),), source="broken.py:41"),
            Transition("count", takes=(X,), guard=AMOUNT),
        ),
    )
    first, second = check_net(net)
    assert str(first) == (
        'broken.py:41  transition "publish"  PN104  '
        "the put arc into 'piad' names no place of net 'renewal'\n"
        '    did you mean "paid"?  there are: claims, go, n, paid'
    )
    assert second.where == 'transition "count"'

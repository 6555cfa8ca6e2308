"""Nets and certificates made to get past a check: what they say of themselves is not believed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Literal

import pytest

from provenet.nets.errors import PropertyError
from provenet.nets.expr.ast import Arith, Build, Compare, Const, Get, Var
from provenet.nets.net import (
    ContractInfo,
    Fresh,
    Net,
    Perform,
    Place,
    Put,
    Read,
    Requirement,
    Role,
    SagaInfo,
    Take,
    Transition,
)
from provenet.nets.schema import BOOL, INT, UNIT, Field, RecordType
from provenet.verify.check import prove
from provenet.verify.facts import HornSystem, broken_clause, parse_facts
from provenet.verify.properties.saga import CATALOGUE as SAGA
from provenet.verify.questions import Question
from provenet.verify.readable import readable_text
from provenet.verify.smt import Encoding
from provenet.verify.verdict import Status
from tests.verify.nets import selling, trip

COUNTER = RecordType("counter", (Field("n", INT),))


@pytest.mark.antipattern(
    "AP6", "refuted by SDB-1: an effect that no verifier stands before, whatever it is called"
)
@pytest.mark.parametrize("role", [Role.COMMIT, Role.COMPENSATE, Role.ROUTE, Role.EVENT])
@pytest.mark.parametrize("contract", ["", "offer"])
def test_no_role_lets_an_effect_past_the_verifier(role: Role, contract: str) -> None:
    net = selling(requirements=("SDB-1",))
    offer = net.place("asked").type
    sneak = Transition(
        "sneak",
        takes=(Take("asked", "o"),),
        fresh=(Fresh("receipt", UNIT),),
        puts=(Put("sold", Var("o")),),
        trigger=Perform("sell", Var("o")),
        role=role,
        contract=contract,
    )
    assert offer == net.place("sold").type
    report = prove(replace(net, transitions=(*net.transitions, sneak)))
    assert report.status() is Status.REFUTED


def hotel(*, ends_meanwhile: Literal["no", "yes"] = "no") -> Net:
    """A hand-made scope with one step; it aborts before the step begins or after its commit.

    Args:
        ends_meanwhile: Whether it may also just end while the commit is on its way.
    """

    def step(name: str, takes: str, puts: str, role: Role = Role.ROUTE, **more: object) -> Transition:
        return Transition(
            name,
            role=role,
            takes=tuple(Take(p) for p in takes.split()),
            puts=tuple(Put(p) for p in puts.split()),
            **more,  # type: ignore[arg-type]
        )

    def performs(name: str, takes: str, puts: str, role: Role) -> Transition:
        booking = Perform(name, None, timeout=timedelta(seconds=1))
        made = step(name, takes, puts, role, contract="hotel", trigger=booking)
        return replace(made, fresh=(Fresh("receipt", UNIT),))

    places = "go committing undo open aborting undoing completing ended"
    meanwhile = step("abort meanwhile", "open", "ended", Role.ABORTED, contract="trip")
    meanwhile = replace(meanwhile, reads=(Read("committing"),))
    return Net(
        "hotel",
        places=tuple(Place(p) for p in places.split()),
        transitions=(
            step("hotel.intent", "go", "committing", Role.INTENT, contract="hotel"),
            performs("hotel.commit", "committing", "undo", Role.COMMIT),
            step("abort early", "open go", "aborting"),
            step("abort late", "open undo", "undoing"),
            performs("hotel.compensate", "undoing", "aborting", Role.COMPENSATE),
            step("aborted", "aborting", "ended", Role.ABORTED, contract="trip"),
            *((meanwhile,) if ends_meanwhile == "yes" else ()),
        ),
        initial=(("go", ((),)), ("open", ((),))),
        finals=((("ended", 1),),),
        contracts=(ContractInfo("hotel", UNIT, undo="hotel.compensate", saga="trip"),),
        sagas=(SagaInfo("trip", "open", "aborting", "completing"),),
    )


def test_a_commit_that_lands_after_the_abort_is_undone_or_found() -> None:
    assert prove(hotel(), only=["SAGA-1"]).status() is Status.PROVED
    (found,) = prove(hotel(ends_meanwhile="yes"), only=["SAGA-1"]).verdicts
    assert found.status is Status.REFUTED
    assert found.trace is not None
    fired = [s.transition for s in found.trace.steps]
    assert fired == ["hotel.intent", "abort meanwhile", "hotel.commit"]


@pytest.mark.parametrize("id_", [p.id for p in SAGA])
def test_more_steps_than_the_observer_keeps_in_mind_are_never_proved(id_: str) -> None:
    net = hotel()
    again = replace(net.transition("hotel.commit"), puts=(Put("go"),))
    looping = replace(net, transitions=tuple(again if t.name == again.name else t for t in net.transitions))
    assert prove(net, only=[id_]).status() is Status.PROVED
    assert prove(looping, only=[id_]).status() is not Status.PROVED


def test_formulas_over_a_clause_s_own_variables_are_no_facts() -> None:
    more = Arith("+", Get(Var("x"), "n"), Const(1, INT))
    net = Net(
        "counting",
        places=(Place("p", COUNTER), Place("end", UNIT)),
        transitions=(
            Transition(
                "count",
                takes=(Take("p", "x"),),
                puts=(Put("p", Build(COUNTER, (more,))),),
            ),
            Transition(
                "boom",
                takes=(Take("p", "x"),),
                puts=(Put("end"),),
                guard=Compare("==", Get(Var("x"), "n"), Const(2, INT)),
            ),
        ),
        initial=(("p", ((0,),)),),
        finals=((("end", 1),),),
    )
    system = HornSystem(net, [Question("boom", Const(True, BOOL))], None, Encoding.for_exprs([]))
    (counts,) = (c for c in system.clauses if c.origin == "count")
    own = counts.inputs[0][1][0].sexpr()
    (argument,) = system.arguments["p"]
    # "0 at first, 1 after the first count, and nothing after that": true of one token at a time only.
    forged = f"(or (= {argument.name} 0) (and (= {argument.name} 1) (= {own} 0)))"
    assert parse_facts(system, {"p": f"(declare-const k Int) {forged}"}) is None
    assert parse_facts(system, {"p": f"true)(declare-const {own} Int)(assert {forged}"}) is None
    honest = parse_facts(system, {"p": f"(>= {argument.name} 0)"})
    assert honest is not None
    assert broken_clause(system, honest, timeout_ms=5_000) is not None


def test_facts_are_told_in_the_names_of_the_net() -> None:
    texts = ["it.limit.it <= it.split.n", 'it.name == "it.does ghost_set"', "ghost_set and ghost_value == it"]
    assert readable_text({"p": texts}) == {
        "p": 'limit.it <= split.n and name == "it.does ghost_set" and approved and the approved value == it'
    }


def test_only_contracts_of_the_net_are_exempt() -> None:
    net = trip()
    irreversible = replace(net, contracts=tuple(replace(c, irreversible=True) for c in net.contracts))

    def status(*exempt: str) -> Status:
        asked = (Requirement("CTL-1", (("exempt", exempt if len(exempt) != 1 else exempt[0]),)),)
        return prove(replace(irreversible, requirements=asked)).status()

    assert status() is Status.REFUTED
    assert status("hotel") is Status.REFUTED
    assert status("hotel", "flight") is Status.PROVED
    with pytest.raises(PropertyError, match="hotels"):
        status("hotels")

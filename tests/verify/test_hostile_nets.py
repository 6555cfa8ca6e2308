"""Nets with a hostile structure: roles, names and arcs chosen so that a check looks the other way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provenet.nets.expr.ast import Arith, Build, Compare, Const, Expr, Get, Not, Var
from provenet.nets.net import (
    Ask,
    Choice,
    ContractInfo,
    Entry,
    Fresh,
    Label,
    Net,
    OnFailure,
    Perform,
    Place,
    Put,
    Read,
    Requirement,
    Role,
    Signal,
    Take,
    Transition,
)
from provenet.nets.schema import BOOL, INT, EnumType, Field, RecordType
from provenet.sdb.saga import KILL_SIGNAL
from provenet.verify.check import prove
from provenet.verify.properties.control import approvals
from provenet.verify.verdict import Status, Verdict
from tests.verify.test_evasion import hotel

N = RecordType("number", (Field("n", INT),))


def judged(accept: Transition, reject: Transition, *more: Transition, **parts: object) -> Net:
    """A hand-made contract over numbers: from ``asked`` to ``accepted`` or ``refused``, and to ``done``."""
    commit = Transition(
        "commit", Role.COMMIT, "c", takes=(Take("accepted", "p"),), puts=(Put("done", Var("p")),)
    )
    return Net(
        "judged",
        places=(
            *(Place(p, N) for p in ("asked", "accepted", "refused", "done", "limit")),
            *(Place(p) for p in ("stock", "ticket", "lost", "changed")),
        ),
        transitions=(accept, reject, *more, *(() if any(t.name == "commit" for t in more) else (commit,))),
        entries=(Entry("asked"),),
        finals=((("done", 1),),),
        **parts,  # type: ignore[arg-type]
    )


WITHIN = Compare("<=", Get(Var("p"), "n"), Get(Var("l"), "n"))
ACCEPT = Transition(
    "accept", Role.ACCEPT, "c", takes=(Take("asked", "p"),), puts=(Put("accepted", Var("p")),)
)
REJECT = Transition("reject", Role.REJECT, "c", takes=(Take("asked", "p"),), puts=(Put("refused", Var("p")),))


def reading(t: Transition, guard: Expr) -> Transition:
    return replace(t, reads=(Read("limit", "l"),), guard=guard)


def only(net: Net, id_: str) -> Verdict:
    (found,) = prove(net, only=[id_]).verdicts
    return found


def test_a_verdict_that_depends_on_which_other_token_is_read_is_none() -> None:
    accept, reject = reading(ACCEPT, WITHIN), reading(REJECT, Not(WITHIN))
    one = judged(accept, reject, initial=(("limit", ((3,),)),))
    assert only(one, "SDB-3").status is Status.PROVED
    assert only(replace(one, initial=(("limit", ((3,), (9,))),)), "SDB-3").status is Status.REFUTED
    assert only(replace(one, initial=(("limit", ((3,), (3,))),)), "SDB-3").status is not Status.REFUTED


def test_a_reject_that_only_reads_the_proposal_competes_with_the_accept() -> None:
    reject = replace(REJECT, takes=(Take("limit", "l"),), reads=(Read("asked", "p"),))
    net = judged(ACCEPT, reject, initial=(("limit", ((3,),)),))
    assert only(net, "SDB-3").status is not Status.PROVED


@pytest.mark.parametrize("contract", ["", "another"])
def test_a_verifier_of_no_contract_is_one_all_the_same(contract: str) -> None:
    accept = replace(ACCEPT, contract=contract, trigger=Choice("ask", "yes"))
    assert only(judged(accept, replace(REJECT, contract=contract)), "SDB-3").status is Status.REFUTED


def test_a_commit_of_no_contract_is_not_verified() -> None:
    commit = Transition("commit", Role.COMMIT, takes=(Take("asked", "p"),), puts=(Put("done", Var("p")),))
    net = Net("sneaky", (Place("asked", N), Place("done", N)), (commit,), (Entry("asked"),))
    assert only(net, "SDB-1").status is Status.REFUTED


LIMIT = (("limit", ((3,),)), ("stock", ((), ())))
CHANGE = Transition(
    "change",
    takes=(Take("limit", "l"),),
    puts=(Put("limit", Build(N, (Const(1, INT),))), Put("changed")),
    guard=Compare(">", Get(Var("l"), "n"), Const(1, INT)),
    trigger=Signal("change"),
)


def test_evidence_that_is_put_back_in_other_words_is_still_evidence() -> None:
    again = Build(N, (Get(Var("l"), "n"),))
    takes = (*ACCEPT.takes, Take("limit", "l"))
    accept = replace(ACCEPT, takes=takes, puts=(*ACCEPT.puts, Put("limit", again)), guard=WITHIN)
    net = judged(accept, REJECT, CHANGE, initial=LIMIT)
    assert only(net, "SDB-6").status is Status.REFUTED
    budget = Build(N, (Arith("-", Get(Var("l"), "n"), Const(1, INT)),))
    spent = replace(accept, puts=(*ACCEPT.puts, Put("limit", budget)))
    assert only(judged(spent, REJECT, CHANGE, initial=LIMIT), "SDB-6").status is Status.PROVED


@pytest.mark.parametrize("reads", ["an arc", "two arcs", "put back"])
def test_black_tokens_are_evidence_by_their_number(reads: str) -> None:
    accept = {
        "an arc": replace(ACCEPT, reads=(Read("stock", None, 2),)),
        "two arcs": replace(ACCEPT, reads=(Read("stock"), Read("stock"))),
        "put back": replace(
            ACCEPT, takes=(*ACCEPT.takes, Take("stock", None, 2)), puts=(*ACCEPT.puts, Put("stock", None, 2))
        ),
    }[reads]
    use = Transition("use", takes=(Take("stock"), Take("stock")), puts=(Put("stock"),), trigger=Signal("use"))
    assert only(judged(accept, REJECT, initial=LIMIT), "SDB-6").status is Status.PROVED
    assert only(judged(accept, REJECT, use, initial=LIMIT), "SDB-6").status is Status.REFUTED


def test_an_accept_that_empties_what_it_read_leaves_no_evidence() -> None:
    accept = replace(reading(ACCEPT, WITHIN), resets=("limit",))
    assert only(judged(accept, REJECT, initial=LIMIT), "SDB-6").status is Status.REFUTED


def test_evidence_is_watched_while_the_ticket_of_a_proposal_is_lost() -> None:
    accept = replace(reading(ACCEPT, WITHIN), puts=(*ACCEPT.puts, Put("ticket")))
    steps = (
        Transition("lose", takes=(Take("ticket", "t"),), puts=(Put("lost"),), trigger=Signal("lose")),
        replace(CHANGE, reads=(Read("lost"),)),
        Transition("another", reads=(Read("changed"),), puts=(Put("ticket"),), trigger=Signal("ticket")),
        Transition(
            "commit",
            Role.COMMIT,
            "c",
            (Take("ticket", "t"), Take("accepted", "p")),
            puts=(Put("done", Var("p")),),
        ),
    )
    found = only(judged(accept, REJECT, *steps, initial=LIMIT), "SDB-6")
    assert found.status is Status.REFUTED
    assert found.trace is not None
    assert [s.transition for s in found.trace.steps] == ["accept", "lose", "change", "another", "commit"]


@pytest.mark.parametrize(
    ("role", "contract"),
    [(Role.COMPENSATE, "trip"), (Role.COMPENSATE, ""), (Role.ROUTE, "hotel"), (Role.ROUTE, "")],
)
def test_no_role_hides_an_undoing_that_is_tried_for_ever(role: Role, contract: str) -> None:
    net = hotel()
    undo = net.transition("hotel.compensate")
    assert isinstance(undo.trigger, Perform)
    endless = replace(undo, role=role, contract=contract, trigger=replace(undo.trigger, tries=None))
    changed = replace(net, transitions=tuple(endless if t.name == undo.name else t for t in net.transitions))
    assert only(changed, "SAGA-4").status is Status.REFUTED


def failing_undo(*more: Transition, desk: int = 0) -> Net:
    """The hotel, whose undoing may fail for good; with some tokens where a person decides."""
    net = hotel()
    person = Transition("person", takes=(Take("desk"),), puts=(Put("desk"),), trigger=Choice("task", "ok"))
    places = (*net.places, Place("desk"), Place("hole"), Place("limit", N))
    return replace(
        net,
        places=places,
        transitions=(*net.transitions, *more, person),
        initial=(*net.initial, ("desk", ((),) * desk)),
        resting=("desk",),
    )


def lost(name: str, put: Put, of: str = "hotel.compensate", takes: str = "undoing") -> Transition:
    return Transition(name, takes=(Take(takes),), puts=(put,), trigger=OnFailure(of))


def test_every_failure_of_an_undoing_reaches_a_person() -> None:
    told, untold = lost("told", Put("desk")), lost("untold", Put("hole"))
    assert only(failing_undo(told), "SAGA-4").status is Status.PROVED
    assert only(failing_undo(told, untold), "SAGA-4").status is Status.REFUTED


def test_a_person_who_decides_on_something_else_does_not_count() -> None:
    stuck = lost("stuck", Put("limit", Build(N, (Const(0, INT),))))
    positive = Compare(">", Get(Var("l"), "n"), Const(0, INT))
    onward = Transition("onward", takes=(Take("limit", "l"),), puts=(Put("desk"),), guard=positive)
    assert only(failing_undo(stuck, onward, desk=1), "SAGA-4").status is not Status.PROVED
    assert only(failing_undo(lost("told", Put("desk")), desk=1), "SAGA-4").status is Status.PROVED


def test_a_commit_that_fails_by_any_role_has_failed() -> None:
    gone = lost("gone", Put("hole"), "hotel.commit", "committing")
    assert only(failing_undo(gone), "SAGA-4").status is Status.REFUTED


def switched(kill: Transition, sell: Transition) -> Net:
    places = tuple(Place(p) for p in ("ready", "sold", "on", "off"))
    return Net(
        "shop", places, (kill, sell), initial=(("ready", ((),)), ("on", ((),))), finals=((("sold", 1),),)
    )


PULL = Transition("pull", Role.KILL, takes=(Take("on"),), puts=(Put("off"),), trigger=Signal(KILL_SIGNAL))
SELL = Transition("sell", Role.COMMIT, "c", (Take("ready"),), puts=(Put("sold"),), trigger=Perform("sell"))


@pytest.mark.parametrize(
    "kill", [PULL, replace(PULL, role=Role.EVENT), replace(PULL, trigger=Signal("stop"))]
)
@pytest.mark.parametrize("sell", [SELL, replace(SELL, role=Role.COMPENSATE), replace(SELL, role=Role.ROUTE)])
def test_no_role_lets_an_effect_past_the_kill_switch(kill: Transition, sell: Transition) -> None:
    assert only(switched(kill, sell), "CTL-2").status is Status.REFUTED
    held = replace(sell, takes=(*sell.takes, Take("on")))
    assert only(switched(kill, held), "CTL-2").status is Status.PROVED


def test_a_kill_switch_that_never_fires_proves_nothing() -> None:
    found = only(switched(replace(PULL, guard=Const(False, BOOL)), SELL), "CTL-2")
    assert found.status is Status.PROVED
    assert found.vacuous


@pytest.mark.parametrize("id_", ["CTL-3", "EVT-1", "EVT-2"])
def test_an_event_is_one_whatever_its_role(id_: str) -> None:
    pay = Transition("pay", Role.KILL, takes=(Take("on"),), puts=(Put("sold"),), trigger=Signal("pay"))
    net = Net(
        "shop", (Place("on"), Place("sold")), (pay,), initial=(("on", ((),)),), finals=((("sold", 1),),)
    )
    found = only(net, id_)
    assert not found.vacuous
    assert found.status is (Status.REFUTED if id_ == "CTL-3" else Status.PROVED)


def test_a_case_that_only_the_kill_switch_ends_has_no_option_to_complete() -> None:
    net = Net(
        "stuck", (Place("on"), Place("off")), (replace(PULL, role=Role.ROUTE),), initial=(("on", ((),)),)
    )
    assert only(replace(net, finals=((("off", 1),),)), "STATE-1").status is not Status.PROVED


def test_a_cap_counts_all_that_its_name_means() -> None:
    first = Transition("pay", takes=(Take("ready"),), puts=(Put("on"),), trigger=Perform("pay"))
    again = Transition("once more", takes=(Take("on"),), puts=(Put("sold"),), trigger=Perform("pay"))
    places = tuple(Place(p) for p in ("ready", "on", "sold"))
    net = Net("shop", places, (first, again), initial=(("ready", ((),)),))
    cap = Requirement("CTL-4", (("what", ("pay",)), ("most", 1)))
    assert prove(net, only=[cap]).status() is Status.REFUTED


def test_what_rests_in_a_final_marking_need_not_come() -> None:
    go = Transition("go", takes=(Take("ready"),), puts=(Put("sold"),))
    net = Net(
        "shop",
        tuple(Place(p) for p in ("ready", "sold", "log")),
        (go,),
        initial=(("ready", ((),)),),
        finals=((("sold", 1), ("log", 1)),),
        resting=("log",),
    )
    asked = Requirement("eventually", (("what", ("log",)),))
    assert prove(net, only=[asked]).status() is Status.REFUTED


MESSAGE = RecordType("message", (Field("go", BOOL),))


def mailing(*steps: Transition) -> Net:
    """What strangers write, a secret, and an effect that reaches the outside."""
    send = Transition(
        "send",
        takes=(Take("ready"),),
        reads=(Read("secret", "s"),),
        puts=(Put("sent"),),
        trigger=Perform("mail", Var("s")),
    )
    return Net(
        "mailing",
        (
            Place("inbox", MESSAGE, labels=(Label.UNTRUSTED,)),
            Place("secret", N, labels=(Label.PRIVATE,)),
            *(Place(p) for p in ("ready", "sent")),
        ),
        (*steps, send),
        (Entry("inbox"),),
        (("secret", ((1,),)),),
        ((("sent", 1),),),
    )


def test_a_guard_without_an_alternative_decides_that_a_sink_fires() -> None:
    says = Get(Var("m"), "go")
    gate = Transition("gate", takes=(Take("inbox", "m"),), puts=(Put("ready"),), guard=says)
    other = replace(gate, name="other", guard=Not(says))
    assert only(mailing(gate), "FLOW-1").status is Status.REFUTED
    assert only(mailing(gate, other), "FLOW-1").status is Status.PROVED
    assert only(mailing(gate, replace(other, trigger=Signal("go"))), "FLOW-1").status is Status.REFUTED


def test_only_a_person_approves() -> None:
    says = Get(Var("m"), "go")
    gate = Transition("gate", Role.APPROVE, takes=(Take("inbox", "m"),), puts=(Put("ready"),), guard=says)
    assert only(mailing(gate), "FLOW-1").status is Status.REFUTED
    assert not approvals(mailing(gate), MESSAGE).sets
    asked = replace(gate, trigger=Choice("task", "yes"))
    assert set(approvals(mailing(asked), MESSAGE).sets) == {"gate"}
    assert only(mailing(asked), "FLOW-1").status is Status.PROVED


def machine_net(*more: Transition) -> Net:
    """A machine in ``open`` or ``closed``, which may only be closed."""
    close = Transition("close", takes=(Take("open"),), puts=(Put("closed"),))
    places = tuple(Place(p) for p in ("open", "closed", "key"))
    return Net("machine", places, (close, *more), initial=(("open", ((),)), ("key", ((),))))


def test_what_a_reset_moves_is_told_by_where_the_token_was() -> None:
    asked = Requirement("STATE-4", (("states", ("o", "open", "c", "closed")), ("moves", ("o", "c"))))
    anew = Transition("anew", takes=(Take("key"),), resets=("open", "closed"), puts=(Put("open"),))
    (found,) = prove(machine_net(anew), only=[asked]).verdicts
    assert found.trace is not None
    assert [s.transition for s in found.trace.steps] == ["close", "anew"]
    early = replace(anew, reads=(Read("open"),))
    assert prove(machine_net(early), only=[asked]).status() is Status.PROVED


STATE = EnumType("state", ("open", "closed"))
DOOR = RecordType("door", (Field("state", STATE),))


@pytest.mark.parametrize(
    ("reads", "guarded", "expected"),
    [("no", "no", Status.UNKNOWN), ("yes", "no", Status.UNKNOWN), ("yes", "yes", Status.PROVED)],
)
def test_what_a_reset_moves_is_told_by_what_the_token_said(
    reads: str, guarded: str, expected: Status
) -> None:
    closing = Build(DOOR, (Const("closed", STATE),))
    anew = Transition(
        "anew",
        takes=(Take("spare", "s"),),
        reads=(Read("door", "d"),) if reads == "yes" else (),
        resets=("door",),
        puts=(Put("door", Var("s")),),
        guard=Compare("==", Get(Var("d"), "state"), Const("open", STATE)) if guarded == "yes" else None,
    )
    net = Net(
        "door",
        (Place("door", DOOR), Place("spare", DOOR)),
        (Transition("close", takes=(Take("door", "d"),), puts=(Put("door", closing),)), anew),
        initial=(("door", (("open",),)), ("spare", (("open",),))),
    )
    asked = Requirement(
        "STATE-4", (("states", ("", "door")), ("field", "state"), ("moves", ("open", "closed")))
    )
    assert prove(net, only=[asked]).status() is expected


@pytest.mark.parametrize("role", [Role.PROPOSE, Role.ROUTE])
def test_a_proposer_of_another_role_proposes_all_the_same(role: Role) -> None:
    both = RecordType("both", (Field("inputs", N), Field("proposal", N)))
    propose = Transition(
        "propose",
        role,
        "c",
        takes=(Take("asked", "a"),),
        fresh=(Fresh("p", N),),
        puts=(Put("proposed", Build(both, (Var("a"), Var("p")))),),
        trigger=Ask("model"),
    )
    accept = Transition(
        "accept",
        Role.ACCEPT,
        "c",
        takes=(Take("proposed", "b"),),
        puts=(Put("done", Get(Var("b"), "proposal")),),
    )
    same = Compare("==", Get(Var("proposal"), "n"), Get(Var("inputs"), "n"))
    net = Net(
        "proposing",
        (Place("asked", N), Place("proposed", both), Place("done", N)),
        (propose, accept),
        (Entry("asked"),),
        contracts=(ContractInfo("c", N, "anything goes", inputs=N),),
    )
    asked = Requirement("DATA-4", (("contract", "c"), ("than", same)))
    assert prove(net, only=[asked]).status() is Status.REFUTED


@pytest.mark.parametrize(
    ("payload", "expected"),
    [("a constant", Status.PROVED), ("what strangers write", Status.REFUTED), ("", Status.REFUTED)],
)
def test_a_model_is_as_untrusted_as_what_it_is_given(payload: str, expected: Status) -> None:
    shown: dict[str, Expr] = {"a constant": Const(1, INT), "what strangers write": Get(Var("m"), "go")}
    ask = Transition(
        "ask",
        takes=(Take("inbox", "m"),),
        fresh=(Fresh("answer", N),),
        puts=(Put("answered", Var("answer")),),
        trigger=Ask("model", shown.get(payload)),
    )
    says = Transition(
        "says",
        takes=(Take("answered", "a"),),
        reads=(Read("secret", "s"),),
        puts=(Put("sent"),),
        trigger=Perform("mail", Var("a")),
    )
    net = mailing(ask, says)
    assert only(replace(net, places=(*net.places, Place("answered", N))), "FLOW-1").status is expected

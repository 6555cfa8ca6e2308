"""Verifiers, evidence, the kill switch, failures, caps and machines: one small net for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import pytest

from provenet.nets.build import NetBuilder
from provenet.nets.errors import PropertyError
from provenet.nets.expr.ast import Arith, Build, Compare, Const, Get, Var
from provenet.nets.models import Token, schema_of
from provenet.nets.net import (
    Ask,
    Choice,
    Entry,
    Fresh,
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
from provenet.nets.requirements import cap, machine, opaque
from provenet.nets.schema import BOOL, INT, Field, IntType, RecordType
from provenet.sdb.contract import Contract
from provenet.sdb.reject import REJECT
from provenet.verify.certificate import recheck
from provenet.verify.check import prove, requirements_of
from provenet.verify.verdict import Status, Verdict
from tests.verify.nets import Offer, selling, trip
from tests.verify.test_catalogue import STRAIGHT, edited, fails, holds, only


def certified(net: Net, wanted: Requirement | str) -> list[Verdict]:
    """Proved, not vacuously, by evidence that holds when it is checked again."""
    holds(net, wanted)
    net = replace(net, requirements=(Requirement(wanted) if isinstance(wanted, str) else wanted,))
    report = prove(net)
    assert recheck(net, report) == ()
    return list(report.verdicts)


# verifiers


def judged(verify: Callable[..., Any]) -> Net:
    net = NetBuilder("judged")
    asked, done, refused = net.entry("asked", Offer), net.final("done", Offer), net.final("refused", Offer)
    net.add(Contract("offer", takes=asked, gives=done, verify=verify, otherwise=refused))
    return net.build()


def test_sdb_3_policies_are_deterministic_by_construction() -> None:
    assert {v.method for v in certified(selling(), "SDB-3")} == {"by construction"}


def test_sdb_3_a_function_is_opaque_until_it_is_accepted_by_name() -> None:
    net = judged(lambda proposal, inputs: proposal.vip)
    (verdict,) = only(net, "SDB-3")
    assert verdict.status is Status.UNKNOWN
    assert "provenet lint" in verdict.reason
    accepted = opaque("offer", because="it was reviewed")
    (verdict,) = certified(net, accepted)
    assert "it was reviewed" in verdict.reason
    assert "not proved" in verdict.method
    family = replace(net, requirements=(Requirement("SDB"), accepted))
    assert [r for p, r in requirements_of(family) if p.id == "SDB-3"] == [accepted]
    plain = replace(net, requirements=(Requirement("SDB-3"), accepted))
    assert prove(plain).status() is Status.UNKNOWN


@pytest.mark.parametrize(("name", "hint"), [("ofer", "offer"), ("offer", "nothing to accept")])
def test_sdb_3_accepts_nothing_that_is_not_there(name: str, hint: str) -> None:
    with pytest.raises(PropertyError) as error:
        only(selling() if name == "offer" else judged(lambda p, i: True), opaque(name, because=""))
    assert hint in error.value.hint


def test_sdb_3_accept_and_reject_at_once() -> None:
    def loose(t: Transition) -> Transition:
        return replace(t, guard=Compare(">=", Get(Get(Var("p"), "proposal"), "discount"), Const(30, INT)))

    verdict = fails(edited(selling(), "offer.reject", loose), "SDB-3", 2)
    assert verdict.witness["proposal.discount"] == 30


@pytest.mark.parametrize("trigger", [Ask("judge"), Choice("look", "fine"), Signal("passed")], ids=str)
def test_sdb_3_a_verdict_that_comes_from_elsewhere(trigger: Any) -> None:
    def asked(t: Transition) -> Transition:
        return replace(t, trigger=trigger, fresh=(Fresh("opinion", BOOL),))

    fails(edited(selling(), "offer.accept", asked), "SDB-3", 3)


# evidence


def reading(
    writer: Literal["none", "free", "same"] = "none", commit: Literal["blind", "compares"] = "blind"
) -> Net:
    """A verifier reads a limit, which ``writer`` changes; the commit may read it again."""
    offer, limit = schema_of(Offer), IntType(0, 100)
    verified = RecordType("verified", (Field("offer", offer), Field("limit", limit)))
    token = Build(verified, (Var("o"), Var("l")))
    again: dict[str, Any] = {
        "reads": (Read("limit", "l"),),
        "guard": Compare("==", Get(Var("v"), "limit"), Var("l")),
    }
    transitions = [
        Transition(
            "accept",
            role=Role.ACCEPT,
            contract="c",
            takes=(Take("asked", "o"),),
            reads=(Read("limit", "l"),),
            guard=Compare("<=", Get(Var("o"), "discount"), Var("l")),
            puts=(Put("verified", token),),
        ),
        Transition(
            "commit",
            role=Role.COMMIT,
            contract="c",
            takes=(Take("verified", "v"),),
            puts=(Put("done", Get(Var("v"), "offer")),),
            **(again if commit == "compares" else {}),
        ),
        Transition(
            "change",
            takes=(Take("limit", "old"),),
            fresh=(Fresh("new", limit),),
            puts=(Put("limit", Var("old") if writer == "same" else Var("new")),),
            trigger=Signal("changed"),
        ),
    ]
    places = (Place("asked", offer), Place("limit", limit), Place("verified", verified), Place("done", offer))
    return Net(
        "reading",
        places=places,
        transitions=tuple(transitions[: 2 if writer == "none" else 3]),
        entries=(Entry("asked"),),
        initial=(("limit", (30,)),),
        finals=((("done", 1),),),
        resting=("limit",),
    )


def test_sdb_6_what_a_verifier_takes_is_its_own() -> None:
    assert {v.method for v in certified(selling(), "SDB-6")} == {"structure"}


@pytest.mark.parametrize("writer", ["none", "same"])
def test_sdb_6_evidence_that_nobody_changes(writer: Any) -> None:
    (verdict,) = certified(reading(writer), "SDB-6")
    assert "nothing ever takes from 'limit'" in verdict.reason


def test_sdb_6_evidence_that_changes() -> None:
    verdict = fails(reading("free"), "SDB-6", 3)
    assert verdict.trace is not None
    assert [s.transition for s in verdict.trace.steps] == ["accept", "change", "commit"]


def test_sdb_6_a_commit_that_reads_again() -> None:
    (verdict,) = certified(reading("free", "compares"), "SDB-6")
    assert "per-place facts" in verdict.method


def test_sdb_6_evidence_is_held_while_the_proposal_waits() -> None:
    def held(t: Transition) -> Transition:
        return replace(t, takes=(*t.takes, Take("limit", "l")), reads=())

    back = Put("limit", Get(Var("v"), "limit"))
    net = edited(
        edited(reading("free"), "accept", held), "commit", lambda t: replace(t, puts=(*t.puts, back))
    )
    certified(net, "SDB-6")
    meanwhile = edited(
        reading("free"), "change", lambda t: replace(t, takes=(*t.takes, Take("asked", "o")), puts=(*t.puts,))
    )
    (verdict,) = certified(meanwhile, "SDB-6")
    assert verdict.method == "state graph"


# the kill switch


def killable(*, resets: tuple[str, ...] = ("asked", "offer.running", "offer.verified", "review")) -> Net:
    """Selling with a switch that empties some places."""
    net = selling()
    stopped = Place("stopped")
    kill = Transition(
        "stop", role=Role.KILL, resets=resets, puts=(Put("stopped"),), trigger=Signal("provenet.kill")
    )
    once = Place("switch")
    kill = replace(kill, takes=(Take("switch"),))
    return replace(
        net,
        places=(*net.places, stopped, once),
        transitions=(*net.transitions, kill),
        initial=(("switch", ((),)),),
        resting=("switch", "stopped"),
    )


ORDINARY = tuple(p.name for p in selling().places if not p.name.endswith(".committing"))


def test_ctl_2_what_was_begun_before_the_switch_may_land() -> None:
    certified(killable(resets=ORDINARY), "CTL-2")


def test_ctl_2_a_switch_that_forgets_a_place() -> None:
    left = tuple(p for p in ORDINARY if p != "offer.verified")
    verdict = fails(killable(resets=left), "CTL-2", 5)
    assert verdict.trace is not None
    assert [s.transition for s in verdict.trace.steps][-2:] == ["stop", "offer.intent"]


def test_ctl_2_more_commits_than_were_in_flight() -> None:
    twice = edited(killable(resets=ORDINARY), "offer.intent", lambda t: replace(t, puts=(*t.puts, *t.puts)))
    verdict = fails(twice, "CTL-2", 7)
    assert "had not begun" in verdict.reason


def test_ctl_2_an_effect_of_no_contract() -> None:
    net = killable(resets=tuple(p for p in ORDINARY if p != "review"))
    stray = Transition("stray", takes=(Take("review", "o"),), trigger=Perform("mail"))
    fails(replace(net, transitions=(*net.transitions, stray)), "CTL-2", 5)


# failures


def test_saga_4_tries_and_a_way_to_abort() -> None:
    certified(trip(), "SAGA-4")


@pytest.mark.parametrize(("tries", "said"), [(None, "for ever"), (1, "first failure")])
def test_saga_4_a_compensation_that_nobody_hears_of(tries: int | None, said: str) -> None:
    def tried(t: Transition) -> Transition:
        assert isinstance(t.trigger, Perform)
        return replace(t, trigger=replace(t.trigger, tries=tries))

    verdict = fails(edited(trip(), "flight.compensate", tried), "SAGA-4", 7)
    assert said in verdict.reason


def failing_undo(*, then: str) -> Net:
    """A trip of which cancelling the flight may fail: then a person decides, or nobody does."""
    net = trip()
    stuck = Place("stuck", net.place("flight.undoing").type)
    undo = net.transition("flight.compensate")
    (arc,) = undo.takes
    failed = Transition(
        "flight.cancel failed",
        role=Role.FAIL,
        takes=(arc,),
        fresh=(Fresh("signal", REJECT),),
        puts=(Put("stuck", Var(arc.var or "")),),
        trigger=OnFailure(undo.name),
    )
    again = Transition(
        "try again",
        takes=(Take("stuck", "w"),),
        puts=(Put("flight.undoing", Var("w")),),
        trigger=Choice("undo by hand", "again") if then == "person" else Signal("again"),
    )
    return replace(net, places=(*net.places, stuck), transitions=(*net.transitions, failed, again))


def test_saga_4_a_failing_compensation_reaches_a_person() -> None:
    certified(failing_undo(then="person"), "SAGA-4")
    verdict = fails(failing_undo(then="nobody"), "SAGA-4", 8)
    assert "never reaches a person" in verdict.reason


def test_saga_4_a_failure_that_cannot_abort() -> None:
    verdict = fails(edited(trip(), "stop", lambda t: None), "SAGA-4", 2)
    assert "can never abort" in verdict.reason


# caps

PAYMENT = RecordType("Payment", (Field("cents", IntType(0, 90)),))
PURSE = RecordType("Purse", (Field("spent", INT), Field("left", INT)))
CENTS = Get(Var("p"), "cents")


def paying(
    keeps: Literal["nothing", "spent", "left"] = "nothing",
    *,
    when: Literal["at once", "before"] = "at once",
    counts: Literal["right", "short"] = "right",
    day: Literal["", "starts anew", "leaves a debt"] = "",
) -> Net:
    """Four bills come and are paid, perhaps from a purse of 100.

    Args:
        keeps: What the purse keeps.
        when: Whether the purse is asked when a bill is paid, or before its payment begins.
        counts: Whether it counts all that is paid.
        day: Whether a new day comes, and what it makes of the purse.
    """
    bill = Transition(
        "bill",
        takes=(Take("open"),),
        fresh=(Fresh("p", PAYMENT),),
        puts=(Put("billed", Var("p")),),
        trigger=Signal("bill"),
    )
    spent, left = Get(Var("b"), "spent"), Get(Var("b"), "left")
    raised = Arith("+", spent, CENTS if counts == "right" else Const(1, INT))
    lowered = Arith("-", left, CENTS)
    fits = (
        Compare("<=", raised, Const(100, INT)) if keeps == "spent" else Compare(">=", lowered, Const(0, INT))
    )
    purse: dict[str, Any] = {
        "takes": (Take("billed", "p"), Take("purse", "b")),
        "puts": (Put("purse", Build(PURSE, (raised, lowered))),),
        "guard": fits,
    }
    if keeps == "nothing":
        purse = {"takes": (Take("billed", "p"),)}
    transitions = [bill, Transition("pay", **purse)]
    if when == "before":
        begun = Transition("begin", **{**purse, "puts": (*purse["puts"], Put("paying", Var("p")))})
        pay = Transition("pay", takes=(Take("paying", "p"),), trigger=Perform("pay"))
        lost = Transition("lost", takes=(Take("open"),), resets=("paying",))
        transitions = [bill, begun, pay, lost]
    if day:
        start = Const(0 if day == "starts anew" else -50, INT)
        empty = Build(PURSE, (start, Const(100, INT)))
        transitions.append(
            Transition(
                "new day", takes=(Take("purse", "b"),), puts=(Put("purse", empty),), trigger=Signal("day")
            )
        )
    return Net(
        "paying",
        places=(Place("open"), Place("billed", PAYMENT), Place("paying", PAYMENT), Place("purse", PURSE)),
        transitions=tuple(transitions),
        initial=(("open", ((),) * 4), ("purse", ((0, 100),))),
    )


def spending(most: int, **more: Any) -> Requirement:
    """A cap on what is paid in all."""
    return cap("pay", most=most, amount=Get(Var("payload"), "cents"), **more)


@pytest.mark.parametrize("keeps", ["spent", "left"])
@pytest.mark.parametrize("when", ["at once", "before"])
def test_ctl_4_a_counter_in_a_token(keeps: Any, when: Any) -> None:
    (verdict,) = certified(paying(keeps, when=when), spending(100))
    assert verdict.method == "a counter in a token"
    (verdict,) = only(paying(keeps, when=when), spending(99))
    assert verdict.status is not Status.PROVED


@pytest.mark.antipattern("AP5", "refuted by CTL-4: a run that spends more than the budget")
def test_ctl_4_a_counter_that_counts_too_little() -> None:
    verdict = fails(paying("spent", counts="short"), spending(100), 4)
    assert sum(v for v in verdict.witness.values()) <= 90  # the last one; both together are more
    fails(paying(), spending(100), 4)
    fails(paying(), cap("pay", most=3), 8)


def test_ctl_4_a_rate_starts_anew_with_its_window() -> None:
    certified(paying("spent", day="starts anew"), spending(100, per="new day"))
    fails(paying("spent", day="starts anew"), spending(150), 5)
    (verdict,) = only(paying("spent", day="leaves a debt"), spending(100, per="new day"))
    assert verdict.status is Status.REFUTED


def test_ctl_4_counting() -> None:
    certified(selling(), cap("sell", most=1))
    certified(selling(), cap("offer", "by hand", most=1))
    certified(selling(), cap("offer.propose", most=2))
    fails(selling(), cap("offer.propose", most=1), 5)
    fails(selling(), cap("sell", most=0), 5)


def test_ctl_4_a_sum_by_number_times_what_is_verified() -> None:
    of: dict[str, Any] = {"of": Offer, "amount": lambda payload: payload.discount}
    (verdict,) = certified(selling(), cap("sell", most=80, **of))
    assert "at most 1 times" in verdict.method
    assert "more than 79 in all" in fails(selling(), cap("sell", most=79, **of), 7).reason


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [
        (cap("sel", most=1), "sell"),
        (cap("sell", most=1, per="ask.aprove"), "ask.approve"),
        (cap("sell", most=1, amount=Get(Var("payment"), "cents")), "payload"),
        (cap("offer.propose", most=1, per="offer.propose"), "another transition"),
        (cap("sell", most=1, amount=Get(Var("payload"), "vip")), "int or a Decimal"),
    ],
    ids=str,
)
def test_ctl_4_mistakes(wanted: Requirement, hint: str) -> None:
    with pytest.raises(PropertyError) as error:
        only(selling(), wanted)
    assert hint in error.value.hint


# machines


def ticket() -> Net:
    """A ticket with a state, moved on by whoever works at it."""
    net = NetBuilder("ticket")
    desk, shelf = net.entry("desk", Ticket, where=lambda it: it.state == "new"), net.place("shelf", Ticket)
    net.route(
        "open",
        takes={"t": desk},
        when=lambda t: t.state == "new",
        puts={desk: lambda t: t.with_(state="open")},
    )
    net.route(
        "file",
        takes={"t": desk},
        when=lambda t: t.state == "open",
        puts={shelf: lambda t: t.with_(state="closed")},
    )
    net.route("look", takes={"t": shelf}, puts={shelf: "t"})
    return net.build()


class Ticket(Token):
    state: Literal["new", "open", "closed"]
    hours: int


MOVES: dict[str, str | tuple[str, ...]] = {"new": "open", "open": ("closed", "new")}


def test_state_4_by_a_field() -> None:
    (verdict,) = certified(ticket(), machine("desk", "shelf", field="state", moves=MOVES))
    assert verdict.method == "induction over firings, per-place facts"
    verdict = fails(ticket(), machine("desk", "shelf", field="state", moves={"new": "open"}), 2)
    assert "'file'" in verdict.reason
    reopened = edited(ticket(), "file", lambda t: replace(t, guard=None))
    fails(reopened, machine("desk", "shelf", field="state", moves=MOVES), 1)


def test_state_4_by_places() -> None:
    states = {"working": "desk", "done": "shelf"}
    certified(ticket(), machine(states=states, moves={"working": "done"}))
    verdict = fails(ticket(), machine(states=states, moves={"done": "working"}), 2)
    assert "from 'working' to 'done'" in verdict.reason


def test_state_4_two_states_or_none() -> None:
    both = machine("desk", "shelf", field="state", moves=MOVES)
    twice = edited(ticket(), "look", lambda t: replace(t, puts=t.puts * 2))
    assert "more than one" in fails(twice, both, 3).reason
    fails(edited(ticket(), "look", lambda t: replace(t, puts=())), both, 3)
    fails(ticket(), machine("desk", field="state", moves=MOVES), 2)
    again = Put("shelf", Const(("open", 1), schema_of(Ticket)))
    emptied = edited(
        ticket(),
        "look",
        lambda t: replace(t, takes=(), resets=("shelf",), puts=(again,), trigger=Signal("tidy")),
    )
    fails(emptied, both, 1)


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [
        (machine("dsk", field="state", moves=MOVES), "desk"),
        (machine("desk", field="hours", moves=MOVES), "state"),
        (machine("desk", "shelf", field="state", moves={"new": "opened"}), "open"),
        (machine(states={"a": "desk", "b": "desk"}, moves={"a": "b"}), "one state"),
    ],
    ids=str,
)
def test_state_4_mistakes(wanted: Requirement, hint: str) -> None:
    with pytest.raises(PropertyError) as error:
        only(ticket(), wanted)
    assert hint in error.value.hint


def test_a_machine_is_declared_in_one_of_two_ways() -> None:
    with pytest.raises(PropertyError):
        machine("desk", moves=MOVES)
    with pytest.raises(PropertyError):
        machine("desk", states={"a": "desk"}, moves={})
    with pytest.raises(PropertyError):
        cap("pay", most=1, amount=lambda payload: payload.cents)


@pytest.mark.parametrize("id_", ["SDB-3", "SDB-6", "SAGA-4", "CTL-2", "CTL-4", "STATE-4"])
def test_what_has_nothing_to_check_is_vacuous(id_: str) -> None:
    (verdict,) = only(STRAIGHT, id_)
    assert verdict.status is Status.PROVED
    assert verdict.vacuous


def test_what_is_declared_is_meant_by_the_id_and_the_family() -> None:
    declared = cap("sell", most=1)
    net = replace(selling(), requirements=(Requirement("CTL"), declared))
    assert [r for p, r in requirements_of(net) if p.id == "CTL-4"] == [declared]
    assert [r for _, r in requirements_of(net, ["CTL-4"])] == [declared]
